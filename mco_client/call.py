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
from mco_client.text import listed, one_line
from mco_rpc import names
from mco_rpc.config import DEFAULT_MAX_BODY_BYTES
from mco_rpc.connector import Packet
from mco_rpc.errors import BrokerError, BrokerUnreachable, MessageError, SecurityError
from mco_rpc.filters import Filter
from mco_rpc.messages import Reply, Request, decode_reply, encode, new_id

MAX_REPLY_BYTES = 16 * 1024 * 1024
# A broadcast names its targets; every node reads all of it, so a long list goes out in parts.
MAX_BROADCAST_BYTES = 256 * 1024
# Of those whose answers are not believed, so many are named; their names are theirs to choose.
MAX_UNVERIFIED = 100
MAX_SIGNER_LENGTH = 128
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
        self._ids = [self.id]
        self.is_sent = False
        self._answers: dict[str, Result] = {}
        self._unexpected: list[Result] = []
        self._unverified: dict[str, str] = {}
        self._unverified_more = 0
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
        packets = self._packets(self._request())
        with self._connection.inbox(*self._ids) as inbox:
            began = time.monotonic()
            self.is_sent = True  # somebody may have got it, however soon we are interrupted
            try:
                self._connection.publish(packets, self._reply_key)
            except BrokerError:
                self.is_sent = False
                raise
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
            unverified_more=self._unverified_more,
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
        """Return one packet a named node, which says at once who is offline, or one for everybody.

        More names than a broadcast can hold make several; each has an id of its own, for a node takes an id once.
        """
        if self._targets is not None and len(self._targets) <= self._connection.settings.direct_limit:
            return self._sealed(request, names.NODE, self._targets, REQUEST)
        packets = []
        for number, targets in enumerate(self._parts(request)):
            if number:
                self._ids.append(new_id())
            part = msgspec.structs.replace(request, id=self._ids[-1], targets=targets)
            packets += self._sealed(part, names.BROADCAST, [names.agent_key(self._agent)], REQUEST)
        return packets

    def _parts(self, request: Request) -> Iterator[tuple[str, ...] | None]:
        """Return the targets in parts of which each fits into a broadcast."""
        self._ids = [self.id]
        if self._targets is None:
            yield None
            return
        room = MAX_BROADCAST_BYTES - len(encode(msgspec.structs.replace(request, targets=())))
        room = max(room, MAX_BROADCAST_BYTES // 4)  # inputs that are large themselves; `_sealed` knows their limit
        part: list[str] = []
        size = 0
        for node in self._targets:
            needed = len(node.encode()) + len('"",')
            if part and size + needed > room:
                yield tuple(part)
                part, size = [], 0
            part.append(node)
            size += needed
        yield tuple(part)

    def _sealed(self, request: Request, exchange: str, keys: Sequence[str], kind: str) -> list[Packet]:
        security = self._connection.security
        body = encode(request)
        if len(body) > DEFAULT_MAX_BODY_BYTES:
            raise MessageError(
                f"{self._agent}#{self._action}: the request has {len(body):,} bytes and nodes read at most "
                f"{DEFAULT_MAX_BODY_BYTES:,}; nothing was sent: give shorter inputs, or let the nodes fetch the data"
            )
        signature = security.sign(body)
        return [
            Packet(
                exchange=names.exchange(request.collective, exchange),
                key=key,
                body=body,
                type=kind,
                message_id=self.id if kind == PROBE else request.id,
                correlation_id=self.id if kind == PROBE else request.id,
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
            self._connection.probe(self._sealed(ping, names.NODE, waiting, PROBE), self._reply_key)

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
            self._doubt(packet.signer, str(e))
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

    def _doubt(self, signer: str, why: str) -> None:
        name = signer[:MAX_SIGNER_LENGTH] or "unknown"
        if name in self._unverified or len(self._unverified) < MAX_UNVERIFIED:
            self._unverified[name] = one_line(why)
        else:
            self._unverified_more += 1

    def _verified(self, packet: Packet) -> Reply:
        if len(packet.body) > MAX_REPLY_BYTES:
            raise MessageError(f"a reply of {len(packet.body)} bytes; at most {MAX_REPLY_BYTES} are read")
        principal = self._connection.security.verify(packet.body, packet.signer, packet.signature)
        reply = decode_reply(packet.body)
        if reply.sender != principal:
            raise SecurityError(f"signed by {principal}, but claims to be from {reply.sender!r}")
        if reply.id not in self._ids:
            raise SecurityError("a reply to another request")
        asked = (self._connection.settings.collective, self._agent, self._action)
        if (reply.collective, reply.agent, reply.action) != asked:
            told = one_line(f"{reply.agent}#{reply.action} in {reply.collective}")
            raise SecurityError(f"a reply of {told} to {self._agent}#{self._action} in {asked[0]}")
        return reply

    def _cut_off(self, reason: object) -> BrokerError:
        answered = len(self._answers)
        if self._targets is None:
            waited = f"{answered} had answered"
        else:
            fates = [f"{answered} of {len(self._targets)} had answered"]
            if waiting := self._waiting():
                fates.append(f"what became of it is unknown on {listed(waiting)}")
            if self._lost:
                fates.append(f"went away after they were asked: {listed(self._lost)}")
            if self._offline:
                fates.append(f"offline: {listed(self._offline)}")
            waited = "; ".join(fates)
        return BrokerUnreachable(
            f"{self._agent}#{self._action}: the connection was lost while replies were awaited ({waited}): {reason}"
        )
