# SPDX-License-Identifier: Apache-2.0
"""What the README and docs/ say is so: examples can be parsed, links lead somewhere, tables agree with the code."""

from __future__ import annotations

import ast
import compileall
import itertools
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import click
import msgspec
import pytest
import yaml
from behave.configuration import Configuration
from behave.parser import parse_feature

from mco_client.cli import exits
from mco_client.cli.app import App
from mco_client.cli.main import mco
from mco_lab.spec import read as read_lab
from mco_node.main import _parser
from mco_rpc import messages, names
from mco_rpc.config import client_settings, node_settings
from mco_rpc.filters import Filter
from mco_rpc.status import Status
from tests.docs_examples import ROOT, Block, difference, of_kind, page, pages, words

PAGES = pages()
CONSOLE = [block for made in PAGES for block in made.blocks if block.language == "console"]
# Commands of a package of somebody else, which is not installed here; who runs them installs it.
CONSOLE = [block for block in CONSOLE if block.run != "application"]
# Whole lines of a shell, which a test runs.
CONSOLE = [block for block in CONSOLE if block.run != "tour"]
# What a page may tell to type beside our own commands.
OTHERS = {"rabbitmqctl", "scp", "mkdir", "printf", "iptables", "pkill", "systemctl", "journalctl"}
LANGUAGES = {"console", "gherkin", "python", "yaml", "json", "sh", "ini", "toml", "ruby", "text", ""}
_LINK = re.compile(r"(?<!\\)!?\[[^\]]*\]\(([^)\s]+)\)")
_REFERENCE = ROOT / "docs" / "reference"
# Their examples are made from the schemas; test_agent_pages.py has the schemas look at them.
_OF_AGENTS = "docs/reference/agents/"


def named(blocks: list[Block]) -> list[Any]:
    return [pytest.param(block, id=block.where) for block in blocks]


class TestCommands:
    @pytest.mark.parametrize("block", named(CONSOLE))
    def test_each_can_be_parsed(self, block: Block) -> None:
        commands = block.commands()
        assert commands, f"{block.where}: no command"
        for command in commands:
            for line in command.line.split(" | "):
                _parse(words(re.sub(r"\s>\s.*", "", line)), block.where)

    def test_a_wrong_one_is_seen(self) -> None:
        with pytest.raises(click.UsageError):
            _parse(words("sudo mco lab run firewall -- mco ping --no-such-option"), "here")
        with pytest.raises(AssertionError, match="frobnicate"):
            _parse(["frobnicate"], "here")


def _parse(command: list[str], where: str) -> None:
    """Let a command's own parser read it, and the one of the command in it."""
    program, arguments = Path(command[0]).name, command[1:]
    if program == "mco":
        at = arguments.index("--") if "--" in arguments else len(arguments)
        _parse_mco(arguments)
        if inner := arguments[at + 1 :]:
            _parse(inner, where)
    elif program == "mco-node":
        _parser().parse_args(arguments)
    elif program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(arguments) <= set(targets), f"{where}: make {arguments}"
    elif program == "behave":
        Configuration([*arguments], load_config=False)
    else:
        assert program in OTHERS, f"{where}: {program} is not a command that is known here"


def _parse_mco(arguments: list[str]) -> None:
    context = mco.make_context("mco", arguments, obj=App())
    command: click.Command = mco
    while isinstance(command, click.Group):
        rest = [*getattr(context, "_protected_args", ()), *context.args]  # click 8 keeps the first word apart
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command = found
        context = command.make_context(name, list(rest), parent=context)


class TestBlocks:
    @pytest.mark.parametrize("made", [pytest.param(made, id=made.name) for made in PAGES])
    def test_each_names_a_language_that_is_looked_at(self, made: Any) -> None:
        assert {block.language for block in made.blocks} <= LANGUAGES
        # A block that the reader of these tests does not see would be checked by nobody.
        assert len(made.blocks) * 2 == made.path.read_text().count("```")

    @pytest.mark.parametrize("block", named(list(of_kind("yaml"))))
    def test_yaml_is_yaml(self, block: Block) -> None:
        assert isinstance(yaml.safe_load(block.text), dict)

    @pytest.mark.parametrize("block", named(list(of_kind("toml"))))
    def test_toml_is_toml(self, block: Block) -> None:
        assert tomllib.loads(block.text)

    @pytest.mark.parametrize("block", named(list(of_kind("json"))))
    def test_json_is_json(self, block: Block) -> None:
        assert json.loads(block.text)

    @pytest.mark.parametrize("block", named([block for block in of_kind("yaml") if block.run == "node-settings"]))
    def test_parts_of_settings_are_settings(self, block: Block, tmp_path: Path) -> None:
        (tmp_path / "node.yaml").write_text(block.text)
        node_settings(tmp_path / "node.yaml", {})

    @pytest.mark.parametrize("block", named([block for block in of_kind("yaml") if block.run == "client-settings"]))
    def test_parts_of_a_callers_settings_are_settings(self, block: Block, tmp_path: Path) -> None:
        (tmp_path / "client.yaml").write_text(block.text)
        client_settings(tmp_path / "client.yaml", {})

    @pytest.mark.parametrize("block", named([block for block in of_kind("yaml") if block.run == "lab-file"]))
    def test_a_labs_file_is_one(self, block: Block, tmp_path: Path) -> None:
        (tmp_path / "lab.yaml").write_text(block.text)
        assert read_lab(tmp_path / "lab.yaml").hosts

    @pytest.mark.parametrize("block", named(list(of_kind("python"))))
    def test_python_is_python(self, block: Block, tmp_path: Path) -> None:
        file = tmp_path / "example.py"
        file.write_text(block.text)
        assert compileall.compile_file(file, quiet=1)

    @pytest.mark.parametrize("block", named(list(of_kind("gherkin"))))
    def test_gherkin_is_gherkin(self, block: Block) -> None:
        assert parse_feature(block.text).scenarios

    @pytest.mark.parametrize(
        "block", named([block for block in of_kind("yaml") if block.file.endswith(("node.yaml", "client.yaml"))])
    )
    def test_settings_are_settings(self, block: Block, tmp_path: Path) -> None:
        file = tmp_path / "settings.yaml"
        file.write_text(block.text)
        (node_settings if block.file.endswith("node.yaml") else client_settings)(file, {})

    @pytest.mark.parametrize("name", ["README.md", "docs/index.md"])
    def test_the_first_page_shows_the_seeds_feature(self, name: str) -> None:
        shown = next(block.text for block in page(ROOT / name).blocks if block.language == "gherkin")
        real = (ROOT / "features/firewall.feature").read_text()
        sentences = [line.strip() for line in shown.splitlines() if line.strip()]
        assert sentences == [line.strip() for line in real.splitlines() if line.strip() in sentences][: len(sentences)]


# What no test runs as it stands there, by page and first line, and why.
SHOWN_ONLY = {
    ("README.md", "$ make demo"): "it runs all there is: tools/check.py does, and its last check is the demo",
    (
        "README.md",
        "$ make venv",
    ): "it makes the environment that the tests run in; tests/unit/test_lab_cli.py has the demo",
    ("docs/index.md", "$ make demo"): "the same as in the README",
    ("docs/guides/lab.md", "$ sudo mco lab up services"): "tests/lab/test_lab_systemd.py does, in Python",
    ("docs/guides/lab.md", "$ sudo mco lab partition web1 web2"): "tests/lab/test_lab_faults.py does",
    ("docs/guides/daemon.md", "$ sudo mco-node install-unit"): "tests/unit/test_node_unit.py does, without enabling it",
    ("docs/guides/daemon.md", "$ systemctl status mco-node"): "tests/lab/test_lab_systemd.py does",
    ("docs/index.md", "$ make venv"): "the same as in the README",
    (
        "docs/guides/discovery.md",
        '{"version": 1',
    ): "what is sent to a command; the command below it is run, and reads it",
    ("docs/guides/external-agents.md", '{"data"'): "what an agent prints; the one above it is run",
    (
        "docs/guides/external-agents.md",
        '{"progress"',
    ): "what an agent prints; tests/unit/test_node_external_call.py has one that does",
    ("docs/guides/from-mcollective.md", "mc = rpcclient"): "Ruby; the Python below it is run",
    ("docs/guides/lab.md", "$ sudo mco lab run firewall"): "six labs in a row, run by tests/lab one by one",
    (
        "docs/guides/lab.md",
        "from mco_lab.pytest_plugin",
    ): "a test of the reader's; tests/lab/conftest.py is made the same way",
    (
        "docs/guides/registry.md",
        "$ mco nodes",
    ): "it shows hours of a fleet's life; tests/collective/test_registry.py has all of it",
    ("docs/guides/registry.md", "$ mco registry keygen"): "a daemon; tests/broker/test_registry.py starts it so",
    ("docs/guides/registry.md", "# /etc/systemd/system"): "systemd reads it",
    ("docs/guides/registry.md", "$ sudo rabbitmqctl"): "the broker's rights; tests/broker/test_registry.py",
    ("docs/guides/registry.md", "$ mco rpc registry forget"): "it asks a registry; tests/collective/test_registry.py",
    (
        "docs/guides/schemas.md",
        "mco: not all nodes",
    ): "two versions of an agent; tests/collective/test_cli_schemas.py prints it",
    ("docs/guides/writing-features.md", "behave.ini  "): "a list of files",
}
# Which tests run blocks with a mark.
RUNNERS = {
    "tests/unit/test_docs.py": {"node-settings", "client-settings", "lab-file"},
    "tests/collective/test_docs_examples.py": {"memory", "python", "check-agents", "feature"},
    "tests/collective/test_apps_guide.py": {"application"},
    "tests/collective/test_command_line_page.py": {"tour"},
    "tests/docs_fleet.py": {"fleet", "python-fleet", "output"},
    "tests/broker/test_docs_own_broker.py": {"own", "own-agent"},
    "tests/lab/test_docs_lab.py": {"lab", "python-lab", "python-root", "demo", "shop"},
}


class TestEveryExampleIsRun:
    def test_what_is_not_has_a_reason(self) -> None:
        unmarked = [(made.name, block) for made in PAGES for block in made.blocks if not block.mark]
        unmarked = [(name, block) for name, block in unmarked if not name.startswith(_OF_AGENTS)]
        unexplained = {
            block.where
            for name, block in unmarked
            if not any(page == name and block.text.startswith(begin) for page, begin in SHOWN_ONLY)
        }
        assert not unexplained, "mark these blocks with `<!-- run: HOW -->` or `<!-- file: NAME -->`"

    @pytest.mark.parametrize(("name", "begin"), SHOWN_ONLY)
    def test_no_reason_is_for_a_block_that_is_run_or_gone(self, name: str, begin: str) -> None:
        of_page = [block for block in page(ROOT / name).blocks if block.text.startswith(begin)]
        assert [block.mark for block in of_page] == [""]

    @pytest.mark.parametrize("runner", RUNNERS)
    def test_each_mark_is_known_to_a_test(self, runner: str) -> None:
        text = (ROOT / runner).read_text("utf-8")
        assert all(f'"{kind}"' in text for kind in RUNNERS[runner])

    def test_no_block_has_another_mark(self) -> None:
        known = set().union(*RUNNERS.values())
        assert {
            block.where: block.run for made in PAGES for block in made.blocks if block.run not in {"", *known}
        } == {}

    def test_an_output_follows_what_prints_it(self) -> None:
        for made in PAGES:
            for before, block in zip(made.blocks, made.blocks[1:], strict=False):
                assert block.run != "output" or before.run == "python-fleet", block.where


class TestLinks:
    @pytest.mark.parametrize("made", [pytest.param(made, id=made.name) for made in PAGES])
    def test_each_leads_somewhere(self, made: Any) -> None:
        text = re.sub(r"```.*?```|`[^`\n]*`", "", made.path.read_text(), flags=re.DOTALL)
        for target in _LINK.findall(text):
            if target.startswith(("http://", "https://")):
                continue
            file, _, anchor = target.partition("#")
            path = (made.path.parent / file).resolve() if file else made.path
            assert path.exists(), f"{made.name}: {target}"
            if anchor:
                assert anchor in _anchors(path), f"{made.name}: {target}"


class TestNames:
    @pytest.mark.parametrize(
        "made", [pytest.param(made, id=made.name) for made in PAGES if "decisions" not in made.name]
    )
    def test_what_a_page_calls_by_its_full_name_is_there(self, made: Any) -> None:
        text = re.sub(r"```.*?```", "", made.path.read_text("utf-8"), flags=re.DOTALL)
        for name in re.findall(r"`(mco_\w+(?:\.\w+)+)(?:\([^`]*)?`", text):
            assert pkgutil.resolve_name(name) is not None


def _anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}


class TestReference:
    def test_generated_pages_are_current(self) -> None:
        program = [sys.executable, str(ROOT / "tools/reference.py"), "--check"]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.parametrize(
        "kind", [messages.Request, messages.Ack, messages.Progress, messages.Reply, messages.Event]
    )
    def test_the_wire_page_has_every_field(self, kind: type[msgspec.Struct]) -> None:
        rows = _table(_REFERENCE / "wire.md", kind.__name__)
        fields = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
        assert fields == {"kind", *kind.__struct_fields__}

    def test_the_wire_page_has_every_part_of_a_filter(self) -> None:
        said = re.search(r"A filter has the fields (.*?), all arrays", (_REFERENCE / "wire.md").read_text())
        assert said
        assert re.findall(r"`(\w+)`", said[1]) == list(Filter.__struct_fields__)

    def test_the_wire_page_has_every_exchange_and_status(self) -> None:
        exchanges = [row[0].strip("`") for row in _table(_REFERENCE / "wire.md", "Exchanges")]
        assert exchanges == [names.exchange("mcollective", kind) for kind in names.EXCHANGE_KINDS]
        statuses = [(int(row[0]), row[1]) for row in _table(_REFERENCE / "wire.md", "Status codes")]
        assert statuses == [(int(status), status.text) for status in Status]

    def test_the_exit_codes_are_those_of_the_program(self) -> None:
        said = {int(row[0]) for row in _table(_REFERENCE / "exit-codes.md", "mco")}
        assert said == {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}


def _table(path: Path, heading: str) -> list[list[str]]:
    """Return the rows of the first table below a heading."""
    section = re.split(rf"^## {re.escape(heading)}$", path.read_text(), flags=re.MULTILINE)[1].split("\n## ")[0]
    after = itertools.dropwhile(lambda line: not line.startswith("|"), section.splitlines())
    rows = list(itertools.takewhile(lambda line: line.startswith("|"), after))
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


class TestSteps:
    def test_the_page_has_every_step_and_an_example_that_only_it_understands(self) -> None:
        # A process of its own: behave keeps one registry of steps for a whole process.
        done = subprocess.run(
            [sys.executable, "-c", _STEPS_PROGRAM], capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        known = {tuple(line.split("\t")) for line in done.stdout.splitlines() if line.startswith("step\t")}
        text = (_REFERENCE / "steps.md").read_text()
        rows = re.findall(r"^\| `(Given|When|Then) (.*?)` \| `(Given|When|Then) (.*?)` \|$", text, re.MULTILINE)
        assert {("step", kind.lower(), pattern) for kind, pattern, _, _ in rows} == known
        program = _STEPS_PROGRAM + _MATCH_PROGRAM
        sentences = "\n".join(f"{kind.lower()}\t{sentence}" for _, _, kind, sentence in rows)
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT, input=sentences
        )
        matched = [line.split("\t")[1:] for line in done.stdout.splitlines() if line.startswith("match\t")]
        assert matched == [[pattern] for _, pattern, _, _ in rows], done.stderr


_STEPS_PROGRAM = """
from behave.runner import the_step_registry as registry
from behave.runner_util import exec_file
from behave.step_registry import setup_step_decorators
from mco_client.bdd.runner import _bundled_steps
for file in _bundled_steps():
    made = {}
    setup_step_decorators(made, registry)
    exec_file(str(file), made)
import behave.step_registry
registry = behave.step_registry.registry if not any(registry.steps.values()) else registry
for kind, matchers in registry.steps.items():
    for matcher in matchers:
        print("step", kind, matcher.pattern, sep="\\t")
"""
_MATCH_PROGRAM = """
import sys
for line in sys.stdin.read().splitlines():
    kind, sentence = line.split("\\t")
    print("match", *(m.pattern for m in registry.steps[kind] if m.match(sentence)), sep="\\t")
"""


class TestTroubleshooting:
    HEADINGS: ClassVar = [
        found[2]
        for found in re.finditer(
            r"^### (`+) ?(.*?) ?\1$", (ROOT / "docs/guides/troubleshooting.md").read_text("utf-8"), re.MULTILINE
        )
    ]

    def test_every_heading_is_looked_at(self) -> None:
        text = (ROOT / "docs/guides/troubleshooting.md").read_text("utf-8")
        assert len(self.HEADINGS) == text.count("\n### ")

    @pytest.mark.parametrize("heading", HEADINGS)
    def test_each_message_is_one_of_the_programs(self, heading: str) -> None:
        pieces = [piece for piece in heading.split("…") if len(piece.strip(" :;,.'")) > 2]
        assert pieces, f"nothing but placeholders: {heading}"
        for piece in pieces:
            assert any(piece in text for text in _texts()), f"no text in the code has: {piece!r}"

    def test_a_message_that_nobody_prints_is_seen(self) -> None:
        assert not any("this is no message of ours" in text for text in _texts())


@cache
def _texts() -> frozenset[str]:
    """Return every text in the code, what is put into it as a null character, adjacent texts joined."""
    found = set()
    for folder in ("mco_rpc", "mco_client", "node", "agents", "lab", "registry"):
        for file in (ROOT / folder).rglob("*.py"):
            for tree in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
                    found.add(tree.value)
                elif isinstance(tree, ast.JoinedStr):
                    parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in tree.values]
                    found.add("".join(map(str, parts)))
    return frozenset(found)


class TestDifference:
    SHOWN = ("first", "...", "took 1.5 ms", "last")

    def test_what_varies_may_vary(self) -> None:
        assert difference(self.SHOWN, "first\nanything\n\ntook 27.1 ms\nlast\n") is None

    @pytest.mark.parametrize(
        "printed", ["", "first\ntook 1.5 ms\n", "second\ntook 1.5 ms\nlast\n", "first\ntook 1.5 ms\nlast\nmore\n"]
    )
    def test_what_is_shown_must_be_printed(self, printed: str) -> None:
        assert difference(self.SHOWN, printed) is not None

    def test_without_dots_nothing_more_may_be_printed(self) -> None:
        assert difference(("one",), "one\n") is None
        assert difference(("one",), "one\ntwo\n") is not None
