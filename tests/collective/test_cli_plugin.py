# SPDX-License-Identifier: Apache-2.0
"""``mco plugin``: what nodes and this machine offer, as text and as files; hostile schemas are only text."""

from __future__ import annotations

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
from mco_client.schema.text import MAX_LINES
from mco_lab.memory import MemoryFleet
from mco_rpc.config import ClientSettings
from mco_rpc.schema import ActionSchema, AgentSchema, Aggregate, Input, Output
from tests.collective.test_cli_hostile import EVIL, Scripted, assert_harmless

SETTINGS = ClientSettings(
    connector="memory", caller="operator", discovery_window_s=0.25, discovery_timeout_s=20.0, timeout_s=20.0
)


class Ran(NamedTuple):
    """What a run of ``mco`` left."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Mco = Callable[[str], Ran]


@pytest.fixture(scope="module")
def fleet() -> Iterator[MemoryFleet]:
    with MemoryFleet({"web1": {"facts": {"country": "de"}}, "web2": {}, "evil": {}}, SETTINGS) as fleet:
        fleet.stop("evil")
        yield fleet


@pytest.fixture
def mco(fleet: MemoryFleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mco:
    base = fleet.connection()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    def connect(_: Path | None, changes: Mapping[str, Any]) -> Connection:
        settings = msgspec.structs.replace(base.settings, **changes)
        return Connection(settings, connector=fleet.broker.connector, security=base.security)

    def run(line: str) -> Ran:
        capsys.readouterr()
        status = main(shlex.split(line), connect)
        said = capsys.readouterr()
        return Ran(status, said.out, said.err)

    return run


@pytest.fixture
def alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mco:
    """Run ``mco`` where nobody may be connected to."""
    monkeypatch.chdir(tmp_path)

    def connect(_: Path | None, __: Mapping[str, Any]) -> Connection:
        raise AssertionError("a connection was made")

    def run(line: str) -> Ran:
        status = main(shlex.split(line), connect)
        said = capsys.readouterr()
        return Ran(status, said.out, said.err)

    return run


# list


def test_the_agents_and_data_sources_of_the_fleet_are_listed_with_their_nodes(mco: Mco) -> None:
    for line in ("plugin list", "plugin doc"):
        ran = mco(line)
        assert (ran.status, ran.err) == (0, "")
        rows = [row.split(None, 3) for row in ran.out.splitlines()]
        assert ["iptables", "1.0", "2", "Block and unblock addresses in the host's packet filter."] in rows
        assert [row[:3] for row in rows if row[:1] == ["fact"]] == [["fact", "-", "2"]]
    told = mco("plugin list -j -F country=de").json
    assert {row["name"] for row in told["agents"]} >= {"discovery", "iptables", "rpcutil"}
    assert all(row["nodes"] == ["web1"] for row in told["agents"] + told["data"])


def test_what_is_installed_here_is_listed_by_kind_without_a_connection(alone: Mco) -> None:
    for line in ("plugin list --local", "plugin doc --local"):
        ran = alone(line)
        assert (ran.status, ran.err) == (0, "")
        rows = [row.split() for row in ran.out.splitlines()]
        assert ["agents", "iptables", "mco_agents.iptables:Iptables"] in rows
        assert ["data", "fact", "mco_node.data.fact:Fact"] in rows
    assert alone("plugin list --local -j").json["agents"]["rpcutil"] == "mco_agents.rpcutil:Rpcutil"


@pytest.mark.parametrize("options", ["-I web1", "-F country=de", "--dt 3", "-T other", "--config x"])
def test_what_only_nodes_could_answer_means_nothing_here(options: str, alone: Mco) -> None:
    for command in ("list", "doc iptables", "stubs iptables"):
        ran = alone(f"plugin {command} --local {options}")
        assert ran.status == 1
        assert ran.err.startswith("mco: --local asks no nodes: ")


# doc


def test_an_agent_is_documented_from_the_fleet_and_from_here_alike(mco: Mco, alone: Mco) -> None:
    ran = mco("plugin doc iptables")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == alone("plugin doc --local iptables").out
    assert ran.out == mco("plugin doc agent/iptables").out
    head, *actions = ran.out.split("\n\nmco rpc ")
    assert head.startswith("iptables: Block and unblock addresses in the host's packet filter.\n\n    version   1.0\n")
    assert actions[0].startswith("iptables block ipaddr=STRING [force=BOOLEAN]\n    Drop what comes from an address (")
    assert "changes the node" in actions[0]
    assert "        force   boolean: Block also what cuts the node off; prompt 'Force'; default false\n" in actions[0]
    assert "    together: summary(blocked), summary(changed)" in actions[0]
    assert "changes the node" not in actions[1]


def test_a_data_source_is_documented(mco: Mco, alone: Mco) -> None:
    ran = mco("plugin doc data/fact")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("fact: ")
    assert "fact('PATH').exists" in ran.out
    assert ran.out == alone("plugin doc --local data/fact").out
    assert mco("plugin doc data/fact -j").json["name"] == "fact"


def test_a_schema_is_exported_and_read_again(mco: Mco, tmp_path: Path) -> None:
    ran = mco("plugin doc iptables --export")
    (tmp_path / "iptables.json").write_text(ran.out)
    assert mco("plugin validate iptables.json").out == "iptables.json: ok: agent iptables 1.0 with 4 actions\n"
    assert mco("plugin stubs --local iptables.json").out == mco("plugin stubs iptables").out
    told = mco("plugin doc iptables -j").json
    assert told["name"] == "iptables"
    assert [(each["nodes"], each["schema"]) for each in told["versions"]] == [(["web1", "web2"], ran.json)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("plugin doc iptabels --dt 2", "no node that offers agent 'iptabels' was discovered, did you mean iptables?"),
        ("plugin doc data/fct", "no node offers data source 'fct', did you mean fact?; offered are: agent,"),
        ("plugin doc fleets/memory", "nodes tell of agents (iptables) and data sources (data/fact), not of 'fleets'"),
        ("plugin doc '#'", "agent '#' cannot be used"),
        ("plugin doc --local iptabels", "no 'iptabels' of kind agents is installed here, did you mean iptables?"),
        ("plugin doc --local data/fct", "no 'fct' of kind data is installed here, did you mean fact?"),
        ("plugin doc --local x/y", "no 'y' of kind x is installed here; installed: none"),
        ("plugin dco", "there is no command 'dco', did you mean doc?"),
        ("plugin generate agent Weather", "agent 'Weather' cannot be used"),
        ("plugin validate nothing.py", "nothing.py cannot be read: No such file or directory"),
        ("plugin stubs --local iptabels", "no 'iptabels' of kind agents is installed here"),
        ("plugin stubs --local nothing.json", "nothing.json cannot be read"),
        ("plugin stubs", "missing argument 'AGENT...'"),
    ],
)
def test_mistakes_are_one_line_that_helps(line: str, said: str, mco: Mco) -> None:
    ran = mco(line)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(f"mco: {said}")
    assert "fault in mco" not in ran.err


def test_another_kind_says_what_its_docstring_says(alone: Mco) -> None:
    about = (MemoryFleet.__doc__ or "").strip().splitlines()[0]
    assert alone("plugin doc --local fleets/memory") == Ran(0, f"fleets/memory: {about}\n", "")


# Files.


def test_an_agent_is_generated_and_valid(alone: Mco, tmp_path: Path) -> None:
    ran = alone("plugin generate agent weather --action look --changing wish --output agents")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == "agents/weather.py is written"
    assert ran.out.splitlines()[-1] == "then try it: python -m pytest agents/tests/test_weather.py"
    ran = alone("plugin validate agents/weather.py")
    assert ran == Ran(0, "agents/weather.py: ok: agent weather 0.1 with 2 actions\n", "")
    ran = alone("plugin generate agent weather --output agents")
    assert ran.status == 1
    assert ran.err.startswith("mco: nothing was written, for this is there already: agents/weather.py")
    assert alone("plugin generate agent weather --package").out.splitlines()[-2] == (
        "install it with: pip install -e mco-agent-weather"
    )


def test_an_agent_in_another_language_is_generated_and_valid(alone: Mco) -> None:
    ran = alone("plugin generate agent weather --language perl --output agents")
    assert ran.out.splitlines()[:2] == ["agents/weather.json is written", "agents/weather.pl is written"]
    ran = alone("plugin validate agents/weather.json")
    assert ran == Ran(0, "agents/weather.json: ok: agent weather 0.1 with 1 action\n", "")
    assert "mco: a package holds a class in Python" in alone("plugin generate agent b --language sh --package").err


def test_what_is_wrong_with_a_file_is_told_with_its_line(alone: Mco, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "from mco_rpc.agent import Agent, action\n\n\nclass Bad(Agent):\n    '''Bad.'''\n\n"
        "    @action('\x1b[2J', display='never')\n    def play(self): ...\n"
    )
    (tmp_path / "good.json").write_text(json.dumps(AgentSchema("a", "A", "1").to_json()))
    ran = alone("plugin validate bad.py good.json")
    assert ran.status == 1
    assert ran.out.splitlines() == [
        "bad.py:7: bad#play: display 'never' is not one of always, ok, failed",
        "good.json: ok: agent a 1 with 0 actions",
    ]
    told = alone("plugin validate -j bad.py good.json").json
    assert [(each["file"], [problem["line"] for problem in each["problems"]]) for each in told] == [
        ("bad.py", [7]), ("good.json", [])
    ]  # fmt: skip


def test_stubs_are_written_over_stubs_and_over_nothing_else(mco: Mco, tmp_path: Path) -> None:
    ran = mco("plugin stubs iptables rpcutil -o typed.py")
    assert ran == Ran(0, "typed.py is written: iptables, rpcutil\n", "")
    text = (tmp_path / "typed.py").read_text()
    compile(text, "typed.py", "exec")
    assert "class IptablesClient(RpcClient):" in text
    assert "def isblocked(self, *, ipaddr: str) -> Results:" in text
    assert mco("plugin stubs iptables -o typed.py").status == 0
    (tmp_path / "mine.py").write_text("mine")
    ran = mco("plugin stubs iptables -o mine.py")
    assert (ran.status, ran.err) == (
        1,
        "mco: mine.py is there, and was not written by this command; nothing was written\n",
    )
    assert (tmp_path / "mine.py").read_text() == "mine"


# Hostile nodes.


def hostile() -> dict[str, Any]:
    """Return a schema in which every text is hostile."""
    inputs = {EVIL: Input("list", EVIL, prompt=EVIL, choices=(EVIL,), validate=f"/{EVIL}/", default=EVIL)}
    outputs = {EVIL: Output("any", EVIL, display_as=EVIL, default=EVIL)}
    action = ActionSchema(EVIL, EVIL, inputs, outputs, aggregates=(Aggregate(EVIL, EVIL, EVIL),))
    return AgentSchema("toy", EVIL, EVIL, {EVIL: action}, author=EVIL, license=EVIL, url=EVIL).to_json()


def test_a_hostile_schema_is_only_text(mco: Mco, fleet: MemoryFleet) -> None:
    sources = {EVIL: {"name": EVIL, "description": EVIL, "version": EVIL}, "x": 5, "y": {"name": {}}}
    data = {
        "schema": hostile(),
        "agents": [{"name": EVIL, "version": EVIL, "description": EVIL}, 5],
        "sources": sources,
    }
    node = Scripted(fleet, "evil", lambda request: {"data": {} if request.agent == "discovery" else data})
    try:
        for line in (
            "plugin doc toy -I evil",
            "plugin doc toy -I evil -j",
            "plugin doc toy -I evil --export",
            "plugin stubs toy -I evil",
            "plugin list -I evil",
            "plugin list -I evil -j",
            "plugin doc data/toy -I evil",
            "plugin doc data/y -I evil",
            "rpc toy play -I evil",
        ):
            ran = mco(line)
            assert_harmless(ran.out)
            assert_harmless(ran.err)
            assert ran.out or ran.err
            assert "fault in mco" not in ran.err, line
    finally:
        node.close()


@pytest.mark.parametrize("source", [{"name": "s"}, {"name": "s", "description": 5}, {"name": "s", "fields": []}])
def test_a_source_that_is_none_is_told(source: dict[str, Any], mco: Mco, fleet: MemoryFleet) -> None:
    data = {"sources": [source]}
    node = Scripted(fleet, "evil", lambda request: {"data": {} if request.agent == "discovery" else data})
    try:
        ran = mco("plugin doc data/s -I evil")
    finally:
        node.close()
    assert ran.status == 1
    assert ran.err.startswith("mco: evil gives no schema of a data source: ")


def test_a_schema_without_end_is_cut(mco: Mco, fleet: MemoryFleet) -> None:
    actions = {f"a{number}": ActionSchema(f"a{number}", "x") for number in range(2000)}
    data = {"schema": AgentSchema("toy", "x", "1", actions).to_json()}
    node = Scripted(fleet, "evil", lambda request: {"data": {} if request.agent == "discovery" else data})
    try:
        lines = mco("plugin doc toy -I evil").out.splitlines()
        assert len(lines) == MAX_LINES + 1
        assert lines[-1].endswith("more lines; -j prints all")
    finally:
        node.close()
