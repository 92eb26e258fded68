# SPDX-License-Identifier: Apache-2.0
"""The tour of the command line shows what its commands print; here they run on nodes in this process."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from mco_lab.memory import MemoryFleet
from mco_rpc.config import ClientSettings
from tests.collective.scripted_fleet import Ran, Stage, commands

ROOT = Path(__file__).resolve().parents[2]


def _tour() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tour", ROOT / "tools" / "tour.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOUR = _tour()
PAGE = TOUR.PAGE.read_text()
BLOCKS = [(found["text"], found["how"] == "varies") for found in TOUR.BLOCK.finditer(PAGE)]
# Programs that are not ours; what comes after them is not run here.
_OTHERS = ("jq ", "cut ")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    described = yaml.safe_load(TOUR.SPEC.read_text())["hosts"]
    hosts = {host["name"]: {"facts": host["facts"], "classes": host["classes"]} for host in described}
    settings = ClientSettings(
        connector="memory", caller="operator", discovery_window_s=0.25, discovery_timeout_s=2.0, timeout_s=20.0
    )
    with MemoryFleet(hosts, settings) as fleet:
        yield Stage(fleet, settings)


def outputs(block: str) -> list[tuple[str, str]]:
    """Return each command of a block with what is shown below it."""
    lines = TOUR.commands(block)
    shown = re.split(r"^\$ .*?(?:\\\n.*?)*\n", block, flags=re.MULTILINE)[1:]
    assert len(lines) == len(shown)
    return list(zip(lines, shown, strict=True))


def same(text: str) -> str:
    text = TOUR.alike(text)
    text = re.sub(r"(db\d|web\d\d) offers .*", "NODE offers", text)  # what there is on this machine
    text = re.sub(r"within [\d.]+ s", "within N s", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_tour_is_what_its_commands_print(
    number: int, stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    block, is_varying = BLOCKS[number]
    monkeypatch.setenv("COLUMNS", str(TOUR.COLUMNS))
    ran = Ran(0, "", "")
    for line, shown in outputs(block):
        if line == "echo $?":
            assert shown.strip() == str(ran.status)
            continue
        said = ""
        for part in line.replace("\\\n", " ").split(" | "):
            if part.startswith(_OTHERS):
                break
            words = shlex.split(part)
            if words[0] == "echo":
                ran = Ran(0, words[1] + "\n", "")
                continue
            assert words[0] == "mco"
            ran = stage.run(part, capsys, monkeypatch, stdin=ran.out)
            said += ran.err
        else:
            if not is_varying:
                # The tour has both streams in one; here what is told to people came first.
                assert sorted(same(said + ran.out).splitlines()) == sorted(same(shown).splitlines()), line
            continue
        assert ran.status == 0, line


def test_the_page_is_what_a_run_without_news_would_write(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given that every command prints what is shown, but for times
    shown = {line: said for block, _ in BLOCKS for line, said in outputs(block)}

    def as_before(lines: list[str]) -> Iterator[str]:
        for line in lines:
            yield f"$ {line}\n"
            yield re.sub(r"\d+\.\d ms", "99.9 ms", shown[line])

    monkeypatch.setattr(TOUR, "_shown", as_before)
    # Then nothing changes
    assert TOUR.written(PAGE) == PAGE
    # And what is news is written
    monkeypatch.setattr(TOUR, "_shown", lambda lines: [f"$ {line}\nnews\n" for line in lines])
    assert TOUR.written(PAGE).count("\nnews\n") == sum(len(outputs(block)) for block, _ in BLOCKS)


def test_every_picture_is_on_the_page_and_fetches_nothing() -> None:
    for name in TOUR.PICTURES:
        assert f"images/{name}" in PAGE
        text = (TOUR.IMAGES / name).read_text()
        assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "").replace(
            "https://www.textualize.io", ""
        )


def test_every_option_of_the_page_exists() -> None:
    known = {
        option for command in commands().values() for p in command.params for option in (*p.opts, *p.secondary_opts)
    }
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose)) <= known | {"--help", "--debug", "--pictures"}
