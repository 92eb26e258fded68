# SPDX-License-Identifier: Apache-2.0
"""`RpcClient`: ask the nodes that a filter matches to do the actions of one agent."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from mco_client.call import Call
from mco_client.connection import Connection
from mco_client.discovery import Discovered, Discovery
from mco_client.discovery.broadcast import BroadcastDiscovery
from mco_client.progress import Progress
from mco_client.results import Result, Results, with_reasons
from mco_client.stats import Stats
from mco_client.text import listed, natural
from mco_rpc import names
from mco_rpc.errors import ConfigError, DiscoveryError
from mco_rpc.filters import Filter, fact_term, from_options, parse_fact


@dataclass(frozen=True, slots=True)
class _Asked:
    """One call, and what was known when it began; a client may have several under way."""

    call: Call
    found: Discovered
    discovery_s: float
    began_at: float
    began: float


class RpcClient:
    """A client of one agent.

    Every action of the agent is a method: ``client.block(ipaddr="192.168.1.1")`` asks the discovered nodes and
    returns their `Results`. Filters add up; changing one forgets who was discovered.

    Args:
        agent: the agent's name.
        connection: shared with other clients; one of its own, from the configuration, if None.
        discovery: who finds the nodes; broadcast if None.
        timeout_s: seconds to wait for replies; from the settings if None.

    >>> from mco_lab.memory import MemoryFleet
    >>> with MemoryFleet.of_hosts(web1={"country": "de"}, web2={"country": "fr"}) as fleet:
    ...     client = RpcClient("rpcutil", connection=fleet.connection())
    ...     client.fact_filter("country", "de")
    ...     [(result.sender, result.data["value"]) for result in client.get_fact(fact="country")]
    [('web1', 'de')]
    """

    def __init__(
        self,
        agent: str,
        connection: Connection | None = None,
        *,
        discovery: Discovery | None = None,
        timeout_s: float | None = None,
        discovery_timeout_s: float | None = None,
        progress: bool = False,
    ) -> None:
        self.agent = names.check("agent", agent)
        self._owns_connection = connection is None
        self.connection = connection or Connection()
        self._discovery = discovery or BroadcastDiscovery(self.connection)
        settings = self.connection.settings
        self.timeout_s = _seconds("timeout_s", timeout_s, settings.timeout_s)
        self.discovery_timeout_s = _seconds("discovery_timeout_s", discovery_timeout_s, settings.discovery_timeout_s)
        self.progress = progress
        self.stats = Stats()
        self.last_results: Results | None = None
        self._filter = Filter()
        self._found: Discovered | None = None
        self._discovery_s = 0.0

    def __enter__(self) -> RpcClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the broker, unless the connection belongs to somebody else."""
        if self._owns_connection:
            self.connection.close()

    # Filters.

    @property
    def filter(self) -> Filter:
        """What was asked for so far, without the agent itself."""
        return self._filter

    def class_filter(self, name: str) -> None:
        """Ask only nodes with this class; ``/x/`` is a regular expression."""
        self.add_filter(from_options(classes=[name]))

    def fact_filter(self, fact: str, value: str | None = None, operator: str = "==") -> None:
        """Ask only nodes with this fact: ``("country", "de")``, ``("cores", "4", ">=")`` or ``("cores>=4")``."""
        term = parse_fact(fact) if value is None else fact_term(fact, operator, value)
        self.add_filter(Filter(facts=(term,)))

    def identity_filter(self, identity: str) -> None:
        """Ask this node too; several are alternatives, ``/x/`` is a regular expression."""
        self.add_filter(from_options(identities=[identity]))

    def agent_filter(self, agent: str) -> None:
        """Ask only nodes that offer this agent as well."""
        self.add_filter(from_options(agents=[agent]))

    def add_filter(self, more: Filter) -> None:
        """Ask only nodes that this filter matches as well."""
        self._filter = self._filter.merged(more)
        self._found = None

    def reset_filter(self) -> None:
        """Ask everybody who offers the agent."""
        self._filter = Filter()
        self._found = None

    # Discovery.

    def discover(self, nodes: Iterable[str] | None = None, limit: int | None = None) -> list[str]:
        """Find the nodes to ask, or take the given ones without looking; return their names.

        Raises:
            BrokerError: the broker cannot be used.
        """
        began = time.monotonic()
        if nodes is not None:
            self._found = Discovered(tuple(names.check("identity", node) for node in dict.fromkeys(nodes)))
        else:
            asked = self._filter.merged(Filter(agents=(self.agent,)))
            self._found = self._discovery.discover(asked, limit, self.discovery_timeout_s)
        self._discovery_s = time.monotonic() - began
        self.stats = Stats(
            discovered=len(self._found.nodes),
            discovered_nodes=list(self._found.nodes),
            discoverytime=self._discovery_s,
            unverified=dict(self._found.unverified),
            unverified_more=self._found.unverified_more,
        )
        return list(self._found.nodes)

    @property
    def discovered(self) -> list[str]:
        """The nodes that are asked, found now if need be."""
        if self._found is None:
            self.discover()
        return list(self._found.nodes) if self._found else []

    def require_discovered(self) -> list[str]:
        """Return the nodes that are asked.

        Raises:
            DiscoveryError: there is none, some answered whom we cannot believe, or one that was named is not there.
        """
        nodes = self.discovered
        found = self._found or Discovered(())
        reasons = []
        if found.unverified or found.unverified_more:
            doubted = with_reasons(found.unverified, found.unverified_more)
            reasons.append(f"answers to the discovery were not believed: {doubted}")
        if found.absent:
            reasons.append(f"named, and not found: {with_reasons(found.absent)}")
        if reasons:
            raise DiscoveryError("; ".join(reasons))
        if not nodes:
            raise DiscoveryError(
                f"no node with agent {self.agent} was discovered within {self.discovery_timeout_s:g} s "
                f"for the filter: {self._filter}"
            )
        return nodes

    # Calls.

    def call(self, action: str, /, **inputs: Any) -> Results:
        """Ask for an action and return all results with their population and, in `stats`, their numbers.

        Raises:
            DiscoveryError: there is no node to ask.
            BrokerError: the broker cannot be used, or was lost while replies were awaited; `last_results` and
                `stats` have what came before.
        """
        asked = self._start(action, inputs)
        try:
            for _ in self._followed(asked):
                pass
        finally:  # what came before an interruption, too, is told
            results = self._finished(asked)
        return results

    def stream(self, action: str, /, **inputs: Any) -> Iterator[Result]:
        """Ask for an action and yield results as they arrive; `stats` is complete when the iteration ends."""
        asked = self._start(action, inputs)
        try:
            yield from self._followed(asked)
        finally:
            self._finished(asked)

    def __getattr__(self, action: str) -> Callable[..., Results]:
        if action.startswith("_"):
            raise AttributeError(action)

        def ask(**inputs: Any) -> Results:
            return self.call(action, **inputs)

        ask.__name__ = action
        return ask

    def __repr__(self) -> str:
        found = f", nodes {listed(self._found.nodes)}" if self._found else ""
        return f"<RpcClient {self.agent}: {self._filter}{found}>"

    def _start(self, action: str, inputs: dict[str, Any]) -> _Asked:
        nodes = self.discovered
        if not nodes:
            self.require_discovered()
        self.last_results = None
        call = Call(
            self.connection,
            self.agent,
            action,
            inputs,
            node_filter=Filter(),
            targets=tuple(nodes),
            timeout_s=self.timeout_s,
        )
        found = self._found or Discovered(())
        return _Asked(call, found, self._discovery_s, self.connection.clock(), time.monotonic())

    def _followed(self, asked: _Asked) -> Iterator[Result]:
        with Progress(len(asked.found.nodes), is_wanted=self.progress) as progress:
            for result in asked.call:
                progress.advance()
                yield result

    def _finished(self, asked: _Asked) -> Results:
        blocked_s = time.monotonic() - asked.began
        call, found = asked.call, asked.found
        results = call.results()
        # Whoever was not believed when we looked for nodes is one of those we do not know about now.
        answered = results.by_node()
        doubted = {node: why for node, why in found.unverified.items() if node not in answered}
        results = dataclasses.replace(
            results,
            expected=results.expected + tuple(found.absent),
            unverified={**doubted, **results.unverified},
            unverified_more=results.unverified_more + found.unverified_more,
            absent=found.absent,
        )
        self.last_results = results if call.is_sent else None
        self.stats = Stats(
            requestid=call.id,
            starttime=asked.began_at,
            discoverytime=asked.discovery_s,
            blocktime=blocked_s,
            totaltime=asked.discovery_s + blocked_s,
            discovered=len(found.nodes),
            discovered_nodes=sorted(found.nodes, key=natural),
        )
        self.stats.take(results)
        return results


def _seconds(name: str, given: float | None, default: float) -> float:
    seconds = default if given is None else given
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ConfigError(f"{name}: expected more than 0, got {seconds}")
    return seconds
