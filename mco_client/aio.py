# SPDX-License-Identifier: Apache-2.0
"""`AsyncRpcClient`: the client for services that have an event loop; the same names, to be awaited.

>>> import asyncio
>>> from mco_lab.memory import MemoryFleet
>>> async def ask(connection):
...     async with AsyncRpcClient("rpcutil", connection) as client:
...         return [result.sender for result in await client.ping()]
>>> with MemoryFleet.of_hosts(web1={}) as fleet:
...     asyncio.run(ask(fleet.connection()))
['web1']
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, TypeVar

from mco_client.client import ClientCore
from mco_client.core import Arrival, Core, Do, Inbox, Operation, Pause, Take
from mco_client.results import Result, Results
from mco_client.told import Started, Told

T = TypeVar("T")


class AsyncRpcClient(ClientCore):
    """`mco_client.rpc.RpcClient` for an event loop; several calls may be awaited at once, each on its own client.

    What blocks, to connect and to read a file, is done in a thread of the loop's executor.
    """

    async def __aenter__(self) -> AsyncRpcClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the broker, unless the connection belongs to somebody else."""
        self._forget()
        if self._owns_connection:
            await asyncio.to_thread(self.connection.close)

    async def discover(self, nodes: Iterable[str] | None = None, limit: int | None = None) -> list[str]:
        """Find the nodes to ask, or take the given ones without looking; return their names."""
        return await _finish(self._discover_core(nodes, limit))

    async def discovered(self) -> list[str]:
        """Return the nodes that are asked, found now if need be."""
        return list((await _finish(self._known())).nodes)

    async def require_discovered(self) -> list[str]:
        """Return the nodes that are asked; raise `DiscoveryError` if one that should be there is not."""
        return await _finish(self._require_discovered_core())

    async def call(self, action: str, /, **inputs: Any) -> Results:
        """Ask for an action and return all results; raises what `RpcClient.call` raises."""
        return await _finish(self._call_core(action, inputs))

    async def stream(self, action: str, /, **inputs: Any) -> AsyncGenerator[Result, None]:
        """Ask for an action and yield results as they arrive."""
        async with contextlib.aclosing(_items(self._call_core(action, inputs))) as items:
            async for item in items:
                if isinstance(item, Result):
                    yield item

    async def follow(self, action: str, /, **inputs: Any) -> AsyncGenerator[Started | Told | Result, None]:
        """Ask for an action and yield what the nodes say as they say it."""
        async with contextlib.aclosing(_items(self._call_core(action, inputs, follow=True))) as items:
            async for item in items:
                yield item

    async def send(self, action: str, /, reply_to: str | None = None, **inputs: Any) -> tuple[str, ...]:
        """Ask for an action and wait for nothing; return the ids of the requests."""
        return await _finish(self._send_core(action, inputs, reply_to))

    async def cancel(self) -> Results | None:
        """End the call of another task: ask nobody else, and tell the nodes at work; None if there are none."""
        return await _finish(self._cancel_core(self._under_way))

    async def cancel_last(self) -> Results | None:
        """Tell the nodes that have not answered the last call, because it was given up, to end it."""
        return await _finish(self._cancel_core(self._last))

    def __getattr__(self, action: str) -> Callable[..., Coroutine[Any, Any, Results]]:
        if action.startswith("_"):
            raise AttributeError(action)

        async def ask(**inputs: Any) -> Results:
            return await self.call(action, **inputs)

        ask.__name__ = action
        return ask


async def _finish(core: Core[T]) -> T:
    """Run a core to its end by awaiting, and return what it returns."""
    # Not by way of `_items`: an asynchronous generator cannot be closed while it waits, if the loop is gone.
    with contextlib.closing(core):
        answer: Any = None
        error: BaseException | None = None
        while True:
            try:
                yielded = core.throw(error) if error is not None else core.send(answer)
            except StopIteration as e:
                value: T = e.value
                return value
            answer = error = None
            if isinstance(yielded, Operation):
                try:
                    answer = await _done(yielded)
                except BaseException as e:  # a cancellation, too, is the core's to tell of
                    error = e


async def _items(core: Core[Any]) -> AsyncGenerator[Any, None]:
    """Run a core by awaiting; yield what it has for us. `mco_client.core.run` does the same by blocking."""
    with contextlib.closing(core):
        answer: Any = None
        error: BaseException | None = None
        while True:
            try:
                yielded = core.throw(error) if error is not None else core.send(answer)
            except StopIteration:
                return
            answer = error = None
            if not isinstance(yielded, Operation):
                yield yielded
                continue
            try:
                answer = await _done(yielded)
            except BaseException as e:  # a cancellation, too, is the core's to tell of
                error = e


async def _done(operation: Operation) -> Any:
    match operation:
        case Take(inbox, timeout_s):
            return await _taken(inbox, timeout_s)
        case Pause(seconds):
            return await asyncio.sleep(seconds)
        case Do(what):
            return await asyncio.to_thread(what)


async def _taken(inbox: Inbox, timeout_s: float) -> Arrival | None:
    """Return what came first, waiting for it; None if nothing did."""
    arrival = inbox.get(0)
    if arrival is not None or timeout_s <= 0:
        return arrival
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(woken.set)

    inbox.on_arrival = wake
    try:
        arrival = inbox.get(0)  # what came before it could wake us
        if arrival is not None:
            return arrival
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await woken.wait()
        return inbox.get(0)
    finally:
        inbox.on_arrival = None
