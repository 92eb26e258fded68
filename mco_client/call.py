# SPDX-License-Identifier: Apache-2.0
"""One request on its way: publish it, believe only verified replies, and know when it is over."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from mco_client.believing import MAX_UNVERIFIED, Belief
from mco_client.connection import LOST, REPLY, ClosedHere, Connection
from mco_client.core import Arrival, Core, Do, Inbox, Pause, Take, run
from mco_client.fates import Fates
from mco_client.outgoing import OVER, PROBE, packets_of, probes_of
from mco_client.results import Result, Results
from mco_client.text import one_line
from mco_client.told import Started, Told
from mco_rpc import names
from mco_rpc.connector import Packet
from mco_rpc.errors import BrokerError, BrokerUnreachable
from mco_rpc.filters import Filter
from mco_rpc.messages import Reply, Request, new_id

# How often the broker is asked whether the nodes that have not answered yet are still there.
PROBE_EVERY_S = 1.0


class Call:
    """A request and the replies to it; iterating sends it and yields results as they arrive.

    Args:
        targets: who is asked, one by one up to the settings' ``direct_limit``; everybody whom the filter matches
            if None.
        timeout_s: seconds to wait at most, for each attempt.
        window_s: for an unknown population: seconds without a new answer, after one, that end the wait.
        limit: for an unknown population: good answers that end the wait.
        noop: whether to ask what would be changed, and change nothing.
        follow: whether `Started` and `Told` are wanted before the results.
        retries: how often nodes that failed or kept silent are asked again; only for known targets.
        retry_sleep_s: seconds before each.
        is_kept_open: whether answers that come after the end are kept, until `close`; see `late`.
    """

    def __init__(
        self,
        connection: Connection,
        agent: str,
        action: str,
        data: dict[str, Any],
        *,
        node_filter: Filter,
        targets: tuple[str, ...] | None,
        timeout_s: float,
        window_s: float | None = None,
        limit: int | None = None,
        noop: bool = False,
        follow: bool = False,
        retries: int = 0,
        retry_sleep_s: float = 1.0,
        is_kept_open: bool = False,
    ) -> None:
        self._connection = connection
        self._targets = targets
        self._timeout_s, self._window_s, self._limit = timeout_s, window_s, limit
        self._agent, self._action, self._data, self._filter = agent, action, data, node_filter
        self._noop, self._follow, self._is_kept_open = noop, follow, is_kept_open
        self._attempts = 1 + (retries if targets is not None else 0)
        self._retry_sleep_s = retry_sleep_s
        self.id = new_id()
        self.is_sent = False
        self._fates = Fates(targets, self._attempts, is_followed=follow)
        self._belief = Belief(connection.security, (connection.settings.collective, agent, action))
        self._inbox = Inbox()
        self._overdue: Arrival | None = None
        self._late: dict[str, float] = {}
        self._began = 0.0
        self._reply_key = ""
        self._probed_id = self.id
        self._is_given_up = self._is_nobody_there = False

    def __iter__(self) -> Iterator[Result]:
        """Ask, and yield what is answered until everybody has, or time is over; see `core`."""
        return (item for item in run(self.core()) if isinstance(item, Result))

    @property
    def request_ids(self) -> tuple[str, ...]:
        """The ids of everything that was sent for this call, for who wants to cancel it."""
        return tuple(self._fates.attempt_of)

    @property
    def is_nobody_there(self) -> bool:
        """Whether the broker gave a question to everybody back: nobody listens, which is not the same as silence."""
        return self._is_nobody_there

    @property
    def waiting(self) -> tuple[str, ...]:
        """The known nodes that may still answer."""
        return tuple(self._fates.waiting)

    def core(self) -> Core[None]:
        """Ask, and yield a `Result` for each node's answer, `Started` and `Told` before it if the caller follows.

        Raises:
            BrokerError: the broker cannot be reached, or was lost meanwhile; `results` has what came before.
        """
        fates, targets = self._fates, self._targets
        try:
            for attempt in range(1, self._attempts + 1):
                if attempt > 1:
                    targets = yield from self._pause()
                    if not targets:
                        break
                fates.attempt = attempt
                try:
                    yield from self._ask(targets)
                except BrokerUnreachable:
                    if self._is_given_up or attempt == self._attempts:
                        raise
            yield from fates.held.values()  # asked again, and never heard of since
            fates.held.clear()
        finally:
            if not self._is_kept_open:
                self.close()

    def close(self) -> None:
        """Care for no more answers."""
        self._connection.forget(self._fates.attempt_of)

    def give_up(self) -> None:
        """Ask nobody again."""
        self._is_given_up = True

    def late(self) -> dict[str, float]:
        """Return who has answered since the end, and how many seconds after it was asked."""
        for packet, at in self._come_since():
            answer = self._belief.believed(packet, self._fates.attempt_of)
            if isinstance(answer, Reply) and answer.sender not in self._fates.answers:
                self._late.setdefault(answer.sender, at - self._began)
        return dict(self._late)

    def results(self) -> Results:
        """Return what came so far, with its population."""
        fates, belief = self._fates, self._belief
        dropped = {
            one_line(signer): f"it sent faster than we read; {count:,} of its messages were dropped"
            for signer, count in self._inbox.dropped.most_common(MAX_UNVERIFIED)
        }
        doubted = {**dropped, **belief.unverified}
        return Results(
            agent=self._agent,
            action=self._action,
            expected=tuple(fates.answers) if self._targets is None else self._targets,
            answers=tuple(fates.answers.values()),
            offline=fates.offline,
            lost=fates.lost,
            begun=tuple(node for node in fates.begun if node not in fates.answers),
            unexpected=tuple(fates.unexpected),
            unverified={node: why for node, why in doubted.items() if node not in fates.answers},
            unverified_more=belief.unverified_more,
            timeout_s=self._timeout_s,
        )

    def cancellation(self, timeout_s: float) -> Call:
        """Return the call that tells all nodes that may be at work for this one to end it."""
        return Call(
            self._connection,
            "rpcutil",
            "cancel",
            {"requests": list(self.request_ids)},
            node_filter=Filter(),
            targets=self.waiting,
            timeout_s=timeout_s,
        )

    def _ask(self, targets: tuple[str, ...] | None) -> Core[None]:
        """Send one attempt, and take what comes until it is over."""
        self._reply_key = (yield Do(self._connection.open)).reply_key
        packets = packets_of(self._request(targets), self._connection.security, self._connection.settings.direct_limit)
        self._connection.expect(self._inbox, packets)
        self._fates.begin(targets, packets)
        self._probed_id = next(iter(packets), self.id)
        self._is_nobody_there = False
        began = time.monotonic()
        self._began = self._began or began
        was_sent, self.is_sent = self.is_sent, True  # somebody may have got it, however soon we are interrupted
        try:
            self._connection.publish([packet for part in packets.values() for packet in part], self._reply_key)
        except BrokerError:
            self.is_sent = was_sent
            raise
        if was_sent:
            self._fates.sent_again()
        yield from self._take(began)

    def _take(self, began: float) -> Core[None]:
        """Take what comes for an attempt until it is over."""
        until = began + self._timeout_s
        while not self._is_over():
            # What counts is when an answer came, not when whoever iterates finds the time to take it.
            left_s = max(0.0, until - time.monotonic())
            arrival = yield Take(self._inbox, min(left_s, PROBE_EVERY_S))
            if arrival is None:
                if time.monotonic() >= until:
                    return
                self._probe()
                continue
            kind, at, what = arrival
            if at > until:
                self._overdue = arrival
                return
            if kind == LOST or isinstance(what, BrokerError):
                self._is_given_up |= isinstance(what, ClosedHere)
                raise BrokerUnreachable(
                    f"{self._agent}#{self._action}: the connection was lost while replies were awaited "
                    f"({self._fates}): {what}"
                )
            if kind != REPLY:
                self._returned(what)
                continue
            item = self._taken(what, at)
            if isinstance(item, Result) and self._window_s is not None:
                until = min(began + self._timeout_s, at + self._window_s)
            if item is not None:
                yield item

    def _is_over(self) -> bool:
        if self._targets is None:
            return self._is_nobody_there or (self._limit is not None and self._fates.count_ok() >= self._limit)
        return self._is_nobody_there or not self._fates.waiting

    def _pause(self) -> Core[tuple[str, ...]]:
        """Wait before the next attempt, and return whom it asks: who has answered by then is not asked again."""
        if self._fates.to_ask_again:
            yield Pause(self._retry_sleep_s)
            for packet, at in self._come_since():
                item = self._taken(packet, at)
                if item is not None:
                    yield item
        return () if self._is_given_up else self._fates.to_ask_again

    def _come_since(self) -> Iterator[tuple[Packet, float]]:
        """Yield the answers that came since we stopped waiting, and when."""
        while (arrival := self._overdue or self._inbox.get(0)) is not None:
            self._overdue = None
            kind, at, what = arrival
            if kind == REPLY and isinstance(what, Packet):
                yield what, at

    def _request(self, targets: tuple[str, ...] | None) -> Request:
        settings = self._connection.settings
        return Request(
            id=self.id if self._fates.attempt == 1 else new_id(),
            collective=settings.collective,
            agent=self._agent,
            action=self._action,
            caller=self._connection.security.principal,
            sender=socket.gethostname(),
            sent_at=self._connection.clock(),
            ttl_s=self._timeout_s,
            data=self._data,
            filter=self._filter,
            targets=targets,
            reply_to=self._reply_key,
            noop=self._noop,
            follow=self._follow,
        )

    def _probe(self) -> None:
        """Ask the broker who of those we wait for is gone: a ping that nobody answers, and that comes back if so.

        A node that dies with our request in hand would otherwise cost the whole timeout.
        """
        waiting = self.waiting
        if 0 < len(waiting) <= self._connection.settings.direct_limit:
            request = msgspec.structs.replace(self._request(waiting), id=self._probed_id)
            packets = probes_of(request, self._connection.security, waiting, PROBE_EVERY_S)
            self._connection.probe(packets, self._reply_key)

    def _returned(self, packet: Packet) -> None:
        """Note who is not there: the node whose key it was, or everybody if nobody has the agent's key."""
        is_probe = packet.type == PROBE
        is_everybody = not is_probe and packet.key == names.agent_key(self._agent)
        self._is_nobody_there |= is_everybody or packet.type == OVER
        if packet.type != OVER:
            for node in self.waiting if is_everybody else (packet.key,):
                self._fates.gone(node, is_asked=is_probe)

    def _taken(self, packet: Packet, at: float) -> Result | Started | Told | None:
        """Return what a packet says, if a node that we trust said it, to this request, and it is news."""
        answer = self._belief.believed(packet, self._fates.attempt_of)
        return None if answer is None else self._fates.heard(answer, at - self._began, len(packet.body))
