# SPDX-License-Identifier: Apache-2.0
"""Nodes that failed or kept silent are asked again, under a new id; whoever answers late is believed, and not asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mco_client import call as call_module
from mco_client.rpc import RpcClient
from mco_rpc.errors import BrokerUnreachable, ExpectationFailed
from mco_rpc.messages import Request
from mco_rpc.status import Status
from tests.collective.calls import (
    LONG_S,
    SHORT_S,
    Scripted,
    World,
    answers,
    came,
    one_after_the_other,
    pauses,
    senders,
    until,
    world_of,
)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def world() -> Iterator[World]:
    yield from world_of("web1", "web2", "web3")


def retrying(world: World, *nodes: str, retries: int = 1, timeout_s: float = SHORT_S) -> RpcClient:
    return world.client(*nodes, agent="worker", retries=retries, retry_sleep_s=0.0, timeout_s=timeout_s)


class TestFailures:
    @pytest.mark.parametrize("status", [Status.ABORTED, Status.UNKNOWN_ERROR, Status.TIMED_OUT, Status.EXPIRED])
    def test_a_node_that_failed_is_asked_again_under_a_new_id(self, world: World, status: Status) -> None:
        node = world.scripted("web1", one_after_the_other(answers(status=int(status)), answers()))
        client = retrying(world, "web1", "web2", timeout_s=LONG_S)
        results = client.call("talk", count=0).require_ok()
        assert results.by_node()["web1"].attempt == 2
        assert results.by_node()["web2"].attempt == 1
        assert len({request.id for request in node.requests}) == len(node.requests) == 2
        assert (node.requests[1].data, node.requests[1].targets) == ({"count": 0}, ("web1",))
        assert client.stats.retried == ["web1"]
        assert (client.stats.responses, client.stats.okcount, client.stats.failcount) == (2, 2, 0)

    @pytest.mark.parametrize(
        "status", [Status.DENIED, Status.UNKNOWN_ACTION, Status.MISSING_DATA, Status.INVALID_DATA, 99]
    )
    def test_what_would_fail_again_is_not_asked_again(self, world: World, status: int) -> None:
        node = world.scripted("web1", one_after_the_other(answers(status=int(status)), answers()))
        results = retrying(world, "web1", retries=5, timeout_s=LONG_S).call("talk", count=0)
        assert ([result.status for result in results], len(node.requests)) == ([status], 1)

    def test_a_real_node_that_fails_twice_succeeds_the_third_time(self, world: World) -> None:
        world.worker().failures = [Status.ABORTED, Status.UNKNOWN_ERROR]
        results = retrying(world, "web1", retries=2, timeout_s=LONG_S).flaky().require_ok()
        assert (results[0].attempt, results[0].data["ran"]) == (3, 3)

    def test_one_that_fails_every_time_has_failed_and_is_told_once(self, world: World) -> None:
        node = world.scripted("web1", answers(status=1, message="no"))
        streamed = list(retrying(world, "web1", retries=2, timeout_s=LONG_S).stream("flaky"))
        assert [(result.message, result.attempt) for result in streamed] == [("no", 3)]
        assert len(node.requests) == 3

    def test_without_retries_nothing_is_asked_twice(self, world: World) -> None:
        node = world.scripted("web1", answers(status=1))
        assert len(retrying(world, "web1", retries=0, timeout_s=LONG_S).flaky().failed) == 1
        assert len(node.requests) == 1

    def test_the_first_failure_is_kept_if_the_retry_stays_silent(self, world: World) -> None:
        node = world.scripted("web1", one_after_the_other(answers(status=1, message="first"), None))
        client = retrying(world, "web1", retries=2)
        streamed = list(client.stream("flaky"))
        assert [(result.message, result.attempt) for result in streamed] == [("first", 1)]
        assert len(node.requests) == 3
        results = client.last_results
        assert results is not None
        assert (len(results.failed), results.missing, results.silent) == (1, [], [])
        with pytest.raises(ExpectationFailed, match=r"^worker#flaky: web1: aborted: first$"):
            results.require_ok()

    def test_the_first_failure_is_kept_if_the_node_went_away_before_the_retry(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node = world.scripted("web1", answers(status=1, message="first"))
        pauses(monkeypatch, node.connector.close)
        results = retrying(world, "web1", timeout_s=LONG_S).flaky()
        assert [result.message for result in results] == ["first"]
        assert (results.offline, results.lost, results.missing) == ((), (), [])
        with pytest.raises(ExpectationFailed, match=r"^worker#flaky: web1: aborted: first$"):
            results.require_ok()

    def test_only_those_in_need_are_asked_again_and_pauses_are_made(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = pauses(monkeypatch)
        good = world.scripted("web1", answers())
        bad = world.scripted("web2", one_after_the_other(answers(status=1), answers(status=1), answers()))
        client = world.client("web1", "web2", retries=5, retry_sleep_s=4.0)
        client.flaky().require_ok()
        assert (len(good.requests), len(bad.requests), made) == (1, 3, [4.0, 4.0])


class TestSilence:
    def test_a_silent_node_is_asked_again(self, world: World) -> None:
        node = world.scripted("web1", one_after_the_other(None, answers()))
        results = retrying(world, "web1").flaky().require_ok()
        assert (results[0].attempt, len(node.requests)) == (2, 2)

    def test_an_answer_to_the_first_id_that_comes_in_the_pause_counts_and_the_node_is_not_asked_again(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node = world.scripted("web1")
        other = world.scripted("web2")
        pauses(monkeypatch, lambda: came(client, lambda: node.reply(node.asked(), data={"ran": 7})))
        client = retrying(world, "web1", "web2")
        streamed = list(client.stream("flaky"))
        assert [(result.sender, result.attempt, result.data["ran"]) for result in streamed] == [("web1", 1, 7)]
        assert (len(node.requests), len(other.requests)) == (1, 2)
        assert client.stats.retried == []

    def test_a_failure_that_comes_in_the_pause_is_asked_again(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a node whose action ended too late, and failed
        node = world.scripted("web1")

        def late() -> None:
            came(client, lambda: node.reply(node.asked(), status=int(Status.TIMED_OUT)))
            node.script = answers()

        pauses(monkeypatch, late)
        client = retrying(world, "web1", retries=1)
        # Then the last attempt is still made
        assert client.flaky().require_ok()[0].attempt == 2

    def test_an_answer_to_the_first_id_that_comes_while_the_second_is_awaited_counts(self, world: World) -> None:
        def late(node: Scripted, request: Request) -> None:
            node.reply(node.asked(1), data={"ran": 1})

        node = world.scripted("web1", one_after_the_other(None, late))
        results = retrying(world, "web1").flaky().require_ok()
        assert (results[0].attempt, results[0].data["ran"]) == (1, 1)
        assert len(node.requests) == 2

    def test_a_late_failure_does_not_end_the_wait_for_the_retry(self, world: World) -> None:
        # Given a node that answers the second request with the failure of the first one, and then with success
        def both(node: Scripted, request: Request) -> None:
            node.reply(node.asked(1), status=int(Status.TIMED_OUT), message="too late")
            node.reply(request, data={"ran": 2})

        world.scripted("web1", one_after_the_other(None, both))
        results = retrying(world, "web1").flaky().require_ok()
        assert (len(results), results[0].attempt) == (1, 2)

    def test_a_late_failure_is_kept_if_nothing_better_comes(self, world: World) -> None:
        def late(node: Scripted, request: Request) -> None:
            node.reply(node.asked(1), status=int(Status.TIMED_OUT), message="too late")

        world.scripted("web1", one_after_the_other(None, late))
        results = retrying(world, "web1").flaky()
        assert [(result.message, result.attempt) for result in results] == [("too late", 1)]
        assert results.silent == []

    def test_the_failure_of_the_newest_attempt_is_kept(self, world: World) -> None:
        # Given a node that answers the second request with a failure, and the third one with that of the first
        def late(node: Scripted, request: Request) -> None:
            node.reply(node.asked(1), status=1, message="oldest")

        world.scripted("web1", one_after_the_other(None, answers(status=1, message="newest"), late))
        results = retrying(world, "web1", retries=2).flaky()
        assert [(result.message, result.attempt) for result in results] == [("newest", 2)]

    def test_a_failure_that_is_sent_again_is_no_answer_to_the_retry(self, world: World) -> None:
        # Given a broker that delivers the failure of the first attempt once more, before the answer to the second
        def again(node: Scripted, request: Request) -> None:
            node.reply(node.asked(1), status=1, message="first")
            node.reply(request)

        world.scripted("web1", one_after_the_other(answers(status=1, message="first"), again))
        assert retrying(world, "web1", timeout_s=LONG_S).flaky().require_ok()[0].attempt == 2

    def test_an_answer_that_came_just_too_late_for_a_slow_reader_is_not_lost(self, world: World) -> None:
        # Given two answers, of which the first is taken, by a slow reader, when the time of the second is over
        one, two = world.scripted("web1", answers()), world.scripted("web2")
        client = retrying(world, "web1", "web2")
        streamed = client.stream("flaky")
        assert next(streamed).sender == "web1"
        until(SHORT_S)
        came(client, lambda: two.reply(two.asked()))
        # Then it counts, and the node is not asked again
        assert [(result.sender, result.attempt) for result in streamed] == [("web2", 1)]
        assert (len(one.requests), len(two.requests)) == (1, 1)

    def test_several_attempts_end_with_silence(self, world: World) -> None:
        node = world.scripted("web1")
        client = retrying(world, "web1", retries=2)
        results = client.flaky()
        assert (results.silent, len(node.requests), len({r.id for r in node.requests})) == (["web1"], 3, 3)
        assert client.connection._inboxes == {}


class TestGone:
    def test_an_offline_node_that_comes_back_is_reached(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        world.fleet.stop("web1")
        pauses(monkeypatch, lambda: world.scripted("web1", answers()) and None)
        results = retrying(world, "web1", timeout_s=LONG_S).flaky().require_ok()
        assert (results[0].attempt, results.offline) == (2, ())

    def test_one_that_stays_offline_is_offline_and_costs_no_time(self, world: World) -> None:
        results = retrying(world, "nobody", "web1", retries=3, timeout_s=LONG_S).call("talk", count=0)
        assert (results.offline, results.silent, senders(results)) == (("nobody",), [], ["web1"])

    def test_one_that_came_back_and_is_silent_is_silent(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        # Given a node that is offline first, then there, and does not answer: it may have done what it was asked for
        world.fleet.stop("web1")
        pauses(monkeypatch, lambda: world.scripted("web1") and None)
        results = retrying(world, "web1").flaky()
        assert (results.offline, results.lost, results.silent) == ((), (), ["web1"])

    def test_one_that_was_silent_and_is_offline_then_is_lost(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a node that got the request and was gone when it was to be asked again: nobody knows what it did
        node = world.scripted("web1")
        pauses(monkeypatch, node.connector.close)
        results = retrying(world, "web1").flaky()
        assert (results.lost, results.offline, results.silent) == (("web1",), (), [])

    def test_one_that_was_not_asked_at_all_and_is_offline_then_is_offline(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a broker that is away at first, so that nobody got the first request
        world.fleet.broker.stop()
        pauses(monkeypatch, lambda: back(world))
        results = retrying(world, "nobody", timeout_s=LONG_S).flaky()
        assert (results.offline, results.lost) == (("nobody",), ())

    def test_one_that_dies_with_the_second_request_in_hand_is_known(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a call that would wait for long, and asks the broker often who is still there
        monkeypatch.setattr(call_module, "PROBE_EVERY_S", 0.05)

        def die(node: Scripted, request: Request) -> None:
            node.connector.close()

        world.scripted("web1", one_after_the_other(answers(status=1, message="first"), die))
        results = retrying(world, "web1", timeout_s=LONG_S).flaky()
        assert [result.message for result in results] == ["first"]


class TestLostConnection:
    def test_the_next_attempt_goes_over_a_new_one(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        # Given a broker that dies with one answer given, and is back in the pause
        world.scripted("web2", lambda node, request: None)
        pauses(monkeypatch, lambda: back(world))
        client = retrying(world, "web1", "web2", timeout_s=LONG_S)
        first_key = client.connection.reply_key
        answered = client.stream("talk", count=0)
        assert next(answered).sender == "web1"
        node = world._scripted[0]
        node.asked()
        node.script = answers()
        world.fleet.broker.stop()
        # Then who had not answered is asked again, and nobody else
        assert [(result.sender, result.attempt) for result in answered] == [("web2", 2)]
        assert client.connection.reply_key != first_key
        assert client.stats.responses == 2
        assert client.connection._inboxes == {}

    def test_a_broker_that_was_down_at_first(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        client = retrying(world, "web1", timeout_s=LONG_S)
        world.fleet.broker.stop()
        pauses(monkeypatch, lambda: back(world))
        assert client.call("talk", count=0).require_ok()[0].attempt == 2

    def test_one_that_stays_away_is_told_with_what_came(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        made = pauses(monkeypatch)
        world.scripted("web2")
        client = retrying(world, "web1", "web2", retries=2, timeout_s=LONG_S)
        answered = client.stream("talk", count=0)
        next(answered)
        world.fleet.broker.stop()
        with pytest.raises(BrokerUnreachable, match="the memory broker is stopped"):
            next(answered)
        assert (len(made), client.stats.responsesfrom) == (2, ["web1"])
        assert client.connection._inboxes == {}

    def test_a_broker_that_was_never_there_has_sent_nothing(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses(monkeypatch)
        client = retrying(world, "web1", timeout_s=LONG_S)
        world.fleet.broker.stop()
        with pytest.raises(BrokerUnreachable):
            client.flaky()
        assert client.last_results is None

    def test_a_close_of_ours_is_no_reason_to_try_again(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        made = pauses(monkeypatch)
        world.scripted("web2")
        client = retrying(world, "web1", "web2", retries=5, timeout_s=LONG_S)
        answered = client.stream("talk", count=0)
        next(answered)
        client.connection.close()
        with pytest.raises(BrokerUnreachable, match="it was closed here"):
            next(answered)
        assert (made, client.connection._current) == ([], None)


def back(world: World) -> None:
    """Let the broker be there again, and with it all nodes."""
    nodes = [node.connector for node in world._scripted]
    world.fleet.broker.start([*(world.fleet.connectors[name] for name in world.fleet.nodes), *nodes])
