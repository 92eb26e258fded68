# SPDX-License-Identifier: Apache-2.0
"""The forms in which `mco` prints answers: chosen fields, an order, groups, JSON at once or by line; and pipes."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mco_client import rpc
from mco_client.cli import output
from mco_client.cli.main import main
from mco_lab.memory import MemoryFleet
from tests.collective.scripted_fleet import SETTINGS, Ran, Stage

HOSTS = {
    f"web{number:02}": {"facts": {"country": "de" if number < 10 else "fr", "cores": number % 4, "os": {"name": "x"}}}
    for number in range(1, 13)
}
Mco = Callable[..., Ran]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    file = tmp_path_factory.mktemp("fleet") / "nodes"
    file.write_text("web[01:12]\n")
    settings = msgspec.structs.replace(SETTINGS, discovery="flatfile", discovery_options=[str(file)])
    with MemoryFleet(HOSTS, SETTINGS) as fleet:
        yield Stage(fleet, settings)


@pytest.fixture
def mco(stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mco:
    monkeypatch.setenv("COLUMNS", "100")

    def run(line: str, stdin: str = "") -> Ran:
        return stage.run(f"mco {line}", capsys, monkeypatch, stdin)

    return run


def nodes_of(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line.startswith("web")]


# For people.


def test_equal_answers_of_many_nodes_are_shown_once(mco: Mco) -> None:
    ran = mco("rpc rpcutil get_fact fact=country")
    assert [line.split() for line in ran.out.splitlines()[:4]][2:] == [
        ["9", "nodes", "country", "de", "true", "web[01:09]"],
        ["3", "nodes", "country", "fr", "true", "web10,", "web11,", "web12"],
    ]


@pytest.mark.parametrize("option", ["--no-group", "-v", "-I /0[1-5]/"])
def test_or_each_on_its_own_if_that_is_wanted_or_they_are_few(option: str, mco: Mco) -> None:
    listed = nodes_of(mco(f"rpc rpcutil get_fact fact=country {option}").out)
    assert listed == [name for name in HOSTS if name <= "web05" or "-I" not in option]


def test_few_are_grouped_if_that_is_wanted(mco: Mco) -> None:
    ran = mco("rpc rpcutil get_fact fact=country --group -I web01 -I web02")
    assert "2 nodes  country  de       true      web01, web02" in ran.out


def test_nodes_that_say_the_same_share_a_block(mco: Mco, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    blocks = mco("rpc rpcutil get_fact fact=country -I web01 -I web12 -I web02").out.split("\n\n")
    assert [block.splitlines()[0] for block in blocks[:2]] == ["2 nodes: web01, web02", "web12"]


def test_only_the_fields_asked_for_in_their_order(mco: Mco) -> None:
    ran = mco("rpc rpcutil inventory --fields facts.os.name,facts.cores,facts.nothing -I web01")
    assert [line.split() for line in ran.out.splitlines()[:3]][::2] == [
        ["node", "facts.os.name", "facts.cores", "facts.nothing"],
        ["web01", "x", "1", "-"],
    ]
    told = json.loads(mco("rpc rpcutil inventory --fields facts.cores,version -I web01 -j").out)
    assert list(told["results"][0]["data"]) == ["facts.cores", "version"]


@pytest.mark.parametrize("options", ["--fields valu", "--fields value,valu.x", "--sort valu"])
def test_a_field_that_no_node_declares_is_asked_of_nobody(options: str, mco: Mco) -> None:
    ran = mco(f"rpc rpcutil get_fact fact=cores {options}")
    assert (ran.status, ran.out) == (1, "")
    assert "rpcutil#get_fact has no output 'valu', did you mean value?; it has exists, fact, value" in ran.err


def test_answers_are_sorted_by_an_output_and_who_has_none_comes_last(mco: Mco) -> None:
    chosen = "-I web01 -I web02 -I web04 -I web07"
    by_cores = "rpc rpcutil get_fact fact=cores --sort value"
    assert nodes_of(mco(f"{by_cores} {chosen}").out) == ["web04", "web01", "web02", "web07"]
    assert nodes_of(mco(f"{by_cores} -r {chosen}").out) == ["web07", "web02", "web01", "web04"]
    assert nodes_of(mco(f"rpc rpcutil get_fact fact=cores -r {chosen}").out) == ["web07", "web04", "web02", "web01"]
    told = json.loads(mco(f"{by_cores} -r -j {chosen}").out)
    assert [each["sender"] for each in told["results"]] == ["web07", "web02", "web01", "web04"]
    # As MCollective has it: without a field
    assert nodes_of(mco(f"rpc rpcutil get_fact fact=cores {chosen} --sort").out)[0] == "web01"


def test_display_says_which_answers_are_shown(mco: Mco) -> None:
    line = "rpc rpcutil get_fact fact=cores -I web01 -I web09"
    assert "web01" in mco(f"{line} --display all").out
    assert nodes_of(mco(f"{line} --display none").out) == nodes_of(mco(f"{line} --display failed").out) == []


# For programs.


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("ping", {"results"}),
        ("find", {"nodes"}),
        ("facts cores", {"fact", "values", "missing"}),
        ("inventory web01", {"identity", "facts", "daemon"}),
        ("inventory --lc", {"collectives"}),
        ("rpc rpcutil ping", {"agent", "action", "results", "schemas", "schema_problems"}),
        ("iptables listblocked", {"agent", "action", "results", "schemas", "schema_problems"}),
    ],
)
def test_every_command_prints_one_object_with_the_same_statistics(line: str, keys: set[str], mco: Mco) -> None:
    told = json.loads(mco(f"{line} -j").out)
    assert keys | {"statistics"} <= set(told)
    assert {"discovered", "responses", "okcount", "noresponsefrom", "absent", "unverified", "aggregate_summary"} <= set(
        told["statistics"]
    )


def test_every_answer_is_a_line_and_the_statistics_are_the_last(mco: Mco) -> None:
    ran = mco("rpc rpcutil get_fact fact=country --jsonl")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["kind"] for line in lines] == ["answer"] * 12 + ["statistics"]
    assert {line["sender"] for line in lines[:-1]} == set(HOSTS)
    assert lines[-1]["statistics"]["okcount"] == 12
    assert lines[-1]["statistics"]["aggregate_summary"][0]["counts"][0] == {"value": "de", "count": 9}


def test_a_line_is_printed_before_the_next_answer_is_waited_for(mco: Mco, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a call whose answers are counted as they come
    printed: list[int] = []
    real = rpc.RpcClient.stream

    def stream(self: rpc.RpcClient, action: str, /, **inputs: Any) -> Iterator[Any]:
        for result in real(self, action, **inputs):
            if action == "ping":
                printed.append(len(said))
            yield result

    said: list[str] = []
    monkeypatch.setattr(rpc.RpcClient, "stream", stream)
    monkeypatch.setattr(output, "say", lambda text="": said.append(text))
    mco("rpc rpcutil ping --jsonl")
    # Then each was printed when the next one came
    assert printed == list(range(12))


def test_an_interruption_leaves_the_statistics_of_what_came(mco: Mco, monkeypatch: pytest.MonkeyPatch) -> None:
    real = rpc.RpcClient.stream

    def stream(self: rpc.RpcClient, action: str, /, **inputs: Any) -> Iterator[Any]:
        with contextlib.closing(real(self, action, **inputs)) as results:  # type: ignore[type-var]
            for result in results:
                yield result
                if action == "ping":
                    raise KeyboardInterrupt

    monkeypatch.setattr(rpc.RpcClient, "stream", stream)
    ran = mco("rpc rpcutil ping --jsonl")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.status == 130
    assert [line["kind"] for line in lines] == ["answer", "statistics"]
    assert lines[0]["sender"] not in lines[1]["statistics"]["noresponsefrom"]
    assert "rpcutil#ping: interrupted: 1 of 12 had answered; what became of it is unknown on web" in ran.err


@pytest.mark.parametrize(
    ("environment", "is_coloured"),
    [
        ({}, False),
        ({"CLICOLOR_FORCE": "1"}, True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        ({"CLICOLOR_FORCE": "0"}, False),
        ({"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_a_pipe_gets_colours_only_if_they_are_forced(
    environment: dict[str, str], is_coloured: bool, mco: Mco, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b[32m12 / 12\x1b[0m" in mco("rpc rpcutil ping").out) == is_coloured


def test_followed_nodes_say_that_they_begin(mco: Mco) -> None:
    lines = [json.loads(line) for line in mco("rpc rpcutil ping --jsonl --follow -I web01").out.splitlines()]
    assert [(line["kind"], line.get("sender")) for line in lines] == [
        ("started", "web01"),
        ("answer", "web01"),
        ("statistics", None),
    ]


@pytest.mark.parametrize("forms", ["-j --jsonl", "--senders --jsonl", "-j --senders"])
def test_one_form_at_a_time(forms: str, mco: Mco) -> None:
    ran = mco(f"rpc rpcutil ping {forms}")
    assert (ran.status, ran.out) == (1, "")
    assert "are different ways to print the answers; give one of them" in ran.err


# Pipes.


@pytest.mark.parametrize(
    "first",
    [
        "find -F country=fr",
        "find -F country=fr -j",
        "ping -F country=fr -j",
        "rpc rpcutil ping -F country=fr -j",
        "rpc rpcutil ping -F country=fr --jsonl",
        "rpc rpcutil ping -F country=fr --senders",
    ],
)
def test_whoever_a_command_printed_can_be_asked_by_the_next(first: str, mco: Mco) -> None:
    names = mco(first).out
    ran = mco("rpc rpcutil get_fact fact=cores --nodes - --senders", stdin=names)
    assert ran == Ran(0, "web10\nweb11\nweb12\n", "")


def test_who_failed_is_not_asked_to_go_on(mco: Mco) -> None:
    answers = [{"sender": "web01", "status": 0}, {"sender": "web02", "status": 1}]
    ran = mco("rpc rpcutil ping --nodes - --senders", stdin=json.dumps({"results": answers}))
    assert ran == Ran(0, "web01\n", "mco: left out, for their answers had failed: web02\n")


@pytest.mark.parametrize("text", ["", "\n", "[]", '{"results": []}', "# nobody"])
def test_an_empty_list_is_never_everybody(text: str, mco: Mco) -> None:
    for line in ("rpc rpcutil ping --nodes -", "facts cores --nodes -", "iptables block 192.0.2.1 --nodes - -y"):
        ran = mco(line, stdin=text)
        assert (ran.status, ran.out) == (1, "")
        assert ran.err.startswith("mco: standard input: it names no node")


@pytest.mark.parametrize(
    ("options", "is_told"), [("", True), ("-F country=fr", False), ("-I web01", False), ("--nodes web.txt", False)]
)
def test_a_pipe_is_not_read_unasked_and_that_is_told(
    options: str,
    is_told: bool,
    stage: Stage,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given something in a pipe that nobody ends
    monkeypatch.chdir(tmp_path)
    (tmp_path / "web.txt").write_text("web01\n")
    reading, writing = os.pipe()
    os.write(writing, b"web01\n")
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        # When a call is made, then it does not wait for the end
        status = main(["rpc", "rpcutil", "ping", "--senders", *options.split()], stage.connect)
        said = capsys.readouterr()
        # And leaves what is there to whom it belongs
        assert os.read(reading, 100) == b"web01\n"
    os.close(writing)
    assert status == 0
    assert ("to ask the nodes that it names: --nodes -" in said.err) == is_told


def test_an_empty_pipe_is_nothing_to_talk_about(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main(["rpc", "rpcutil", "ping", "--senders"], stage.connect) == 0
    os.close(writing)
    assert capsys.readouterr().err == ""


# Terminals.


def test_a_terminal_gets_a_histogram_of_many_answers(mco: Mco, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = "▏▎▍▌▋▊▉█"
    assert not set(mco("ping").out) & set(bars)
    assert set(mco("ping -g").out) & set(bars)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert set(mco("ping").out) & set(bars)
    assert not set(mco("ping --no-graph").out) & set(bars)
    assert not set(mco("ping -I /0[1-4]/").out) & set(bars)
