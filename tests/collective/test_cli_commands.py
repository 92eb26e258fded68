# SPDX-License-Identifier: Apache-2.0
"""The commands of ``mco`` against nodes in this process: what they ask, what they print, how they end."""

from __future__ import annotations

import io
import json
import re
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
from mco_rpc.errors import BrokerUnreachable

HOSTS: dict[str, dict[str, Any]] = {
    "web1": {"classes": ["acme::dev_server", "web"], "facts": {"country": "de", "cores": 4, "tags": ["a", "b"]}},
    "web2": {"classes": ["acme::dev_server"], "facts": {"country": "de", "cores": 8}},
    "web10": {"facts": {"country": "fr", "cores": 8}},
    "db1": {"facts": {"cores": 2}},
}
EVERYBODY = ["db1", "web1", "web2", "web10"]
SETTINGS = ClientSettings(
    connector="memory", caller="operator", discovery_window_s=0.25, discovery_timeout_s=20.0, timeout_s=20.0
)

AGENTS = '''
"""Agents that behave as some do."""
from pathlib import Path
from mco_rpc.agent import Agent, Input, Output, action
from mco_rpc.errors import ActionAborted

class Moody(Agent):
    """Does as it likes."""
    timeout_s = 7.5

    @action("Refuse on one node", outputs={"mood": Output("string", "How it is", display_as="Mood")})
    def refuse(self):
        if self.node.identity == "web2":
            raise ActionAborted("not today")
        return {"mood": "good"}

    @action("Refuse on every node")
    def sulk(self):
        raise ActionAborted("leave me alone")

    @action("Take all types", inputs={
        "words": Input("array", "Words", optional=True), "number": Input("float", "A number", optional=True)},
        outputs={"words": Output("array", "Words"), "number": Output("float", "A number")})
    def take(self, **inputs):
        return inputs

    @action("Change something", mutating=True)
    def change(self):
        with Path(__file__).with_name("changed").open("a") as file:
            file.write(f"{self.node.identity}\\n")
        return {}
'''


class Ran(NamedTuple):
    """What a run of ``mco`` left."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Mco = Callable[..., Ran]


@pytest.fixture(scope="module")
def libdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("libdir")
    (folder / "moody.py").write_text(AGENTS)
    return folder


@pytest.fixture(scope="module")
def fleet(libdir: Path) -> Iterator[MemoryFleet]:
    hosts = {name: {**host, "settings": {"libdir": [str(libdir)]}} for name, host in HOSTS.items()}
    with MemoryFleet(hosts, SETTINGS) as fleet:
        yield fleet


@pytest.fixture
def mco(fleet: MemoryFleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mco:
    """Run ``mco`` as the fleet's caller; words with blanks in them are split as a shell does."""
    base = fleet.connection()
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    def connect(_: Path | None, changes: Mapping[str, Any]) -> Connection:
        settings = msgspec.structs.replace(base.settings, **changes)
        return Connection(settings, connector=fleet.broker.connector, security=base.security)

    def run(line: str, *more: str, stdin: str = "", is_terminal: bool = False) -> Ran:
        source = io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")
        source.isatty = lambda: is_terminal  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stdin", source)
        capsys.readouterr()
        status = main([*shlex.split(line), *more], connect)
        said = capsys.readouterr()
        return Ran(status, said.out, said.err)

    return run


# ping


def test_ping_shows_who_answers_and_how_fast(mco: Mco) -> None:
    ran = mco("ping")
    assert ran.status == 0
    *lines, blank, summary = ran.out.splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(EVERYBODY)
    assert all(re.fullmatch(r"\S+ +time=\d+\.\d ms", line) for line in lines)
    assert blank == ""
    assert re.fullmatch(r"4 nodes answered: min [\d.]+ ms, avg [\d.]+ ms, max [\d.]+ ms", summary)
    assert ran.err == ""


@pytest.mark.parametrize(
    ("options", "nodes"),
    [
        ("-C /dev_server/", ["web1", "web2"]),
        ("--wc web", ["web1"]),
        ("-F country=de -F cores=>8", ["web2"]),
        ("--wf country!=de", ["web10"]),
        ("-I web1 -I /^db/", ["db1", "web1"]),
        ("--wi web1 --wa rpcutil", ["web1"]),
        ("-A iptables -A moody", EVERYBODY),
        ("-W '/dev_server/ cores=4'", ["web1"]),
        ("--with web -W country=de", ["web1"]),
    ],
)
def test_filters_say_who_is_asked(options: str, nodes: list[str], mco: Mco) -> None:
    assert [result["sender"] for result in mco(f"ping -j {options}").json["results"]] == nodes
    assert mco(f"find {options}").out.split() == nodes
    assert mco(f"find -j {options}").json["nodes"] == nodes


def test_ping_as_json_has_results_and_statistics(mco: Mco) -> None:
    told = mco("ping -j -I web1").json
    assert told["results"][0]["status_text"] == "ok"
    assert told["statistics"]["responses"] == told["statistics"]["okcount"] == 1
    assert {"min_s", "avg_s", "max_s", "unverified", "absent", "source"} <= set(told["statistics"])


def test_a_ping_that_nobody_answers_has_a_status_of_its_own(mco: Mco) -> None:
    ran = mco("ping -F country=it --dt 0.4")
    assert ran == Ran(
        4,
        "",
        "mco: no node answered within 0.4 s for the filter: fact country=it; "
        "`mco find` names every node that answers\n",
    )
    ran = mco("ping -j -F country=it --dt 0.4")
    assert (ran.status, ran.json["results"], ran.json["statistics"]["responses"]) == (4, [], 0)
    assert "min_s" not in ran.json["statistics"]


def test_another_collective_is_another_fleet(mco: Mco) -> None:
    ran = mco("ping -T other --dt 0.4")
    assert ran.status == 4
    assert "do they run, are they in collective other, and do they trust key=operator?" in ran.err


# find


def test_find_finds_nobody(mco: Mco) -> None:
    ran = mco("find -C nothing --dt 0.2")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("mco: no node answered within 0.2 s for the filter: class=nothing;")
    ran = mco("find -C nothing -j --dt 0.2")
    assert (ran.status, ran.json["nodes"]) == (1, [])


def test_what_find_prints_can_be_asked(mco: Mco) -> None:
    found = mco("find -F country=de").out
    told = mco("rpc rpcutil ping -j --nodes -", stdin=found).json
    assert [result["sender"] for result in told["results"]] == ["web1", "web2"]


# facts


def test_facts_counts_values_the_most_frequent_first(mco: Mco) -> None:
    assert mco("facts country").out.splitlines()[:4] == [
        "country:",
        "    de           found on 2 nodes",
        "    fr           found on 1 node",
        "    (not there)  missing on 1 node",
    ]
    verbose = mco("facts country -v -F country=/./").out.splitlines()
    assert verbose[:6] == [
        "country:",
        "    de  found on 2 nodes",
        "        web1, web2",
        "    fr  found on 1 node",
        "        web10",
        "",
    ]
    assert re.fullmatch(r"Finished processing 3 / 3 hosts in [\d.]+ ms", verbose[6])


def test_facts_as_json(mco: Mco) -> None:
    told = mco("facts cores -j").json
    assert told["fact"] == "cores"
    assert told["values"] == [
        {"value": 8, "nodes": ["web2", "web10"]},
        {"value": 2, "nodes": ["db1"]},
        {"value": 4, "nodes": ["web1"]},
    ]
    assert told["missing"] == []
    assert told["statistics"]["okcount"] == 4
    assert mco("facts tags -j").json["missing"] == ["db1", "web2", "web10"]


def test_a_fact_that_nobody_has_is_said(mco: Mco) -> None:
    ran = mco("facts colour -I web1")
    assert ran.status == 0
    assert "    (not there)  missing on 1 node\n" in ran.out


# inventory


def test_inventory_tells_all_about_a_node(mco: Mco) -> None:
    ran = mco("inventory web1")
    assert ran.status == 0
    sections = dict(part.split(":\n", 1) for part in ran.out.split("\n\n")[1:])
    assert ran.out.startswith("Inventory of web1\n")
    assert {"discovery", "iptables", "moody", "rpcutil"} <= {*sections["Agents"].split()}
    assert sections["Classes"].split() == ["acme::dev_server", "web"]
    assert sections["Facts"].splitlines() == ["    cores    4", "    country  de", '    tags     ["a", "b"]']
    assert sections["Collectives"].split() == ["mcollective"]
    assert "Problems" not in sections
    assert re.search(r"^    up +0:00:\d\d$", sections["Daemon"], re.MULTILINE)
    assert re.search(r"^    requests .*received \d+", sections["Daemon"], re.MULTILINE)
    assert "\n\nClasses:\n    -\n\n" in mco("inventory db1").out


def test_inventory_as_json(mco: Mco) -> None:
    told = mco("inventory web1 -j").json
    assert told["identity"] == "web1"
    assert told["facts"]["country"] == "de"
    assert told["daemon"]["counters"]["received"] > 0


@pytest.mark.parametrize("options", ["", "-j"])
def test_a_node_that_is_not_there_is_told_at_once(options: str, mco: Mco) -> None:
    ran = mco(f"inventory web9 -t 3600 {options}")
    assert (ran.status, ran.out) == (3, "")
    assert ran.err == "mco: web9 is offline: no node of this name is connected; `mco find` names those that are\n"
    assert mco("inventory '/web/'").status == 1


# rpc


def test_rpc_asks_and_shows_a_table(mco: Mco) -> None:
    ran = mco("rpc rpcutil get_fact fact=country")
    assert (ran.status, ran.err) == (0, "")
    assert [line.split() for line in ran.out.splitlines()[:6]] == [
        ["node", "fact", "value", "exists"],
        ["------", "-------", "-------", "--------"],
        ["db1", "country", "-", "false"],
        ["web1", "country", "de", "true"],
        ["web2", "country", "de", "true"],
        ["web10", "country", "fr", "true"],
    ]
    assert re.fullmatch(r"Finished processing 4 / 4 hosts in [\d.]+ ms", ran.out.splitlines()[-1])


def test_rpc_as_json(mco: Mco) -> None:
    told = mco("rpc rpcutil get_fact fact=country -I web1 -j").json
    [result] = told["results"]
    assert set(result) == {"sender", "status", "status_text", "message", "data", "ran_s", "took_s"}
    assert result["data"] == {"fact": "country", "value": "de", "exists": True}
    assert told["statistics"]["discovered_nodes"] == ["web1"]
    assert told["statistics"]["okcount"] == 1


def test_inputs_get_their_types(mco: Mco) -> None:
    told = mco("rpc moody take words=a,b number=3 -I web1 -j").json
    assert told["results"][0]["data"] == {"words": ["a", "b"], "number": 3.0}


def test_verbose_shows_times_and_the_request(mco: Mco) -> None:
    out = mco("rpc rpcutil collective_info -I web1 -v").out
    assert re.search(r'^web1 +\["mcollective"\] +[\d.]+ ms$', out, re.MULTILINE)
    assert re.search(r"^Discovery took [\d.]+ ms; request [0-9a-f]{32}$", out, re.MULTILINE)


def test_one_failure_is_shown_beside_the_successes(mco: Mco) -> None:
    ran = mco("rpc moody refuse")
    assert ran.status == 2
    assert "web1    good\nweb10   good\n\nweb2: aborted: not today\n\nFinished processing 4 / 4 hosts" in ran.out
    told = mco("rpc moody refuse -j")
    assert told.status == 2
    assert [(r["sender"], r["status_text"]) for r in told.json["results"]][2] == ("web2", "aborted")
    assert told.json["statistics"]["failcount"] == 1


def test_everybody_failed(mco: Mco) -> None:
    ran = mco("rpc moody sulk")
    assert ran.status == 2
    assert ran.out.startswith("db1, web1, web2, web10: aborted: leave me alone\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rpc rpcutl ping --dt 1", "mco: no node that offers agent 'rpcutl' was discovered, did you mean rpcutil?; "),
        ("rpc rpcutil pong", "mco: agent rpcutil has no action 'pong', did you mean ping?; it has agent_inventory"),
        (
            "rpc rpcutil get_fact",
            "mco: rpcutil#get_fact: input fact is required: Name of a fact\nusage: mco rpc",
        ),
        ("rpc rpcutil get_fact fct=x", "mco: rpcutil#get_fact: unknown input 'fct', did you mean fact?; it takes fact"),
        ("rpc iptables isblocked ipaddr=-j", "mco: iptables#isblocked: input ipaddr: '-j' is not valid"),
        ("rpc iptables isblocked 'ipaddr=; rm -rf /'", "mco: iptables#isblocked: input ipaddr: '; rm -rf /' is not"),
        ("rpc rpcutil ping what", "mco: input 'what' cannot be understood: expected key=value"),
        ("rpc '#' ping", "mco: agent '#' cannot be used"),
        ("rpc rpcutil ping -C nobody --dt 0.4", "mco: no node answered within 0.4 s for the filter: class=nobody"),
        ("rpc moody sulk -C nobody --dt 0.4", "mco: no node answered within 0.4 s for the filter: class=nobody"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(line: str, said: str, mco: Mco, fleet: MemoryFleet) -> None:
    def asked() -> list[Any]:
        return [
            (entry["agent"], entry["action"])
            for audit in fleet.audits.values()
            for entry in audit.entries
            if (entry.get("agent"), entry.get("action"))
            not in (("discovery", "ping"), ("rpcutil", "schema_of"), ("rpcutil", "inventory"))
        ]

    before = asked()
    ran = mco(line)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(said)
    assert asked() == before


def test_an_unknown_agent_is_compared_with_what_a_node_offers(mco: Mco) -> None:
    ran = mco("rpc iptabels block ipaddr=10.0.0.1 -I web1 --dt 1")
    assert ran.err.startswith(
        "mco: no node that offers agent 'iptabels' was discovered, did you mean iptables?; web1 offers "
    )
    assert {"iptables", "moody"} <= {*ran.err.partition("offers ")[2].partition(" (")[0].split(", ")}
    assert ran.err.endswith(" (filter: identity=web1)\n")


# Named nodes.


def test_nodes_of_a_file_are_asked_without_a_discovery(mco: Mco, tmp_path: Path) -> None:
    file = tmp_path / "nodes"
    file.write_text("web2  # the second\n\nweb1\nweb1\n")
    told = mco(f"rpc rpcutil ping -j --nodes {file}").json
    assert told["statistics"]["discovered_nodes"] == ["web1", "web2"]
    assert [result["sender"] for result in told["results"]] == ["web1", "web2"]


def test_offline_nodes_are_named_and_make_the_status_bad(mco: Mco) -> None:
    ran = mco("rpc rpcutil collective_info --nodes -", stdin="web1\nweb9\n")
    assert ran.status == 2
    assert 'web1    ["mcollective"]\n\noffline, 1 of 2: web9\n\nFinished processing 1 / 2 hosts' in ran.out
    ran = mco("rpc rpcutil ping --nodes -", stdin="web8\nweb9\n")
    assert ran.status == 3
    assert ran.out.startswith("offline, 2 of 2: web8, web9\n")
    assert mco("facts country --nodes -", stdin="web9\n").status == 3


# Changes.


@pytest.fixture
def changed(libdir: Path) -> Callable[[], list[str]]:
    """Say which nodes were changed since the last look."""
    file = libdir / "changed"
    file.write_text("")

    def look() -> list[str]:
        names = sorted(file.read_text().split())
        file.write_text("")
        return names

    return look


def test_a_change_of_everybody_is_refused_where_nobody_can_be_asked(mco: Mco, changed: Callable[[], list[str]]) -> None:
    ran = mco("rpc moody change")
    assert ran == Ran(
        1,
        "",
        "mco: moody#change changes nodes, and no filter says which: refused to ask all 4 nodes. "
        "Give a filter (-I -C -F -A -W -S), the nodes (--nodes) or, if you mean everybody, --yes\n",
    )
    assert changed() == []


@pytest.mark.parametrize(("answer", "is_done"), [("y\n", True), ("YES\n", True), ("n\n", False), ("", False)])
def test_a_change_of_everybody_is_asked_about_on_a_terminal(
    answer: str, is_done: bool, mco: Mco, changed: Callable[[], list[str]]
) -> None:
    ran = mco("rpc moody change", stdin=answer, is_terminal=True)
    assert ran.err.startswith("moody#change changes nodes. Really on all 4 nodes? [y/N] ")
    assert ran.status == (0 if is_done else 1)
    assert ran.err.endswith("moody#change was not asked for: nothing was changed\n") is not is_done
    assert changed() == (sorted(EVERYBODY) if is_done else [])


@pytest.mark.parametrize(
    ("options", "stdin", "nodes"),
    [("--yes", "", EVERYBODY), ("-y", "", EVERYBODY), ("-I web1", "", ["web1"]), ("--nodes -", "web2\n", ["web2"])],
)
def test_who_says_which_nodes_is_not_asked(
    options: str, stdin: str, nodes: list[str], mco: Mco, changed: Callable[[], list[str]]
) -> None:
    ran = mco(f"rpc moody change {options}", stdin=stdin)
    assert (ran.status, ran.err) == (0, "")
    assert changed() == sorted(nodes)


# The broker.


@pytest.mark.parametrize("line", ["ping", "find", "facts x", "inventory web1", "rpc rpcutil ping"])
def test_a_broker_that_is_down_is_one_line(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with MemoryFleet.of_hosts(web1={}) as own:
        own.broker.stop()
        assert main(shlex.split(line), lambda *_: own.connection()) == 1
    assert capsys.readouterr() == ("", f"mco: {BrokerUnreachable('the memory broker is stopped')}\n")


@pytest.mark.parametrize("command", ["ping", "find", "rpc rpcutil ping", "facts country"])
def test_who_was_named_and_is_not_there_is_named(mco: Mco, command: str) -> None:
    # Given one node that is there, and one that is not
    ran = mco(f"{command} -I web1 -I gone1")
    # Then the first is asked, the other is told, and that is no success
    assert ran.status == 2
    assert "gone1" in ran.out + ran.err
    assert "offline" in ran.out + ran.err


@pytest.mark.parametrize(("command", "status"), [("ping", 4), ("find", 1), ("rpc rpcutil ping", 1)])
def test_when_nobody_who_was_named_is_there(mco: Mco, command: str, status: int) -> None:
    ran = mco(f"{command} -I gone1 -I gone2")
    assert ran.status == status
    assert "gone1" in ran.err
    assert "gone2" in ran.err
