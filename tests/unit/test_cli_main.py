# SPDX-License-Identifier: Apache-2.0
"""The program ``mco`` around its commands: what it loads, how it finds them, and how everything ends."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from mco_client.cli import main as program
from mco_client.cli.app import from_configuration
from mco_client.cli.main import ABOUT, BUILTINS, main, mco
from mco_rpc import __version__, installed
from mco_rpc.errors import BrokerUnreachable, ConfigError
from tests.unmeasured import environment

HEAVY = {"msgspec", "pika", "tabulate", "rich", "nacl", "yaml", "re2", "importlib.metadata", "logging", "asyncio"}
_PROBE = """
import json, sys
from mco_client.cli.main import main
status = main(sys.argv[1:])
print(json.dumps([status, sorted(sys.modules)]))
"""


def failing(error: BaseException) -> Callable[[Path | None, Mapping[str, Any]], Any]:
    """Return what connects, in place of a connection, to this error."""

    def connect(_: Path | None, __: Mapping[str, Any]) -> Any:
        raise error

    return connect


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Commands by name that packages seem to bring; an error among them is raised when it is loaded."""
    brought: dict[str, Any] = {}

    class Entry:
        def __init__(self, name: str) -> None:
            self.name, self.value = name, f"somewhere:{name}"

        def load(self) -> Any:
            if isinstance(brought[self.name], Exception):
                raise brought[self.name]
            return brought[self.name]

    def entry_points(group: str, name: str | None = None) -> list[Entry]:
        assert group == "mco.commands"
        return [Entry(each) for each in brought if name in (None, each)]

    monkeypatch.setattr(installed, "entry_points", entry_points)
    return brought


@pytest.fixture
def quiet_logging() -> Iterator[None]:
    """Take back what ``--debug`` does to the root logger."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.parametrize("words", [["--version"], ["pnig"]])
def test_loads_nothing_that_it_does_not_use(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *words], env=environment(), capture_output=True, text=True, check=True
    )
    _, loaded = json.loads(done.stdout.splitlines()[-1])
    assert not HEAVY & set(loaded)
    assert not [name for name in loaded if name in {home.partition(":")[0] for home in BUILTINS.values()}]


# Command line -> what it may load of all that is heavy. The others of a line's packages are loaded when they are used.
MAY_LOAD = {
    "--help": {"logging", "msgspec"},  # those of the registry
    "rpc --help": set(),
    "ping --help": set(),
    "find --help": set(),
    "doctor --help": set(),
    "service --help": set(),
    "controller --help": set(),
    "lab --help": set(),
}


@pytest.mark.parametrize("line", MAY_LOAD)
def test_help_loads_nothing_that_only_a_call_needs(line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *line.split()], env=environment(), capture_output=True, text=True, check=True
    )
    _, loaded = json.loads(done.stdout.splitlines()[-1])
    assert HEAVY & set(loaded) <= MAY_LOAD[line]
    assert not {"mco_node", "mco_agents"} & {name.partition(".")[0] for name in loaded}


@pytest.mark.parametrize("line", ["mco ", "mco rpc rpcutil get_fact ", "mco find -I web", "mco service st", "mco lab "])
def test_completion_loads_nothing_that_it_does_not_read(line: str, tmp_path: Path) -> None:
    asked = {"_MCO_COMPLETE": "bash", "_MCO_LINE": line, "MCO_COMPLETE_LIVE": "no", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _PROBE], env=environment(**asked), capture_output=True, text=True, check=True
    )
    _, loaded = json.loads(done.stdout.splitlines()[-1])
    assert HEAVY & set(loaded) <= {"msgspec"}
    assert not {"tempfile", "socket", "mco_client.connection", "mco_lab.lab"} & set(loaded)


def test_what_the_help_says_of_a_command_is_what_the_command_says() -> None:
    ctx = click.Context(mco)
    said = {name: command.get_short_help_str(80) for name in BUILTINS if (command := mco.get_command(ctx, name))}
    assert said == ABOUT


def test_output_that_was_closed_is_no_fault_of_ours() -> None:
    done = subprocess.run(
        [
            "sh",
            "-c",
            '"$0" -c "from mco_client.cli.main import main; raise SystemExit(main())" completion bash >&-',
            sys.executable,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_output_for_which_there_is_no_room_is_an_error_of_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        program = "from mco_client.cli.main import main; raise SystemExit(main())"
        done = subprocess.run(
            [sys.executable, "-c", program, "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith("mco: No space left on device\n")
    assert "Traceback" not in done.stderr


def test_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mco {__version__}\n"


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_every_command_and_the_exit_statuses(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    said = capsys.readouterr().out
    for name in (*BUILTINS, "lab", "demo"):
        assert f"\n  {name} " in said
    assert "\nExamples:\n" in said.replace("\n  ", "\n")
    assert "2  some nodes failed" in said


@pytest.mark.parametrize("name", BUILTINS)
def test_every_command_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"\n    mco {name} " in said
    assert "Exit status" in said


def test_arguments_of_the_process_are_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mco", "--version"])
    assert main() == 0
    assert __version__ in capsys.readouterr().out


def test_a_package_brings_a_command(plugins: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    @click.argument("number", type=int)
    def mend(number: int) -> int:
        """Mend things."""
        return number

    plugins["mend"] = mend
    assert main(["mend", "7"]) == 7
    assert main(["--help"]) == 0
    assert re.search(r"^  mend +Mend things\.$", capsys.readouterr().out, re.MULTILINE)


def test_a_builtin_command_is_not_replaced(plugins: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    plugins["ping"] = ValueError("never loaded")
    assert main(["ping", "--help"]) == 0
    assert "Show which nodes answer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (ImportError("no module named x"), "command worse (somewhere:worse) cannot be loaded: ImportError: no module"),
        (42, "command worse (somewhere:worse) is not a command: int"),
    ],
)
def test_a_broken_command_of_a_package_is_named_and_spoils_nothing(
    broken: object, why: str, plugins: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    plugins["worse"] = broken
    assert main(["worse"]) == 1
    assert f"mco: {why}" in capsys.readouterr().err
    assert main(["--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert why in said
    assert "ping Show which nodes answer" in said


def test_a_group_of_a_package_without_a_command_shows_its_help(
    plugins: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    group = plugins["tools"] = click.Group("tools", help="Many tools.")
    group.add_command(click.Command("hammer"))
    main(["tools"])
    said = capsys.readouterr()
    assert (said.out + said.err).startswith("Usage: mco tools")


@pytest.mark.parametrize("status", [None, "text"])
def test_a_command_that_returns_no_status_is_fine(status: object, plugins: dict[str, Any]) -> None:
    plugins["odd"] = click.Command("odd", callback=lambda: status)
    assert main(["odd"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pnig"], "mco: there is no command 'pnig', did you mean ping?\nTry `mco --help`.\n"),
        (["rcp", "a", "b"], "mco: there is no command 'rcp', did you mean rpc?\nTry `mco --help`.\n"),
        (["--nonsense"], "\nTry `mco --help`.\n"),
        (["ping", "--nonsense"], "\nTry `mco ping --help`.\n"),
        (["rpc", "rpcutil"], "mco: missing argument 'ACTION'.\nTry `mco rpc --help`.\n"),
    ],
)
def test_mistakes_on_the_command_line_are_an_error_not_a_failure_of_nodes(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConfigError("key x is wrong"), "mco: key x is wrong\n"),
        (BrokerUnreachable("broker\x1b[2J is away"), "mco: broker\\x1b[2J is away\n"),
        (PermissionError(13, "Permission denied", "/etc/x"), "mco: /etc/x: Permission denied\n"),
        (OSError("no room"), "mco: no room\n"),
        (
            TypeError("oops"),
            "mco: TypeError: oops\nthis is a fault in mco; please report it with what --debug prints: ",
        ),
        (click.ClickException("Odd."), "mco: odd.\nTry `mco --help`.\n"),
    ],
)
def test_errors_are_a_line_and_no_traceback(error: Exception, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ping"], failing(error)) == 1
    told = capsys.readouterr()
    assert told.err.startswith(said)
    assert "Traceback" not in told.err
    assert told.out == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_is_quiet(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ping"], failing(error)) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("words", [["--debug", "ping"], ["ping", "--debug"]])
@pytest.mark.usefixtures("quiet_logging")
def test_debug_shows_where_and_what(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def connect(_: Path | None, __: Mapping[str, Any]) -> Any:
        logging.getLogger("mco_client").debug("looking\x1b[2J around")
        raise ConfigError("wrong\x07")

    assert main(words, connect) == 1
    said = capsys.readouterr().err
    assert "DEBUG mco_client: looking\\x1b[2J around\n" in said
    assert "Traceback (most recent call last)" in said
    assert said.endswith("mco: wrong\\x07\n")
    assert "\x07" not in said


def test_options_replace_settings_of_the_configuration() -> None:
    seen: list[tuple[Path | None, dict[str, Any]]] = []

    def connect(file: Path | None, changes: Mapping[str, Any]) -> Any:
        seen.append((file, dict(changes)))
        raise KeyboardInterrupt

    main(["find"], connect)
    main(["find", "--config", "x.yaml", "-T", "test", "--dt", "0.5"], connect)
    main(["ping", "-t", "7"], connect)
    assert seen == [
        (None, {}),
        (Path("x.yaml"), {"collective": "test", "discovery_timeout_s": 0.5}),
        (None, {"discovery_timeout_s": 7.0}),
    ]


def test_the_configuration_is_the_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mco_rpc.security import keys

    keys.generate(tmp_path / "me.key", tmp_path / "nodes" / "web1.pub")
    config = tmp_path / "client.yaml"
    config.write_text(f"key_file: {tmp_path}/me.key\ntrusted_nodes: {tmp_path}/nodes\n")
    connection = from_configuration(config, {"collective": "test"})
    assert (connection.settings.caller, connection.settings.collective) == ("me", "test")
    with pytest.raises(ConfigError, match="collective '#' cannot be used"):
        from_configuration(config, {"collective": "#"})
    assert main(["ping", "--config", str(tmp_path / "gone.yaml")]) == 1
    assert capsys.readouterr().err == f"mco: configuration file {tmp_path}/gone.yaml is not there\n"


def test_a_pipe_that_was_closed_ends_quietly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert main(["--version"]) == 141
        print("what comes later is lost, and no error")


def test_letters_that_the_terminal_cannot_show_are_escaped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "out"
    with file.open("w", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(program, "__version__", "x")
        main(["--version"])
        print("Zürich")
    assert file.read_text().endswith("Z\\xfcrich\n")
