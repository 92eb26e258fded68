# SPDX-License-Identifier: Apache-2.0
"""Two daemons of one identity learn of each other: whom the broker refuses the queue tells the one that has it.

What is heard is a claim, and anybody at the broker may make it: it is counted and shown, and never acted on.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from mco_rpc import __version__, names
from mco_rpc.connector import Endpoint, Packet
from mco_rpc.errors import MessageError
from mco_rpc.messages import Event, decode_event
from mco_rpc.security import Security

from .registration import event_packet

_log = logging.getLogger(__name__)
RIVAL = "rival"
# Of a claim so much is read, and of a name in it so much is shown.
MAX_BODY_BYTES = 2048
MAX_TEXT = 64
LOG_EVERY_S = 60.0


class Rivals:
    """Counts who else wants to be this node, and says so where this one is the other.

    Args:
        clock: seconds since the epoch.
        monotonic: seconds of a clock that nobody sets.
    """

    def __init__(
        self,
        identity: str,
        collectives: Sequence[str],
        security: Security,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._identity, self._collectives, self._security = identity, collectives, security
        self._clock, self._monotonic = clock, monotonic
        self._key = names.event_key(RIVAL, identity)
        self._bindings = tuple((names.exchange(collective, names.EVENT), self._key) for collective in collectives)
        self._count, self._last = 0, ""
        self._logged_at: float | None = None

    def endpoint(self, ordinary: Endpoint) -> Endpoint:
        """Return the endpoint of a node that hears of rivals, and is heard by one that has its queue."""
        return dataclasses.replace(ordinary, welcome=self._bindings, claim=self.claim)

    def claim(self) -> list[Packet]:
        """Return what is said to who has our queue, in the first collective: once is enough."""
        data = {"host": socket.gethostname(), "pid": os.getpid(), "version": __version__}
        event = Event(
            topic=RIVAL, collective=self._collectives[0], sender=self._identity, sent_at=self._clock(), data=data
        )
        return [event_packet(event, self._security)]

    def is_claim(self, packet: Packet) -> bool:
        """Say whether a message is for this object."""
        return packet.key == self._key and (packet.exchange, packet.key) in self._bindings

    def hear(self, packet: Packet) -> None:
        """Count a claim, whoever made it."""
        self._count += 1
        when = dt.datetime.fromtimestamp(self._clock(), dt.UTC).isoformat(timespec="seconds")
        self._last = f"{_who(packet.body)} at {when}"
        now = self._monotonic()
        if self._logged_at is None or now - self._logged_at >= LOG_EVERY_S:
            self._logged_at = now
            _log.warning("another daemon claims to be %s: %s (%d times)", self._identity, self._last, self._count)

    def told(self) -> dict[str, Any]:
        """Return how many claims there were, and the last one."""
        return {"count": self._count, "last": self._last}


def _who(body: bytes) -> str:
    data: dict[str, Any] = {}
    if len(body) <= MAX_BODY_BYTES:
        try:
            data = decode_event(body).data
        except MessageError:
            _log.debug("a claim to our identity cannot be read")
    return f"pid {_shown(data.get('pid'))} on host {_shown(data.get('host'))}"


def _shown(value: Any) -> str:
    text = str(value)[:MAX_TEXT] if isinstance(value, str | int) else "?"
    return "".join(c if c.isprintable() else "?" for c in text)
