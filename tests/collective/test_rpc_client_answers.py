# SPDX-License-Identifier: Apache-2.0
"""Answers that a client must not believe, or must not wait for: forged, altered, replayed, late, or never given."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from mco_client import believing, outgoing
from mco_client import call as call_module
from mco_client.call import Call
from mco_client.connection import Connection, Incoming
from mco_client.discovery.broadcast import BroadcastDiscovery
from mco_client.rpc import RpcClient
from mco_lab.memory import CALLER, MemoryFleet
from mco_rpc import names
from mco_rpc.config import ClientSettings
from mco_rpc.connector import Packet, node_endpoint
from mco_rpc.errors import BrokerError, DiscoveryError, ExpectationFailed, MessageError
from mco_rpc.filters import Filter
from mco_rpc.messages import Reply, Request, decode_request, encode
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import Ed25519Security, for_node
from mco_rpc.status import Status

LONG_S = 60.0  # a test that waits for so long has failed
SILENT = "silent for 0.2 s, though named by the filter"
SHORT_S = 0.2  # a call that is to end without all its answers

pytestmark = pytest.mark.timeout(30)

Answer = Callable[["Node", Request], list[Packet]]


class Node:
    """A node of the test's own making: it answers what the test says."""

    def __init__(self, fleet: MemoryFleet, identity: str, answer: Answer) -> None:
        self.fleet, self.identity, self._answer = fleet, identity, answer
        self.requests: list[Request] = []
        self.connector = fleet.broker.connector()
        self.connector.open(node_endpoint(identity, ("mcollective",), ("rpcutil", "discovery")), self)

    def security(self, identity: str | None = None) -> Ed25519Security:
        """Return the security of a node of the fleet, or of one that nobody knows."""
        identity = identity or self.identity
        return for_node(identity, self.fleet._node_seeds.get(identity, keys.new_seed()), {})

    def reply(self, request: Request, *, by: str | None = None, **fields: Any) -> Packet:
        """Return a good reply, with ``fields`` in the place of its own, signed by ``by``."""
        where = {"collective": request.collective, "agent": request.agent, "action": request.action}
        values = {"id": request.id, "sender": self.identity, "sent_at": time.time(), **where, **fields}
        security = self.security(by)
        body = encode(Reply(**values))
        return Packet(
            exchange=names.exchange("mcollective", names.REPLY),
            key=request.reply_to or "",
            body=body,
            type="reply",
            message_id=request.id,
            correlation_id=request.id,
            signer=security.signer,
            signature=security.sign(body),
        )

    def on_packet(self, packet: Packet) -> None:
        request = decode_request(packet.body)
        self.requests.append(request)
        self.connector.publish(self._answer(self, request))

    def on_returned(self, packet: Packet) -> None: ...

    def on_connected(self) -> None: ...

    def on_disconnected(self, reason: BrokerError) -> None: ...


class Watched(Connection):
    """A connection that lets the test wait until something has come in."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.came = threading.Semaphore(0)

    def _arrived(self, kind: str, request_id: str, what: Incoming) -> None:
        super()._arrived(kind, request_id, what)
        self.came.release()


class World:
    """A good node, the client, and scripted nodes."""

    def __init__(self, fleet: MemoryFleet) -> None:
        self.fleet = fleet
        self.nodes: list[Node] = []
        given = fleet.connection()
        self.connection = Watched(given.settings, connector=fleet.broker.connector, security=given.security)
        self.client = RpcClient("rpcutil", self.connection)

    def node(self, answer: Answer, identity: str = "odd") -> Node:
        made = Node(self.fleet, identity, answer)
        self.nodes.append(made)
        return made

    def ask(self, *nodes: str, timeout_s: float = LONG_S) -> Any:
        self.client.timeout_s = timeout_s
        self.client.discover(nodes=nodes)
        return self.client.ping()

    def close(self) -> None:
        self.connection.close()
        for node in self.nodes:
            node.connector.close()


@pytest.fixture
def world() -> Iterator[World]:
    settings = ClientSettings(
        connector="memory", caller=CALLER, discovery_window_s=0.1, discovery_timeout_s=LONG_S, timeout_s=LONG_S
    )
    hosts: dict[str, dict[str, Any]] = {"good": {}, "odd": {}, "other": {}}
    with MemoryFleet(hosts, settings) as fleet:
        for scripted in ("odd", "other"):  # their keys are trusted, and the test speaks for them
            fleet.stop(scripted)
        made = World(fleet)
        yield made
        made.close()


def altered(packet: Packet) -> Packet:
    """Return a packet in which one byte of the body is another one."""
    return dataclasses.replace(packet, body=packet.body.replace(b'"status":0', b'"status":1').replace(b"yes", b"yep"))


UNBELIEVABLE: list[Any] = [
    pytest.param(
        lambda n, r: n.reply(r, by="other"), "other", "signed by other, but claims to be from 'odd'",
        id="signed by another node's key, openly",
    ),
    pytest.param(
        lambda n, r: dataclasses.replace(n.reply(r, by="other"), signer="odd"), "odd",
        "signature does not fit key 'odd': the message was altered or misattributed",
        id="signed by another node's key, in this one's name",
    ),
    pytest.param(
        lambda n, r: n.reply(r, by="stranger"), "stranger",
        "unknown key 'stranger': our set of trusted keys holds no 'stranger'", id="signed by an unknown key",
    ),
    pytest.param(
        lambda n, r: n.reply(r, by="stranger", sender="stranger"), "stranger", "unknown key 'stranger'",
        id="a node that nobody trusts",
    ),
    pytest.param(
        lambda n, r: altered(n.reply(r, message="yes")), "odd", "signature does not fit key 'odd'", id="altered",
    ),
    pytest.param(
        lambda n, r: dataclasses.replace(n.reply(r), signature=b""), "odd", "signature of 0 bytes, expected 64",
        id="unsigned",
    ),
    pytest.param(
        lambda n, r: dataclasses.replace(n.reply(r), signer="", signature=b""), "unknown", "unknown key ''",
        id="nameless",
    ),
    pytest.param(
        lambda n, r: n.reply(r, id="0" * 32), "odd", "a reply to another request", id="a reply to another request",
    ),
    pytest.param(
        lambda n, r: n.reply(r, agent="iptables"), "odd", "a reply of iptables#ping in mcollective to ",
        id="an answer of another agent",
    ),
    pytest.param(
        lambda n, r: n.reply(r, action="pong"), "odd", "#pong in mcollective to ", id="an answer of another action",
    ),
    pytest.param(
        lambda n, r: n.reply(r, collective="other"), "odd", "#ping in other to ", id="an answer of another collective",
    ),
    pytest.param(
        lambda n, r: dataclasses.replace(
            n.reply(r), body=b"[]", signature=n.security().sign(b"[]")
        ), "odd", "2 bytes that are not a reply", id="no reply at all",
    ),
    pytest.param(
        lambda n, r: dataclasses.replace(
            n.reply(r), body=(body := encode(r)), signature=n.security().sign(body)
        ), "odd", "bytes that are not a reply", id="our own request, signed",
    ),
    pytest.param(
        lambda n, r: n.reply(r, message="x" * 5000), "odd", "bytes; at most 4000 are read", id="too large",
    ),
]  # fmt: skip


class TestBelief:
    @pytest.fixture(autouse=True)
    def small_replies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(believing, "MAX_REPLY_BYTES", 4000)

    @pytest.mark.parametrize(("lie", "blamed", "why"), UNBELIEVABLE)
    def test_an_answer_that_cannot_be_believed_is_none(self, world: World, lie: Any, blamed: str, why: str) -> None:
        # Given a node whose answer is not what it claims to be
        world.node(lambda node, request: [lie(node, request)])
        # When it is asked together with a good one
        results = world.ask("good", "odd", timeout_s=SHORT_S)
        # Then only the good one answered, and who lied, and how, is known
        assert [result.sender for result in results] == ["good"]
        assert results.missing == ["odd"]
        assert list(results.unverified) == [blamed]
        assert why in results.unverified[blamed]
        assert world.client.stats.unverified == results.unverified
        # And that is never a pass
        with pytest.raises(ExpectationFailed) as told:
            results.require_ok()
        assert "no reply within 0.2 s from 1 of 2: odd; answered, but not believed: " in str(told.value)

    @pytest.mark.parametrize(("lie", "blamed", "why"), UNBELIEVABLE)
    def test_a_discovery_that_heard_it_is_not_complete(self, world: World, lie: Any, blamed: str, why: str) -> None:
        # Given a node that answers a discovery so, and may be one that the filter matches
        world.node(lambda node, request: [lie(node, request)])
        # Then the good one is found, and that somebody else is there is known
        assert world.client.discover() == ["good"]
        assert list(world.client.stats.unverified) == [blamed]
        with pytest.raises(DiscoveryError, match=f"answers to the discovery were not believed: {blamed} "):
            world.client.require_discovered()
        # And a call to those that were found is no pass for the fleet
        results = world.client.ping()
        assert [result.sender for result in results] == ["good"]
        with pytest.raises(ExpectationFailed, match=rf"rpcutil#ping: answered, but not believed: {blamed} \("):
            results.require_ok()

    def test_a_replayed_reply_of_an_earlier_request(self, world: World) -> None:
        # Given a node that gives the answer to the first request to the second, too
        first: list[Packet] = []

        def replay(node: Node, request: Request) -> list[Packet]:
            first.append(first[0] if first else node.reply(request, message="the first"))
            return [dataclasses.replace(first[-1], correlation_id=request.id)]

        world.node(replay)
        assert [result.message for result in world.ask("odd")] == ["the first"]
        # Then the second has no answer
        results = world.ask("odd", timeout_s=SHORT_S)
        assert results.unverified == {"odd": "a reply to another request"}
        assert results.missing == ["odd"]

    def test_a_true_answer_after_a_forged_one_counts(self, world: World) -> None:
        world.node(lambda node, request: [altered(node.reply(request)), node.reply(request)])
        results = world.ask("good", "odd").require_ok()
        assert results.unverified == {}

    def test_the_first_answer_of_a_node_is_the_one(self, world: World) -> None:
        # Given a node that answers twice, and says something else the second time
        world.node(
            lambda node, request: [
                node.reply(request, status=1, message="no"),
                node.reply(request, status=0),
                node.reply(request, by="other", sender="other"),
            ],
        )
        world.node(lambda node, request: [], "other")
        # When another one, whose answer comes after these and ends the call, is awaited too
        results = world.ask("odd", "other")
        # Then the first answer stands
        assert [(result.sender, result.status) for result in results] == [("odd", 1), ("other", 0)]

    def test_somebody_who_was_not_asked_is_unexpected_and_takes_no_part(self, world: World) -> None:
        # Given an answer of somebody else, before the one that is awaited
        world.node(lambda n, r: [n.reply(r, by="other", sender="other", data={"pong": 1.0}), n.reply(r)])
        results = world.ask("odd").require_ok()
        assert [result.sender for result in results] == ["odd"]
        assert [result.sender for result in results.unexpected] == ["other"]
        assert world.client.stats.unexpectedresponsefrom == ["other"]

    def test_a_status_that_this_version_does_not_know_is_a_failure(self, world: World) -> None:
        world.node(lambda node, request: [node.reply(request, status=99, message="later", data={"pong": 1.0})])
        results = world.ask("odd")
        assert (results.count(), results[0].status_text) == (0, "status 99")
        with pytest.raises(ExpectationFailed, match="odd: status 99: later"):
            results.require_ok()

    def test_a_discovery_that_a_node_refuses_is_not_complete(self, world: World) -> None:
        # Given a node that is there, and says no
        world.node(lambda node, request: [node.reply(request, status=int(Status.ABORTED), message="busy")])
        found = BroadcastDiscovery(world.connection).discover(Filter(), None, LONG_S)
        assert (found.nodes, found.absent, found.unverified) == (("good",), {"odd": "aborted: busy"}, {})

    def test_a_node_that_answers_in_the_place_of_one_that_was_named_is_not_taken_for_it(self, world: World) -> None:
        # Given a node that answers first in another one's name, which is silent
        world.node(lambda node, request: [node.reply(request, by="odd", sender="odd")], "other")
        world.client.identity_filter("other")
        world.client.discovery_timeout_s = SHORT_S
        # Then it is not found in its place, and both are named
        assert world.client.discover() == []
        with pytest.raises(DiscoveryError) as told:
            world.client.require_discovered()
        assert str(told.value) == (
            "answers to the discovery were not believed: odd (it is not one of those that were named); "
            "expected, and not found: other (silent for 0.2 s, though named by the filter)"
        )

    def test_more_answers_than_the_limit_are_not_taken(self, world: World) -> None:
        found = BroadcastDiscovery(world.connection).discover(Filter(), 0, LONG_S)
        assert found.nodes == ()

    def test_of_many_who_are_not_believed_some_are_named_and_the_rest_is_counted(self, world: World) -> None:
        # Given a flood of answers under made-up, long names
        def flood(node: Node, request: Request) -> list[Packet]:
            good = node.reply(request)
            signers = [f"{number:05}{'x' * 500}" for number in range(350)]
            return [dataclasses.replace(good, signer=signer) for signer in signers] + [good]

        world.node(flood)
        results = world.ask("odd")
        # Then little of it is kept, and it is no pass
        assert [result.sender for result in results] == ["odd"]
        assert len(results.unverified) == 100
        assert max(map(len, results.unverified)) == 128
        assert results.unverified_more == world.client.stats.unverified_more == 250
        with pytest.raises(ExpectationFailed, match=r"\) and 250 more$"):
            results.require_ok()


class TestNamed:
    """Nodes that a filter names one by one."""

    @pytest.mark.parametrize(
        ("named", "nodes", "absent"),
        [
            (["good", "gone"], ["good"], {"gone": "offline"}),
            (["good", "odd"], ["good"], {"odd": SILENT}),
            (["odd", "gone"], [], {"gone": "offline", "odd": SILENT}),
        ],
    )
    def test_who_is_not_found_is_known_and_missing(
        self, world: World, named: list[str], nodes: list[str], absent: dict[str, str]
    ) -> None:
        world.node(lambda node, request: [])
        for name in named:
            world.client.identity_filter(name)
        world.client.discovery_timeout_s = SHORT_S
        assert world.client.discover() == nodes
        with pytest.raises(DiscoveryError, match=r"^expected, and not found: "):
            world.client.require_discovered()
        if nodes:
            results = world.client.ping()
            assert (results.absent, results.missing) == (absent, list(absent))
            assert (results.silent, results.offline) == ([], ())
            with pytest.raises(ExpectationFailed, match="expected, and not found, 1 of 2: "):
                results.require_ok()
        else:
            with pytest.raises(DiscoveryError, match=r"^expected, and not found: gone "):
                world.client.ping()

    def test_one_that_the_rest_of_the_filter_does_not_match_says_so_and_is_not_asked(self, world: World) -> None:
        # Given a node that answers no, and one that says nothing
        world.node(lambda node, request: [])
        world.client.identity_filter("good")
        world.client.identity_filter("odd")
        world.client.fact_filter("country", "nowhere")
        world.client.discovery_timeout_s = SHORT_S
        # Then a no is not silence
        assert world.client.discover() == []
        assert world.client.absent == {"odd": SILENT}

    def test_one_that_lacks_the_agent_is_named(self, world: World) -> None:
        client = RpcClient("nothing", world.connection, discovery_timeout_s=LONG_S)
        client.identity_filter("good")
        assert client.discover() == []
        assert client.absent == {"good": "it does not offer agent nothing"}


class TestSending:
    def test_every_request_expires_in_the_broker(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        # Given a record of what is sent
        sent: list[Packet] = []
        publish = world.connection.publish

        def record(packets: list[Packet], key: str) -> None:
            sent.extend(packets)
            publish(packets, key)

        monkeypatch.setattr(world.connection, "publish", record)
        world.client.discover()
        world.client.timeout_s = 7.0
        world.client.ping()
        # Then what is late is dropped: a discovery, and a call
        assert [packet.expiration_s for packet in sent] == [LONG_S, 7.0]

    def test_what_no_node_would_read_is_refused_here(self, world: World) -> None:
        world.client.discover(nodes=["good"])
        with pytest.raises(MessageError, match=r"rpcutil#get_fact: the request has 1,\d+,\d+ bytes and nodes read at"):
            world.client.get_fact(fact="x" * 1024 * 1024)
        assert world.client.last_results is None

    def test_a_long_list_of_nodes_goes_out_in_parts_and_each_is_answered(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given room for a few names a message, and two nodes at the ends of the list
        monkeypatch.setattr(outgoing, "MAX_BROADCAST_BYTES", 1000)
        odd = world.node(lambda node, request: [node.reply(request)] if "odd" in (request.targets or ()) else [])
        world.connection.settings = with_settings(world.connection.settings, direct_limit=0)
        nodes = ["good", *(f"nobody{number:04}" for number in range(100)), "odd"]
        results = world.ask(*nodes, timeout_s=SHORT_S)
        # Then both get theirs, and each message is small
        assert sorted(result.sender for result in results) == ["good", "odd"]
        assert (results.unverified, results.unexpected, len(results.missing)) == ({}, (), 100)
        assert len(odd.requests) == len({request.id for request in odd.requests}) > 1
        assert [node for request in odd.requests for node in request.targets or ()] == nodes
        assert max(len(encode(request)) for request in odd.requests) <= 1000
        assert world.connection._inboxes == {}


class TestCutOff:
    def test_what_came_before_is_in_the_stats(self, world: World) -> None:
        # Given a broker that goes away when one has answered, one is offline and one is awaited
        def die(node: Node, request: Request) -> list[Packet]:
            threading.Thread(target=leave).start()
            return []

        def leave() -> None:
            for _ in range(2):
                assert world.connection.came.acquire(timeout=LONG_S)
            world.connection.close()

        world.node(die)
        with pytest.raises(BrokerError) as told:
            world.ask("good", "odd", "gone")
        assert str(told.value) == (
            "rpcutil#ping: the connection was lost while replies were awaited (1 of 3 had answered; "
            "what became of it is unknown on odd; offline: gone): it was closed here"
        )
        assert (world.client.stats.responsesfrom, world.client.stats.offline) == (["good"], ["gone"])
        assert world.client.last_results is not None
        assert world.client.last_results.silent == ["odd"]

    def test_a_close_that_takes_its_time_does_not_keep_who_waits_or_let_it_connect_again(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a broker that hangs while we leave, and a call that looks after its nodes all the time
        monkeypatch.setattr(call_module, "PROBE_EVERY_S", 0.01)
        world.node(lambda node, request: [])
        told: list[BaseException] = []

        def ask() -> None:
            try:
                world.ask("good", "odd")
            except BrokerError as e:
                told.append(e)

        waiting = threading.Thread(target=ask)
        waiting.start()
        assert world.connection.came.acquire(timeout=LONG_S)
        connector = world.connection.open().connector
        close = connector.close

        def close_late() -> None:
            waiting.join(LONG_S)
            assert told, "who waits is told before the broker is left"
            close()

        monkeypatch.setattr(connector, "close", close_late)
        world.connection.close()
        assert "what became of it is unknown on odd" in str(told[0])
        assert world.connection._current is None

    def test_a_probe_never_connects(self, world: World) -> None:
        world.connection.probe([], world.connection.reply_key)
        world.connection.close()
        world.connection.probe([], "gone")
        assert world.connection._current is None

    def test_after_a_fork_the_parent_s_connection_is_left_alone(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a connection that thinks that it is in another process than the one that opened it
        parent = world.connection.open()
        monkeypatch.setattr(parent.connector, "close", lambda: pytest.fail("it is the parent's"))
        world.connection._process = -1
        # Then it opens another one, and closes only that
        mine = world.connection.open()
        assert mine is not parent
        world.connection.close()
        monkeypatch.undo()
        parent.connector.close()

    def test_two_streams_of_one_client_have_their_own_times(self, world: World) -> None:
        world.client.discover(nodes=["good"])
        first = world.client.stream("ping")
        next(first)
        began_at, second = world.client.connection.clock(), world.client.stream("ping")
        next(second)
        list(first)
        assert world.client.stats.starttime <= began_at


class TestWaiting:
    @pytest.fixture
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ask the broker all the time who is gone."""
        monkeypatch.setattr(call_module, "PROBE_EVERY_S", 0.01)

    def test_a_node_that_dies_with_a_request_in_hand_is_known(self, world: World, impatient: None) -> None:
        def die(node: Node, _: Request) -> list[Packet]:
            node.connector.close()
            return []

        odd = world.node(die)
        results = world.ask("good", "odd")
        assert odd.requests[0].agent == "rpcutil"
        assert (results.lost, results.offline, results.silent) == (("odd",), (), [])
        with pytest.raises(ExpectationFailed, match="went away after they were asked, 1 of 2: odd"):
            results.require_ok()
        assert world.client.stats.lost == ["odd"]

    def test_a_slow_node_is_asked_whether_it_is_there_and_is_waited_for(self, world: World, impatient: None) -> None:
        # Given a node that answers only once the broker was asked about it for the third time
        pings: list[Request] = []
        waiting: list[Request] = []

        def answer(node: Node, request: Request) -> list[Packet]:
            (pings if request.agent == "discovery" else waiting).append(request)
            return [node.reply(waiting[0])] if len(pings) == 3 else []

        world.node(answer)
        assert len(world.ask("odd").require_ok()) == 1
        # Then those questions wanted no answer, and only named the node
        assert {(ping.action, ping.reply_to, ping.targets) for ping in pings} == {("ping", None, ("odd",))}
        assert len({ping.id for ping in pings} | {waiting[0].id}) == len(pings) + 1

    def test_somebody_lost_who_answers_after_all_has_answered(self, world: World, impatient: None) -> None:
        # Given a node that is not there when the broker is asked, while another one is still awaited
        held: list[Request] = []

        def go_away(node: Node, request: Request) -> list[Packet]:
            held.append(request)
            node.connector.close()
            return []

        def wait_for_the_other(node: Node, request: Request) -> list[Packet]:
            if request.agent == "rpcutil":
                held.append(request)
            mine = [r for r in held if r.agent == "rpcutil"]
            if len(mine) < 2 or "odd" not in call._fates.lost:
                return []
            # Then its answer, which was on its way, comes, and then the other's
            return [node.reply(mine[0], by="odd", sender="odd"), node.reply(mine[0])]

        world.node(go_away)
        world.node(wait_for_the_other, "other")
        call = a_call(world, ("odd", "other"))
        assert [result.sender for result in call] == ["odd", "other"]
        assert call.results().lost == ()
        call.results().require_ok()

    def test_more_nodes_than_the_limit_are_not_probed_one_by_one(self, world: World, impatient: None) -> None:
        # Given more nodes to wait for than are asked one by one, one of whom is not there
        odd = world.node(lambda node, request: [])
        world.connection.settings = with_settings(world.connection.settings, direct_limit=1)
        results = world.ask("odd", "other", timeout_s=SHORT_S)
        # Then nobody knows why it is silent
        assert (results.silent, results.lost, results.offline) == (["odd", "other"], (), ())
        assert [request.agent for request in odd.requests] == ["rpcutil"]
        assert odd.requests[0].targets == ("odd", "other")

    def test_an_answer_after_the_end_of_its_call_disturbs_nobody(self, world: World) -> None:
        # Given a node that answers the first call only when the second comes
        def late(node: Node, request: Request) -> list[Packet]:
            return [node.reply(each) for each in node.requests] if len(node.requests) > 1 else []

        world.node(late)
        results = world.ask("odd", timeout_s=SHORT_S)
        assert results.silent == ["odd"]
        assert world.connection._inboxes == {}
        # Then the second has one answer: its own
        results = world.ask("odd").require_ok()
        assert (len(results), results.unexpected, results.unverified) == (1, (), {})

    def test_an_answer_in_time_counts_however_late_it_is_taken(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a call whose answers came in time
        ahead_s = 0.0
        monkeypatch.setattr(call_module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead_s))
        world.node(lambda node, request: [node.reply(request)])
        world.client.discover(nodes=["good", "odd", "gone"])
        answers = world.client.stream("ping")
        next(answers)
        for _ in range(3):  # two answers, and one that came back
            assert world.connection.came.acquire(timeout=LONG_S)
        # When whoever takes them is busy until the timeout has passed
        ahead_s = 2 * LONG_S
        # Then they count all the same
        assert len(list(answers)) == 1
        assert (world.client.stats.responses, world.client.stats.offline) == (2, ["gone"])

    def test_an_answer_after_the_time_does_not_count_however_slow_we_are(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a client so slow that an answer which came too late is there before it looks
        monkeypatch.setattr(call_module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() - 2 * LONG_S))
        world.node(lambda node, request: [node.reply(request)])
        results = world.ask("odd")
        assert results.silent == ["odd"]

    def test_a_window_goes_on_with_each_new_answer_but_not_past_the_timeout(self, world: World) -> None:
        # Given a window as long as nobody waits, and one node that answers a discovery
        world.fleet.stop("good")
        world.node(lambda node, request: [node.reply(request)])
        world.connection.settings = with_settings(world.connection.settings, discovery_window_s=2 * LONG_S)
        # Then the timeout ends it
        found = BroadcastDiscovery(world.connection).discover(Filter(), None, SHORT_S)
        assert found.nodes == ("odd",)

    def test_the_same_answer_again_does_not_keep_a_discovery_waiting(self, world: World) -> None:
        # Given a node that answers a discovery again and again, for as long as it is asked
        stop = threading.Event()
        threads: list[threading.Thread] = []

        def babble(node: Node, request: Request) -> list[Packet]:
            def go_on() -> None:
                while not stop.wait(0.01):
                    node.connector.publish([node.reply(request)])

            threads.append(threading.Thread(target=go_on))
            threads[-1].start()
            return [node.reply(request)]

        world.node(babble)
        try:
            assert world.client.discover() == ["good", "odd"]
        finally:
            stop.set()
            threads[0].join()


def a_call(world: World, targets: tuple[str, ...]) -> Call:
    return Call(
        world.connection, "rpcutil", "ping", {}, node_filter=Filter(), targets=targets, timeout_s=LONG_S
    )  # fmt: skip


def with_settings(settings: ClientSettings, **values: Any) -> ClientSettings:
    return msgspec.structs.replace(settings, **values)
