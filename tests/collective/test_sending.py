# SPDX-License-Identifier: Apache-2.0
"""Requests nobody waits for, answers that go to somebody else of the same caller, and collectives within the fleet."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mco_client.connection import Connection
from mco_client.receiving import Received, Receiver
from mco_client.rpc import RpcClient
from mco_lab.memory import CALLER
from mco_node.daemon import Node
from mco_rpc.config import ClientSettings
from mco_rpc.errors import (
    BrokerUnreachable,
    ConfigError,
    DiscoveryError,
    IdentityTaken,
    MessageError,
    TooManyNodes,
)
from mco_rpc.messages import Reply
from mco_rpc.status import Status
from tests.collective.calls import LONG_S, SHORT_S, World, answers, spin, world_of
from tests.collective.conftest import Caller, Collective

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def world() -> Iterator[World]:
    yield from world_of("web1", "web2", "web3")


class TestSend:
    def test_everybody_whom_the_filter_matches_gets_it_and_nobody_answers(self, world: World) -> None:
        # Given a client that has not looked for nodes
        client = RpcClient("worker", world.connection())
        client.identity_filter("/web[12]/")
        got = watched(client)
        (request_id,) = client.send("flaky")
        # Then who matches does it
        spin(lambda: len(world.worker("web1").ran) + len(world.worker("web2").ran) == 2)
        # And nothing comes back: the answer to a later question is the first
        client.discover(nodes=["web1", "web2", "web3"])
        assert {result.data["ran"] for result in client.flaky().require_ok()} == {1, 2}
        assert len(got) == 3
        assert world.worker("web3").ran == ["flaky"]
        # And the nodes have a record under its id
        assert [e["outcome"] for e in world.fleet.audits["web1"].entries if e["request"] == request_id] == ["ok"]
        assert len(client.connection._inboxes) == 0

    def test_nodes_that_were_discovered_are_asked_by_name(self, world: World) -> None:
        nodes = {name: world.scripted(name) for name in ("web1", "web2")}
        client = world.client("web1", "web2", limit=1)
        ids = client.send("flaky")
        request = nodes["web1"].asked()
        assert (request.targets, request.reply_to, ids) == (("web1",), None, (request.id,))
        assert nodes["web2"].requests == []

    def test_it_says_what_it_wants(self, world: World) -> None:
        node = world.scripted("web1")
        client = world.client("web1", noop=True, timeout_s=7.0)
        client.send("install", version="2.0")
        request = node.asked()
        assert (request.agent, request.action, request.data) == ("worker", "install", {"version": "2.0"})
        assert (request.noop, request.follow, request.ttl_s) == (True, False, 7.0)

    def test_a_limit_and_a_cap_hold_without_a_discovery_too(self, world: World) -> None:
        # Given clients that have not looked for nodes
        nodes = [world.scripted(name, discovered_by_all) for name in ("web1", "web2", "web3")]
        for options in ({"limit": 1}, {"limit": "34%"}):
            RpcClient("worker", world.connection()).using(**options).send("flaky")
        spin(lambda: sum(request.action == "flaky" for node in nodes for request in node.requests) == 2)
        with pytest.raises(TooManyNodes, match="3 nodes would be asked, and at most 2"):
            RpcClient("worker", world.connection()).using(max_nodes=2).send("flaky")
        with pytest.raises(TooManyNodes, match="3 of 3 nodes would be asked, and at most 50%"):
            RpcClient("worker", world.connection()).using(max_nodes="50%").send("flaky")
        world.client("web1").using(max_nodes=1).send("flaky")
        spin(lambda: len([r for r in nodes[0].requests if r.action == "flaky"]) >= 1)
        assert sum(request.action == "flaky" for node in nodes for request in node.requests) <= 3

    @pytest.mark.parametrize("options", [{"batch_size": 2}, {"waves": ("1", "100%")}, {"abort_on": 1}])
    def test_what_only_a_call_can_keep_is_refused(self, world: World, options: dict[str, Any]) -> None:
        node = world.scripted("web1")
        with pytest.raises(ConfigError, match="who waits for no answers sends to everybody at once"):
            world.client("web1", **options).send("flaky")
        assert node.requests == []

    def test_to_nobody_is_told(self, world: World) -> None:
        client = RpcClient("worker", world.connection())
        client.discover(nodes=[])
        with pytest.raises(DiscoveryError, match="no node with agent worker"):
            client.send("flaky")

    def test_what_cannot_be_sent_is_told(self, world: World) -> None:
        client = world.client("web1")
        with pytest.raises(MessageError):
            client.send("flaky", x=object())
        client.send("talk", count=0)
        attempt = client.connection.open()
        world.fleet.broker.stop()
        spin(lambda: attempt.reason is not None)
        with pytest.raises(BrokerUnreachable):
            client.send("flaky")

    def test_a_caller_whose_input_is_called_like_an_argument(self, world: World) -> None:
        node = world.scripted("web1", answers())
        world.client("web1").call("flaky", action="x", self="y", agent="z").require_ok()
        assert node.asked().data == {"action": "x", "self": "y", "agent": "z"}


class TestReplyTo:
    def test_another_connection_of_the_caller_gets_the_answers(self, world: World) -> None:
        # Given somebody who receives, and somebody else who asks
        asking = RpcClient("worker", world.connection())
        with Receiver(world.connection(), "jobs") as receiver:
            (request_id,) = asking.send("flaky", reply_to="jobs")
            received = take(receiver, 3)
        # Then all answers come to who receives, and say what they answer
        assert sorted(one.result.sender for one in received) == ["web1", "web2", "web3"]
        assert {(one.request_id, one.agent, one.action) for one in received} == {(request_id, "worker", "flaky")}
        assert {one.result.data["ran"] for one in received} == {1}
        assert all(one.result.is_ok and one.result.took_s >= 0 for one in received)

    def test_it_ends_when_nothing_has_come_for_a_while(self, world: World) -> None:
        with Receiver(world.connection(), "jobs") as receiver:
            assert list(receiver.receive(0.01)) == []
            RpcClient("worker", world.connection()).send("flaky", reply_to="jobs")
            assert len(list(receiver.receive(1.0))) == 3

    def test_several_requests_of_several_askers_come_to_one(self, world: World) -> None:
        with Receiver(world.connection(), "jobs") as receiver:
            ids = {RpcClient("worker", world.connection()).send("flaky", reply_to="jobs")[0] for _ in range(3)}
            assert {one.request_id for one in take(receiver, 9)} == ids

    def test_a_second_receiver_of_a_token_is_told(self, world: World) -> None:
        with Receiver(world.connection(), "jobs") as receiver:
            with pytest.raises(IdentityTaken) as told:
                Receiver(world.connection(), "jobs").__enter__()
            assert str(told.value) == (
                "reply_to: somebody else receives what is sent to 'jobs' of this caller, or did until a moment ago; "
                "take another token, or try again later"
            )
            # And the first one goes on
            RpcClient("worker", world.connection()).send("flaky", reply_to="jobs")
            assert len(take(receiver, 3)) == 3
        # And when it has left, somebody else may
        with Receiver(world.connection(), "jobs"), Receiver(world.connection(), "other"):
            pass

    @pytest.mark.parametrize("token", ["", "a.b", "a b", "#", "*", "ä", "x" * 129, "-x"])
    def test_a_token_that_is_none_is_refused(self, world: World, token: str) -> None:
        with pytest.raises(ConfigError, match=r"reply_to: .* cannot be used: letters, digits"):
            Receiver(world.connection(), token)
        with pytest.raises(ConfigError, match="reply_to: "):
            RpcClient("worker", world.connection()).send("flaky", reply_to=token)

    def test_a_connection_that_is_in_use_cannot_receive(self, world: World) -> None:
        # Given a connection that is known under another name: nothing would ever come
        connection = world.connection()
        RpcClient("worker", connection).discover()
        with pytest.raises(ConfigError, match="this connection is in use; who receives answers needs one of its own"):
            Receiver(connection, "jobs")
        fresh = world.connection()
        Receiver(fresh, "jobs")
        with pytest.raises(ConfigError, match="in use"):
            Receiver(fresh, "other")

    def test_what_cannot_be_believed_is_not_received_and_told(self, world: World) -> None:
        node = world.scripted("web1")
        with Receiver(world.connection(), "jobs") as receiver:
            world.client("web1").send("flaky", reply_to="jobs")
            request = node.asked()
            lie = Reply(**node.head(request))
            node.send(request, lie, by="web2")
            node.send(request, lie, by="stranger")
            node.send(request, lie, by="web2", signer="\x1b[2J")
            node.tell(request, 1, "no answer, and nothing wrong")
            node.reply(request, status=1, message="true")
            assert [one.result.message for one in take(receiver, 1)] == ["true"]
        assert len(receiver.unverified) == 3
        assert "signed by web2, but claims to be from 'web1'" in receiver.unverified[0]
        assert not any("\x1b" in told for told in receiver.unverified)

    def test_of_a_flood_that_cannot_be_believed_only_some_is_kept(self, world: World) -> None:
        node = world.scripted("web1")
        with Receiver(world.connection(), "jobs") as receiver:
            world.client("web1").send("flaky", reply_to="jobs")
            request = node.asked()
            lie = Reply(**node.head(request))
            for _ in range(150):
                node.send(request, lie, by="stranger")
            node.reply(request, status=0)
            take(receiver, 1)
        assert (len(receiver.unverified), receiver.unverified_more) == (100, 50)

    def test_a_connection_that_is_lost_is_told(self, world: World) -> None:
        with Receiver(world.connection(), "jobs") as receiver:
            world.fleet.broker.stop()
            with pytest.raises(BrokerUnreachable, match="the memory broker was stopped"):
                list(receiver.receive(LONG_S))

    def test_another_callers_key_is_refused_by_the_node(
        self, node: Node, collective: Collective, caller: Caller
    ) -> None:
        # Given a caller who wants the answers sent to somebody else
        victim = collective.caller("victim")
        request = caller.send(caller.request("faulty", "count", reply_to=victim.reply_key))
        # Then it is denied and recorded, nobody is answered, and nothing ran
        (record,) = collective.records(request)
        assert (record["status"], record["reason"]) == (
            Status.DENIED,
            "key=operator may not have replies sent to 'victim.test'",
        )
        assert caller.ask("faulty", "count").data == {"number": 1}
        assert victim.packets == []


class TestSubCollectives:
    @pytest.fixture
    def world(self) -> Iterator[World]:
        both, one = ["mcollective", "europe"], ["mcollective"]
        yield from world_of("web1", "web2", "web3", collectives={"web1": both, "web2": both, "web3": one})

    def client(self, world: World, collective: str, *nodes: str, **values: Any) -> RpcClient:
        given = world.connection()
        defaults: dict[str, Any] = {
            "connector": "memory", "caller": CALLER, "collective": collective, "discovery_window_s": 0.1,
            "discovery_timeout_s": 5.0, "timeout_s": LONG_S, **values,
        }  # fmt: skip
        connection = Connection(
            ClientSettings(**defaults), connector=world.fleet.broker.connector, security=given.security
        )
        world.fleet._connections.append(connection)
        client = RpcClient("worker", connection)
        if nodes:
            client.discover(nodes=nodes)
        return client

    def test_a_client_reaches_only_the_nodes_of_its_collective(self, world: World) -> None:
        assert self.client(world, "europe").discover() == ["web1", "web2"]
        assert len(self.client(world, "europe").flaky().require_ok()) == 2
        assert self.client(world, "mcollective").discover() == ["web1", "web2", "web3"]
        assert self.client(world, "asia").discover() == []

    def test_one_of_another_collective_is_not_there_by_name(self, world: World) -> None:
        results = self.client(world, "europe", "web1", "web3").flaky()
        assert ([r.sender for r in results], results.offline) == (["web1"], ("web3",))
        broadcast = self.client(world, "europe", "web1", "web3", direct_limit=0, timeout_s=SHORT_S).flaky()
        assert ([r.sender for r in broadcast], broadcast.missing) == (["web1"], ["web3"])
        assert world.worker("web3").ran == []

    def test_sent_requests_stay_in_it(self, world: World) -> None:
        self.client(world, "europe").send("flaky")
        spin(lambda: len(world.worker("web1").ran) + len(world.worker("web2").ran) == 2)
        assert self.client(world, "mcollective", "web3").flaky().require_ok()[0].data == {"ran": 1}

    def test_a_request_that_names_a_collective_the_node_is_not_in_is_denied(
        self, node: Node, collective: Collective, caller: Caller
    ) -> None:
        # Given a request that came by a way of ours and says that it is for others
        request = caller.send(caller.request("faulty", "count", collective="other"))
        (record,) = collective.records(request)
        assert (record["status"], record["reason"]) == (Status.DENIED, "this node is not in collective 'other'")
        # Then nothing ran, and no answer went where this node may not send
        assert caller.ask("faulty", "count").data == {"number": 1}
        assert len(caller.packets) == 1


def discovered_by_all(node: Any, request: Any) -> None:
    """Answer the discovery, and keep silent else."""
    if request.agent == "discovery":
        node.reply(request, data={"pong": 1.0, "schema": "x"})


def take(receiver: Receiver, count: int) -> list[Received]:
    """Return so many answers, waiting for them."""
    found: list[Received] = []
    for one in receiver.receive(LONG_S):
        found.append(one)
        if len(found) == count:
            break
    return found


def watched(client: RpcClient) -> list[str]:
    """Return the kinds of what comes in from now on, in a list that grows."""
    came: list[str] = []
    arrived = client.connection._arrived
    lock = threading.Lock()

    def watch(kind: str, request_id: str, what: Any) -> None:
        with lock:
            came.append(kind)
        arrived(kind, request_id, what)

    client.connection._arrived = watch  # type: ignore[method-assign]
    return came
