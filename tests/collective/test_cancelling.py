# SPDX-License-Identifier: Apache-2.0
"""Who asked can end it: a command with all it started, a loop that looks, a request that waits, a whole call."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_client.results import Results
from mco_client.rpc import RpcClient
from mco_client.told import Started
from mco_node.daemon import Node
from mco_rpc.messages import Reply
from mco_rpc.status import Status
from tests.collective.calls import LONG_S, World, answers, one_after_the_other, pauses, spin, world_of
from tests.collective.conftest import Caller, Collective

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def world() -> Iterator[World]:
    yield from world_of("web1", "web2")


class Calling(threading.Thread):
    """A call in a thread of its own."""

    def __init__(self, client: RpcClient, action: str, **inputs: Any) -> None:
        super().__init__(daemon=True)
        self.client, self._action, self._inputs = client, action, inputs
        self.results: Results | None = None
        self.start()

    def run(self) -> None:
        self.results = self.client.call(self._action, **self._inputs)

    def ended(self) -> Results:
        """Return the results, waiting for them."""
        self.join(LONG_S)
        assert self.results is not None
        return self.results

    def cancel(self) -> Results | None:
        """End it from this thread."""
        return self.client.cancel()


def is_gone(pid: int) -> bool:
    """Say whether a process has ended, be it that nobody has reaped it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def pid_file(tmp_path: Path) -> Iterator[Path]:
    """A file for the number of a process; it is ended here if it still runs."""
    file = tmp_path / "pid"
    yield file
    if file.exists() and file.read_text().strip():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)


class TestCall:
    @pytest.mark.parametrize("action", ["script", "silent"])
    def test_a_running_command_is_ended_with_all_that_it_started(
        self, world: World, pid_file: Path, action: str
    ) -> None:
        # Given a command with a child that would sleep for an hour
        script = f"trap '' TERM; sleep 3600 & echo $! > {pid_file}.new; mv {pid_file}.new {pid_file}; wait"
        calling = Calling(world.client("web1", "web2"), action, script=script)
        spin(pid_file.exists)
        pid = int(pid_file.read_text())
        assert not is_gone(pid)
        # When the call is cancelled from another thread
        spin(lambda: len(running_on(world, "web1")) + len(running_on(world, "web2")) == 2)
        told = calling.cancel()
        # Then all nodes were told, the call ends, and the child is gone
        assert told is not None
        assert {node: list(result.data["states"].values()) for node, result in told.by_node().items()} == {
            "web1": ["running"],
            "web2": ["running"],
        }
        results = calling.ended()
        assert {result.status for result in results} == {Status.ABORTED}
        message = f"worker#{action} was cancelled by key=operator; what it did until then is done"
        assert {result.message for result in results} == {message}
        spin(lambda: is_gone(pid))
        # And nothing is remembered
        assert running_on(world, "web1") == running_on(world, "web2") == {}

    def test_a_loop_that_looks_is_ended(self, world: World) -> None:
        calling = Calling(world.client("web1"), "loop")
        assert world.worker().begun.acquire(timeout=LONG_S)
        calling.cancel()
        assert [result.status for result in calling.ended()] == [Status.ABORTED]

    def test_an_action_that_does_not_look_goes_on_and_its_answer_counts(self, world: World) -> None:
        calling = Calling(world.client("web1"), "wait")
        assert world.worker().begun.acquire(timeout=LONG_S)
        told = calling.cancel()
        assert told is not None
        assert list(told[0].data["states"].values()) == ["running"]
        world.worker().gate.set()
        assert calling.ended().require_ok()

    def test_without_a_call_there_is_nothing_to_end(self, world: World) -> None:
        client = world.client("web1")
        assert client.cancel() is None
        client.call("talk", count=0)
        assert client.cancel() is None

    def test_a_cancelled_node_is_not_asked_again(self, world: World) -> None:
        # Given a call that would ask again whoever aborted
        calling = Calling(world.client("web1", retries=5, retry_sleep_s=0.0), "loop")
        assert world.worker().begun.acquire(timeout=LONG_S)
        calling.cancel()
        (result,) = calling.ended()
        assert (result.status, result.attempt) == (Status.ABORTED, 1)
        assert not world.worker().begun.acquire(blocking=False)

    def test_who_was_not_asked_yet_is_untouched(self, world: World) -> None:
        calling = Calling(world.client("web1", "web2", batch_size=1, batch_sleep_s=0.0), "loop")
        assert world.worker("web1").begun.acquire(timeout=LONG_S)
        calling.cancel()
        results = calling.ended()
        assert ([r.sender for r in results], results.untouched) == (["web1"], ("web2",))
        assert results.stopped == "stopped: it was cancelled"
        assert not world.worker("web2").begun.acquire(blocking=False)

    def test_in_a_pause_between_batches_it_ends_too(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        client = world.client("web1", "web2", batch_size=1)
        pauses(monkeypatch, lambda: client.cancel() and None)
        results = client.call("talk", count=0)
        assert ([r.sender for r in results], results.untouched) == (["web1"], ("web2",))

    def test_who_answered_is_not_told_any_more(self, world: World) -> None:
        # Given a call of which one node has answered
        done = world.scripted("web1", one_after_the_other(answers()))
        client = world.client("web1", "web2")
        answered = client.stream("loop")
        assert next(answered).sender == "web1"
        told = client.cancel()
        assert told is not None
        assert told.expected == ("web2",)
        assert [result.sender for result in answered] == ["web2"]
        assert [request.action for request in done.requests] == ["loop"]

    def test_while_it_is_followed(self, world: World) -> None:
        client = world.client("web1")
        said = client.follow("loop")
        assert isinstance(next(said), Started)
        client.cancel()
        assert [item.status for item in said] == [Status.ABORTED]  # type: ignore[union-attr]

    def test_with_all_workers_busy(self) -> None:
        # Given a node whose only worker is at work
        for world in world_of("web1"):
            world.fleet.stop("web1")
            world.fleet._hosts["web1"]["settings"]["workers"] = 1  # type: ignore[index]
            assert world.fleet.start("web1").is_connected.wait(LONG_S)
            calling = Calling(world.client("web1"), "loop")
            assert world.worker().begun.acquire(timeout=LONG_S)
            # Then it hears us all the same
            told = calling.cancel()
            assert told is not None
            assert told.require_ok()
            assert [result.status for result in calling.ended()] == [Status.ABORTED]


def running_on(world: World, identity: str) -> dict[Any, Any]:
    """Return the requests that a node has begun."""
    running = world.fleet.nodes[identity]._dispatcher._running
    return {key: wish for key, wish in list(running._wishes.items()) if key in running._begun}


class TestNode:
    """Byte by byte: what a node says to whom."""

    @pytest.fixture
    def one_worker(self, collective: Collective, caller: Caller) -> Iterator[Node]:
        made = collective.node("web1", workers=1)
        yield made
        made.agent("faulty").gate.set()  # type: ignore[attr-defined]

    def cancel(self, caller: Caller, *ids: Any) -> Reply:
        return caller.reply_to(caller.send(caller.request("rpcutil", "cancel", data={"requests": list(ids)})))

    def begun(self, node: Node, caller: Caller) -> Any:
        request = caller.send(caller.request("faulty", "wait"))
        assert node.agent("faulty").begun.acquire(timeout=LONG_S)  # type: ignore[attr-defined]
        return request

    def test_a_request_that_waits_is_never_begun(self, one_worker: Node, caller: Caller) -> None:
        # Given a request that waits for the only worker
        running = self.begun(one_worker, caller)
        waiting = caller.send(caller.request("faulty", "count"))
        # When it is cancelled
        assert self.cancel(caller, waiting.id).data["states"] == {waiting.id: "waiting"}
        one_worker.agent("faulty").gate.set()  # type: ignore[attr-defined]
        # Then it is answered when its turn comes, and has not run
        reply = caller.reply_to(waiting)
        assert (reply.status, reply.message) == (Status.ABORTED, "cancelled by key=operator before it was begun")
        assert caller.reply_to(running).status == Status.OK
        assert one_worker.agent("faulty").ran == 0  # type: ignore[attr-defined]
        assert one_worker._dispatcher._running._wishes == {}

    def test_somebody_elses_request_is_unknown_and_goes_on(
        self, one_worker: Node, collective: Collective, caller: Caller
    ) -> None:
        mallory = collective.caller("mallory")
        node = collective.node("web2", workers=2)
        request = caller.send(caller.request("faulty", "wait"), "web2")
        assert node.agent("faulty").begun.acquire(timeout=LONG_S)  # type: ignore[attr-defined]
        theirs = mallory.reply_to(
            mallory.send(mallory.request("rpcutil", "cancel", data={"requests": [request.id]}), "web2")
        )
        assert (theirs.status, theirs.data["states"]) == (Status.OK, {request.id: "unknown"})
        node.agent("faulty").gate.set()  # type: ignore[attr-defined]
        assert caller.reply_to(request).status == Status.OK

    def test_what_was_never_there_and_what_has_ended_is_unknown(self, node: Node, caller: Caller) -> None:
        ended = caller.send(caller.request())
        caller.reply_to(ended)
        assert self.cancel(caller, ended.id, "nosuch").data["states"] == {ended.id: "unknown", "nosuch": "unknown"}

    @pytest.mark.parametrize("odd", [[], [1, None, {"a": 1}, [[]]], ["x" * 10_000], ["\u202e"]])
    def test_odd_names_are_names_of_nothing(self, node: Node, caller: Caller, odd: list[Any]) -> None:
        reply = self.cancel(caller, *odd)
        assert reply.status == Status.OK
        assert set(reply.data["states"].values()) <= {"unknown"}

    def test_a_cancellation_can_be_denied_like_all_else(self, node: Node, caller: Caller) -> None:
        request = caller.request("rpcutil", "cancel", data={"requests": "x"})
        assert caller.reply_to(caller.send(request)).status == Status.INVALID_DATA
        many = caller.request("rpcutil", "cancel", data={"requests": ["x"] * 1001})
        assert caller.reply_to(caller.send(many)).status == Status.INVALID_DATA

    def test_a_cancelled_request_is_recorded(self, node: Node, collective: Collective, caller: Caller) -> None:
        # Given an action that runs, and waits behind nothing
        request = self.begun(node, caller)
        self.cancel(caller, request.id)
        node.agent("faulty").gate.set()  # type: ignore[attr-defined]
        caller.reply_to(request)
        (cancel,) = [e for e in collective.audits["web1"].entries if e["action"] == "cancel"]
        assert (cancel["caller"], cancel["data"]) == ("key=operator", {"requests": [request.id]})


class TestInline:
    """Actions that answer on the thread that reads from the broker."""

    def test_they_see_a_deadline_and_no_worker(self, world: World) -> None:
        (result,) = world.client("web1").peek().require_ok()
        assert 0 < result.data["left_s"] <= 7.0
        assert not result.data["thread"].startswith("worker")

    def test_who_follows_is_answered_by_a_worker(self, world: World) -> None:
        started, result = world.client("web1").follow("peek")
        assert isinstance(started, Started)
        assert result.data["thread"].startswith("worker")  # type: ignore[union-attr]

    @pytest.mark.parametrize(("action", "message"), [("burst", "ValueError: burst"), ("leave", "SystemExit: bye")])
    def test_what_fails_in_one_is_answered_and_the_node_goes_on(self, world: World, action: str, message: str) -> None:
        client = world.client("web1")
        (result,) = client.call(action)
        assert (result.status, result.message) == (Status.UNKNOWN_ERROR, f"worker#{action} failed: {message}")
        assert client.call("talk", count=1).require_ok()

    def test_they_leave_no_deadline_behind(self, world: World) -> None:
        client = world.client("web1")
        for _ in range(3):
            client.peek().require_ok()
        assert len({round(at or 0, 6) for at in world.worker().deadlines}) == 3

    def test_they_answer_while_all_workers_are_busy(self, collective: Collective, caller: Caller) -> None:
        node = collective.node("web1", workers=1)
        caller.send(caller.request("faulty", "wait"))
        assert node.agent("faulty").begun.acquire(timeout=LONG_S)  # type: ignore[attr-defined]
        assert caller.ask("rpcutil", "ping").status == Status.OK

    def test_they_are_audited_and_checked_like_all_others(
        self, collective: Collective, caller: Caller, node: Node
    ) -> None:
        request = caller.send(caller.request("rpcutil", "ping", data={"x": 1}))
        assert caller.reply_to(request).status == Status.INVALID_DATA
        good = caller.send(caller.request("rpcutil", "ping"))
        caller.reply_to(good)
        assert [entry["outcome"] for entry in collective.records(good)] == ["ok"]


class TestNoop:
    def test_an_action_that_cannot_say_what_it_would_change_is_not_run(self, world: World) -> None:
        (result,) = world.client("web1", noop=True).change()
        assert result.status == Status.ABORTED
        assert result.message == "noop: worker#change would run; it cannot say what it would change"
        assert world.worker().ran == []
        assert world.client("web1").change().require_ok()
        assert world.worker().ran == ["change"]

    def test_one_that_can_says_so_and_changes_nothing(self, world: World) -> None:
        client = world.client("web1")
        assert client.using(noop=True).install(version="2.0").require_all(changed=True)
        assert world.worker().installed == "1.0"
        assert client.using(noop=True).install(version="1.0").require_all(changed=False)
        assert client.install(version="2.0").require_all(changed=True)
        assert world.worker().installed == "2.0"

    def test_what_changes_nothing_runs_as_ever(self, world: World) -> None:
        assert world.client("web1", noop=True).call("talk", count=1).require_ok()

    def test_a_packet_filter_is_left_alone(self, world: World) -> None:
        client = world.client("web1", agent="iptables")
        assert client.using(noop=True).block(ipaddr="10.0.0.1").require_all(changed=True, blocked=False)
        assert client.isblocked(ipaddr="10.0.0.1").require_all(blocked=False)
        client.block(ipaddr="10.0.0.1").require_all(changed=True, blocked=True)
        assert client.using(noop=True).unblock(ipaddr="10.0.0.1").require_all(changed=True, blocked=True)
        assert client.isblocked(ipaddr="10.0.0.1").require_all(blocked=True)
