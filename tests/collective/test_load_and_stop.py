# SPDX-License-Identifier: Apache-2.0
"""Many requests at once, and requests to a node that stops: each is answered exactly once."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
import time
from collections import Counter
from typing import Any

import pytest

from mco_node import rejections
from mco_node.daemon import Node
from mco_rpc.connector import Packet
from mco_rpc.status import Status

WAIT_S = 20.0


@pytest.fixture
def many_switches() -> Any:
    """Let threads take turns as often as possible, so that races show."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(count: int, what: Any) -> None:
    """Do something in many threads at the same moment."""
    start = threading.Barrier(count)

    def run() -> None:
        start.wait(WAIT_S)
        what()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()


@pytest.mark.usefixtures("many_switches")
def test_the_same_request_on_many_threads_runs_once(
    collective: Any, caller: Any, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejections, "MAX_WRITTEN", 1000)
    faulty: Any = node.agent("faulty")
    for expected in range(1, 51):
        # Given a request
        request = caller.request("faulty", "count")
        packet = caller.packet(request, "web1")

        # When it comes on many threads at once
        at_once(8, lambda packet=packet: node.on_packet(packet))

        # Then it runs once, and the others are refused
        assert caller.reply_to(request).status == Status.OK
        outcomes = Counter(record["outcome"] for record in collective.records(request, count=8))
        assert outcomes == {"ok": 1, "rejected": 7}
        assert faulty.ran == expected


def test_the_same_request_at_the_very_same_moment_runs_once(collective: Any, caller: Any, node: Node) -> None:
    # Given a memory of requests in which two threads that look at the same time meet
    class Meeting(set[str]):
        meet = threading.Barrier(2)

        def __contains__(self, request_id: object) -> bool:
            is_known = super().__contains__(request_id)
            with contextlib.suppress(threading.BrokenBarrierError):
                self.meet.wait(0.2)
            return is_known

    node._dispatcher._ladder._guard._seen = Meeting()

    # When a request comes on two threads
    request = caller.request("faulty", "count")
    packet = caller.packet(request, "web1")
    at_once(2, lambda: node.on_packet(packet))

    # Then it runs once
    assert caller.reply_to(request).status == Status.OK
    outcomes = Counter(record["outcome"] for record in collective.records(request, count=2))
    assert outcomes == {"ok": 1, "rejected": 1}


@pytest.mark.usefixtures("many_switches")
def test_every_request_of_a_flood_is_answered(collective: Any, caller: Any) -> None:
    # Given a node with two workers and room for five requests that wait, both of which are busy
    node = collective.node(workers=2, queue_limit=5)
    faulty: Any = node.agent("faulty")
    first = [caller.send(caller.request("faulty", "wait")) for _ in range(2)]
    for _ in first:
        assert faulty.begun.acquire(timeout=WAIT_S)

    # When 500 requests come
    flood = [caller.send(caller.request("faulty", "count")) for _ in range(500)]

    # Then those for which there is no room are answered at once
    busy = [caller.reply_to(request) for request in flood[5:]]
    assert {(reply.status, reply.message) for reply in busy} == {
        (Status.ABORTED, "busy: 7 requests wait or run; try again later")
    }

    # When the workers are free again, then the others are done, and nothing is lost or answered twice
    faulty.gate.set()
    assert all(caller.reply_to(request).status == Status.OK for request in [*first, *flood[:5]])
    assert faulty.ran == 5
    assert Counter(reply.id for reply in caller.replies) == Counter(request.id for request in [*first, *flood])
    assert all(len(collective.records(request)) == 1 for request in [*first, *flood])


@pytest.mark.usefixtures("many_switches")
def test_a_flood_from_many_threads_is_answered_once_each(collective: Any, caller: Any) -> None:
    # Given a small node
    node = collective.node(workers=2, queue_limit=3)
    sent: list[str] = []
    lock = threading.Lock()

    def ask() -> None:
        for _ in range(50):
            request = caller.request("faulty", "count")
            with lock:
                sent.append(request.id)
            node.on_packet(caller.packet(request, "web1"))

    # When many threads ask at once
    at_once(10, ask)
    node.stop()

    # Then each request has one answer, and ran if that says so
    replies = {reply.id: Status(reply.status) for reply in caller.replies}
    assert len(caller.packets) == 500
    assert set(replies) == set(sent)
    assert set(replies.values()) <= {Status.OK, Status.ABORTED}
    assert list(replies.values()).count(Status.OK) == node.agent("faulty").ran  # type: ignore[attr-defined]


def test_a_request_that_waits_past_its_life_is_not_begun(
    collective: Any, caller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a node whose one worker is busy, and a request with a short life behind it
    node = collective.node(workers=1)
    faulty: Any = node.agent("faulty")
    first = caller.send(caller.request("faulty", "hang", ttl_s=10.0))
    late = caller.send(caller.request("faulty", "count", ttl_s=0.001))

    # When it is its turn
    reply = caller.reply_to(late)

    # Then its time is over, and it is not begun
    assert (reply.status, reply.message) == (
        Status.EXPIRED,
        "faulty#count waited 0.001 s for a free worker and was not begun",
    )
    assert caller.reply_to(first).status == Status.TIMED_OUT
    assert faulty.ran == 0


def stopping(node: Node) -> tuple[threading.Thread, list[bool]]:
    """Begin to stop a node; return the thread that does, and what `stop` will return."""
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(node.stop()))
    thread.start()
    while not node._workers._is_stopping:
        thread.join(0.001)
    return thread, results


def test_a_node_that_stops_lets_running_actions_end_and_answer(collective: Any, caller: Any) -> None:
    # Given an action that runs, and one that waits behind it
    node = collective.node(workers=1, drain_timeout_s=60)
    faulty: Any = node.agent("faulty")
    runs = caller.send(caller.request("faulty", "wait"))
    waits = caller.send(caller.request("faulty", "count"))
    assert faulty.begun.acquire(timeout=WAIT_S)
    caller.ask("nobody", "answered when those before it were taken")

    # When the node begins to stop
    thread, results = stopping(node)

    # Then a new request is refused with that reason
    refused = caller.send(caller.request("faulty", "count"))
    reply = caller.reply_to(refused)
    assert (reply.status, reply.message) == (Status.ABORTED, "this node is stopping")
    assert collective.records(refused)[0]["outcome"] == "aborted"

    # And those that it took end and are answered before it goes
    assert thread.is_alive()
    faulty.gate.set()
    thread.join(WAIT_S)
    assert results == [True]
    assert caller.reply_to(runs).data == {"number": 1}
    assert caller.reply_to(waits).data == {"number": 1}

    # And who asks after that gets nothing
    assert not collective.broker.route(caller.packet(caller.request(), "web1"))


def test_a_node_that_stops_answers_for_an_action_that_does_not_end(
    collective: Any, caller: Any, caplog: pytest.LogCaptureFixture
) -> None:
    # Given an action that hangs, and one that waits behind it
    node = collective.node(workers=1, drain_timeout_s=0.05)
    faulty: Any = node.agent("faulty")
    runs = caller.send(caller.request("faulty", "wait"))
    waits = caller.send(caller.request("faulty", "count"))
    assert faulty.begun.acquire(timeout=WAIT_S)
    caller.ask("nobody", "answered when those before it were taken")

    # When the node stops
    is_done = node.stop()

    # Then it does not wait for ever, and says so to everybody
    assert not is_done
    assert "actions still run after 0.05 s; stopping all the same" in caplog.text
    first, second = caller.reply_to(runs), caller.reply_to(waits)
    assert (first.status, first.message) == (
        Status.ABORTED,
        "this node stopped before faulty#wait ended; what it did is unknown",
    )
    assert (second.status, second.message) == (
        Status.ABORTED,
        "this node is stopping; faulty#count was not begun",
    )
    for request in (runs, waits):
        assert [record["outcome"] for record in collective.records(request)] == ["aborted"]


def test_a_node_says_that_it_comes_and_goes(collective: Any, caller: Any) -> None:
    # Given somebody who listens to events
    from mco_rpc.connector import Endpoint
    from mco_rpc.messages import decode_event

    heard: list[Packet] = []
    changed = threading.Condition()

    class Listener:
        def on_packet(self, packet: Packet) -> None:
            with changed:
                heard.append(packet)
                changed.notify_all()

        def on_connected(self) -> None: ...

    connector = collective.broker.connector()
    bindings = tuple((f"{name}.event", "presence.*") for name in ("mcollective", "second"))
    connector.open(Endpoint("events", ("mcollective", "second"), bindings), Listener())

    # When a node of two collectives starts and stops
    node = collective.node(collectives=["mcollective", "second"])
    node.stop()

    # Then both are said, in both collectives, signed by the node
    with changed:
        assert changed.wait_for(lambda: len(heard) == 4, WAIT_S)
    connector.close()
    events = [decode_event(packet.body) for packet in heard]
    assert [(event.collective, event.data["state"]) for event in events] == [
        ("mcollective", "start"),
        ("second", "start"),
        ("mcollective", "stop"),
        ("second", "stop"),
    ]
    assert {event.sender for event in events} == {"web1"}
    assert "faulty" in events[0].data["agents"]
    assert {(packet.key, packet.signer, len(packet.signature)) for packet in heard} == {("presence.web1", "web1", 64)}


class TestConnection:
    """What a node does when its connection goes, or is refused."""

    def test_comes_back_when_the_broker_does(
        self, collective: Any, caller: Any, node: Node, caplog: pytest.LogCaptureFixture
    ) -> None:
        # Given a node that works
        assert caller.ask("faulty", "count").data == {"number": 1}

        # When the broker stops
        collective.broker.stop()
        assert _eventually(lambda: not node.is_connected.is_set())
        assert "the memory broker was stopped; trying again" in caplog.text

        # And comes back
        collective.broker.start([node._connector, caller.connector])

        # Then the node is there again
        assert node.is_connected.wait(WAIT_S)
        assert caller.ask("faulty", "count").data == {"number": 2}
        assert not node.is_over.is_set()

    def test_gives_up_on_an_identity_that_stays_taken(self, collective: Any, node: Node) -> None:
        # Given a node with the identity of another one, that does not wait for it
        second = collective.node(is_awaited=False, identity_grace_s=0)

        # Then it is over, with the reason
        assert second.is_over.wait(WAIT_S)
        assert "is held by another connection" in str(second.fatal)
        assert not second.is_connected.is_set()
        assert node.is_connected.is_set()
        node.stop()

    def test_waits_for_an_old_connection_of_its_own_to_die(
        self, collective: Any, caller: Any, node: Node, caplog: pytest.LogCaptureFixture
    ) -> None:
        # Given a second daemon of the same identity, that waits for a while
        second = collective.node(is_awaited=False, identity_grace_s=600)
        assert _eventually(lambda: "is held by another connection" in caplog.text)
        assert not second.is_over.is_set()

        # When the first connection is gone
        node.stop()
        second._connector.connect()  # what a real connector does by itself

        # Then it is in
        assert second.is_connected.wait(WAIT_S)
        assert caller.ask("faulty", "count").status == Status.OK

    def test_counts_only_what_was_refused_in_a_row(self, collective: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        # Given a node that may be refused for ten seconds, and a clock
        from mco_node import daemon
        from mco_rpc.errors import BrokerUnreachable, IdentityTaken

        now = [1000.0]
        monkeypatch.setattr(daemon.time, "monotonic", lambda: now[0])
        patient = collective.node("web2", identity_grace_s=10.0)
        taken, lost = IdentityTaken("taken"), BrokerUnreachable("lost")

        # When it is refused, and something else happens in between
        for at, reason in ((0, taken), (9, taken), (11, lost), (12, taken), (21, taken)):
            now[0] = 1000.0 + at
            patient.on_disconnected(reason)

            # Then it goes on
            assert not patient.is_over.is_set()

        # When it is in for a moment, and refused again
        patient.on_connected()
        for at in (30, 39):
            now[0] = 1000.0 + at
            patient.on_disconnected(taken)
            assert not patient.is_over.is_set()

        # When it is refused all the time
        now[0] = 1040.0
        patient.on_disconnected(taken)

        # Then it gives up
        assert patient.is_over.is_set()
        assert patient.fatal is taken

    def test_nothing_is_sent_back_to_a_node(self, caller: Any, node: Node) -> None:
        # When something comes back, then nothing happens
        node.on_returned(dataclasses.replace(caller.packet(caller.request(), "web1"), body=b""))
        assert caller.ask("faulty", "count").status == Status.OK


def _eventually(is_so: Any) -> bool:
    """Wait until something is so that happens on the connector's thread."""
    until, pause = time.monotonic() + WAIT_S, threading.Event()
    while not is_so() and time.monotonic() < until:
        pause.wait(0.001)
    return bool(is_so())
