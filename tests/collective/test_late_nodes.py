# SPDX-License-Identifier: Apache-2.0
"""A node that answers the discovery too late is found, or named: never dropped without a word, whoever knew of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_client.bdd.fleet import Fleet
from mco_client.bdd.session import Options, Session
from mco_client.core import finish
from mco_client.discovery import Discovered, Query
from mco_client.discovery.broadcast import BroadcastDiscovery
from mco_client.discovery.known import KnownDiscovery
from mco_client.discovery.source import make
from mco_client.rpc import RpcClient
from mco_rpc.errors import DiscoveryError, ExpectationFailed
from mco_rpc.filters import Filter, from_options
from tests.collective.calls import LONG_S, SHORT_S, Scripted, World, came, spin, until, world_of

pytestmark = pytest.mark.timeout(60)

MATCHES = {"pong": 1.0, "schema": "x", "matches": True}


@pytest.fixture
def world() -> Iterator[World]:
    yield from world_of("web1", "web2", "late")


class Late:
    """A node that answers the discovery when the test says so, and all else at once."""

    def __init__(self, world: World) -> None:
        self.node = world.scripted("late", self._answer)

    def _answer(self, node: Scripted, request: Any) -> None:
        if request.agent != "discovery":
            node.reply(request, data={"pong": 1.0})

    def answer(self, **fields: Any) -> None:
        """Answer the discovery now."""
        self.node.reply(self.node.asked(), **{"data": MATCHES, **fields})


class TestBroadcast:
    def client(self, world: World) -> RpcClient:
        return RpcClient("rpcutil", world.connection())

    def test_who_answers_between_discovery_and_call_is_named_with_how_late_it_was(self, world: World) -> None:
        late, client = Late(world), self.client(world)
        # Given a discovery that ended before the last node answered
        assert client.discover() == ["web1", "web2"]
        came(client, late.answer)
        # When the others are asked
        results = client.ping()
        # Then the late one was not asked, that is known, and it is no pass for the fleet
        with pytest.raises(ExpectationFailed, match=r"answered the discovery too late, and not asked: late \(\d"):
            results.require_ok()
        assert [r.action for r in late.node.requests] == ["ping"]
        assert results.expected == ("web1", "web2")
        assert list(client.stats.late) == ["late"]
        assert client.stats.late["late"] > client.connection.settings.discovery_window_s

    def test_who_answers_while_the_call_runs_is_named_too(self, world: World) -> None:
        late, client = Late(world), self.client(world)
        client.discover()
        answered = client.stream("ping")
        next(answered)
        late.answer()
        spin_late(client)
        assert len(list(answered)) == 1
        assert list(client.stats.late) == ["late"]

    def test_it_is_named_in_every_call_until_it_is_found(self, world: World) -> None:
        late, client = Late(world), self.client(world)
        client.discover()
        came(client, late.answer)
        client.ping()
        client.ping()
        assert list(client.stats.late) == ["late"]
        # And once it is found in time, it is late no more
        late.node.script = lambda node, request: node.reply(
            request, data=MATCHES if request.agent == "discovery" else {"pong": 1.0}
        )
        assert sorted(client.discover()) == ["late", "web1", "web2"]
        assert len(client.ping().require_ok()) == 3
        assert client.stats.late == {}

    def test_who_answers_within_the_window_is_found(self) -> None:
        for world in world_of("web1", "late", discovery_window_s=LONG_S):
            self.found_within_the_window(world)

    def found_within_the_window(self, world: World) -> None:
        # Given a discovery that waits for a second node
        late = world.scripted("late")
        found: list[str] = []
        client = self.client(world)
        thread = threading.Thread(target=lambda: found.extend(client.discover(limit=2)))
        thread.start()
        # When it answers at last
        late.reply(late.asked(), data=MATCHES)
        thread.join(LONG_S)
        assert found == ["late", "web1"]

    @pytest.mark.parametrize("lie", ["forged", "another id"])
    def test_a_late_answer_that_cannot_be_believed_is_none(self, world: World, lie: str) -> None:
        late, client = Late(world), self.client(world)
        client.discover()
        request = late.node.asked()
        fields: dict[str, Any] = {"id": "0" * 32} if lie == "another id" else {"sender": "web1"}
        came(client, lambda: late.node.reply(request, **fields))
        client.ping()
        assert client.stats.late == {}

    def test_changing_a_filter_cares_no_more_for_late_answers(self, world: World) -> None:
        Late(world)
        client = self.client(world)
        client.discover()
        assert len(client.connection._inboxes) == 1
        client.agent_filter("iptables")
        assert client.connection._inboxes == {}

    def test_a_client_that_nobody_holds_any_more_leaves_nothing_behind(self, world: World) -> None:
        Late(world)
        connection = world.connection()
        for _ in range(5):
            RpcClient("rpcutil", connection).discover()
        assert len(connection._inboxes) == 0


class TestNamed:
    """Nodes that the filter names, or a source of names knows."""

    @pytest.fixture(params=["filter", "flatfile", "inventory", "external"])
    def known(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[World], RpcClient]:
        kind: str = request.param

        def client(world: World) -> RpcClient:
            connection = world.connection()
            discovery: Any = BroadcastDiscovery(connection)
            if kind != "filter":
                discovery = KnownDiscovery(connection, make(kind, self.options(kind, tmp_path), connection.settings))
            made = RpcClient("rpcutil", connection, discovery=discovery, discovery_timeout_s=SHORT_S)
            if kind == "filter":
                for name in ("web1", "web2", "late"):
                    made.identity_filter(name)
            else:
                made.fact_filter("country", "de")  # what no file knows: the nodes are asked
            return made

        return client

    def options(self, kind: str, folder: Path) -> list[str]:
        file = folder / "names"
        if kind == "inventory":
            file = folder / "inventory.yaml"
            file.write_text("hosts:\n  web1:\n  web2:\n  late:\n")
        elif kind == "external":
            file.write_text('#!/bin/sh\ncat > /dev/null\necho \'{"nodes": ["web1", "web2", "late"], "serves": []}\'\n')
            file.chmod(0o755)
        else:
            file.write_text("web1\nweb2\nlate\n")
        return [str(file)]

    def test_who_is_late_is_absent_with_a_reason_and_then_late(
        self, world: World, known: Callable[[World], RpcClient]
    ) -> None:
        late, client = Late(world), known(world)
        assert client.discover() == ["web1", "web2"]
        assert list(client.absent) == ["late"]
        assert client.absent["late"].startswith(f"silent for {SHORT_S:g} s, though named by ")
        with pytest.raises(DiscoveryError, match="expected, and not found: late "):
            client.require_discovered()
        came(client, late.answer)
        # Then a call to the others is no pass for the fleet, and says that it was only late
        results = client.ping()
        assert sorted(r.sender for r in results) == ["web1", "web2"]
        with pytest.raises(ExpectationFailed, match="expected, and not found, 1 of 3: late "):
            results.require_ok()
        assert (list(client.stats.late), list(client.stats.absent)) == (["late"], ["late"])
        assert "late" in results.expected

    def test_who_answers_within_the_time_is_waited_for(self, world: World, known: Callable[[World], RpcClient]) -> None:
        # Given a time that is long, and a window that is short: only the answers of all end the wait
        late, client = Late(world), known(world)
        client.discovery_timeout_s = LONG_S

        def slowly(node: Scripted, request: Any) -> None:
            if request.agent == "discovery":
                until(SHORT_S)
            node.reply(request, data=MATCHES if request.agent == "discovery" else {"pong": 1.0})

        late.node.script = slowly
        assert sorted(client.discover()) == ["late", "web1", "web2"]
        assert client.ping().require_ok().stats.late == {}  # type: ignore[union-attr]

    def test_who_is_not_there_at_all_is_absent_at_once(self, world: World, known: Callable[[World], RpcClient]) -> None:
        world.fleet.stop("late")
        client = known(world)
        client.discovery_timeout_s = LONG_S
        assert client.discover() == ["web1", "web2"]
        assert client.absent == {"late": "offline"}


class TestUndecided:
    def test_a_source_that_decides_all_asks_nobody_and_the_call_names_who_is_silent(
        self, world: World, tmp_path: Path
    ) -> None:
        late = Late(world)
        late.node.script = None
        (tmp_path / "names").write_text("web1\nlate\n")
        connection = world.connection()
        source = make("flatfile", [str(tmp_path / "names")], connection.settings)
        client = RpcClient("rpcutil", connection, discovery=KnownDiscovery(connection, source), timeout_s=SHORT_S)
        assert client.discover() == ["web1", "late"]
        assert late.node.requests == []
        assert client.ping().silent == ["late"]

    def test_a_source_can_be_told_to_have_the_nodes_answer(self, world: World, tmp_path: Path) -> None:
        Late(world)
        (tmp_path / "names").write_text("web1\nlate\n")
        connection = world.connection()
        source = make("flatfile", [str(tmp_path / "names")], connection.settings)
        core = KnownDiscovery(connection, source).core(Query(timeout_s=SHORT_S, must_answer=True))
        found: Discovered = finish(core)
        assert (found.nodes, list(found.absent)) == (("web1",), ["late"])

    def test_one_that_says_no_is_not_absent(self, world: World) -> None:
        late = Late(world)
        late.node.script = lambda node, request: node.reply(request, data={**MATCHES, "matches": False})
        client = RpcClient("rpcutil", world.connection())
        client.identity_filter("web1")
        client.identity_filter("late")
        client.add_filter(from_options(facts=["nosuch=1"]))
        assert (client.discover(), client.absent) == ([], {})

    def test_nothing_of_a_discovery_that_nobody_keeps_open_is_left(self, world: World) -> None:
        Late(world)
        connection = world.connection()
        BroadcastDiscovery(connection).discover(Filter(), None, SHORT_S)
        assert connection._inboxes == {}


def spin_late(client: RpcClient) -> None:
    """Wait until the late answer has come."""
    assert client._found is not None
    asking = client._found.asking
    assert asking is not None
    spin(lambda: asking._inbox._arrivals.qsize() > 0)


class TestFeature:
    def test_who_answers_a_feature_s_discovery_too_late_keeps_its_steps_from_passing(self, world: World) -> None:
        # Given a feature that found two nodes, and a third that answers afterwards
        late = Late(world)
        with Session(Options(discovery_timeout_s=LONG_S), world.connection()) as session:
            fleet = Fleet(session)
            assert fleet.discover() == ("web1", "web2")
            late.answer()
            asking = fleet._found.asking if fleet._found else None
            assert asking is not None
            spin(lambda: asking._inbox._arrivals.qsize() > 0)
            # Then what the two say is no verdict about all
            with pytest.raises(ExpectationFailed, match="answered the discovery too late, and not asked: late "):
                fleet.call("rpcutil", "ping").require_ok()
