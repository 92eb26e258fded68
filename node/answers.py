# SPDX-License-Identifier: Apache-2.0
"""The last rungs of the ladder: what became of a request is counted, recorded and then told to its caller."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mco_rpc import names
from mco_rpc.connector import Packet
from mco_rpc.errors import MessageError
from mco_rpc.messages import Ack, Progress, Reply, Request, encode
from mco_rpc.security import Security
from mco_rpc.status import Status

from .audit import Audit
from .ladder import Climb
from .rejections import Rejections
from .shown import SHOWN
from .tally import Rung, Tally

_log = logging.getLogger(__name__)
MAX_FILTER_LENGTH = 1000
# Where a call ended of which the action had begun.
_BEGUN = frozenset({Rung.OK, Rung.REFUSED, Rung.FAILED, Rung.OUTPUT, Rung.CANCELLED, Rung.TIME_OUT, Rung.REPLY})


class Answers:
    """Gives every answer of a node, from any thread.

    Args:
        tally: counts them.
        send: publishes replies, from any thread.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        collectives: tuple[str, ...],
        security: Security,
        audit: Audit,
        tally: Tally,
        send: Callable[[Packet], None],
        max_body_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._collectives = collectives
        self._security = security
        self._audit = audit
        self._tally = tally
        self._send = send
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        self._rejections = Rejections(audit, clock)

    def close(self) -> None:
        """Record what is still to be recorded."""
        self._rejections.close()

    def give(
        self,
        request: Request,
        climb: Climb,
        rung: Rung,
        status: Status,
        message: str,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Answer a request that ended on a rung."""
        ran_s = time.monotonic() - climb.arrived
        reply = Reply(
            id=request.id,
            collective=request.collective,
            agent=request.agent[:SHOWN],
            action=request.action[:SHOWN],
            sender=self._security.principal,
            sent_at=self._clock(),
            status=int(status),
            message=message[:4096],
            data=dict(data or {}),
            ran_s=round(ran_s, 6),
            schema=climb.offer.digests.get(request.agent, ""),
        )
        body, sent = self._encoded(reply)
        outcome = Status(sent.status).text
        self._count(request, climb, Rung.REPLY if sent is not reply else rung, outcome, ran_s)
        self._record(request, sent.sent_at, int(sent.status), outcome, sent.message, reply.ran_s)
        # Last: no answer without a record, and the thread that sends need not compete with this one.
        if self._can_reply(request):
            self._send(self._packet(request, "reply", body))
            self._tally.add("replies")

    def _count(self, request: Request, climb: Climb, rung: Rung, outcome: str, ran_s: float) -> None:
        schema = climb.offer.schemas.get(request.agent)
        if rung in _BEGUN and schema is not None and request.action in schema.actions:
            self._tally.use(f"{request.agent}#{request.action}", ran_s, is_ok=rung is Rung.OK)
        self._tally.end(rung, outcome)

    def pass_over(self, request: Request, climb: Climb) -> None:
        """Record a request for others that this node had to work for to know."""
        self._tally.end(Rung.FILTER, "filtered")
        ran_s = round(time.monotonic() - climb.arrived, 6)
        self._record(request, self._clock(), None, "filtered", "the filter does not match", ran_s)

    def _record(self, request: Request, at: float, status: int | None, outcome: str, reason: str, ran_s: float) -> None:
        entry = {
            "time": at,
            "request": request.id,
            "caller": request.caller,
            "sender": request.sender[:SHOWN],
            "collective": request.collective[:SHOWN],
            "agent": request.agent[:SHOWN],
            "action": request.action[:SHOWN],
            "data": request.data,
            "status": status,
            "outcome": outcome,
            "reason": reason,
            "ran_s": ran_s,
        }
        if request.filter:
            entry["filter"] = str(request.filter)[:MAX_FILTER_LENGTH]
        self._audit.record(entry)

    def tell(self, request: Request, message: Ack | Progress) -> int:
        """Send something before the answer; return its bytes, 0 if nobody listens.

        Raises:
            MessageError: it cannot be sent.
        """
        if not self._can_reply(request):
            return 0
        body = encode(message)
        if len(body) > self._max_body_bytes:
            raise MessageError(
                f"what it told has {len(body):,} bytes; at most {self._max_body_bytes:,} can be sent at a time"
            )
        kind = "ack" if isinstance(message, Ack) else "progress"
        self._send(self._packet(request, kind, body))
        self._tally.add("acks" if kind == "ack" else kind)
        return len(body)

    def _can_reply(self, request: Request) -> bool:
        """Say whether somebody waits, and whether it is the caller."""
        return (
            request.reply_to is not None
            and request.collective in self._collectives
            and names.is_reply_key_of(request.caller, request.reply_to)
        )

    def _encoded(self, reply: Reply) -> tuple[bytes, Reply]:
        """Return the reply's bytes, and the reply: another one if this one cannot be sent."""
        try:
            body = encode(reply)
            if len(body) <= self._max_body_bytes:
                return body, reply
            why = f"the reply has {len(body)} bytes; at most {self._max_body_bytes} can be sent"
        except MessageError as e:
            why = str(e)
        instead = msgspec.structs.replace(
            reply, status=int(Status.UNKNOWN_ERROR), message=f"{reply.agent}#{reply.action}: {why}", data={}
        )
        _log.error("request %s: %s", reply.id, why)
        return encode(instead), instead

    def _packet(self, request: Request, kind: str, body: bytes) -> Packet:
        return Packet(
            exchange=names.exchange(request.collective, names.REPLY),
            key=request.reply_to or "",
            body=body,
            type=kind,
            message_id=request.id,
            correlation_id=request.id,
            signer=self._security.signer,
            signature=self._security.sign(body),
        )

    def reject(self, packet: Packet, rung: Rung, error: Exception) -> None:
        """Record a message that nobody is answered for: whoever sent it is not who it names."""
        self._tally.end(rung, "rejected")
        self._rejections.keep(packet, error)
