# SPDX-License-Identifier: Apache-2.0
"""A registry, its nodes and those who ask it, in this process; time is the test's, attackers send what they like."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from mco_client.cli.main import main
from mco_client.connection import Connection
from mco_client.core import finish
from mco_client.discovery import Discovered, Query
from mco_client.discovery.registry import Registry as Answer
from mco_client.discovery.registry import RegistryDiscovery, ask
from mco_client.rpc import RpcClient
from mco_node.audit import MemoryAudit
from mco_node.daemon import Node
from mco_node.loader import Loaded
from mco_registry.daemon import Registry
from mco_registry.known import Known
from mco_registry.selection import verdict
from mco_registry.settings import RegistrySettings
from mco_registry.store import Store
from mco_rpc import names
from mco_rpc.agent import Agent, Input, Output, action
from mco_rpc.config import ClientSettings, NodeSettings
from mco_rpc.connector import Packet
from mco_rpc.connector.memory import MemoryConnector
from mco_rpc.errors import ActionAborted, DiscoveryError, FilterError
from mco_rpc.filters import Filter, from_options
from mco_rpc.messages import Event, encode, new_id
from mco_rpc.schema import DIGEST_LENGTH
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import Ed25519Security, for_caller, for_node, for_registry
from tests.collective.conftest import COLLECTIVE, Collective

INTERVAL_S = 300.0
OVERDUE_S = 1.5 * INTERVAL_S + 1
WAIT_S = 20.0


class Printed(NamedTuple):
    status: int
    out: str
    err: str


class Fleet:
    """A collective with a registry; nodes say what they are when the test lets them."""

    def __init__(self, collective: Collective, folder: Path) -> None:
        self.collective, self.folder = collective, folder
        self.url = f"sqlite:///{folder}/registry.sqlite"
        self.operator, self.own = keys.new_seed(), keys.new_seed()
        collective.trusted["operator"] = keys.public_of(self.operator)
        self.trusted_nodes: dict[str, bytes] = {"registry": keys.public_of(self.own)}
        self.registry: Registry | None = None
        self._connections: list[Connection] = []
        self._others: list[Node] = []

    def start(self, **settings: Any) -> Registry:
        """Start the registry, on the database that an earlier one left."""
        security = for_node("registry", self.own, self.collective.trusted)
        of_nodes = for_registry("registry", self.own, self.trusted_nodes)
        clock = self.collective.clock
        made = RegistrySettings(connector="memory", **settings)
        connector = self.collective.broker.connector()
        self.registry = Registry(
            made, connector, security, of_nodes, Store(self.url), clock=clock, monotonic=clock, audit=MemoryAudit(1000)
        )
        self.registry.start()
        assert self.registry.node.is_connected.wait(WAIT_S)
        return self.registry

    def stop(self) -> None:
        """Stop the registry, and keep its database."""
        made, self.registry = self.registry, None
        assert made is None or made.stop()

    def node(self, identity: str, *, is_silent: bool = False, **options: Any) -> Node:
        """Start a node, and have it register."""
        seed = self.collective._seeds.setdefault(identity, keys.new_seed())
        self.trusted_nodes[identity] = keys.public_of(seed)
        node = self.collective.node(identity, **options)
        if not is_silent:
            self.register(node)
        return node

    def register(self, *nodes: Node) -> None:
        """Let time pass until nodes say what they are."""
        self.collective.clock.advance(5.0)
        for node in nodes:
            node._registration._due = 0.0
            node._registration.step()

    def event(self, identity: str, topic: str = "presence", seed: bytes | None = None, **fields: Any) -> Packet:
        """Return an event as a node sends it, with some fields in the place of its own."""
        values: dict[str, Any] = {
            "topic": topic,
            "collective": COLLECTIVE,
            "sender": identity,
            "sent_at": self.collective.clock(),
            "data": {"state": "start", "version": "1", "interval_s": INTERVAL_S},
            **fields,
        }
        seed = seed or self.collective._seeds.setdefault(identity, keys.new_seed())
        security: Ed25519Security = for_node(identity, seed, {})
        body = encode(Event(**values))
        return Packet(
            exchange=names.exchange(COLLECTIVE, names.EVENT),
            key=names.event_key(topic, identity),
            body=body,
            type="event",
            message_id=new_id(),
            signer=identity,
            signature=security.sign(body),
        )

    def send(self, *packets: Packet) -> None:
        """Send events, and wait until the registry has judged them."""
        assert self.registry is not None
        intake = self.registry.intake
        before = intake.counters().get("events", 0)
        self.collective.broker.route(packets[0])
        for packet in packets[1:]:
            self.collective.broker.route(packet)
        until(
            lambda: (
                sum(intake.counters().get(k, 0) for k in ("kept", "repeated", "rejected", "own"))
                >= before + len(packets)
            )
        )
        assert self.registry.writer.flush(WAIT_S)

    def connection(self, **settings: Any) -> Connection:
        """Return a connection of the operator."""
        values = {"timeout_s": WAIT_S, "discovery_timeout_s": WAIT_S, **settings}
        made = Connection(
            ClientSettings(connector="memory", caller="operator", **values),
            connector=self.collective.broker.connector,
            security=for_caller("operator", self.operator, self.trusted_nodes),
            clock=self.collective.clock,
        )
        self._connections.append(made)
        return made

    def ask(self, node_filter: Filter | None = None) -> Answer:
        """Ask the registry."""
        return ask(self.connection(), node_filter or Filter(), WAIT_S)

    def states(self, **options: Any) -> dict[str, str]:
        """Return the states of the nodes that a filter is for."""
        return {node.identity: node.state for node in self.ask(from_options(**options)).nodes}

    def await_states(self, **wanted: str) -> None:
        until(lambda: self.states() == wanted, lambda: f"{self.states()}, expected {wanted}")

    def find(self, **options: Any) -> Discovered:
        """Find nodes by the registry."""
        connection = self.connection()
        agent = options.pop("agent", "")
        query = Query(from_options(**options), agent=agent, timeout_s=WAIT_S)
        return finish(RegistryDiscovery(connection).core(query))

    def pose_as_registry(self, kind: type[Agent]) -> None:
        """Answer under the registry's name."""
        node = Node(
            NodeSettings(identity="registry", connector="memory"),
            self.collective.broker.connector(),
            for_node("registry", self.own, self.collective.trusted),
            clock=self.collective.clock,
            monotonic=self.collective.clock,
            loader=lambda _, view, *__: Loaded(agents={"registry": kind(view)}),
        )
        self._others.append(node)
        node.start()
        assert node.is_connected.wait(WAIT_S)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        for node in self._others:
            node.stop()
        if self.registry is not None:
            self.registry.stop()


def until(is_so: Callable[[], bool], why: Callable[[], str] = lambda: "it does not become so") -> None:
    """Wait for something that another thread does."""
    ends, pause = time.monotonic() + WAIT_S, threading.Event()
    while not is_so():
        assert time.monotonic() < ends, why()
        pause.wait(0.005)


@pytest.fixture
def fleet(collective: Collective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    # When a node registers, the test decides.
    monkeypatch.setattr("mco_node.registration.Registration.start", lambda _: None)
    made = Fleet(collective, tmp_path)
    yield made
    made.close()


@pytest.fixture
def up(fleet: Fleet) -> Fleet:
    """A fleet whose registry is up and knows two nodes."""
    fleet.start()
    fleet.node("web1", facts={"country": "de", "cores": 4}, classes=["web", "eu"])
    fleet.node("db1", facts={"country": "fr", "cores": 8}, classes=["eu"])
    fleet.await_states(db1="present", web1="present")
    until(lambda: fleet.ask(from_options(classes=["eu"])).nodes[-1].is_sure)
    return fleet


class Cli:
    """Runs `mco` against a fleet."""

    def __init__(self, fleet: Fleet, patch: pytest.MonkeyPatch) -> None:
        self._fleet, self._patch = fleet, patch

    def __call__(self, line: str, **settings: Any) -> Printed:
        def connect(_: Path | None, changes: Mapping[str, Any]) -> Connection:
            return self._fleet.connection(**{**settings, **changes})

        out, err = io.StringIO(), io.StringIO()
        with self._patch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            status = main(shlex.split(line), connect)
        return Printed(status, out.getvalue(), err.getvalue())


@pytest.fixture
def mco(up: Fleet, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(up, monkeypatch)


class TestStates:
    def test_a_node_is_known_as_soon_as_it_is_there_and_then_what_it_is(self, fleet: Fleet) -> None:
        fleet.start()
        node = fleet.node("web1", is_silent=True, facts={"country": "de"})
        fleet.await_states(web1="present")
        (known,) = fleet.ask(from_options(facts=["country=fr"])).nodes
        assert not known.is_sure  # nobody knows its facts yet, so it is not left out
        fleet.register(node)
        until(lambda: not fleet.states(facts=["country=fr"]))
        (known,) = fleet.ask(from_options(facts=["country=de"])).nodes
        assert known.is_sure

    def test_who_is_not_heard_of_is_silent_and_who_stopped_is_stopped(self, up: Fleet) -> None:
        up.collective.nodes[0].stop()
        up.await_states(db1="present", web1="stopped")
        up.collective.clock.advance(OVERDUE_S)
        up.await_states(db1="silent", web1="stopped")
        # And it is there again when it says something
        up.register(up.collective.nodes[1])
        up.await_states(db1="present", web1="stopped")

    def test_after_a_restart_of_the_registry_nobody_is_called_silent_for_its_own_absence(self, up: Fleet) -> None:
        # Given a registry that was away for long
        up.stop()
        up.collective.clock.advance(10 * OVERDUE_S)
        up.start()
        up.await_states(db1="expected", web1="expected")
        # When one node is heard of and the other is not
        up.register(up.collective.nodes[0])
        up.await_states(db1="expected", web1="present")
        up.collective.clock.advance(OVERDUE_S - 10)
        up.register(up.collective.nodes[0])
        up.collective.clock.advance(10)
        # Then that one is silent
        up.await_states(db1="silent", web1="present")

    def test_a_restart_of_the_broker_makes_nobody_silent(self, up: Fleet) -> None:
        assert up.registry is not None
        broker = up.collective.broker
        connectors = [node._connector for node in (up.registry.node, *up.collective.nodes)]
        broker.stop()
        until(lambda: up.registry is not None and not up.registry.node.is_connected.is_set())
        up.collective.clock.advance(10 * OVERDUE_S)
        broker.start([made for made in connectors if isinstance(made, MemoryConnector)])
        # Nodes say that they are there as soon as they are connected again
        up.await_states(db1="present", web1="present")

    def test_a_node_with_a_new_life_after_a_kill_is_present(self, up: Fleet) -> None:
        up.collective.clock.advance(OVERDUE_S)
        up.await_states(db1="silent", web1="silent")
        up.collective.nodes[0]._registration.connected()
        up.await_states(db1="silent", web1="present")


class TestFilters:
    def test_the_registry_decides_by_what_nodes_said(self, up: Fleet) -> None:
        for options, matching in (
            ({"facts": ["country=de"]}, {"web1"}),
            ({"facts": ["cores>=8"]}, {"db1"}),
            ({"classes": ["eu"]}, {"web1", "db1"}),
            ({"classes": ["eu"], "facts": ["country=de"]}, {"web1"}),
            ({"classes": ["/^w/"]}, {"web1"}),
            ({"agents": ["rpcutil"]}, {"web1", "db1"}),
            ({"agents": ["puppet"]}, set()),
            ({"identities": ["web1"]}, {"web1"}),
            ({"identities": ["/1$/"], "classes": ["web"]}, {"web1"}),
            ({"compound": ["country=de or cores=8"]}, {"web1", "db1"}),
            ({"compound": ["not web"]}, {"db1"}),
        ):
            answer = up.ask(from_options(**options))  # type: ignore[arg-type]
            assert {node.identity for node in answer.nodes} == matching, options
            assert all(node.is_sure for node in answer.nodes)
            assert not answer.residual

    def test_what_a_data_source_says_only_the_nodes_know(self, up: Fleet) -> None:
        node_filter = from_options(facts=["country=de"], compound=["process('nginx').running=true", "cores=4"])
        answer = up.ask(node_filter)
        assert [(node.identity, node.is_sure) for node in answer.nodes] == [("web1", False)]
        # Where the rest decides already, the source does not matter
        either = up.ask(from_options(compound=["country=de or process('nginx').running=true"]))
        assert [(node.identity, node.is_sure) for node in either.nodes] == [("db1", False), ("web1", True)]
        assert answer.residual == Filter(compound=node_filter.compound[:1])

    def test_a_node_that_does_not_say_all_its_facts_is_not_left_out(self, up: Fleet) -> None:
        up.node("web2", facts={"country": "de", "secret": "x"}, registration_facts=["country"])
        up.await_states(db1="present", web1="present", web2="present")

        def sure(**options: Any) -> dict[str, bool]:
            return {node.identity: node.is_sure for node in up.ask(from_options(**options)).nodes}

        until(lambda: sure(facts=["country=de"]) == {"web1": True, "web2": True})
        assert sure(facts=["country=fr"]) == {"db1": True}
        assert sure(facts=["secret=x"]) == {"web2": False}
        assert sure(facts=["secret=x", "country=fr"]) == {}
        assert sure(compound=["country=de and not secret=x"]) == {"web1": True, "web2": False}
        assert sure(compound=["country=de or secret=x"]) == {"web1": True, "web2": True}
        assert sure(compound=["country=fr and secret=x"]) == {}

    def test_a_filter_that_cannot_be_understood_is_refused(self, up: Fleet) -> None:
        wrong: list[Any] = [{"classes": ["/(/"]}, {"nonsense": []}, {"facts": [["a", "~", "b"]]}, {"identities": [3]}]
        client = RpcClient("registry", up.connection())
        client.discover(nodes=["registry"])
        for plain in wrong:
            (result,) = client.call("nodes", filter=plain)
            assert result.status_text == "invalid data", plain
            assert "filter: " in result.message


class TestPages:
    def test_many_nodes_come_in_pages_that_can_be_sent(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        registry = fleet.start(max_body_bytes=20_000)
        heard = []
        for number in range(500):
            packet = fleet.event(f"n{number:04}", seed=fleet.own)
            fleet.trusted_nodes[f"n{number:04}"] = keys.public_of(fleet.own)
            heard.append(packet)
        fleet.send(*heard)
        calls = []
        page = Store.page
        monkeypatch.setattr(
            Store, "page", lambda self, *args, **named: calls.append(args) or page(self, *args, **named)
        )
        answer = fleet.ask()
        assert [node.identity for node in answer.nodes] == [f"n{n:04}" for n in range(500)]
        assert len(calls) > 2
        assert registry.store.count() == 500

    def test_a_node_that_says_what_nobody_can_compare_keeps_no_other_from_being_told(
        self, up: Fleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a node whose facts take too long, or cannot be read again
        errors = [FilterError("it takes more than 0.5 s"), RecursionError(), ValueError("too many digits")]

        def failing(node_filter: Filter, known: Known) -> bool | None:
            if known.identity == "db1":
                raise errors[0]
            return verdict(node_filter, known)

        monkeypatch.setattr("mco_registry.agent.verdict", failing)

        # When the nodes of a filter are asked for, then it is told that nobody is sure of that one
        while errors:
            told = up.ask(from_options(facts=["cores=4"]))
            assert [(node.identity, node.is_sure) for node in told.nodes] == [("db1", False), ("web1", True)]
            del errors[0]

    def test_a_page_is_as_long_as_it_is_asked_for(self, up: Fleet) -> None:
        client = RpcClient("registry", up.connection())
        client.discover(nodes=["registry"])
        (first,) = client.call("nodes", limit=1)
        assert ([row["identity"] for row in first.data["nodes"]], first.data["next"]) == (["db1"], "db1")
        (second,) = client.call("nodes", limit=1, after="db1")
        assert [row["identity"] for row in second.data["nodes"]] == ["web1"]
        (third,) = client.call("nodes", limit=1, after=second.data["next"])
        assert (third.data["nodes"], third.data["next"]) == ([], "")
        for limit in (0, -1, 5001):
            (refused,) = client.call("nodes", limit=limit)
            assert "expected 1 to 5000" in refused.message

    def test_a_page_that_takes_long_ends_early_and_goes_on_there(
        self, up: Fleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a registry that has no time for more than one node a page
        monkeypatch.setattr("mco_registry.agent.LEAVE_S", 1e9)

        # When all are asked for, then all are told, page by page
        assert [node.identity for node in up.ask().nodes] == ["db1", "web1"]
        client = RpcClient("registry", up.connection())
        client.discover(nodes=["registry"])
        (first,) = client.call("nodes")
        assert (len(first.data["nodes"]), first.data["next"]) == (1, "db1")


class TestOneNode:
    def test_all_that_is_known_of_it_is_told(self, up: Fleet) -> None:
        client = RpcClient("registry", up.connection())
        client.discover(nodes=["registry"])
        (shown,) = client.call("show", identity="web1")
        assert shown.data["facts"] == {"country": "de", "cores": 4}
        assert (shown.data["classes"], shown.data["collectives"]) == (["eu", "web"], ["mcollective"])
        assert (shown.data["state"], shown.data["interval_s"], shown.data["incomplete"]) == ("present", 300.0, [])
        assert len(shown.data["agents"]["rpcutil"]["schema"]) == DIGEST_LENGTH
        (refused,) = client.call("show", identity="web7")
        assert "no node 'web7' has registered here" in refused.message

    def test_it_can_be_forgotten(self, up: Fleet) -> None:
        client = RpcClient("registry", up.connection())
        client.discover(nodes=["registry"])
        assert [client.call("forget", identity="web1")[0].data["forgotten"] for _ in range(2)] == [True, False]
        up.await_states(db1="present")
        up.register(up.collective.nodes[0])
        up.await_states(db1="present", web1="present")

    def test_how_the_registry_fares_is_told(self, up: Fleet) -> None:
        client = RpcClient("registry", up.connection())
        client.discover(nodes=["registry"])
        (stats,) = client.call("stats")
        assert stats.data["known"] == 2
        assert (stats.data["unwritten"], stats.data["warnings"], stats.data["problems"]) == (0, [], {})
        assert stats.data["counters"]["kept"] >= 4


class TestAttacks:
    def test_an_event_in_the_name_of_another_counts_for_nobody(self, up: Fleet, caplog: Any) -> None:
        mallory = keys.new_seed()
        up.trusted_nodes["mallory"] = keys.public_of(mallory)
        stop = {"state": "stop", "version": "", "interval_s": 1}
        signed_by_mallory = up.event("web1", seed=mallory, data=stop)
        up.send(
            signed_by_mallory,  # says that it is web1, and web1's key says it is not
            dataclasses.replace(signed_by_mallory, signer="mallory"),  # signed by mallory, about web1
            dataclasses.replace(up.event("web1", data=stop), signature=b""),
            dataclasses.replace(up.event("web1", data=stop), body=b"{}"),
            up.event("mallory", seed=mallory, sender="web1", data=stop),
        )
        assert up.states() == {"db1": "present", "web1": "present"}
        assert "claims to be from 'web1'" in caplog.text

    def test_a_recording_brings_nobody_back_and_stops_nobody(self, up: Fleet) -> None:
        clock = up.collective.clock
        clock.advance(1)
        start = up.event("web1")
        up.send(start)
        clock.advance(1)
        stop = up.event("web1", data={"state": "stop", "version": "1", "interval_s": INTERVAL_S})
        registered = up.event("web1", "registration", data={"version": "1"}, sent_at=clock() - 0.5)
        up.send(registered, stop)
        assert up.states()["web1"] == "stopped"
        # When what it said before is sent again, at once and later
        for seconds in (0, 3, OVERDUE_S):
            clock.advance(seconds)
            up.send(start, registered)
            assert up.states()["web1"] == "stopped"
        # When it is back, then its old farewell is none
        up.send(up.event("web1"))
        up.send(stop)
        assert up.states()["web1"] == "present"

    @pytest.mark.parametrize(("ahead_s", "words"), [(11, "in the future"), (1e12, "in the future"), (-11, "ago")])
    def test_a_clock_that_is_off_is_said_and_not_believed(self, up: Fleet, ahead_s: float, words: str) -> None:
        up.collective.clock.advance(1)
        stop = {"state": "stop", "version": "", "interval_s": INTERVAL_S}
        up.send(up.event("web1", sent_at=up.collective.clock() + ahead_s, data=stop))
        (web1,) = up.ask(from_options(identities=["web1"])).nodes
        assert web1.state == "present"
        assert words in web1.problem
        assert "NTP" in web1.problem
        # And it is no longer said when the node registers with a right clock
        up.register(up.collective.nodes[0])
        until(lambda: not up.ask(from_options(identities=["web1"])).nodes[0].problem)

    @pytest.mark.parametrize("sent_at", ["nan", "-inf", "1e999"])
    def test_a_time_that_is_none_is_not_believed(self, up: Fleet, sent_at: str) -> None:
        packet = up.event("web1")
        body = packet.body.replace(str(up.collective.clock()).encode(), sent_at.encode())
        security = for_node("web1", up.collective._seeds["web1"], {})
        assert body != packet.body
        up.send(dataclasses.replace(packet, body=body, signature=security.sign(body)))
        assert up.states()["web1"] == "present"

    def test_an_event_under_another_key_or_of_another_collective_is_none(self, up: Fleet) -> None:
        up.collective.clock.advance(1)
        stop = up.event("web1", data={"state": "stop", "version": "", "interval_s": INTERVAL_S})
        up.send(
            dataclasses.replace(stop, key="registration.web1"),
            dataclasses.replace(stop, key="presence.db1"),
            up.event("web1", collective="dmz", data={"state": "stop"}),
        )
        assert up.states()["web1"] == "present"

    def test_a_hundred_thousand_strangers_are_nobody(self, up: Fleet, caplog: pytest.LogCaptureFixture) -> None:
        assert up.registry is not None
        packet = up.event("web1")
        up.send(*(dataclasses.replace(packet, signer=f"n{n}", key=f"presence.n{n}") for n in range(100_000)))
        assert up.states() == {"db1": "present", "web1": "present"}
        assert up.registry.intake.problems() == {}
        assert up.registry.intake.counters()["rejected"] == 100_000
        assert len(caplog.records) < 10_000

    def test_ten_megabytes_of_facts_are_not_read_and_a_megabyte_is_not_kept(self, up: Fleet) -> None:
        up.collective.clock.advance(1)
        up.send(up.event("web1", "registration", data={"facts": {"big": "x" * 10_000_000}}))
        assert up.states(facts=["country=de"]) == {"web1": "present"}  # what it said before is still known
        up.send(up.event("web1", "registration", data={"classes": ["web"], "facts": {"big": "x" * 500_000}}))
        (web1,) = up.ask(from_options(identities=["web1"], facts=["country=es"], classes=["web"])).nodes
        assert not web1.is_sure
        assert "at most 262144 are kept (max_node_bytes): without its facts" in web1.problem

    def test_classes_and_agents_without_end_are_left_out_too(self, up: Fleet) -> None:
        up.collective.clock.advance(1)
        data = {"classes": [f"c{n}" for n in range(30_000)], "agents": {f"a{n}": {} for n in range(30_000)}}
        up.send(up.event("web1", "registration", data=data))
        (web1,) = up.ask(from_options(identities=["web1"])).nodes
        assert "without its agents, classes, facts" in web1.problem

    @pytest.mark.parametrize(
        "data",
        [
            {"classes": "web"},
            {"classes": [1]},
            {"classes": ["a\0b"]},
            {"classes": ["x" * 300]},
            {"classes": [""]},
            {"agents": ["rpcutil"]},
            {"agents": {"a\0": {}}},
            {"facts": []},
            {"incomplete": ["everything"]},
            {"version": 7},
            {"version": "x" * 100},
            {"interval_s": "soon"},
        ],
    )
    def test_a_registration_that_is_none_is_a_problem_of_its_node(self, up: Fleet, data: dict[str, Any]) -> None:
        up.collective.clock.advance(1)
        up.send(up.event("web1", "registration", data=data))
        (web1,) = up.ask(from_options(identities=["web1"], facts=["country=de"])).nodes
        assert "not a registration" in web1.problem
        assert web1.is_sure

    @pytest.mark.parametrize("data", [{}, {"state": "gone"}, {"state": ["stop"]}, {"state": None}])
    def test_a_presence_of_no_known_state_changes_nothing(self, up: Fleet, data: dict[str, Any]) -> None:
        up.collective.clock.advance(1)
        up.send(up.event("web1", data=data))
        assert up.states()["web1"] == "present"

    @pytest.mark.parametrize("interval_s", [0, -1, 1e-9, 1e300, "x", None, [], True])
    def test_an_interval_that_cannot_be_is_the_usual_one(self, up: Fleet, interval_s: Any) -> None:
        up.collective.clock.advance(1)
        up.send(up.event("web1", data={"state": "start", "interval_s": interval_s}))
        up.collective.clock.advance(OVERDUE_S - 5)
        assert up.states()["web1"] == "present"
        up.collective.clock.advance(10)
        assert up.states()["web1"] == "silent"

    def test_names_and_facts_are_never_sql(self, up: Fleet) -> None:
        evil = "'; DROP TABLE mco_registry_nodes; --"
        up.collective.clock.advance(1)
        up.send(up.event("web1", "registration", data={"classes": [evil], "facts": {evil: evil}}))
        assert up.states(classes=[evil]) == {"web1": "present"}
        assert up.states() == {"db1": "present", "web1": "present"}

    def test_more_nodes_than_there_is_room_for_are_refused_and_named(self, fleet: Fleet) -> None:
        fleet.start(max_nodes=2)
        for name in ("a", "b", "c"):
            fleet.trusted_nodes[name] = keys.public_of(fleet.own)
            fleet.send(fleet.event(name, seed=fleet.own))
        assert fleet.states() == {"a": "present", "b": "present"}
        assert fleet.registry is not None
        assert "2 nodes are kept already (max_nodes)" in fleet.registry.intake.problems()["c"]

    def test_a_caller_whom_nobody_trusts_learns_nothing(self, up: Fleet) -> None:
        stranger = Connection(
            ClientSettings(connector="memory", caller="mallory"),
            connector=up.collective.broker.connector,
            security=for_caller("mallory", keys.new_seed(), up.trusted_nodes),
            clock=up.collective.clock,
        )
        with stranger, pytest.raises(DiscoveryError, match="no answer within"):
            ask(stranger, Filter(), 0.3)


class TestDiscovery:
    def test_the_registry_names_the_silent_ones_too(self, up: Fleet) -> None:
        up.collective.clock.advance(OVERDUE_S)
        found = up.find(facts=["country=de"], agent="rpcutil")
        assert (found.nodes, dict(found.absent), found.source) == (("web1",), {}, "registry registry")
        assert found.schemas.keys() == {"web1"}
        assert len(found.schemas["web1"]) == DIGEST_LENGTH

    def test_who_was_stopped_is_not_expected_unless_he_is_named(self, up: Fleet) -> None:
        up.collective.nodes[0].stop()
        up.await_states(db1="present", web1="stopped")
        assert up.find(classes=["eu"]).nodes == ("db1",)
        found = up.find(identities=["web1", "db1", "web7"])
        assert found.nodes == ("db1",)
        assert dict(found.absent) == {
            "web1": "registry registry says that it was stopped",
            "web7": "registry registry knows no such node for this filter",
        }

    def test_of_whom_it_is_not_sure_he_is_asked_himself(self, up: Fleet) -> None:
        up.node("web2", facts={"secret": "x"}, registration_facts=False)
        up.node("web3", facts={"secret": "y"}, registration_facts=False)
        up.await_states(db1="present", web1="present", web2="present", web3="present")
        until(lambda: len(up.ask(from_options(agents=["rpcutil"], facts=["secret=x"])).nodes) == 2)
        found = up.find(facts=["secret=x"])
        assert (found.nodes, dict(found.absent)) == (("web2",), {})
        # And if he cannot be asked, that is said
        up.collective.nodes[-2]._connector.close()
        found = up.find(facts=["secret=x"])
        assert found.nodes == ()
        assert dict(found.absent) == {"web2": "offline"}

    def test_a_client_uses_it_by_its_settings(self, up: Fleet) -> None:
        client = RpcClient("rpcutil", up.connection(discovery="registry"))
        client.class_filter("web")
        assert client.discover() == ["web1"]
        (result,) = client.call("get_fact", fact="country")
        assert result.data["value"] == "de"


class TestBadRegistries:
    def test_one_that_is_not_there_is_named(self, fleet: Fleet) -> None:
        with pytest.raises(DiscoveryError, match=r"registry 'registry': nobody of this name is connected .* serve"):
            fleet.ask()

    def test_one_of_another_name_is_asked_if_the_settings_say_so(self, up: Fleet) -> None:
        with pytest.raises(DiscoveryError, match="registry 'reg2': nobody of this name"):
            ask(up.connection(registry="reg2"), Filter(), WAIT_S)

    def test_a_node_that_is_no_registry_says_so(self, up: Fleet) -> None:
        with pytest.raises(DiscoveryError, match="registry 'web1': unknown action: this node offers no agent"):
            ask(up.connection(registry="web1"), Filter(), WAIT_S)

    def test_one_whom_we_do_not_trust_is_not_believed(self, up: Fleet) -> None:
        del up.trusted_nodes["registry"]
        with pytest.raises(DiscoveryError, match="registry 'registry': its answer was not believed: unknown key"):
            ask(up.connection(), Filter(), 0.5)

    @pytest.mark.parametrize(
        "answer",
        [
            {"nodes": [{"identity": "web1"}], "next": "", "now": 1.0, "listening_since": 1.0},
            {"nodes": [{"identity": "a", "state": "dead", "last_seen": 1.0}], "next": ""},
            {"nodes": [{"identity": "\x1b[2J", "state": "silent", "last_seen": 1.0}], "next": ""},
            {"nodes": [{"identity": "a b", "state": "silent", "last_seen": 1.0}], "next": ""},
            {"nodes": [{"identity": n, "state": "silent", "last_seen": 1.0} for n in ("b", "a")], "next": ""},
            {"nodes": [{"identity": "a", "state": "silent", "last_seen": 1.0}] * 2, "next": ""},
            {"nodes": [{"identity": "b", "state": "silent", "last_seen": 1.0}], "next": "a"},
            {"nodes": [], "next": "\x1b[2J"},
            {"nodes": None, "next": ""},
            {"nodes": [{"identity": f"n{n:04}", "state": "silent", "last_seen": 1.0} for n in range(5001)], "next": ""},
        ],
    )
    def test_one_that_talks_nonsense_is_not_believed(self, fleet: Fleet, answer: dict[str, Any]) -> None:
        class Liar(Agent):
            """Say what the test says."""

            name = "registry"

            @action(
                "Lie",
                inputs={"filter": Input("any", "it"), "limit": Input("any", "it")},
                outputs={name: Output("any", "it") for name in ("nodes", "next", "now", "listening_since")},
            )
            def nodes(self, **_: Any) -> dict[str, Any]:
                return {"now": 1.0, "listening_since": 1.0, **answer}

        fleet.pose_as_registry(Liar)
        with pytest.raises(DiscoveryError, match="registry 'registry': its answer makes no sense") as refused:
            fleet.ask()
        assert str(refused.value).isprintable()

    def test_one_that_never_comes_to_an_end_is_given_up(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mco_client.discovery.registry.MAX_PAGES", 20)

        class Endless(Agent):
            """Always know one node more."""

            name = "registry"

            @action(
                "Go on",
                inputs={name: Input("any", "it", optional=True) for name in ("filter", "limit", "after")},
                outputs={name: Output("any", "it") for name in ("nodes", "next", "now", "listening_since")},
            )
            def nodes(self, after: str = "a", **_: Any) -> dict[str, Any]:
                row = {"identity": f"{after}a", "state": "present", "last_seen": 1.0}
                return {"nodes": [row], "next": f"{after}a", "now": 1.0, "listening_since": 1.0}

        fleet.pose_as_registry(Endless)
        with pytest.raises(DiscoveryError, match="more than 20 pages"):
            fleet.ask()

    def test_one_whose_database_is_broken_says_so(self, up: Fleet) -> None:
        for file in up.folder.glob("registry.sqlite*"):
            file.unlink()
        (up.folder / "registry.sqlite").write_bytes(b"garbage" * 1000)
        with pytest.raises(DiscoveryError, match=r"registry 'registry': aborted: database sqlite.*not a database"):
            up.ask()

    def test_one_that_cannot_write_says_so_and_calls_nobody_silent(self, up: Fleet) -> None:
        # Given a registry whose database nobody can write any more
        assert up.registry is not None
        keep = up.registry.store.keep

        def refuse(*_: Any) -> list[str]:
            from mco_registry.errors import StoreError

            raise StoreError("database x: read-only")

        up.registry.store.keep = refuse  # type: ignore[method-assign]
        up.collective.clock.advance(60)
        up.collective.nodes[0]._registration.connected()
        until(lambda: up.registry is not None and up.registry.writer.failing_since is not None)
        up.collective.clock.advance(OVERDUE_S * 2)
        # Then it tells what it knew, and that it knows no more
        answer = up.ask()
        assert [node.state for node in answer.nodes] == ["present", "present"]
        (warning,) = answer.warnings
        assert "could not write what nodes say" in warning
        assert "read-only" in warning
        # When it can write again, then nothing was lost
        up.registry.store.keep = keep  # type: ignore[method-assign]
        until(lambda: up.registry is not None and up.registry.writer.failing_since is None)
        assert up.ask().warnings == ()


class TestCommand:
    def test_it_lists_who_is_there_and_since_when_others_are_not(self, up: Fleet, mco: Cli) -> None:
        up.collective.nodes[0].stop()
        up.await_states(db1="present", web1="stopped")
        up.collective.clock.advance(OVERDUE_S)
        done = mco("nodes")
        assert done.status == 2
        db1, web1 = (line.split() for line in done.out.splitlines()[2:4])
        assert db1[:3] == ["db1", "silent", "since"]
        assert web1[:3] == ["web1", "stopped", "since"]
        assert "7 min ago" in done.out
        assert done.out.splitlines()[-1] == "1 stopped, 1 silent"
        assert mco("nodes -I web1").status == 0
        assert mco("nodes --silent").out.count("silent since") == 1
        assert "web1" not in mco("nodes --silent").out

    def test_all_present_is_fine(self, mco: Cli) -> None:
        done = mco("nodes -C eu")
        assert (done.status, done.err) == (0, "")
        assert [line.split()[:2] for line in done.out.splitlines()[2:4]] == [["db1", "present"], ["web1", "present"]]
        assert mco("nodes --silent").out == "2 present\n"

    def test_json_has_all_of_it(self, up: Fleet, mco: Cli) -> None:
        done = mco("nodes -j -F country=de")
        told = json.loads(done.out)
        (web1,) = told["nodes"]
        assert (web1["identity"], web1["state"], web1["is_sure"], web1["problem"]) == ("web1", "present", True, None)
        assert (told["registry"], told["warnings"]) == ("registry", [])
        assert told["now"] == up.collective.clock()

    def test_a_list_of_who_should_be_there_shows_missing_and_unknown_ones(self, up: Fleet, mco: Cli) -> None:
        hosts = up.folder / "hosts.txt"
        hosts.write_text("web1\nweb2  # new\nweb10\n")
        done = mco(f"nodes --expected {hosts}")
        assert done.status == 2
        rows = [line.split()[:2] for line in done.out.splitlines()[2:6]]
        assert rows == [["db1", "present"], ["web1", "present"], ["web2", "missing"], ["web10", "missing"]]
        assert "it never registered" in done.out
        assert f"not in {hosts}: db1" in done.err
        assert done.out.splitlines()[-1] == "2 present, 2 missing"
        assert "db1" not in mco(f"nodes --silent --expected {hosts}").out
        told = json.loads(mco(f"nodes -j --expected {hosts}").out)["nodes"]
        assert [(row["identity"], row["is_on_list"]) for row in told][:2] == [("db1", False), ("web1", True)]
        assert {row["is_on_list"] for row in json.loads(mco("nodes -j").out)["nodes"]} == {None}
        hosts.write_text("web1\ndb1\n")
        assert mco(f"nodes --expected {hosts}").status == 0
        up.collective.nodes[0].stop()
        up.await_states(db1="present", web1="stopped")
        assert mco(f"nodes --expected {hosts}").status == 2
        assert mco("nodes").status == 0

    def test_the_list_may_be_an_inventory(self, up: Fleet, mco: Cli) -> None:
        file = up.folder / "hosts.yaml"
        file.write_text("groups:\n  web:\n    hosts: [web1, web3]\n")
        done = mco(f"nodes --expected {file}")
        assert done.status == 2
        assert [line.split()[:2] for line in done.out.splitlines()[2:5]] == [
            ["db1", "present"], ["web1", "present"], ["web3", "missing"],
        ]  # fmt: skip

    def test_a_list_that_cannot_say_for_whom_a_filter_is_is_refused(self, up: Fleet, mco: Cli) -> None:
        (up.folder / "hosts.txt").write_text("web1\n")
        done = mco(f"nodes --expected {up.folder}/hosts.txt -F country=de")
        assert done.status == 1
        assert "it does not say for whom the filter fact country=de is" in done.err
        assert mco(f"nodes --expected {up.folder}/hosts.txt -I web1").status == 0
        assert "no-such-file" in mco("nodes --expected no-such-file").err

    def test_after_a_restart_it_says_since_when_the_registry_listens(self, up: Fleet, mco: Cli) -> None:
        up.stop()
        up.collective.clock.advance(OVERDUE_S)
        up.start()
        up.collective.clock.advance(70)
        done = mco("nodes")
        assert done.status == 0
        assert "2 expected" in done.out
        assert "listens again for 1 min, and has not heard of 2 nodes since" in done.err

    def test_nobody_known_is_an_error(self, mco: Cli) -> None:
        done = mco("nodes -C nothing")
        assert (done.status, done.out) == (1, "")
        assert "knows no node for the filter: class=nothing" in done.err

    def test_a_registry_that_is_not_there_is_an_error(self, up: Fleet, mco: Cli) -> None:
        up.stop()
        done = mco("nodes")
        assert (done.status, done.out) == (1, "")
        assert "mco: registry 'registry': nobody of this name is connected" in done.err

    def test_nothing_that_a_node_says_commands_the_terminal(self, up: Fleet, mco: Cli) -> None:
        up.collective.clock.advance(1)
        evil = "1\x1b[2J\u202e\n"
        up.send(up.event("web1", data={"state": "start", "version": evil, "interval_s": INTERVAL_S}))
        up.send(up.event("db1", "registration", data={"classes": "\x1b]0;evil\x07", "version": evil}))
        for line in ("nodes", "nodes -j", "nodes --silent"):
            done = mco(line)
            assert "\x1b" not in done.out + done.err
            assert "\u202e" not in done.out + done.err
        assert "1\\x1b[2J" in mco("nodes").out

    def test_it_says_who_can_tell_what_the_registry_cannot(self, up: Fleet, mco: Cli) -> None:
        done = mco("nodes -S \"process('x').running=true\"")
        assert done.out.count("only the node itself can tell") == 2


def test_examples_of_the_help_work(up: Fleet, mco: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(up.folder)
    (up.folder / "hosts.txt").write_text("web1\ndb1\n")
    lines = re.findall(r"^ {4}mco (nodes.*?)(?: {2,}.*)?$", mco("nodes --help").out, re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        ran = mco(line)
        assert (ran.status, ran.err) == (0, ""), line
        assert ran.out


def test_the_registry_says_nothing_of_itself(up: Fleet) -> None:
    assert up.registry is not None
    up.send(up.event("registry", seed=up.own))
    assert "registry" not in up.states()


def test_no_broadcast_finds_the_registry_and_by_its_name_it_can_be_asked(up: Fleet, mco: Cli) -> None:
    assert mco("find", discovery_window_s=0.2).out.split() == ["db1", "web1"]
    assert "registry" not in mco("ping", discovery_window_s=0.2).out
    told = mco("rpc registry stats -I registry --np")
    assert told.status == 0, told
    assert "Finished processing 1 / 1 hosts" in told.out
    assert "Inventory of registry" in mco("inventory registry").out
    shown = mco("rpc registry show identity=web1 -I registry -j")
    assert "country" in shown.out
    assert mco("rpc registry forget identity=web1 -I registry").status == 0
    up.await_states(db1="present")


def test_what_is_asked_of_the_registry_is_recorded(up: Fleet) -> None:
    assert up.registry is not None
    up.ask()
    audit = up.registry.node._audit
    assert isinstance(audit, MemoryAudit)
    assert {(entry["agent"], entry["action"], entry["caller"]) for entry in audit.entries} == {
        ("registry", "nodes", "key=operator")
    }


def test_an_action_that_aborts_is_told(fleet: Fleet) -> None:
    class Tired(Agent):
        """Refuse."""

        name = "registry"

        @action("Refuse", inputs={"filter": Input("any", "it"), "limit": Input("any", "it")})
        def nodes(self, **_: Any) -> dict[str, Any]:
            raise ActionAborted("not\x1b[2J today")

    fleet.pose_as_registry(Tired)
    with pytest.raises(DiscoveryError, match=r"registry 'registry': aborted: not\\x1b\[2J today"):
        fleet.ask()


def test_settings_of_a_registry_are_checked() -> None:
    with pytest.raises(Exception, match="max_nodes"):
        msgspec.convert({"max_nodes": 0}, RegistrySettings).check()
