# SPDX-License-Identifier: Apache-2.0
"""One request on its way: publish it, believe only verified replies, and know when it is over."""

from __future__ import annotations

import queue
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from mco_client.connection import LOST, REPLY, Connection
from mco_client.results import Result, Results
from mco_client.text import listed
from mco_rpc import names
from mco_rpc.connector import Packet
from mco_rpc.errors import BrokerError, BrokerUnreachable, MessageError, SecurityError
from mco_rpc.filters import Filter
from mco_rpc.messages import Reply, Request, decode_reply, encode, new_id

MAX_REPLY_BYTES = 16 * 1024 * 1024
# How often the broker is asked whether the nodes that have not answered yet are still there.
PROBE_EVERY_S = 1.0
REQUEST, PROBE = "request", "probe"


class Call:
    """A request and the replies to it; iterating sends it and yields results as they arrive.

    Args:
        targets: who is asked, one by one up to the settings' ``direct_limit``; everybody whom the filter matches
            if None.
        timeout_s: seconds to wait at most.
        window_s: for an unknown population: seconds without a new answer, after one, that end the wait.
        limit: for an unknown population: answers that end the wait.
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
    ) -> None:
        self._connection = connection
        self._targets = targets
        self._timeout_s, self._window_s, self._limit = timeout_s, window_s, limit
        self._agent, self._action, self._data, self._filter = agent, action, data, node_filter
        self.id = new_id()
        self._answers: dict[str, Result] = {}
        self._unexpected: list[Result] = []
        self._unverified: dict[str, str] = {}
        self._offline: set[str] = set()
        self._lost: set[str] = set()
        self._is_nobody_there = False
        self._reply_key = ""

    def __iter__(self) -> Iterator[Result]:
        """Ask, and yield what is answered until everybody has, or time is over.

        Raises:
            BrokerError: the broker cannot be reached, or was lost meanwhile; `results` has what came before.
        """
        self._reply_key = self._connection.reply_key
        request = self._request()
        packets = self._packets(request)
        with self._connection.inbox(self.id) as inbox:
            began = time.monotonic()
            self._connection.publish(packets, self._reply_key)
            until = began + self._timeout_s
            while not self._is_over():
                # What counts is when an answer came, not when whoever iterates finds the time to take it.
                left_s = max(0.0, until - time.monotonic())
                try:
                    kind, at, what = inbox.get(timeout=min(left_s, PROBE_EVERY_S))
                except queue.Empty:
                    if time.monotonic() >= until:
                        return
                    self._probe()
                    continue
                if at > until:
                    return
                if kind == LOST or isinstance(what, BrokerError):
                    raise self._cut_off(what)
                if kind != REPLY:
                    self._returned(what)
                    continue
                result = self._believe(what, at - began)
                if result is not None:
                    if self._window_s is not None:
                        until = min(began + self._timeout_s, at + self._window_s)
                    yield result

    def results(self) -> Results:
        """Return what came so far, with its population."""
        expected = tuple(self._answers) if self._targets is None else self._targets
        return Results(
            agent=self._agent,
            action=self._action,
            expected=expected,
            answers=tuple(self._answers.values()),
            offline=tuple(sorted(self._offline)),
            lost=tuple(sorted(self._lost)),
            unexpected=tuple(self._unexpected),
            unverified={node: why for node, why in self._unverified.items() if node not in self._answers},
            timeout_s=self._timeout_s,
        )

    def _is_over(self) -> bool:
        if self._targets is None:
            return self._is_nobody_there or (self._limit is not None and len(self._answers) >= self._limit)
        return not self._waiting()

    def _waiting(self) -> list[str]:
        gone = self._offline | self._lost
        return [node for node in self._targets or () if node not in self._answers and node not in gone]

    def _request(self) -> Request:
        settings = self._connection.settings
        return Request(
            id=self.id,
            collective=settings.collective,
            agent=self._agent,
            action=self._action,
            caller=self._connection.security.principal,
            sender=socket.gethostname(),
            sent_at=self._connection.clock(),
            ttl_s=self._timeout_s,
            data=self._data,
            filter=self._filter,
            targets=self._targets,
            reply_to=self._reply_key,
        )

    def _packets(self, request: Request) -> list[Packet]:
        """Return one packet a named node, which says at once who is offline, or one for everybody."""
        if self._targets is not None and len(self._targets) <= self._connection.settings.direct_limit:
            return self._sealed(request, names.NODE, self._targets, REQUEST)
        return self._sealed(request, names.BROADCAST, [names.agent_key(self._agent)], REQUEST)

    def _sealed(self, request: Request, exchange: str, keys: Sequence[str], kind: str) -> list[Packet]:
        security = self._connection.security
        body = encode(request)
        signature = security.sign(body)
        return [
            Packet(
                exchange=names.exchange(request.collective, exchange),
                key=key,
                body=body,
                type=kind,
                message_id=self.id,
                correlation_id=self.id,
                signer=security.signer,
                signature=signature,
                expiration_s=request.ttl_s,
                mandatory=True,
            )
            for key in keys
        ]

    def _probe(self) -> None:
        """Ask the broker who of those we wait for is gone: a ping that nobody answers, and that comes back if so.

        A node that dies with our request in hand would otherwise cost the whole timeout.
        """
        waiting = self._waiting()
        if 0 < len(waiting) <= self._connection.settings.direct_limit:
            ping = msgspec.structs.replace(
                self._request(), id=new_id(), agent="discovery", action="ping", data={}, reply_to=None,
                targets=tuple(waiting), filter=Filter(), ttl_s=PROBE_EVERY_S,
            )  # fmt: skip
            self._connection.publish(self._sealed(ping, names.NODE, waiting, PROBE), self._reply_key)

    def _returned(self, packet: Packet) -> None:
        """Note who is not there: the node whose key it was, or everybody if nobody has the agent's key."""
        if packet.type == PROBE:
            if packet.key in self._waiting():
                self._lost.add(packet.key)
        elif packet.key == names.agent_key(self._agent):
            self._is_nobody_there = True
            self._offline.update(self._targets or ())
        elif self._targets and packet.key in self._targets:
            self._offline.add(packet.key)

    def _believe(self, packet: Packet, took_s: float) -> Result | None:
        """Return the result in a packet if a node that we trust gave it, to this request, for the first time."""
        try:
            reply = self._verified(packet)
        except (SecurityError, MessageError) as e:
            self._unverified[packet.signer or "unknown"] = str(e)
            return None
        result = Result(reply.sender, reply.status, reply.message, reply.data, reply.ran_s, took_s)
        if self._targets is not None and reply.sender not in self._targets:
            self._unexpected.append(result)
            return None
        if reply.sender in self._answers:
            return None
        self._answers[reply.sender] = result
        self._offline.discard(reply.sender)
        self._lost.discard(reply.sender)
        return result

    def _verified(self, packet: Packet) -> Reply:
        if len(packet.body) > MAX_REPLY_BYTES:
            raise MessageError(f"a reply of {len(packet.body)} bytes; at most {MAX_REPLY_BYTES} are read")
        principal = self._connection.security.verify(packet.body, packet.signer, packet.signature)
        reply = decode_reply(packet.body)
        if reply.sender != principal:
            raise SecurityError(f"signed by {principal}, but claims to be from {reply.sender!r}")
        if reply.id != self.id:
            raise SecurityError("a reply to another request")
        return reply

    def _cut_off(self, reason: object) -> BrokerError:
        answered = len(self._answers)
        if self._targets is None:
            waited = f"{answered} had answered"
        else:
            unknown = listed(self._waiting())
            waited = f"{answered} of {len(self._targets)} had answered; what became of it is unknown on {unknown}"
        return BrokerUnreachable(
            f"{self._agent}#{self._action}: the connection was lost while replies were awaited ({waited}): {reason}"
        )
