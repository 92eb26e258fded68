# SPDX-License-Identifier: Apache-2.0
"""The parts of ``mco`` that need no fleet: options, exit statuses, what is printed and how inputs are read."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from mco_client.cli import exits, inputs, output, replies
from mco_client.cli.asked import Shown
from mco_client.cli.main import main
from mco_client.cli.showing import Answered
from mco_client.results import Result, Results
from mco_client.schema.learning import Known
from mco_client.stats import Stats
from mco_rpc.config import client_settings
from mco_rpc.errors import ConfigError
from mco_rpc.schema import ActionSchema, AgentSchema, Input, Output
from mco_rpc.security import keys

ADDRESS = Input("string", "An address", validate="ip_network", max_length=49)
BLOCK = ActionSchema(
    "block",
    "Block it",
    inputs={
        "ipaddr": ADDRESS,
        "force": Input("boolean", "All the same", optional=True),
        "how": Input("list", "How", choices=("drop", "reject"), default="drop"),
        "count": Input("integer", "How often", optional=True),
    },
    outputs={"blocked": Output("boolean", "Whether", display_as="Blocked")},
    mutating=True,
)
SCHEMA = AgentSchema("iptables", "Block addresses", "1.0", {"block": BLOCK})


class Terminal(io.StringIO):
    """A stream whose other end is a person."""

    def isatty(self) -> bool:
        return True


def results(*answers: Result, expected: tuple[str, ...] = (), **more: Any) -> Results:
    return Results("a", "b", expected or tuple(r.sender for r in answers), answers, timeout_s=5.0, **more)


# Exit statuses.


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (results(Result("web1", 0)), exits.OK),
        (results(Result("web1", 0), unverified={"evil": "unknown key"}), exits.FAILED),
        (results(Result("web1", 0), Result("web2", 1)), exits.FAILED),
        (results(Result("web1", 0), expected=("web1", "web2")), exits.FAILED),
        (results(expected=("web1",), unverified={"web1": "altered"}), exits.FAILED),
        (results(expected=("web1",)), exits.NO_ANSWER),
        (results(expected=("web1",), offline=("web1",)), exits.NO_ANSWER),
        (results(Result("web1", 0), unexpected=(Result("web2", 1),)), exits.OK),
    ],
)
def test_status_counts_absence_as_failure(seen: Results, status: int) -> None:
    assert exits.of(seen) == status


# Options.


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "3601", "soon"])
@pytest.mark.parametrize("option", ["-t", "--dt"])
def test_times_are_seconds_that_one_can_wait(option: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["facts", "country", option, text]) == 1
    assert "invalid value for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "{file}: No such file or directory"),
        (b"", "--nodes {file}: it names no node; expected one identity a line"),
        (b"# only a comment\n\n", "--nodes {file}: it names no node"),
        (b"web1\nweb#2\n-j\n", "--nodes {file}, line 3: identity '-j' cannot be used"),
        (b"web\xff1\n", "{file}, line 1: byte 3 is not UTF-8"),
    ],
)
def test_a_file_of_nodes_is_read_before_anything_is_asked(
    content: bytes | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "nodes"
    if content is not None:
        file.write_bytes(content)
    assert main(["rpc", "rpcutil", "ping", "--nodes", str(file)], lambda *_: _NoConnection()) == 1
    assert said.format(file=file) in capsys.readouterr().err


class _NoConnection:
    def __enter__(self) -> _NoConnection:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_listed_nodes_and_a_filter_contradict_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nodes").write_text("web1\n")
    words = ["rpc", "rpcutil", "ping", "--nodes", str(tmp_path / "nodes"), "-C", "web"]
    assert main(words, lambda *_: _NoConnection()) == 1
    assert "cannot be combined with a filter (class=web)" in capsys.readouterr().err


def test_a_filter_that_cannot_be_understood_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ping", "-F", "country"], lambda *_: _NoConnection()) == 1
    assert "mco: fact filter 'country' cannot be understood" in capsys.readouterr().err


# Output.


def test_json_holds_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = {"a\x1b[2J": "\x00\x07\x7f\x9b\u202e\ud800é"}
    output.say_json(hostile)
    text = capsys.readouterr().out
    assert all(c == "\n" or " " <= c <= "~" for c in text)
    assert json.loads(text) == hostile


@pytest.mark.parametrize(
    ("environment", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_that_want_them(
    environment: dict[str, str], is_coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert output.coloured("x", "red", Terminal()) == ("\x1b[31mx\x1b[0m" if is_coloured else "x")
    assert output.coloured("x", "red", io.StringIO()) == "x"


def test_failures_name_everybody_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    output.say_failures(
        results(
            Result("web10", 6, "you may\nnot\x1b[2J"),
            Result("web9", 1, "", {"rule": "x", "n": [1]}),
            Result("web1", 42, "strange"),
            expected=("web1", "web2", "web9", "web10", "db1"),
            offline=("db1",),
        )
    )
    assert capsys.readouterr().out.splitlines() == [
        "web1: status 42: strange",
        "web9: aborted: no reason given",
        "    rule: x",
        "    n: [1]",
        "web10: denied: you may\\nnot\\x1b[2J",
        "no reply within 5 s from 1 of 5: web2",
        "offline, 1 of 5: db1",
    ]


def said(seen: Results, schema: ActionSchema | None, capsys: pytest.CaptureFixture[str], verbose: bool = False) -> str:
    stats = Stats(blocktime=0.0123, discoverytime=0.3, requestid="abc")
    replies.say(Answered(seen, schema, stats, Known("a"), Shown(is_verbose=verbose)))
    return capsys.readouterr().out


def test_short_outputs_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    seen = results(Result("web2", 0, "", {"blocked": False, "more": 1.5}), Result("web1", 0, "", {"blocked": True}))
    assert said(seen, BLOCK, capsys).splitlines() == [
        "node    Blocked    more",
        "------  ---------  ------",
        "web1    true       -",
        "web2    false      1.5",
        "",
        "Finished processing 2 / 2 hosts in 12.3 ms",
    ]


def test_an_action_without_outputs_shows_who_did_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(results(Result("web1", 0, took_s=0.002)), None, capsys, verbose=True)
    assert text.splitlines()[2] == "web1    ok        2.0 ms"
    assert text.endswith("Discovery took 300.0 ms; request abc\n")


@pytest.mark.parametrize("long", ["x" * 61, "two\nlines", "a\ttab"])
def test_long_outputs_are_a_block_a_node(long: str, capsys: pytest.CaptureFixture[str]) -> None:
    seen = results(Result("web2", 0, "", {"text": long, "n": 1}), Result("web1", 0, "", {"text": "short", "n": 2}))
    shown = said(seen, None, capsys)
    assert shown.startswith("web1\n    text: short\n       n: 2\n\nweb2\n    text:")
    assert long.splitlines()[-1] in shown.replace("\\t", "\t")


def test_a_table_wider_than_the_terminal_becomes_blocks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = results(Result("web1", 0, "", {f"output{n}": "x" * 20 for n in range(5)}))
    monkeypatch.setenv("COLUMNS", "200")
    assert said(seen, None, capsys).startswith("node ")
    monkeypatch.setenv("COLUMNS", "80")
    assert said(seen, None, capsys, verbose=True).startswith("web1  (0.0 ms)\n    output0: xxxx")


@pytest.mark.parametrize(
    ("display", "verbose", "is_shown"),
    [("always", False, True), ("ok", False, True), ("failed", False, False), ("failed", True, True)],
)
def test_the_schema_says_what_is_shown_unasked(
    display: str, verbose: bool, is_shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = ActionSchema("b", "B", display=display)
    text = said(results(Result("web1", 0), Result("web2", 5, "broken")), schema, capsys, verbose)
    assert ("\nweb1" in text) is is_shown
    assert "web2: unknown error: broken\n" in text, "who failed is always named"
    assert "Finished processing 2 / 2 hosts in 12.3 ms\n" in text


def test_the_closing_line_is_green_only_if_all_is_well(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "coloured", lambda text, colour: f"{colour}({text})")
    for seen, colour in (
        (results(Result("web1", 0)), "green(1 / 1)"),
        (results(Result("web1", 1)), "red(1 / 1)"),
        (results(Result("web1", 0), expected=("web1", "web2")), "red(1 / 2)"),
    ):
        output.say_finished(seen, 0.001)
        assert f"processing {colour} hosts" in capsys.readouterr().out


# Inputs.


def test_words_are_keys_and_values() -> None:
    assert inputs.words(["a=1", "b=", "c=x=y"]) == {"a": "1", "b": "", "c": "x=y"}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["ipaddr"], "input 'ipaddr' cannot be understood: expected key=value"),
        (["=1"], "input '=1' cannot be understood"),
        (["a=1", "a=2"], "input a is given twice: '1' and '2'"),
    ],
)
def test_words_that_are_none_are_refused(words: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(why)}"):
        inputs.words(words)


def test_inputs_get_the_types_of_the_schema() -> None:
    texts = {"ipaddr": "10.0.0.1", "force": "yes", "count": "3", "how": "reject"}
    assert inputs.checked(SCHEMA, "block", texts) == {
        "ipaddr": "10.0.0.1",
        "force": True,
        "count": 3,
        "how": "reject",
    }


USAGE = "usage: mco rpc iptables block ipaddr=STRING [force=BOOLEAN] [how=drop|reject] [count=INTEGER]"


@pytest.mark.parametrize(
    ("action", "texts", "why"),
    [
        ("blokc", {}, "agent iptables has no action 'blokc', did you mean block?; it has block"),
        ("block", {}, "iptables#block: input ipaddr is required: An address"),
        ("block", {"ipadr": "10.0.0.1"}, "iptables#block: unknown input 'ipadr', did you mean ipaddr?"),
        ("block", {"ipaddr": "; rm -rf /"}, "iptables#block: input ipaddr: '; rm -rf /' is not valid"),
        ("block", {"ipaddr": "-j ACCEPT"}, "iptables#block: input ipaddr: '-j ACCEPT' is not valid"),
        ("block", {"ipaddr": "1" * 50}, "iptables#block: input ipaddr: 50 characters; at most 49"),
        ("block", {"ipaddr": "10.0.0.1", "count": "x"}, "iptables#block: input count: expected integer, got 'x'"),
    ],
)
def test_mistakes_in_inputs_are_told_with_how_to_call(action: str, texts: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        inputs.checked(SCHEMA, action, texts)
    first, _, rest = str(caught.value).partition("\n")
    assert first.startswith(why)
    assert rest == USAGE


def test_an_action_like_no_other_has_no_usage() -> None:
    with pytest.raises(ConfigError) as caught:
        inputs.checked(SCHEMA, "zzz", {})
    assert "\n" not in str(caught.value)


def test_a_node_s_broken_expression_leaves_the_check_to_the_nodes() -> None:
    schema = AgentSchema("a", "A", "1", {"b": ActionSchema("b", "B", {"x": Input("string", "X", validate="/(/")})})
    assert inputs.checked(schema, "b", {"x": "y"}) == {"x": "y"}


# keygen.


@pytest.mark.parametrize("where", ["home", "xdg", "dir"])
def test_keygen_makes_what_it_says_and_the_hints_work(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    config = tmp_path / ".config/mco"
    if where == "xdg":
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
        config = tmp_path / "xdg/mco"
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "keys" if where == "dir" else config
    assert main(["keygen", "alice", *(["--dir", "keys"] if where == "dir" else [])]) == 0
    told = capsys.readouterr().out
    assert keys.public_of(keys.read_private(folder / "alice.key")) == keys.read_public(folder / "alice.pub")
    assert f"{folder}/alice.pub" in told
    assert "/etc/mco/callers/alice.pub" in told
    # What it says to write down is a configuration in which all of it is found.
    lines = [line.strip() for line in told.splitlines() if line.startswith("     ")]
    config.mkdir(parents=True, exist_ok=True)
    (config / "client.yaml").write_text("\n".join(lines))
    settings = client_settings(None, dict(os.environ) | {"MCO_CONFIG": ""})
    assert settings.caller == "alice"
    assert Path(settings.key_file) == folder / "alice.key"
    assert Path(settings.trusted_nodes).is_dir()


@pytest.mark.parametrize(("name", "why"), [("../x", "caller '../x' cannot be used"), ("alice", "alice.key exists")])
def test_keygen_replaces_nothing_and_leaves_its_folder_alone(
    name: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keygen", "alice", "--dir", str(tmp_path)]) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert main(["keygen", name, "--dir", str(tmp_path)]) == 1
    assert why in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_node_that_says_too_much_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    seen = results(Result("web1", 0, data={"x": "line\n" * 5000}))
    replies.say(Answered(seen, None, Stats(), Known("a"), Shown()))
    lines = capsys.readouterr().out.splitlines()
    assert "    ... 4,802 more lines; -j prints all" in lines
    assert lines.count("        line") == 198
