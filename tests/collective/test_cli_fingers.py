# SPDX-License-Identifier: Apache-2.0
"""What MCollective's and Choria's users type without thinking does what they expect."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from mco_client.cli.main import main
from mco_client.connection import Connection
from mco_lab.memory import MemoryFleet
from mco_rpc.config import ClientSettings

SETTINGS = ClientSettings(
    connector="memory", caller="operator", discovery_window_s=0.25, discovery_timeout_s=20.0, timeout_s=20.0
)
HOSTS: dict[str, dict[str, Any]] = {
    "web1": {"facts": {"country": "de"}, "settings": {"collectives": ["mcollective", "germany"]}},
    "web2": {"facts": {"country": "fr"}},
    "web10": {"facts": {"country": "de"}},
}


class Ran(NamedTuple):
    """What a run of ``mco`` left."""

    status: int
    out: str
    err: str


Mco = Callable[..., Ran]


@pytest.fixture(scope="module")
def fleet() -> Iterator[MemoryFleet]:
    with MemoryFleet(HOSTS, SETTINGS) as fleet:
        yield fleet


@pytest.fixture
def mco(fleet: MemoryFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mco:
    """Run ``mco`` as the fleet's caller."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    base = fleet.connection()
    files: list[Path | None] = []

    def connect(file: Path | None, changes: Mapping[str, Any]) -> Connection:
        files.append(file)
        settings = msgspec.structs.replace(base.settings, **changes)
        return Connection(settings, connector=fleet.broker.connector, security=base.security)

    def run(line: str, stdin: str = "") -> Ran:
        source, out, err = (io.TextIOWrapper(io.BytesIO(text.encode()), write_through=True) for text in (stdin, "", ""))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", source)
            status = main(shlex.split(line), connect)
        return Ran(status, *(stream.buffer.getvalue().decode() for stream in (out, err)))  # type: ignore[attr-defined]

    run.files = files  # type: ignore[attr-defined]
    return run


@pytest.mark.parametrize(
    "line",
    [
        "rpc rpcutil get_fact fact=country",
        "rpc -a rpcutil --action get_fact --arg fact=country",
        "rpc --agent rpcutil --action get_fact --argument fact=country",
        "rpc rpcutil --action get_fact fact=country",
        "rpc -q --sort --threaded rpcutil get_fact fact=country",
        "rpc --display all rpcutil get_fact fact=country",
    ],
)
def test_an_action_is_asked_for_in_the_old_ways_too(line: str, mco: Mco) -> None:
    ran = mco(line)
    assert (ran.status, ran.err) == (0, "")
    assert [words[:2] for words in map(str.split, ran.out.splitlines()) if words[:1] and words[0] in HOSTS] == [
        ["web1", "country"],
        ["web2", "country"],
        ["web10", "country"],
    ]


@pytest.mark.parametrize(
    ("line", "missing"), [("rpc", "AGENT"), ("rpc rpcutil", "ACTION"), ("rpc --action ping", "AGENT")]
)
def test_a_word_that_is_missing_is_named(line: str, missing: str, mco: Mco) -> None:
    ran = mco(line)
    assert ran.status == 1
    assert ran.err == f"mco: missing argument '{missing}'.\nTry `mco rpc --help`.\n"


def test_an_argument_that_is_no_pair_is_refused_however_it_is_given(mco: Mco) -> None:
    assert "'country' cannot be understood: expected key=value" in mco("rpc rpcutil get_fact --arg country").err


def test_the_configuration_has_its_short_option(mco: Mco) -> None:
    assert mco("find -c other.yaml").status == 0
    assert mco.files == [Path("other.yaml")]  # type: ignore[attr-defined]


def test_display_none_shows_no_answers(mco: Mco) -> None:
    ran = mco("rpc rpcutil get_fact fact=country --display none")
    assert "web1" not in ran.out
    assert "Summary of value: de = 2, fr = 1" in ran.out


def test_senders_are_the_names_of_those_that_did_it_for_a_pipe(mco: Mco) -> None:
    ran = mco("rpc rpcutil ping --senders -F country=de")
    assert ran == (0, "web1\nweb10\n", "")
    assert mco("rpc rpcutil ping --senders --nodes -", stdin=ran.out).out == ran.out


def test_senders_do_not_hide_that_somebody_is_missing(mco: Mco) -> None:
    ran = mco("rpc rpcutil ping --senders --nodes -", stdin="web1\nweb7\n")
    assert ran == (2, "web1\n", "mco: 1 of 2 failed or did not answer\n")


def test_find_says_who_knew_the_nodes_if_it_is_asked(mco: Mco) -> None:
    ran = mco("find -v -F country=de")
    assert ran.out == "web1\nweb10\n"
    assert ran.err.startswith("mco: 2 nodes found in ")
    assert ran.err.endswith(" s by broadcast\n")


def test_a_graph_of_ping_has_every_answer(mco: Mco) -> None:
    ran = mco("ping --graph")
    assert ran.status == 0
    bars = [line.split() for line in ran.out.partition("answered:")[2].splitlines() if "█" in line]
    assert sum(int(words[-1]) for words in bars) == len(HOSTS)
    assert all(words[1] == "ms" for words in bars)
    assert mco("ping").out.count("█") == 0


@pytest.mark.parametrize("option", ["--lc", "--list-collectives", "--collectives"])
def test_the_collectives_of_all_nodes_are_counted(option: str, mco: Mco) -> None:
    ran = mco(f"inventory {option}")
    assert ran.status == 0
    assert [line.split() for line in ran.out.splitlines()[2:4]] == [["germany", "1"], ["mcollective", "3"]]
    found = json.loads(mco(f"inventory {option} -j -F country=de").out)
    assert found["collectives"] == {"germany": ["web1"], "mcollective": ["web1", "web10"]}


@pytest.mark.parametrize("line", ["inventory", "inventory web1 -F country=de"])
def test_an_inventory_is_of_one_named_node(line: str, mco: Mco) -> None:
    ran = mco(line)
    assert ran.status == 1
    assert "name one NODE; filters are for --list-collectives" in ran.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell: str, mco: Mco) -> None:
    ran = mco(f"completion {shell}")
    assert (ran.status, ran.err) == (0, "")
    assert f"_MCO_COMPLETE={shell} " in ran.out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("mco inv", ["inventory"]),
        ("mco rpc --retr", ["--retries", "--retry-sleep"]),
        ("mco rpc rpc", ["rpcutil"]),
        ("mco rpc rpcutil get_fact", ["get_fact", "get_facts"]),
        ("mco rpc rpcutil get_data s", ["source="]),
        ("mco rpc rpcutil get_data source=fstat ", ["query="]),
        ("mco rpc no_such ", []),
        ("mco rpc rpcutil no_such ", []),
    ],
)
def test_what_was_seen_before_is_completed_without_asking(
    typed: str, offered: list[str], mco: Mco, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mco("rpc rpcutil ping -1").status == 0
    asked = len(mco.files)  # type: ignore[attr-defined]
    monkeypatch.setenv("MCO_COMPLETE_LIVE", "no")
    monkeypatch.setenv("_MCO_COMPLETE", "fish")
    monkeypatch.setenv("_MCO_WORDS", typed.replace(" ", "\x1f"))
    ran = mco("")
    assert (ran.status, ran.err) == (0, "")
    assert [line.partition("\t")[0] for line in ran.out.splitlines() if line[0] != ":"] == offered
    assert len(mco.files) == asked  # type: ignore[attr-defined]


def test_a_schema_that_was_tampered_with_completes_nothing(
    mco: Mco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mco" / "schemas"
    folder.mkdir(parents=True)
    (folder / f"{'0' * 16}.json").write_text(json.dumps({"name": "evil", "description": "", "actions": {}}))
    (folder / "other.json").write_text("no JSON")
    monkeypatch.setenv("MCO_COMPLETE_LIVE", "no")
    monkeypatch.setenv("_MCO_COMPLETE", "fish")
    monkeypatch.setenv("_MCO_WORDS", "mco\x1frpc\x1f")
    assert mco("") == (0, "", "")
