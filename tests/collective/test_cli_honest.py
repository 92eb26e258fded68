# SPDX-License-Identifier: Apache-2.0
"""No option of ``mco`` does nothing in silence, and no node that was named is passed over."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mco_client.receiving import Received
from mco_client.results import Result
from mco_lab.memory import MemoryFleet
from tests.collective.test_cli_fingers import Mco, fleet, mco

__all__ = ["fleet", "mco"]
PING = "rpc rpcutil ping"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--abort-on 5%", "--abort-on does nothing without --batch or --waves"),
        ("--batch-sleep 3", "--batch-sleep does nothing without --batch"),
        ("--waves 1,100% --batch-sleep 3", "--batch-sleep does nothing without --batch"),
        ("--wave-sleep 3", "--wave-sleep does nothing without --waves"),
        ("--retry-sleep 3", "--retry-sleep does nothing without --retries"),
        ("--limit-method random", "--limit-method does nothing without --limit or -1"),
        ("-1 --limit-seed 3", "--limit-seed does nothing without --limit-method random"),
        ("--limit-seed 3 --limit-method random", "--limit-method does nothing without --limit or -1"),
        ("--senders -j", "-j and --senders are different ways to print the answers"),
        ("--nr --follow", "--follow needs answers"),
        ("--nr --retries 1", "--retries needs answers"),
        ("--nr --batch 2", "--batch needs answers"),
        ("--reply-to x --senders", "--senders needs answers"),
        ("--reply-to x --display all", "--display needs answers"),
        ("--nr --cancel-on-interrupt", "--cancel-on-interrupt needs answers"),
        ("--do nodes.txt", "--do is for the files or the command of a --dm; broadcast takes none"),
        ("--waves 50%,10%", "expected more than 50%, got 10%"),
        ("--waves 0", "expected more than 0, got 0"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(options: str, complaint: str, mco: Mco) -> None:
    ran = mco(f"{PING} {options}")
    assert (ran.status, ran.out) == (1, "")
    assert complaint in ran.err


@pytest.mark.parametrize(
    "options",
    [
        "--abort-on 5% --batch 2 --batch-sleep 0", "--abort-on 1 --waves 1,100% --wave-sleep 0",
        "--waves 1,10%,100%", "--waves 2,50%,100%", "-1 --limit-method random --limit-seed 3",
        "--limit 2 --limit-method first", "--retries 1 --retry-sleep 0", "--batch 2 --waves 1,100% --batch-sleep 0",
    ],
)  # fmt: skip
def test_an_option_with_the_one_it_needs_is_taken(options: str, mco: Mco) -> None:
    assert mco(f"{PING} {options}").status == 0


@pytest.mark.parametrize("command", ["nodes", "receive night"])
def test_who_looks_for_no_nodes_takes_no_options_for_it(command: str, mco: Mco) -> None:
    ran = mco(f"{command} --dm inventory")
    assert (ran.status, ran.out) == (1, "")
    assert "no such option '--dm'" in ran.err


@pytest.mark.parametrize("line", ["find", "ping", PING, "facts country"])
def test_a_node_that_is_named_beside_an_expression_is_not_passed_over(line: str, mco: Mco) -> None:
    ran = mco(f"{line} -I /^web1/ -I web2 -I web7 -F country=de")
    assert ran.status == 2
    told = ran.out + ran.err
    assert "web7" in told
    assert "web2" not in told  # it is there, and the filter is not for it
    assert "offline" in told


@pytest.mark.parametrize("option", ["--nr", "--reply-to night"])
def test_who_waits_for_nothing_is_told_of_the_named_node_that_is_not_there(option: str, mco: Mco) -> None:
    ran = mco(f"{PING} {option} -I web1 -I web7")
    assert ran.status == 2
    assert ran.err == "mco: web7 was expected, and not found: offline\n"
    assert len(ran.out.split()) == 1
    assert mco(f"{PING} {option} -I web1").status == 0


def test_what_all_nodes_refuse_for_one_reason_is_told_once(mco: Mco) -> None:
    ran = mco("""find -S 'no_such("x").y=1'""")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("mco: web1, web2, web10 were expected, and not found: invalid data: filter: ")
    assert ran.err.count("no_such") == 1
    ran = mco(f"""{PING} -S 'no_such("x").y=1'""")
    assert ran.status == 1
    assert ran.err.startswith("mco: expected, and not found: web1, web2, web10 (invalid data: filter: ")


def test_a_ping_tells_a_refusal_once(mco: Mco) -> None:
    ran = mco("""ping -I web1 -S 'no_such("x").y=1'""")
    assert ran.status == 2
    assert (ran.out + ran.err).count("no_such") == 1


def test_names_for_a_pipe_are_not_mixed_with_what_is_followed(mco: Mco) -> None:
    ran = mco(f"{PING} -I web1 --senders --follow")
    assert (ran.status, ran.out) == (0, "web1\n")


@pytest.mark.parametrize("what", ["rpcutil", "data/fact"])
def test_documentation_tells_of_a_named_node_that_is_not_there(what: str, mco: Mco) -> None:
    assert "web7 was expected, and not found: offline" in mco(f"plugin doc {what} -I web1 -I web7").err


def test_a_source_without_its_file_says_how_to_give_one(mco: Mco) -> None:
    assert "or with --do" in mco("find --dm flatfile").err


def test_the_file_of_a_source_is_taken(mco: Mco, tmp_path: Path) -> None:
    file = tmp_path / "nodes.txt"
    file.write_text("web1\n")
    ran = mco(f"{PING} --dm flatfile --do {file} -j")
    assert [result["sender"] for result in json.loads(ran.out)["results"]] == ["web1"]


class TwoAnswers:
    """In the place of a receiver: two nodes answer, and then nobody."""

    def __init__(self, *_: object) -> None:
        self.unverified: list[str] = []
        self.unverified_more = 0

    def __enter__(self) -> TwoAnswers:
        return self

    def __exit__(self, *_: object) -> None: ...

    def receive(self, _: float) -> Iterator[Received]:
        for node in ("web1", "web2"):
            yield Received("1" * 32, "rpcutil", "ping", Result(node, 0))


@pytest.mark.parametrize(
    ("count", "status", "told"),
    [(None, 0, ""), (2, 0, ""), (3, 2, "mco: 2 of 3 answers came; none more within 7 s\n")],
)
def test_who_waits_for_so_many_answers_is_told_that_fewer_came(
    count: int | None, status: int, told: str, mco: Mco, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mco_client.cli.receive.Receiver", TwoAnswers)
    ran = mco(f"receive night -t 7 {f'--count {count}' if count else ''}")
    assert (ran.status, len(ran.out.splitlines())) == (status, 2)
    assert ran.err.removeprefix("mco: listening; ask with --reply-to night\n") == told


def test_a_dry_run_of_everybody_needs_no_consent(mco: Mco) -> None:
    block = "rpc iptables block ipaddr=192.0.2.1"
    assert mco(block).status == 1
    ran = mco(f"{block} --noop")
    assert "refused to ask" not in ran.err
    assert "web1" in ran.out
    assert mco("rpc iptables isblocked ipaddr=192.0.2.1 -j").out.count('"blocked": false') == 3


def test_who_limits_a_change_is_asked_about_so_many(mco: Mco) -> None:
    ran = mco("rpc iptables block ipaddr=192.0.2.1 --limit 2")
    assert "refused to ask 2 nodes, whichever the limit leaves." in ran.err


@pytest.mark.parametrize("line", [PING, "facts country", "inventory --lc", "filter explain country=de", "plugin list"])
def test_every_command_that_calls_nodes_warns_of_the_late_ones(
    line: str, mco: Mco, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr("mco_client.cli.output.warn_of_late", lambda results: warned.append(results.action))
    mco(line)
    assert len(warned) == 1


def test_who_refused_to_be_found_is_explained_by_its_reason(
    mco: Mco, fleet: MemoryFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a node that refuses what is, by its clock, from tomorrow
    guard = fleet.nodes["web2"]._dispatcher._ladder._guard
    monkeypatch.setattr(guard, "_clock", lambda: time.time() - 86400)
    ran = mco("filter explain country=de")
    assert ran.status == 1
    assert "web2: expired: clock skew: " in ran.out
