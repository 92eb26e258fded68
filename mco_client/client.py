# SPDX-License-Identifier: Apache-2.0
"""What a client of one agent knows and decides, without waiting for anything: the core of both its faces.

`mco_client.rpc` waits by blocking, `mco_client.aio` in an event loop. Neither decides anything.
"""

from __future__ import annotations

import copy
import dataclasses
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any, Self

from mco_client.campaign import Campaign
from mco_client.connection import Connection
from mco_client.core import Core, Do, quietly
from mco_client.discovery import Discovered, Discovery, Query
from mco_client.discovery.choice import configured
from mco_client.filtered import Filtered
from mco_client.outgoing import packets_of
from mco_client.plan import CallOptions, Share, seconds
from mco_client.receiving import check_token
from mco_client.results import Results
from mco_client.stats import Stats
from mco_client.text import listed, natural, with_reasons
from mco_rpc import names
from mco_rpc.errors import ConfigError, DiscoveryError, TooManyNodes
from mco_rpc.filters import Filter
from mco_rpc.messages import Request, new_id


class ClientCore(Filtered):
    """A client of one agent: its filters, whom they found, its options, and the last call.

    Args:
        agent: the agent's name.
        connection: shared with other clients; one of its own, from the configuration, if None.
        discovery: who finds the nodes; by the settings if None.
        timeout_s: seconds to wait for replies; from the settings if None.
        options: how calls are spread over the nodes; see `using` for a single one.
    """

    def __init__(
        self,
        agent: str,
        connection: Connection | None = None,
        *,
        discovery: Discovery | None = None,
        timeout_s: float | None = None,
        discovery_timeout_s: float | None = None,
        options: CallOptions | None = None,
        progress: bool = False,
    ) -> None:
        self.agent = names.check("agent", agent)
        self._owns_connection = connection is None
        self.connection = connection or Connection()
        settings = self.connection.settings
        self._discovery = discovery or configured(self.connection)
        self.options = options or CallOptions()
        asked_s = timeout_s if timeout_s is not None else self.options.timeout_s
        self.timeout_s = seconds("timeout_s", settings.timeout_s if asked_s is None else asked_s)
        self.discovery_timeout_s = seconds(
            "discovery_timeout_s", settings.discovery_timeout_s if discovery_timeout_s is None else discovery_timeout_s
        )
        self.progress = progress
        self.stats = Stats()
        self.last_results: Results | None = None
        super().__init__()
        self._found: Discovered | None = None
        self._discovery_s = 0.0
        self._under_way: Campaign | None = None
        self._last: Campaign | None = None

    def using(self, **options: Any) -> Self:
        """Return a client for the same nodes that calls in another way: ``client.using(batch_size=2, retries=1)``.

        Args:
            options: fields of `CallOptions`.

        Raises:
            ConfigError: there is no such option, or it cannot have this value.
        """
        other = copy.copy(self)
        other.options = self.options.replaced(**options)
        if other.options.timeout_s is not None:
            other.timeout_s = other.options.timeout_s
        other.stats, other.last_results = Stats(), None
        other._under_way = other._last = None  # noqa: SLF001 - it is one of us, and has called nobody yet
        other._owns_connection = False  # noqa: SLF001 - the same
        return other

    @property
    def results(self) -> Results:
        """The results of the last call, for who iterated over it; raise `DiscoveryError` if there was none."""
        if self.last_results is None:
            raise DiscoveryError(f"{self.agent}: nobody was asked yet")
        return self.last_results

    def _forget(self) -> None:
        if self._found is not None:
            self._found.close()
        self._found = None

    # Discovery.

    @property
    def schemas(self) -> dict[str, str]:
        """The digest of the agent's schema on each node that was discovered, as far as it said."""
        return dict(self._found.schemas) if self._found else {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why whoever knew the nodes may not know everybody."""
        return self._found.warnings if self._found else ()

    @property
    def absent(self) -> dict[str, str]:
        """The nodes that should have been discovered and were not, and why."""
        return dict(self._found.absent) if self._found else {}

    def _discover_core(self, nodes: Iterable[str] | None, limit: int | None) -> Core[list[str]]:
        began = time.monotonic()
        self._forget()
        if nodes is not None:
            given = tuple(names.check("identity", node) for node in dict.fromkeys(nodes))
            found = Discovered(given, source="the caller")
        else:
            query = Query(self._filter, self.agent, limit, self.discovery_timeout_s, is_kept_open=True)
            found = yield from quietly(self._discovery.core(query))
        self._found = found
        self._discovery_s = time.monotonic() - began
        self.stats = Stats.of_discovery(found, self._discovery_s)
        return list(found.nodes)

    def _require_discovered_core(self) -> Core[list[str]]:
        found = yield from self._known()
        reasons = []
        if found.unverified or found.unverified_more:
            doubted = with_reasons(found.unverified, found.unverified_more)
            reasons.append(f"answers to the discovery were not believed: {doubted}")
        if found.absent:
            reasons.append(f"expected, and not found: {with_reasons(found.absent)}")
        if reasons:
            raise DiscoveryError("; ".join(reasons))
        if not found.nodes:
            raise DiscoveryError(
                f"no node with agent {self.agent} was discovered within {self.discovery_timeout_s:g} s "
                f"for the filter: {self._filter}"
            )
        return list(found.nodes)

    def _known(self) -> Core[Discovered]:
        """Return whom the filters find, looking for them if need be."""
        if self._found is None:
            yield from self._discover_core(None, self.options.discovery_limit)
        return self._found or Discovered(())

    # Calls.

    def _call_core(
        self,
        action: str,
        inputs: dict[str, Any],
        on_start: Callable[[int], None] = lambda _: None,
        *,
        follow: bool = False,
    ) -> Core[Results]:
        """Ask for an action; yield what comes, and return the results; both are kept, whatever happens.

        Args:
            on_start: is told how many nodes are asked.
            follow: whether what the nodes say before they answer is wanted, whatever the options say.
        """
        options = dataclasses.replace(self.options, follow=follow or self.options.follow)
        found = yield from self._known()
        if not found.nodes:
            yield from self._require_discovered_core()
        self.last_results = None
        chosen = options.chosen(found.nodes)
        yield from self._require_few(chosen)
        campaign = Campaign(
            self.connection, self.agent, action, inputs, chosen, options, self.timeout_s, len(found.absent)
        )
        self._under_way = self._last = campaign
        began_at, began = self.connection.clock(), time.monotonic()
        on_start(len(chosen))
        try:
            yield from campaign.core()
        finally:  # what came before an interruption, too, is told
            self._under_way = None
            results = self._kept(campaign, found, began_at, time.monotonic() - began)
        return results

    def _require_few(self, nodes: tuple[str, ...]) -> Core[None]:
        """Raise `TooManyNodes` if the call would reach more than it may."""
        cap = self.options.max_nodes
        if not isinstance(cap, Share):
            return
        total = len(nodes)
        if cap.is_percent:
            everybody = yield from quietly(self._discovery.core(Query(timeout_s=self.discovery_timeout_s)))
            total = max(len(everybody.nodes) + len(everybody.absent), len(nodes))
        if cap.is_exceeded(len(nodes), total):
            of = f" of {total}" if cap.is_percent else ""
            raise TooManyNodes(
                f"{self.agent}: {len(nodes)}{of} nodes would be asked, and at most {cap} may be; nothing was sent: "
                "narrow the filter, set a limit, or raise max_nodes"
            )

    def _kept(self, campaign: Campaign, found: Discovered, began_at: float, blocked_s: float) -> Results:
        results = campaign.results()
        # Whoever was not believed when we looked for nodes is one of those we do not know about now.
        answered = results.by_node()
        doubted = {node: why for node, why in found.unverified.items() if node not in answered}
        chosen = set(campaign.nodes)
        stats = Stats(
            requestid=campaign.calls[0].id if campaign.calls else "",
            starttime=began_at,
            discoverytime=self._discovery_s,
            blocktime=blocked_s,
            totaltime=self._discovery_s + blocked_s,
            discovered=len(found.nodes),
            discovered_nodes=sorted(found.nodes, key=natural),
            source=found.source,
        )
        results = dataclasses.replace(
            results,
            expected=results.expected + tuple(found.absent),
            unverified={**doubted, **results.unverified},
            unverified_more=results.unverified_more + found.unverified_more,
            absent=found.absent,
            doubts=found.warnings,
            late={} if self.options.limit else found.late(),  # of whom some are enough, nobody is missing
            left_out=results.left_out + tuple(node for node in found.nodes if node not in chosen),
            stats=stats,
        )
        stats.take(results)
        self.last_results = results if campaign.is_sent else None
        self.stats = stats
        return results

    def _send_core(self, action: str, inputs: dict[str, Any], reply_to: str | None) -> Core[tuple[str, ...]]:
        """Send a request and wait for nothing; return the ids of what was sent."""
        options = self.options
        in_parts = [name for name in ("batch_size", "waves", "abort_on") if getattr(options, name)]
        if in_parts:
            raise ConfigError(
                f"{in_parts[0]}: who waits for no answers sends to everybody at once; call, or leave it out"
            )
        targets = None
        if self._found is not None or options.limit is not None or options.max_nodes is not None:
            found = yield from self._known()
            targets = options.chosen(found.nodes or (yield from self._require_discovered_core()))
            yield from self._require_few(targets)
        attempt = yield Do(self.connection.open)
        security, settings = self.connection.security, self.connection.settings
        request = Request(
            id=new_id(),
            collective=settings.collective,
            agent=self.agent,
            action=action,
            caller=security.principal,
            sender=socket.gethostname(),
            sent_at=self.connection.clock(),
            ttl_s=self.timeout_s,
            data=inputs,
            filter=Filter() if targets is not None else self._filter.merged(Filter(agents=(self.agent,))),
            targets=targets,
            reply_to=None if reply_to is None else names.reply_key(security.principal, check_token(reply_to)),
            noop=self.options.noop,
        )
        packets = packets_of(request, security, settings.direct_limit)
        self.connection.publish([packet for part in packets.values() for packet in part], attempt.reply_key)
        return tuple(packets)

    def _cancel_core(self, campaign: Campaign | None) -> Core[Results | None]:
        """End a call: ask nobody else, and tell the nodes that are at work for it."""
        running = campaign.cancel() if campaign else None
        if running is None:
            return None
        told = running.cancellation(self.timeout_s)
        yield from told.core()
        return told.results()

    def __repr__(self) -> str:
        found = f", nodes {listed(self._found.nodes)}" if self._found else ""
        return f"<{type(self).__name__} {self.agent}: {self._filter}{found}>"
