# SPDX-License-Identifier: Apache-2.0
"""Every command of ``mco``, asked in every form, against nodes that say what no node should."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mco_client.cli.main import BUILTINS
from mco_rpc.filters import Subject
from mco_rpc.schema import ActionSchema
from tests.collective.scripted_fleet import Stage, commands, staged
from tests.collective.test_cli_examples import NOT_RUN, examples_of

EVIL = (
    "\x1b[2J\x1b]0;title\x07\x1b]8;;http://evil/\x1b\\link\x1b]52;c;ZXZpbA==\x07\u202e\u2066\x9b31m\r\x00\x7f\u2028"
    "\u200b\u3164\U000e0041e" + "\u0301" * 50 + "漢字\nforged line\t|"
)
EVIL_BY_TYPE: dict[str, Any] = {
    "string": EVIL,
    "list": EVIL,
    "any": {EVIL: [EVIL, {EVIL: EVIL}]},
    "array": [EVIL, {EVIL: EVIL, "name": EVIL}, None, 1e308],
    "hash": {EVIL: {EVIL: EVIL}, "name": EVIL},
    "boolean": EVIL,
    "integer": 10**18,
    "float": -1e308,
    "number": EVIL,
}
LONG = "x" * 300_000 + EVIL
MAX_LINE = 25_000


def hostile(action: ActionSchema, node: Subject) -> Mapping[str, Any]:
    """Answer, each node in its own way, what does harm if it is believed to be text."""
    match node.identity:
        case "web1":
            return {"data": {name: EVIL_BY_TYPE[output.type] for name, output in action.outputs.items()}}
        case "web2":
            return {"status": 1, "message": EVIL, "data": {EVIL: EVIL}}
        case "db1":
            return {"data": {EVIL: EVIL, **dict.fromkeys(list(action.outputs)[:2], LONG)}}
    # Of the right shape as far as one can see, and everything in it is not.
    rows = [{"name": EVIL, "value": EVIL, "status": EVIL, "exitcode": 2, "output": EVIL, "version": EVIL, "pid": EVIL}]
    shapes = {"array": rows, "hash": {EVIL: rows[0]}, "boolean": True, "integer": 7, "float": 0.5, "number": 7}
    return {"data": {name: shapes.get(output.type, EVIL) for name, output in action.outputs.items()}}


COMMANDS = commands()


def first_lines() -> dict[str, str]:
    """Return one line for each command that asks nodes: its first example, for everybody."""
    found = {}
    for name, command in COMMANDS.items():
        if name.split(" ")[0] in (*NOT_RUN, "completion", "demo", "describe-filter", "keygen", "filter", "plugin", ""):
            continue
        line = next(line for line in examples_of(command) if line.startswith("mco "))
        found[name] = re.sub(r" -[IFCW] \S+| --noop", "", line)
    return found


LINES = {
    **first_lines(),
    "facts of all": "mco facts country -v",
    "inventory of all": "mco inventory --lc",
    "plugin list": "mco plugin list",
    "plugin doc": "mco plugin doc iptables",
    "rpc fields": "mco rpc rpcutil get_fact fact=x --fields value,value.a,fact --sort value -r --group",
    "rpc verbose": "mco rpc rpcutil get_fact fact=x -v",
    "rpc unknown": "mco rpc rpcutil get_fact fct=x",
    "ping graph": "mco ping -g",
}


def options_of(name: str) -> set[str]:
    """Return the options of the command of a line."""
    words = LINES[name].split(" ")[1:]
    command = COMMANDS.get(" ".join(words[:2])) or COMMANDS[words[0]]
    return {option for parameter in command.params for option in parameter.opts}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(hostile, tmp_path_factory.mktemp("actors")) as made:
        yield made


def assert_harmless(text: str) -> None:
    """Make sure that a terminal takes nothing for a command, and a person nothing for a line of ours."""
    assert [c for c in text if not c.isprintable() and c not in "\n\t"] == []
    assert not set(text) & set("\u3164\u115f\u034f\u2800")
    assert not re.search(r"^(mco: )?forged", text, re.MULTILINE)
    marks = "".join("m" if unicodedata.combining(c) else " " for c in text)
    assert "m" * 5 not in marks
    assert max(map(len, text.splitlines()), default=0) <= MAX_LINE
    assert "this is a fault in mco" not in text


FORMS = [(name, "") for name in LINES]
# The applications print JSON by the same lines of code.
FORMS += [(name, "-j") for name in LINES if LINES[name].split(" ")[1] in BUILTINS and "-j" in options_of(name)]
FORMS += [(name, "--jsonl") for name in ("rpc", "rpc fields", "service")]


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_what_nodes_say_commands_no_terminal(
    name: str,
    form: str,
    stage: Stage,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    ran = stage.run(f"{LINES[name]} {form} {'-y' if '--yes' in options_of(name) else ''}", capsys, monkeypatch)
    assert ran.out or ran.err
    if form in ("-j", "--jsonl") and ran.out:
        for line in [ran.out] if form == "-j" else ran.out.splitlines():
            json.loads(line)
        assert all(c == "\n" or " " <= c <= "~" for c in ran.out)
    else:
        assert_harmless(ran.out)
    assert_harmless(ran.err)


def test_no_command_was_forgotten() -> None:
    asking = {name for name, command in COMMANDS.items() if any(p.name == "facts" for p in command.params)}
    assert asking - {"filter explain", "describe-filter", *NOT_RUN, "plugin stubs"} <= set(LINES)
