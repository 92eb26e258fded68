# SPDX-License-Identifier: Apache-2.0
"""What comes in from the nodes: believe only what the node that it is about has signed, just now, and pass it on.

Everybody who reaches the broker can send anything here. It runs on the connector's thread and waits for nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

from mco_node.audit import MemoryAudit
from mco_node.rejections import Rejections
from mco_rpc import names
from mco_rpc.connector import Packet
from mco_rpc.errors import MessageError, SecurityError
from mco_rpc.messages import Event, decode_event
from mco_rpc.security import Security

from .known import PRESENCE, REGISTRATION, Heard, content_of, interval_of

_log = logging.getLogger(__name__)
MAX_PROBLEMS = 1000
_STATES = ("start", "stop")


class Intake:
    """Gets the events; the node's `mco_node.listening.EventListener`.

    Args:
        own: the registry's own identity.
        security: knows the nodes' keys.
        put: takes what is believed; says whether it is news.
        max_node_bytes: largest registration that is kept whole.
        clock: seconds since the epoch.

    Attributes:
        listening_since: by our clock; None while there is no connection.
    """

    topics = (PRESENCE, REGISTRATION)

    def __init__(
        self,
        *,
        own: str,
        collectives: tuple[str, ...],
        security: Security,
        put: Callable[[Heard], bool],
        max_body_bytes: int,
        max_node_bytes: int,
        max_clock_skew_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._own, self._collectives, self._security, self._put = own, collectives, security, put
        self._max_body_bytes, self._max_node_bytes = max_body_bytes, max_node_bytes
        self._max_clock_skew_s, self._clock = max_clock_skew_s, clock
        self._lock = threading.Lock()
        self._counters: Counter[str] = Counter()
        self._problems: dict[str, str] = {}
        self._rejections = Rejections(MemoryAudit(0), clock)
        self.listening_since: float | None = None

    def on_listening(self, *, is_listening: bool) -> None:
        """Remember since when nothing is missed."""
        self.listening_since = self._clock() if is_listening else None

    def on_event(self, packet: Packet) -> None:
        """Take an event, or say why not; never raise."""
        self._count("events")
        try:
            event = self._authentic(packet)
            if event.sender == self._own:
                self._count("own")
                return
            is_news = self._put(self._heard(event))
        except (SecurityError, MessageError) as e:
            self._count("rejected")
            self._rejections.keep(packet, e)
            return
        self._count("kept" if is_news else "repeated")

    def close(self) -> None:
        """Log what was only counted so far."""
        self._rejections.close()

    def note(self, identity: str, problem: str | None) -> None:
        """Remember what is wrong with a node's word, or that nothing is any more."""
        with self._lock:
            before = self._problems.pop(identity, None)
            if problem is None or len(self._problems) >= MAX_PROBLEMS:
                return
            self._problems[identity] = problem
        if problem != before:
            _log.warning("%s: %s", identity, problem)

    def problems(self) -> dict[str, str]:
        """Return what is wrong, by node."""
        with self._lock:
            return dict(self._problems)

    def problem_of(self, identity: str) -> str | None:
        """Return what is wrong with a node's word, if anything is."""
        return self._problems.get(identity)

    def counters(self) -> dict[str, int]:
        """Return how many events there were of what kind."""
        with self._lock:
            return dict(self._counters)

    def _count(self, what: str) -> None:
        with self._lock:
            self._counters[what] += 1

    def _authentic(self, packet: Packet) -> Event:
        if len(packet.body) > self._max_body_bytes:
            raise MessageError(f"{len(packet.body)} bytes; at most {self._max_body_bytes} are read")
        principal = self._security.verify(packet.body, packet.signer, packet.signature)
        event = decode_event(packet.body)
        if event.sender != principal:
            raise SecurityError(f"signed by {principal}, but claims to be from {event.sender[:128]!r}")
        if event.collective not in self._collectives:
            raise SecurityError(f"of collective {event.collective[:128]!r}, in which nobody listens here")
        # The same body under another key would be news of another kind.
        asked = names.exchange(event.collective, names.EVENT), names.event_key(event.topic, event.sender)
        if (packet.exchange, packet.key) != asked:
            raise SecurityError(f"an event for {asked[1]!r} came as {packet.key[:128]!r}")
        return event

    def _heard(self, event: Event) -> Heard:
        """Return what an event says, once it is known who says it.

        Raises:
            MessageError: it cannot be understood, or was not said just now; the node has a problem then.
        """
        now = self._clock()
        try:
            self._check_age(event, now)
            heard, problem = self._read(event, now)
        except MessageError as e:
            self.note(event.sender, f"what it says is not kept: {e}")
            raise
        if event.topic == REGISTRATION:
            self.note(event.sender, problem)
        return heard

    def _check_age(self, event: Event, now: float) -> None:
        ahead_s = event.sent_at - now
        if not abs(ahead_s) <= self._max_clock_skew_s:
            direction = "in the future" if ahead_s > 0 else "ago"
            raise MessageError(
                f"it was said {abs(ahead_s):.1f} s {direction} by the registry's clock, and up to "
                f"{self._max_clock_skew_s:g} s are accepted: set both clocks (NTP), unless somebody repeats a recording"
            )

    def _read(self, event: Event, now: float) -> tuple[Heard, str | None]:
        if event.topic == PRESENCE:
            state, version = event.data.get("state"), event.data.get("version")
            if state not in _STATES:
                raise MessageError(f"a presence of state {str(state)[:60]!r}; expected start or stop")
            version = version if isinstance(version, str) and len(version) <= 64 and "\0" not in version else ""
            interval_s = interval_of(event.data.get("interval_s"))
            heard = Heard(event.sender, PRESENCE, event.sent_at, now, interval_s, version, is_stopping=state == "stop")
            return heard, None
        if event.topic != REGISTRATION:
            raise MessageError(f"an event about {event.topic[:60]!r}; expected {' or '.join(self.topics)}")
        said = content_of(event.data)
        content = said.fitted(self._max_node_bytes)
        left_out = [part for part in content.incomplete if part not in said.incomplete]
        problem = None
        if left_out:
            problem = (
                f"its registration has {len(said.body())} bytes and at most {self._max_node_bytes} are kept "
                f"(max_node_bytes): without its {', '.join(left_out)}"
            )
        return Heard(event.sender, REGISTRATION, event.sent_at, now, content.interval_s, content=content), problem
