# SPDX-License-Identifier: Apache-2.0
"""Refuse what was sent too long ago, by a wrong clock, before this node started, or twice."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable

from mco_rpc.errors import Expired, SecurityError
from mco_rpc.messages import Request

MAX_REMEMBERED = 200_000


class ReplayGuard:
    """Remember the ids of requests for as long as they could be accepted again.

    What was sent before this guard began is refused: an id that an earlier life of the daemon accepted is
    forgotten, and its request must not run again.

    Args:
        clock: seconds since the epoch.
        max_skew_s: how far a caller's clock may be off, in either direction.
        max_ttl_s: longest time to live that is accepted.
    """

    def __init__(self, clock: Callable[[], float], max_skew_s: float, max_ttl_s: float) -> None:
        self._clock = clock
        self._max_skew_s = max_skew_s
        self._max_ttl_s = max_ttl_s
        self._began = clock()
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._forget: list[tuple[float, str]] = []
        self._forgotten_until = 0.0

    def admit(self, request: Request) -> None:
        """Accept a request once.

        Raises:
            Expired: it is too old, from the future, or asks for too long a life.
            SecurityError: it came before. Whoever sent it again is not the caller, and no answer of his may
                overtake the one that the caller waits for.
        """
        now = self._clock()
        age_s = now - request.sent_at
        if not 0 < request.ttl_s <= self._max_ttl_s:
            raise Expired(
                f"time to live of {request.ttl_s:g} s; more than 0 and at most {self._max_ttl_s:g} s is accepted"
            )
        if not age_s >= -self._max_skew_s:
            raise Expired(
                f"clock skew: the request is from {-age_s:.1f} s in the future of this node's clock; "
                f"up to {self._max_skew_s:g} s is accepted; set both clocks (NTP)"
            )
        if age_s > request.ttl_s + self._max_skew_s:
            raise Expired(
                f"expired: sent {age_s:.1f} s ago by this node's clock, to live for {request.ttl_s:g} s; "
                "it was delayed, or a clock is wrong (NTP)"
            )
        if request.sent_at < self._began:
            raise Expired(
                f"sent {self._began - request.sent_at:.1f} s before this node started, by its clock; "
                "ask again (right after a restart a caller's slow clock has the same effect)"
            )
        with self._lock:
            self._remember(request, now)

    def _remember(self, request: Request, now: float) -> None:
        self._drop_old(now)
        until = request.sent_at + request.ttl_s + self._max_skew_s
        if until <= self._forgotten_until:
            raise Expired(
                "this node's clock was set back, and it no longer knows whether it accepted this request before; "
                f"ask again in {self._forgotten_until - until:.1f} s or more"
            )
        if request.id in self._seen:
            raise SecurityError("replayed: a request with this id was accepted before")
        if len(self._seen) >= MAX_REMEMBERED:
            raise Expired(f"{MAX_REMEMBERED} requests are remembered already; refusing more until some have expired")
        self._seen.add(request.id)
        heapq.heappush(self._forget, (until, request.id))

    def _drop_old(self, now: float) -> None:
        while self._forget and self._forget[0][0] < now:
            self._forgotten_until, forgotten = heapq.heappop(self._forget)
            self._seen.discard(forgotten)
