# SPDX-License-Identifier: Apache-2.0
"""Calls in batches and waves: in order, with pauses, and stopped for the rest once too many have failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mco_client.bdd.fleet import Fleet
from mco_client.bdd.session import Options, Session
from mco_client.cli import exits
from mco_client.cli.main import main
from mco_client.connection import Connection
from mco_client.core import Core, Pause
from mco_client.discovery import Discovered, Discovery, Query
from mco_client.rpc import RpcClient
from mco_rpc.errors import ConfigError, DiscoveryError, ExpectationFailed, TooManyNodes
from mco_rpc.status import Status
from tests.collective.calls import LONG_S, SHORT_S, World, answers, one_after_the_other, pauses, world_of

NODES = tuple(f"web{number}" for number in range(1, 11))

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def world() -> Iterator[World]:
    yield from world_of(*NODES)


class Log:
    """Who was asked in which order, and when a pause was made."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, *, failing: tuple[str, ...] = ()) -> None:
        self.seen: list[str] = []
        self._made = pauses(monkeypatch, lambda: self.seen.append("pause"))
        self.nodes = {
            node: world.scripted(node, self._answer(Status.ABORTED if node in failing else Status.OK)) for node in NODES
        }

    def _answer(self, status: Status) -> Any:
        def answer(node: Any, request: Any) -> None:
            self.seen.append(node.identity)
            node.reply(request, status=int(status))

        return answer

    @property
    def pauses(self) -> list[float]:
        return self._made

    @property
    def batches(self) -> list[list[str]]:
        """The nodes between two pauses; within a batch each has a thread of its own."""
        found: list[list[str]] = [[]]
        for name in self.seen:
            if name == "pause":
                found.append([])
            else:
                found[-1].append(name)
        return [sorted(batch, key=NODES.index) for batch in found]


class TestBatches:
    @pytest.mark.parametrize(("size", "sizes"), [(4, [4, 4, 2]), ("30%", [3, 3, 3, 1]), ("100%", [10]), (50, [10])])
    def test_are_asked_one_after_the_other_with_pauses_between_them(
        self, world: World, monkeypatch: pytest.MonkeyPatch, size: Any, sizes: list[int]
    ) -> None:
        log = Log(world, monkeypatch)
        results = world.client(*NODES, batch_size=size, batch_sleep_s=3.0).ping()
        results.require_ok()
        assert [len(batch) for batch in log.batches] == sizes
        assert [node for batch in log.batches for node in batch] == list(NODES)
        assert log.pauses == [3.0] * (len(sizes) - 1)
        # And it is one call with one population
        assert (results.expected, len(results), results.stats.responses) == (NODES, 10, 10)

    def test_the_next_one_waits_for_the_answers_to_the_one_before(self, world: World) -> None:
        # Given a first node that answers when the test says so
        slow, quick = world.scripted("web1"), world.scripted("web2", answers())
        answered = world.client("web1", "web2", batch_size=1, batch_sleep_s=0.0).stream("ping")

        def let_go(node: Any, request: Any) -> None:
            assert quick.requests == []
            node.reply(request)

        slow.script = let_go
        assert [result.sender for result in answered] == ["web1", "web2"]

    def test_one_that_is_silent_holds_them_up_no_longer_than_its_time(self, world: World) -> None:
        world.scripted("web1")
        world.scripted("web2", answers())
        results = world.client("web1", "web2", batch_size=1, batch_sleep_s=0.0, timeout_s=SHORT_S).ping()
        assert (results.silent, [result.sender for result in results]) == (["web1"], ["web2"])

    def test_a_stream_that_is_left_asks_nobody_else(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        log = Log(world, monkeypatch)
        client = world.client(*NODES, batch_size=1)
        answered = client.stream("ping")
        next(answered)
        answered.close()
        assert log.seen == ["web1"]
        # And what came, and who was not asked, is known
        assert (client.stats.responsesfrom, client.stats.untouched) == (["web1"], list(NODES[1:]))
        assert client.connection._inboxes == {}


class TestLimits:
    @pytest.mark.parametrize(
        ("options", "asked"),
        [
            ({"limit": 3}, ["web1", "web2", "web3"]),
            ({"limit": "20%"}, ["web1", "web2"]),
            ({"limit": 1}, ["web1"]),
            ({"limit": 99}, list(NODES)),
        ],
    )
    def test_only_so_many_are_asked_and_the_others_are_left_out(
        self, world: World, options: dict[str, Any], asked: list[str]
    ) -> None:
        results = world.client(*NODES, agent="rpcutil", **options).ping().require_ok()
        assert sorted((r.sender for r in results), key=NODES.index) == asked
        assert list(results.left_out) == [node for node in NODES if node not in asked]
        assert list(results.expected) == asked

    def test_a_random_choice_is_the_same_again_with_its_seed(self) -> None:
        for world in world_of(*NODES, discovery_window_s=LONG_S):
            self.choose_at_random(world)

    def choose_at_random(self, world: World) -> None:
        options: Any = {"limit": 3, "limit_method": "random", "limit_seed": 42}
        one = world.client(*NODES, agent="rpcutil", **options).ping()
        found_by_a_broadcast = RpcClient("rpcutil", world.connection())
        assert len(found_by_a_broadcast.discover(limit=len(NODES))) == len(NODES)
        two = found_by_a_broadcast.using(**options).ping()
        assert one.expected == two.expected
        assert len(one) == 3
        others = {
            world.client(*NODES, agent="rpcutil", **{**options, "limit_seed": n}).options.chosen(NODES)
            for n in range(9)
        }
        assert len(others) > 1

    def test_a_discovery_ends_with_the_limit(self) -> None:
        for world in world_of("web1", "web2", "web3", discovery_window_s=LONG_S):
            client = RpcClient("rpcutil", world.connection()).using(limit=1)
            assert len(client.ping().require_ok()) == 1


class TestWaves:
    def test_ask_more_and_more_of_all(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        log = Log(world, monkeypatch)
        results = world.client(*NODES, waves=("1", "30%", "100%"), wave_sleep_s=9.0).ping().require_ok()
        assert [len(batch) for batch in log.batches] == [1, 2, 7]
        assert log.pauses == [9.0, 9.0]
        assert (results.untouched, results.left_out, results.stopped) == ((), (), "")

    def test_that_do_not_reach_everybody_leave_the_rest_out_and_that_is_no_failure(self, world: World) -> None:
        results = world.client(*NODES, agent="rpcutil", waves=("1", "30%")).ping().require_ok()
        assert (results.expected, results.left_out) == (NODES[:3], NODES[3:])
        assert (results.untouched, results.missing, results.stopped) == ((), [], "")

    def test_and_a_limit_are_of_those_that_were_chosen(self, world: World) -> None:
        results = world.client(*NODES, agent="rpcutil", limit=4, waves=("50%",)).ping().require_ok()
        assert (results.expected, results.left_out) == (NODES[:2], NODES[2:])


class TestAbort:
    @pytest.mark.parametrize(
        ("options", "failing", "asked"),
        [
            # exactly the limit goes on, above it stops
            ({"batch_size": 2, "abort_on": 1}, ("web1",), 10),
            ({"batch_size": 2, "abort_on": 1}, ("web1", "web2"), 2),
            ({"batch_size": 2, "abort_on": 1}, ("web1", "web5"), 6),
            ({"batch_size": 2, "abort_on": 0}, ("web3",), 4),
            ({"batch_size": 2, "abort_on": "50%"}, ("web1",), 10),
            ({"batch_size": 2, "abort_on": "49%"}, ("web1",), 2),
            ({"batch_size": 5, "abort_on": "20%"}, ("web1", "web6"), 10),
            ({"batch_size": 5, "abort_on": "20%"}, ("web1", "web6", "web7"), 10),
            ({"waves": ("1", "50%", "100%"), "abort_on": "10%"}, ("web2",), 5),
            ({"waves": ("1", "50%", "100%"), "abort_on": "0%"}, ("web1",), 1),
            ({"abort_on": 0}, NODES, 10),
        ],
    )
    def test_too_many_failures_stop_it_and_the_rest_is_untouched_and_named(
        self, world: World, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], failing: Any, asked: int
    ) -> None:
        log = Log(world, monkeypatch, failing=failing)
        client = world.client(*NODES, **options)
        results = client.ping()
        assert sorted((n for n in log.seen if n != "pause"), key=NODES.index) == list(NODES[:asked])
        assert (results.untouched, results.expected) == (NODES[asked:], NODES)
        assert bool(results.stopped) is (asked < 10)
        assert client.stats.untouched == list(NODES[asked:])
        # And untouched nodes are no pass, whatever the others said
        with pytest.raises(ExpectationFailed) as told:
            results.require_ok()
        assert ("not asked" in str(told.value)) is (asked < 10)

    def test_it_says_why(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        Log(world, monkeypatch, failing=NODES[:2])
        results = world.client(*NODES, batch_size=2, abort_on="5%").ping()
        assert results.stopped == "stopped: 2 of 2 failed or kept silent, more than the 5% allowed"
        with pytest.raises(ExpectationFailed, match=r"not asked, 8 of 10: web3, .*, web10 \(stopped: 2 of 2 failed"):
            results.require_ok()

    def test_who_is_silent_or_offline_counts_as_failed(self, world: World) -> None:
        world.scripted("web1")
        results = world.client(
            "web1", "nobody", "web3", batch_size=2, abort_on=1, batch_sleep_s=0.0, timeout_s=SHORT_S
        ).ping()
        assert (results.untouched, results.silent, results.offline) == (("web3",), ["web1"], ("nobody",))

    def test_who_succeeded_in_the_end_does_not(self, world: World) -> None:
        world.scripted("web1", one_after_the_other(answers(status=1), answers()))
        options: Any = {"batch_size": 1, "abort_on": 0, "batch_sleep_s": 0.0, "retries": 1, "retry_sleep_s": 0.0}
        results = world.client("web1", "web2", agent="rpcutil", **options).ping()
        assert results.require_ok().untouched == ()


class HalfThere(Discovery):
    """Finds two nodes, and misses two."""

    def core(self, query: Query) -> Core[Discovered]:
        yield from ()
        return Discovered(("web1", "web2"), absent={"a": "silent", "b": "silent"})


class TestCap:
    @pytest.mark.parametrize(("cap", "is_allowed"), [(10, True), (9, False), ("100%", True), ("99%", False)])
    def test_more_than_so_many_are_not_asked_and_nothing_is_sent(
        self, world: World, cap: Any, is_allowed: bool
    ) -> None:
        nodes = [world.scripted(node, answers()) for node in NODES]
        client = world.client(*NODES, max_nodes=cap)
        if is_allowed:
            assert len(client.call("talk", count=0)) == 10
            return
        with pytest.raises(TooManyNodes, match=r"10( of 10)? nodes would be asked, and at most .* nothing was sent"):
            client.call("talk", count=0)
        assert [request for node in nodes for request in node.requests if request.agent == "worker"] == []
        assert client.last_results is None

    @pytest.mark.parametrize(("cap", "is_allowed"), [("20%", True), ("19%", False), (2, True), (1, False)])
    def test_a_share_is_one_of_everybody_whatever_the_filter(self, world: World, cap: Any, is_allowed: bool) -> None:
        # Given a filter that matches two of ten
        client = RpcClient("rpcutil", world.connection()).using(max_nodes=cap)
        client.identity_filter("/^web[12]$/")
        if is_allowed:
            assert len(client.ping().require_ok()) == 2
            return
        with pytest.raises(TooManyNodes):
            client.ping()

    def test_a_limit_makes_the_call_small_enough(self, world: World) -> None:
        client = world.client(*NODES, agent="rpcutil", max_nodes=3, limit=3)
        assert len(client.ping().require_ok()) == 3

    def test_nodes_that_should_be_there_are_somebody(self, world: World) -> None:
        # Given a fleet of four of which two are absent: two are half of it
        client = RpcClient("rpcutil", world.connection(), discovery=HalfThere())
        assert len(client.using(max_nodes="50%").ping()) == 2
        with pytest.raises(TooManyNodes, match="rpcutil: 2 of 4 nodes would be asked, and at most 49% may be"):
            client.using(max_nodes="49%").ping()


class TestCommand:
    """What a shell sees of it."""

    def mco(self, world: World, *words: str) -> int:
        def connect(_: Path | None, changes: Mapping[str, Any]) -> Connection:
            return world.connection()

        return main(["rpc", "worker", "flaky", *(word for node in NODES[:4] for word in ("-I", node)), *words], connect)

    def test_untouched_nodes_are_named_and_the_status_is_not_0(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.worker("web2").failures = [Status.ABORTED]
        assert self.mco(world, "--waves", "1,50%,100%", "--abort-on", "10%") != 0
        said = capsys.readouterr().out
        assert "stopped: 1 of 2 failed or kept silent, more than the 10% allowed" in said
        assert "not asked, 2 of 4: web3, web4" in said
        assert [world.worker(node).ran for node in NODES[:4]] == [["flaky"], ["flaky"], [], []]

    def test_nodes_in_no_wave_are_no_failure(self, world: World) -> None:
        assert self.mco(world, "--waves", "1,50%") == 0
        assert [len(world.worker(node).ran) for node in NODES[:4]] == [1, 1, 0, 0]

    @pytest.mark.parametrize(
        "words",
        [
            ("--waves", ""),
            ("--waves", ","),
            ("--waves", "1,,100%"),
            ("--limit", "0"),
            ("--batch", "x"),
            ("--max-nodes", "3"),
        ],
    )
    def test_what_cannot_be_is_refused_and_nobody_is_asked(self, world: World, words: tuple[str, ...]) -> None:
        assert self.mco(world, *words) != 0
        assert [world.worker(node).ran for node in NODES[:4]] == [[], [], [], []]

    def test_one_is_one(self, world: World) -> None:
        assert self.mco(world, "-1") == 0
        assert sum(len(world.worker(node).ran) for node in NODES) == 1


class TestOptions:
    def test_a_client_that_uses_others_is_another_one_for_the_same_nodes(self, world: World) -> None:
        client = world.client("web1", "web2", agent="rpcutil")
        one = client.using(limit=1)
        assert (len(one.ping()), len(client.ping())) == (1, 2)
        assert one.last_results is not client.last_results
        assert one.stats.responses == 1
        with pytest.raises(ConfigError, match=r"unknown option 'limt', did you mean limit\?"):
            client.using(limt=1)

    def test_nobody_to_ask_is_told_whatever_the_options(self, world: World) -> None:
        for options in ({}, {"batch_size": 2}, {"waves": ("1", "100%")}, {"max_nodes": "10%"}, {"limit": "10%"}):
            client = RpcClient("rpcutil", world.connection()).using(**options)
            client.discover(nodes=[])
            with pytest.raises(DiscoveryError, match="no node with agent rpcutil"):
                client.ping()


class TestWhoIsNotThere:
    def test_one_who_was_not_found_counts_as_failed_where_too_many_failures_end_the_call(self, world: World) -> None:
        # Given two nodes that are there, and one that is named and is not
        client = RpcClient("rpcutil", world.connection())
        for name in ("web1", "web2", "gone"):
            client.identity_filter(name)
        # When no failure is allowed, then the second wave is not begun
        results = client.using(waves=("1", "100%"), abort_on=0).ping()
        assert (results.untouched, list(results.absent)) == (("web2",), ["gone"])
        assert results.stopped == "stopped: 1 of 2 failed or kept silent, more than the 0 allowed"

    def test_one_that_refuses_is_not_the_one_that_is_enough(self, world: World) -> None:
        # Given a node that is the first to answer a discovery, and refuses it
        world.scripted("web1", lambda node, request: node.reply(request, status=int(Status.ABORTED), message="busy"))
        client = RpcClient("worker", world.connection())
        # Then another one is found
        (found,) = client.discover(limit=1)
        assert found != "web1"

    def test_who_does_not_surely_know_everybody_says_so(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        class Doubtful(Discovery):
            def core(self, query: Query) -> Core[Discovered]:
                yield Pause(0)
                return Discovered(("web1",), warnings=("the disk is full",))

        client = RpcClient("rpcutil", world.connection(), discovery=Doubtful())
        assert client.discover() == ["web1"]
        assert client.warnings == ("the disk is full",)
        # Then what those say whom it knows is no verdict about all
        results = client.using().ping()
        assert exits.of(results) == exits.FAILED
        with pytest.raises(ExpectationFailed, match="who should be there is not surely known: the disk is full"):
            results.require_ok()
        # And a feature does not begin with half a fleet
        monkeypatch.setattr("mco_client.bdd.fleet.configured", lambda connection: Doubtful())
        with (
            Session(Options(), world.connection()) as session,
            pytest.raises(DiscoveryError, match="not surely known: the disk is full"),
        ):
            Fleet(session).discover()
