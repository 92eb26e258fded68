# SPDX-License-Identifier: Apache-2.0
"""The client for event loops: the same names, many calls at once, and nothing left behind however a call ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from mco_client.aio import AsyncRpcClient
from mco_client.connection import Connection
from mco_client.results import Result, Results
from mco_client.rpc import RpcClient
from mco_client.told import Started, Told
from mco_rpc.errors import BrokerUnreachable, DiscoveryError, TooManyNodes
from tests.collective.calls import LONG_S, SHORT_S, World, spin, world_of

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def world() -> Iterator[World]:
    yield from world_of("web1", "web2", "web3")


@pytest.fixture
def connection(world: World) -> Connection:
    return world.connection()


def run(what: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(what, LONG_S))


async def client_of(connection: Connection, *nodes: str, agent: str = "worker", **options: Any) -> AsyncRpcClient:
    made = AsyncRpcClient(agent, connection)
    await made.discover(nodes=nodes)
    return made.using(**options)


class TestFace:
    def test_both_clients_have_the_same_names(self) -> None:
        def public(kind: type) -> set[str]:
            return {name for name in dir(kind) if not name.startswith("_")}

        assert public(AsyncRpcClient) == public(RpcClient)

    @pytest.mark.parametrize(
        "name", sorted(name for name in vars(RpcClient) if not name.startswith("_") and name != "discovered")
    )
    def test_and_the_same_arguments(self, name: str) -> None:
        def arguments(kind: type) -> list[Any]:
            return [
                (p.name, p.kind, p.default, p.annotation)
                for p in inspect.signature(getattr(kind, name)).parameters.values()
            ]

        assert arguments(AsyncRpcClient) == arguments(RpcClient)
        is_awaited = inspect.iscoroutinefunction(getattr(AsyncRpcClient, name))
        assert is_awaited or inspect.isasyncgenfunction(getattr(AsyncRpcClient, name))

    def test_both_are_made_alike(self) -> None:
        assert inspect.signature(AsyncRpcClient) == inspect.signature(RpcClient)

    def test_all_of_them_work(self, world: World, connection: Connection) -> None:
        async def use() -> None:
            async with AsyncRpcClient("worker", connection) as client:
                client.fact_filter("country", "de")
                assert await client.discovered() == ["web1", "web2", "web3"]
                assert await client.require_discovered() == await client.discover() == ["web1", "web2", "web3"]
                assert len((await client.call("talk", count=1)).require_ok()) == 3
                assert len((await client.talk(count=1)).require_ok()) == 3
                assert sorted([result.sender async for result in client.stream("talk", count=1)]) == [
                    "web1",
                    "web2",
                    "web3",
                ]
                kinds = [type(item) async for item in client.follow("talk", count=1)]
                assert {kind: kinds.count(kind) for kind in kinds} == {Started: 3, Told: 3, Result: 3}
                assert len(await client.send("talk", count=1)) == 1
                assert await client.cancel() is None
                assert (client.stats.responses, repr(client)[:24]) == (3, "<AsyncRpcClient worker: ")
                with pytest.raises(AttributeError):
                    client._nosuch  # noqa: B018

        run(use())
        assert len(connection._inboxes) == 0
        assert connection._current is not None  # it is somebody else's

    def test_what_goes_wrong_is_raised(self, world: World, connection: Connection) -> None:
        async def use() -> None:
            client = AsyncRpcClient("nosuch", connection, discovery_timeout_s=SHORT_S)
            with pytest.raises(DiscoveryError, match="no node with agent nosuch"):
                await client.ping()
            with pytest.raises(TooManyNodes):
                await (await client_of(connection, "web1", "web2", max_nodes=1)).talk(count=1)
            world.fleet.broker.stop()
            with pytest.raises(BrokerUnreachable):
                await (await client_of(connection, "web1")).talk(count=1)

        run(use())


class TestAtOnce:
    def test_many_calls_are_awaited_at_once_and_each_has_its_own_answers(self, connection: Connection) -> None:
        async def ask(number: int) -> set[str]:
            client = await client_of(connection, "web1", "web2", "web3", agent="rpcutil")
            return {result.data["fact"] for result in (await client.get_fact(fact=f"f{number}")).require_ok()}

        async def use() -> list[set[str]]:
            return await asyncio.gather(*(ask(number) for number in range(100)))

        assert run(use()) == [{f"f{number}"} for number in range(100)]
        assert len(connection._inboxes) == 0

    def test_silent_nodes_are_waited_for_side_by_side(self, world: World, connection: Connection) -> None:
        # Given a node that answers the first call only after the last one was asked
        node = world.scripted("web1")

        async def use() -> list[Results]:
            calls = [asyncio.ensure_future((await client_of(connection, "web1")).flaky()) for _ in range(20)]
            while len(node.requests) < 20:
                await asyncio.sleep(0)
            for request in reversed(node.requests):
                node.reply(request, message=request.id)
            return await asyncio.gather(*calls)

        answered = run(use())
        assert sorted(results[0].message for results in answered) == sorted(request.id for request in node.requests)

    def test_the_loop_goes_on_while_somebody_waits(self, world: World, connection: Connection) -> None:
        async def use() -> None:
            world.scripted("web1")
            waiting = asyncio.ensure_future((await client_of(connection, "web1", timeout_s=SHORT_S)).flaky())
            turns = 0
            while not waiting.done():
                await asyncio.sleep(0)
                turns += 1
            assert turns > 10
            assert (await waiting).silent == ["web1"]

        run(use())

    def test_retries_and_batches_pause_without_holding_up_the_loop(self, world: World, connection: Connection) -> None:
        async def use() -> Results:
            client = await client_of(connection, "web1", "web2", "web3", batch_size=1, batch_sleep_s=0.01)
            return await client.talk(count=0)

        assert len(run(use()).require_ok()) == 3

    def test_fifty_threads_call_twenty_times_each_over_one_connection(self, connection: Connection) -> None:
        # Given threads that all begin at once, on a connection that is not open yet
        barrier = threading.Barrier(50)
        wrong: list[Any] = []

        def ask(number: int) -> None:
            try:
                client = RpcClient("rpcutil", connection)
                client.discover(nodes=["web1", "web2", "web3"])
                barrier.wait(LONG_S)
                for turn in range(20):
                    fact = f"{number}-{turn}"
                    results = client.get_fact(fact=fact).require_ok()
                    if {result.data["fact"] for result in results} != {fact} or len(results) != 3:
                        wrong.append((fact, results))
            except BaseException as e:
                wrong.append(e)

        threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG_S)
        assert wrong == []
        assert not any(thread.is_alive() for thread in threads)
        assert len(connection._inboxes) == 0


class TestLeaving:
    def test_a_task_that_is_cancelled_leaves_nothing_behind_and_what_came_is_told(
        self, world: World, connection: Connection
    ) -> None:
        node = world.scripted("web1")

        async def use() -> AsyncRpcClient:
            client = await client_of(connection, "web1", "web2")
            waiting = asyncio.ensure_future(client.talk(count=0))
            while not node.requests:
                await asyncio.sleep(0)
            assert len(connection._inboxes) == 1
            (inbox,) = connection._inboxes.values()
            while inbox._arrivals.qsize():
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert len(connection._inboxes) == 0
            return client

        client = run(use())
        assert client.stats.noresponsefrom[0] == "web1"
        # And the connection is as good as new
        assert len(run(again(connection))) == 1

    def test_a_time_out_of_the_caller_ends_it_too(self, world: World, connection: Connection) -> None:
        world.scripted("web1")

        async def use() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SHORT_S):
                    await (await client_of(connection, "web1")).flaky()

        run(use())
        assert len(connection._inboxes) == 0

    @pytest.mark.parametrize("name", ["stream", "follow"])
    def test_a_stream_that_is_left_early_leaves_nothing_behind(
        self, world: World, connection: Connection, name: str
    ) -> None:
        world.scripted("web1")

        async def use() -> None:
            client = await client_of(connection, "web1", "web2")
            items = getattr(client, name)("talk", count=0)
            async for _ in items:
                break
            assert len(connection._inboxes) == 1
            await items.aclose()
            assert len(connection._inboxes) == 0
            assert client.stats.noresponsefrom == ["web1"] or name == "follow"

        run(use())

    def test_one_that_is_forgotten_is_closed_with_the_loop(self, world: World, connection: Connection) -> None:
        world.scripted("web1")

        async def use() -> None:
            client = await client_of(connection, "web1", "web2")
            async for _ in client.stream("talk", count=0):
                break

        run(use())
        gc.collect()
        assert len(connection._inboxes) == 0

    def test_a_loop_that_is_closed_with_a_call_under_way_leaves_nothing_and_hangs_nothing(
        self, world: World, connection: Connection
    ) -> None:
        # Given a loop that its owner closes without a word to who waits in it
        node = world.scripted("web1")
        loop = asyncio.new_event_loop()
        waiting: Any = loop.create_task(flaky(connection))

        async def until_asked() -> None:
            while not node.requests:
                await asyncio.sleep(0)

        loop.run_until_complete(until_asked())
        waiting._log_destroy_pending = False  # that is what this test is about
        loop.close()
        # When the answer comes, then the thread that brings it lives
        node.reply(node.requests[0])
        del waiting
        with contextlib.suppress(RuntimeError):
            gc.collect()
        assert len(run(again(connection))) == 1
        spin(lambda: len(connection._inboxes) == 0)

    def test_a_connection_that_is_lost_ends_all_calls_that_wait(self, world: World, connection: Connection) -> None:
        node = world.scripted("web1")

        async def use() -> list[Any]:
            calls = [asyncio.ensure_future(flaky(connection)) for _ in range(5)]
            while len(node.requests) < 5:
                await asyncio.sleep(0)
            await asyncio.to_thread(world.fleet.broker.stop)
            return await asyncio.gather(*calls, return_exceptions=True)

        assert {type(error) for error in run(use())} == {BrokerUnreachable}
        assert len(connection._inboxes) == 0

    def test_another_task_ends_a_call(self, world: World, connection: Connection) -> None:
        async def use() -> Results:
            client = await client_of(connection, "web1")
            waiting = asyncio.ensure_future(client.loop())
            while not world.worker().begun.acquire(blocking=False):
                await asyncio.sleep(0)
            told = await client.cancel()
            assert told is not None
            told.require_ok()
            return await waiting

        (result,) = run(use())
        assert result.message.startswith("worker#loop was cancelled by key=operator")

    def test_a_client_closes_a_connection_of_its_own(
        self, world: World, connection: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mco_client.client.Connection", lambda: connection)

        async def use() -> None:
            async with AsyncRpcClient("rpcutil") as client:
                await client.ping()

        run(use())
        assert connection._current is None


async def flaky(connection: Connection) -> Results:
    return await (await client_of(connection, "web1")).flaky()


async def again(connection: Connection) -> Results:
    return (await (await client_of(connection, "web2")).talk(count=0)).require_ok()
