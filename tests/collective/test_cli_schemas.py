# SPDX-License-Identifier: Apache-2.0
"""``mco rpc`` and the schemas that nodes publish: kept by digest, compared, and not believed without proof."""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from mco_client.cli.main import main
from mco_client.connection import Connection
from mco_client.results import Result
from mco_client.schema import learning as schemas
from mco_client.schema.cache import SchemaCache
from mco_client.schema.learning import ASKED_FOR_SCHEMA, MAX_VERSIONS, learn
from mco_lab.memory import MemoryFleet
from mco_rpc.config import ClientSettings
from mco_rpc.messages import Request
from mco_rpc.schema import AgentSchema, digest_of
from tests.collective.test_cli_hostile import Answer, Scripted

SETTINGS = ClientSettings(
    connector="memory", caller="operator", discovery_window_s=0.25, discovery_timeout_s=20.0, timeout_s=20.0
)
TOY = '''
"""A toy of which there are several versions."""
from mco_rpc.agent import Agent, Aggregate, Input, Output, action

class Toy(Agent):
    """Play."""
    version = "{version}"

    @action("Play", inputs={{"how": Input("{type}", "How", optional=True{more})}},
            outputs={{"zest": Output("number", "Zest", display_as="Zest"), "how": Output("any", "How")}},
            aggregates=[Aggregate("average", "zest", format="%.1f"), Aggregate("summary", "how"),
                        Aggregate("sum", "how")])
    def play(self, how=None):
        return {{"zest": {zest}, "how": how}}

    @action("Wind it up", mutating={mutating})
    def {wind}(self):
        return {{}}
'''
FIRST = {"version": "1.0", "type": "string", "more": "", "zest": 1, "mutating": True, "wind": "wind"}
SECOND = {**FIRST, "version": "1.1", "more": ", validate='shellsafe'", "zest": 2}


class Ran(NamedTuple):
    """What a run of ``mco`` left."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Toys:
    """A fleet in which hosts have one version of the toy or another."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        self.fleet: MemoryFleet
        self.scripted: list[Scripted] = []
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))

    def start(self, *absent: str, **versions: Mapping[str, Any]) -> Toys:
        hosts: dict[str, Any] = {name: {} for name in absent}
        for name, version in versions.items():
            libdir = self._folder / name
            libdir.mkdir()
            (libdir / "toy.py").write_text(TOY.format(**version))
            hosts[name] = {"settings": {"libdir": [str(libdir)]}}
        self.fleet = MemoryFleet(hosts, SETTINGS)
        self.fleet.__enter__()
        for name in absent:
            self.fleet.stop(name)
        return self

    def script(self, name: str, answer: Answer) -> Scripted:
        self.scripted.append(Scripted(self.fleet, name, answer))
        return self.scripted[-1]

    def mco(self, line: str, stdin: str = "") -> Ran:
        base = self.fleet.connection()

        def connect(_: Path | None, changes: Mapping[str, Any]) -> Connection:
            settings = msgspec.structs.replace(base.settings, **changes)
            return Connection(settings, connector=self.fleet.broker.connector, security=base.security)

        self._monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        self._capsys.readouterr()
        status = main(shlex.split(line), connect)
        said = self._capsys.readouterr()
        return Ran(status, said.out, said.err)

    def asked(self, action: str) -> list[str]:
        """Return the nodes that were asked for an action, one entry a request."""
        return sorted(
            name
            for name, audit in self.fleet.audits.items()
            for entry in audit.entries
            if entry.get("action") == action
        )

    def close(self) -> None:
        for node in self.scripted:
            node.close()
        self.fleet.__exit__(None, None, None)


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Toys]:
    made = Toys(tmp_path, monkeypatch, capsys)
    yield made
    made.close()


# The cache.


def test_a_schema_is_asked_for_once(toys: Toys) -> None:
    toys.start(web1=FIRST, web2=FIRST)
    assert toys.mco("rpc toy play how=well").status == 0
    first = toys.asked("schema_of")
    assert 1 <= len(first) <= ASKED_FOR_SCHEMA
    # When it is asked again, by a process of its own, the schema is there
    ran = toys.mco("rpc toy play hwo=well")
    assert "unknown input 'hwo', did you mean how?" in ran.err
    assert toys.mco("rpc toy play how=well").status == 0
    assert toys.asked("schema_of") == first


def test_a_recorded_run_asks_for_all_that_its_replay_needs(
    toys: Toys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    toys.start(web1=FIRST)
    toys.mco("rpc toy play")
    monkeypatch.setenv("MCO_RECORD", str(tmp_path / "fleet.rec"))
    toys.mco("rpc toy play")
    assert toys.asked("schema_of") == ["web1", "web1"]


def test_without_a_cache_it_works_as_well(toys: Toys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    toys.start(web1=FIRST)
    assert toys.mco("rpc toy play how=well") [0::2] == toys.mco("rpc toy play how=well")[0::2]  # fmt: skip
    assert toys.asked("schema_of") == ["web1", "web1"]


def test_a_forged_cache_is_not_believed(toys: Toys, tmp_path: Path) -> None:
    toys.start(web1=FIRST)
    toys.mco("rpc toy play")
    [file] = (tmp_path / "cache" / "mco" / "schemas").iterdir()
    file.write_text(file.read_text().replace('"mutating":true', '"mutating":false'))
    assert "toy#wind changes nodes" in toys.mco("rpc toy wind").err


# Versions that differ.


def test_a_difference_is_reported_and_the_deviating_nodes_are_named(toys: Toys) -> None:
    toys.start(web1=FIRST, web2=FIRST, web10=SECOND, db1=FIRST)
    ran = toys.mco("rpc toy play how=well -j")
    assert ran.status == 0
    assert "mco: not all nodes have the same agent: 3 nodes: toy 1.0; 1 node: toy 1.1: web10\n" in ran.err
    assert [(each["version"], each["nodes"]) for each in ran.json["schemas"]] == [
        ("1.0", ["db1", "web1", "web2"]), ("1.1", ["web10"])
    ]  # fmt: skip


def test_named_nodes_tell_their_version_with_their_reply(toys: Toys) -> None:
    # Given nodes that nobody looked for, of which one is asked for its schema
    toys.start(web1=FIRST, web2=FIRST, web10=SECOND)
    ran = toys.mco("rpc toy play --nodes -", stdin="web1\nweb2\nweb10\n")
    assert ran.status == 0
    assert "mco: not all nodes that answered have the same agent: 2 nodes: " in ran.err
    assert ran.err.count("\n") <= 3
    assert "web10" in ran.err


def test_versions_that_call_themselves_the_same_are_told_apart(toys: Toys) -> None:
    toys.start(web1=FIRST, web2={**FIRST, "more": ", max_length=3"})
    err = toys.mco("rpc toy play").err
    digests = {
        version: SchemaCache().put(toys.fleet.nodes[version].agents()["toy"].to_json()) for version in ("web1", "web2")
    }
    assert all(f"toy 1.0 ({digest})" in err for digest in digests.values())


def test_an_input_that_is_wrong_for_some_nodes_is_sent_to_none(toys: Toys) -> None:
    toys.start(web1=FIRST, web2=FIRST, web10=SECOND)
    ran = toys.mco("rpc toy play 'how=a b'")
    assert (ran.status, ran.out) == (1, "")
    *_, first, usage, hint = ran.err.splitlines()
    assert first.startswith("mco: toy#play: input how: 'a b' is not valid: ")
    assert first.endswith("; so on web10 (toy 1.1)")
    assert usage == "usage: mco rpc toy play [how=STRING]"
    assert hint.startswith("nothing was sent to the others either")
    assert toys.asked("play") == []
    assert toys.mco("rpc toy play 'how=a b' -I web1 -I web2").status == 0


def test_an_action_that_some_nodes_do_not_have_is_asked_of_none(toys: Toys) -> None:
    toys.start(web1=FIRST, web2={**SECOND, "wind": "unwind"})
    ran = toys.mco("rpc toy unwind --yes")
    assert "agent toy has no action 'unwind', did you mean wind?; it has play, wind; so on web1 (toy 1.0)" in ran.err
    assert toys.asked("unwind") == []


def test_what_is_wrong_everywhere_is_said_once(toys: Toys) -> None:
    toys.start(web1=FIRST, web2=SECOND)
    *_, first, usage = toys.mco("rpc toy play x=1").err.splitlines()
    assert first == "mco: toy#play: unknown input 'x'; it takes how"
    assert usage.startswith("usage: ")


@pytest.mark.parametrize(("word", "status"), [("how=5", 1), ("", 0)])
def test_an_input_of_another_type_on_some_nodes_is_right_for_none(word: str, status: int, toys: Toys) -> None:
    toys.start(web1=FIRST, web2={**FIRST, "type": "integer"})
    ran = toys.mco(f"rpc toy play {word}")
    assert ran.status == status
    if status:
        assert "no value is right for all nodes, for their versions of the agent take different types (" in ran.err
        assert toys.asked("play") == []


def test_an_input_is_given_the_type_that_all_versions_take(toys: Toys) -> None:
    toys.start(web1={**FIRST, "type": "any"}, web2={**FIRST, "type": "integer"})
    assert [result["data"]["how"] for result in toys.mco("rpc toy play how=5 -j").json["results"]] == [5, 5]


def test_a_change_is_harmless_only_if_all_versions_say_so(toys: Toys) -> None:
    toys.start(web1={**FIRST, "mutating": False}, web2={**FIRST, "mutating": False}, web3=FIRST)
    assert "toy#wind changes nodes, and no filter says which: refused" in toys.mco("rpc toy wind").err
    assert toys.asked("wind") == []
    assert toys.mco("rpc toy wind -I web1 -I web2").status == 0


# Nodes that lie.


def answer_with(claims: str, schema: object, **data: Any) -> Answer:
    """Return a node that claims one digest, gives another schema, and answers calls with ``data``."""

    def answer(request: Request) -> dict[str, Any] | None:
        if request.agent == "discovery":
            return {"data": {"schema": claims}}
        return {"data": {"schema": schema} if request.action == "schema_of" else data, "schema": claims}

    return answer


def toy_schema(toys: Toys, node: str = "web1") -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(toys.fleet.nodes[node].agents()["toy"].to_json()))
    return plain


def harmless(schema: dict[str, Any]) -> dict[str, Any]:
    actions = {name: {**action, "mutating": False} for name, action in schema["actions"].items()}
    return {**schema, "actions": actions}


def test_who_gives_another_schema_than_it_claims_is_not_believed(toys: Toys) -> None:
    # Given a node that is asked first, claims the schema of the others and gives one that calls a change harmless
    toys.start("evil", web1=FIRST, web2=FIRST)
    schema = toy_schema(toys)
    node = toys.script("evil", answer_with(digest_of(schema), harmless(schema)))
    ran = toys.mco("rpc toy wind")
    assert "toy#wind changes nodes" in ran.err
    assert "wind" not in [request.action for request in node.requests]


@pytest.mark.parametrize("claim", ["0123456789abcdef" * 2, "0123456789abcdef", ""])
def test_a_schema_that_is_claimed_and_not_given_makes_nothing_harmless(claim: str, toys: Toys) -> None:
    toys.start("evil", web1={**FIRST, "mutating": False})
    node = toys.script("evil", answer_with(claim, None) if claim else lambda _: {"data": {"matches": True}})
    ran = toys.mco("rpc toy wind")
    assert ran.status == 1
    assert "mco: the inputs are not checked for 1 node, whose schema of agent toy could not be had: evil (" in ran.err
    assert "toy#wind may change nodes (its schema could not be had from evil), and no filter says which" in ran.err
    assert "wind" not in [request.action for request in node.requests]


def test_a_schema_of_another_agent_is_no_answer(toys: Toys) -> None:
    toys.start("evil", web1=FIRST)
    other = toys.fleet.nodes["web1"].agents()["rpcutil"]
    toys.script("evil", answer_with(other.digest, other.to_json()))
    ran = toys.mco("rpc toy wind")
    assert "evil (it gives the schema of agent rpcutil for that of toy)" in ran.err


@pytest.mark.parametrize("claim", [{"a": 1}, "../../etc/passwd", "x" * 100_000, 5, None])
def test_a_claim_that_is_no_digest_is_none(claim: Any, toys: Toys) -> None:
    toys.start("evil", web1=FIRST)
    toys.script("evil", answer_with(claim, None) if isinstance(claim, str) else lambda _: {"data": {"schema": claim}})
    ran = toys.mco("rpc toy play -t 5 --yes")
    assert "this is a fault in mco" not in ran.err
    assert "evil (it does not say which schema it has)" in ran.err
    assert ran.status == 0


def test_more_versions_than_a_fleet_can_have_are_not_asked_for(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    toys.start(web1=FIRST)
    asked: list[str] = []
    answers = schemas._answers

    def noted(connection: Connection, agent: str, nodes: Sequence[str]) -> Iterator[Result]:
        asked.extend(nodes)
        return answers(connection, agent, nodes)

    monkeypatch.setattr(schemas, "_answers", noted)
    evil = {f"evil{number}": f"{number // 5:032x}" for number in range(500)}
    digests = {**evil, "web1": toys.fleet.nodes["web1"].agents()["toy"].digest}
    known = learn(toys.fleet.connection(), "toy", list(digests), digests, SchemaCache())
    assert len(asked) == MAX_VERSIONS * ASKED_FOR_SCHEMA
    assert known.versions == ()
    assert set(known.unknown) == set(digests)
    assert not known.is_harmless("play")


# Replies that are not as declared.


def test_replies_that_deviate_are_reported_and_shown_all_the_same(toys: Toys) -> None:
    toys.start("evil", web1=FIRST)
    schema = toy_schema(toys)
    toys.script("evil", answer_with(digest_of(schema), schema, zest="much", colour="\x1b[2J"))
    ran = toys.mco("rpc toy play")
    assert ran.status == 0
    assert "mco: toy 1.0 gives output 'zest' wrong: expected number, got 'much': evil\n" in ran.err
    assert "mco: toy 1.0 gives output 'colour', which its schema does not declare: evil\n" in ran.err
    assert "mco: toy 1.0 does not give output 'how', which its schema declares: evil\n" in ran.err
    assert "\\x1b[2J" in ran.out
    told = toys.mco("rpc toy play -j").json["schema_problems"]
    assert [(each["field"], each["nodes"]) for each in told] == [
        ("zest", ["evil"]), ("colour", ["evil"]), ("how", ["evil"])
    ]  # fmt: skip


# Together.


def test_what_all_say_together_stands_below_the_table(toys: Toys) -> None:
    toys.start(web1=FIRST, web2={**FIRST, "zest": 4}, web3=FIRST)
    ran = toys.mco("rpc toy play how=well")
    assert ran.status == 0
    assert "\n\nAverage of Zest: 2.0\nSummary of how: well = 3\n\nFinished processing 3 / 3 hosts" in ran.out
    assert ran.err == "mco: sum(how) could not be made: how is not a number on 3 of 3: web1, web2, web3\n"
    told = toys.mco("rpc toy play how=well -j").json["statistics"]
    assert [(each["title"], each["responses"]) for each in told["aggregate_summary"]] == [
        ("Average of Zest", 3), ("Summary of how", 3)
    ]  # fmt: skip
    assert [each["output"] for each in told["aggregate_failures"]] == ["how"]


def test_many_values_stand_one_below_the_other(toys: Toys) -> None:
    toys.start(web1=FIRST)
    lines = toys.mco(f"rpc toy play how={'x' * 50} -j").json["statistics"]["aggregate_summary"]
    assert lines[1]["counts"] == [{"value": "x" * 50, "count": 1}]
    out = toys.mco(f"rpc toy play how={'x' * 200}").out
    assert "Summary of how:\n    xxxx" in out


def test_bundled_agents_have_aggregates(toys: Toys) -> None:
    toys.start(web1=FIRST, web2=FIRST)
    assert "Summary of Blocked: false = 2\n" in toys.mco("rpc iptables isblocked ipaddr=10.0.0.1").out


def test_a_node_says_the_digest_of_what_it_gives(toys: Toys) -> None:
    toys.start(web1=FIRST)
    [result] = toys.mco("rpc rpcutil schema_of agent=toy -j").json["results"]
    assert digest_of(result["data"]["schema"]) == result["data"]["digest"]
    assert AgentSchema.from_json(result["data"]["schema"]).digest == result["data"]["digest"]
