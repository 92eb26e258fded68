# SPDX-License-Identifier: Apache-2.0
"""`RpcClient`: ask the nodes that a filter matches to do the actions of one agent, and wait for them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from mco_client.client import ClientCore
from mco_client.core import finish, run
from mco_client.progress import Progress
from mco_client.results import Result, Results
from mco_client.told import Started, Told

T = TypeVar("T")


class RpcClient(ClientCore):
    """A client of one agent; see `mco_client.client.ClientCore` for how it is made.

    Every action of the agent is a method: ``client.block(ipaddr="192.168.1.1")`` asks the discovered nodes and
    returns their `Results`. Filters add up; changing one forgets who was discovered.

    >>> from mco_lab.memory import MemoryFleet
    >>> with MemoryFleet.of_hosts(web1={"country": "de"}, web2={"country": "fr"}) as fleet:
    ...     client = RpcClient("rpcutil", connection=fleet.connection())
    ...     client.fact_filter("country", "de")
    ...     [(result.sender, result.data["value"]) for result in client.get_fact(fact="country")]
    [('web1', 'de')]
    """

    def __enter__(self) -> RpcClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the broker, unless the connection belongs to somebody else."""
        self._forget()
        if self._owns_connection:
            self.connection.close()

    def discover(self, nodes: Iterable[str] | None = None, limit: int | None = None) -> list[str]:
        """Find the nodes to ask, or take the given ones without looking; return their names.

        Raises:
            BrokerError: the broker cannot be used.
            DiscoveryError: the source of nodes cannot say.
        """
        return finish(self._discover_core(nodes, limit))

    @property
    def discovered(self) -> list[str]:
        """The nodes that are asked, found now if need be."""
        return list(finish(self._known()).nodes)

    def require_discovered(self) -> list[str]:
        """Return the nodes that are asked.

        Raises:
            DiscoveryError: there is none, some answered whom we cannot believe, or one that should be there is not.
        """
        return finish(self._require_discovered_core())

    def call(self, action: str, /, **inputs: Any) -> Results:
        """Ask for an action and return all results with their population and, in `stats`, their numbers.

        Raises:
            DiscoveryError: there is no node to ask.
            TooManyNodes: there are more than may be asked; nothing was sent.
            BrokerError: the broker cannot be used, or was lost while replies were awaited; `last_results` and
                `stats` have what came before.
        """
        with Progress(is_wanted=self.progress) as progress:
            core = run(self._call_core(action, inputs, progress.expect))
            return _last(core, lambda item: progress.advance() if isinstance(item, Result) else None)

    def stream(self, action: str, /, **inputs: Any) -> Iterator[Result]:
        """Ask for an action and yield results as they arrive; `stats` is complete when the iteration ends."""
        with contextlib.closing(run(self._call_core(action, inputs))) as items:
            yield from (item for item in items if isinstance(item, Result))

    def follow(self, action: str, /, **inputs: Any) -> Iterator[Started | Told | Result]:
        """Ask for an action and yield what the nodes say as they say it: that they begin, what they do, the results."""
        with contextlib.closing(run(self._call_core(action, inputs, follow=True))) as items:
            yield from items

    def send(self, action: str, /, reply_to: str | None = None, **inputs: Any) -> tuple[str, ...]:
        """Ask for an action and wait for nothing; return the ids of the requests. Nobody learns who got them.

        Without a discovery before, everybody whom the filter matches is asked.

        Args:
            reply_to: who else shall get the answers: the token of a `mco_client.receiving.Receiver` of this caller.
        """
        return finish(self._send_core(action, inputs, reply_to))

    def cancel(self) -> Results | None:
        """End the call of another thread: ask nobody else, and tell the nodes at work; None if there are none."""
        return finish(self._cancel_core(self._under_way))

    def cancel_last(self) -> Results | None:
        """Tell the nodes that have not answered the last call, because it was interrupted, to end it."""
        return finish(self._cancel_core(self._last))

    def __getattr__(self, action: str) -> Callable[..., Results]:
        if action.startswith("_"):
            raise AttributeError(action)

        def ask(**inputs: Any) -> Results:
            return self.call(action, **inputs)

        ask.__name__ = action
        return ask


def _last(items: Generator[Any, None, T], seen: Callable[[Any], None]) -> T:
    """Return what a generator returns, having seen all that it yields."""
    with contextlib.closing(items):  # an interruption ends the call there and then, so that what came can be told
        while True:
            try:
                item = next(items)
            except StopIteration as e:
                value: T = e.value
                return value
            seen(item)
