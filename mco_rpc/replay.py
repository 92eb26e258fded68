# SPDX-License-Identifier: Apache-2.0
"""Refuse what was sent too long ago, by a wrong clock, before this node started, or twice.

A caller's clock may be off by some seconds, so the age that it spells is not how long a request was on its way.
That is judged by comparison: the quickest request of the last minutes from the same host and caller took next to no
time, and what is so much older than that was delayed.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from mco_rpc.errors import ClockSkew, Expired, SecurityError
from mco_rpc.messages import Request

MAX_REMEMBERED = 200_000
MAX_REMEMBERED_OF_ONE = 20_000
MAX_CLOCKS = 10_000
WINDOW_S = 60.0
# What the two clocks differ in without a step: the time between the readings, and a thread that had to wait there.
_STEP_S = 1.0


class ReplayGuard:
    """Remember the ids of each caller's requests for as long as they could be accepted again.

    What was sent before this guard began is refused: an id that an earlier life of the daemon accepted is
    forgotten, and its request must not run again.

    Args:
        clock: seconds since the epoch.
        max_skew_s: how far a caller's clock may be off, in either direction.
        max_ttl_s: longest time to live that is accepted.
        monotonic: seconds of a clock that nobody sets.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        max_skew_s: float,
        max_ttl_s: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._max_skew_s = max_skew_s
        self._max_ttl_s = max_ttl_s
        self._began, self._began_monotonic = clock(), monotonic()
        self._lock = threading.Lock()
        self._seen: set[tuple[str, str]] = set()
        self._count_of: Counter[str] = Counter()
        self._forget: list[tuple[float, str, str]] = []
        self._forgotten_until = 0.0
        self._delays = _Delays(max_skew_s)

    def admit(self, request: Request) -> float:
        """Accept a request once; return the seconds that are left to begin with it.

        Raises:
            Expired: it is too old, was delayed, is from the future, or asks for too long a life.
            SecurityError: it came before. Whoever sent it again is not the caller, and no answer of his may
                overtake the one that the caller waits for.
        """
        now, monotonic = self._clock(), self._monotonic()
        age_s = now - request.sent_at
        if not 0 < request.ttl_s <= self._max_ttl_s:
            raise Expired(
                f"time to live of {request.ttl_s:g} s; more than 0 and at most {self._max_ttl_s:g} s is accepted"
            )
        if not age_s >= -self._max_skew_s:
            raise ClockSkew(
                f"clock skew: the request is from {-age_s:.1f} s in the future of this node's clock; "
                f"up to {self._max_skew_s:g} s is accepted; set both clocks (NTP)"
            )
        if age_s > request.ttl_s + self._max_skew_s:
            raise Expired(
                f"expired: sent {age_s:.1f} s ago by this node's clock, to live for {request.ttl_s:g} s; "
                "it was delayed, or a clock is wrong (NTP)"
            )
        began = self._began_by(now, monotonic)
        if request.sent_at < began:
            raise Expired(
                f"sent {began - request.sent_at:.1f} s before this node started, by its clock; "
                "ask again (right after a restart a caller's slow clock has the same effect)"
            )
        with self._lock:
            # In this order: a replay is never answered, and what expired here cannot come again as fresh.
            self._remember(request, now)
            delay_s = self._delays.of(request, age_s, monotonic)
        if delay_s > request.ttl_s:
            raise Expired(
                f"expired: delayed by about {delay_s:.1f} s, to live for {request.ttl_s:g} s; other requests of this "
                f"caller came quicker (after a clock was set this passes within {2 * WINDOW_S:g} s)"
            )
        return request.ttl_s - max(delay_s, 0.0)

    def told(self) -> dict[str, Any]:
        """Return all that is remembered, as plain data, for the guard of a process that takes over on this host."""
        with self._lock:
            return {
                "began": self._began,
                "began_monotonic": self._began_monotonic,
                "forget": self._forget,
                "forgotten_until": self._forgotten_until,
                "delays": self._delays.told(),
            }

    def adopt(self, told: dict[str, Any]) -> None:
        """Go on where another guard ended; it must not have admitted anything since it told, nor this one before."""
        with self._lock:
            self._began, self._began_monotonic = told["began"], told["began_monotonic"]
            self._forget = [(until, caller, request_id) for until, caller, request_id in told["forget"]]
            self._seen = {(caller, request_id) for _, caller, request_id in self._forget}
            self._count_of = Counter(caller for _, caller, _ in self._forget)
            self._forgotten_until = told["forgotten_until"]
            self._delays.adopt(told["delays"])

    def _began_by(self, now: float, monotonic: float) -> float:
        """Return when this guard began, by the clock as it is set now."""
        step_s = (now - self._began) - (monotonic - self._began_monotonic)
        return self._began + step_s if abs(step_s) > _STEP_S else self._began

    def _remember(self, request: Request, now: float) -> None:
        self._drop_old(now)
        until = request.sent_at + request.ttl_s + self._max_skew_s
        if until <= self._forgotten_until:
            raise Expired(
                "this node's clock was set back, and it no longer knows whether it accepted this request before; "
                f"ask again in {self._forgotten_until - until:.1f} s or more"
            )
        caller, key = request.caller, (request.caller, request.id)
        if key in self._seen:
            raise SecurityError("replayed: a request with this id was accepted before")
        if self._count_of[caller] >= MAX_REMEMBERED_OF_ONE:
            raise Expired(
                f"{MAX_REMEMBERED_OF_ONE} requests of {caller} are remembered already; "
                "refusing more of this caller until some have expired (ask less often, or with a shorter time to live)"
            )
        if len(self._seen) >= MAX_REMEMBERED:
            raise Expired(f"{MAX_REMEMBERED} requests are remembered already; refusing more until some have expired")
        self._seen.add(key)
        self._count_of[caller] += 1
        heapq.heappush(self._forget, (until, *key))

    def _drop_old(self, now: float) -> None:
        while self._forget and self._forget[0][0] < now:
            self._forgotten_until, caller, forgotten = heapq.heappop(self._forget)
            self._seen.discard((caller, forgotten))
            self._count_of[caller] -= 1
            if not self._count_of[caller]:
                del self._count_of[caller]


class _Delays:
    """How long requests were on their way, by the least age that was seen in the last one to two windows.

    The first request of a silent caller has nothing to be compared with: it counts as quick, as far as a wrong clock
    may explain its age. Hosts have clocks of their own, so each caller's hosts are told apart.
    """

    def __init__(self, max_skew_s: float) -> None:
        self._max_skew_s = max_skew_s
        self._window = 0
        self._lows: dict[tuple[str, str], float] = {}
        self._lows_before: dict[tuple[str, str], float] = {}

    def told(self) -> dict[str, Any]:
        """Return what was seen, as plain data."""
        lows, before = ([[*key, low] for key, low in each.items()] for each in (self._lows, self._lows_before))
        return {"window": self._window, "lows": lows, "lows_before": before}

    def adopt(self, told: dict[str, Any]) -> None:
        """Go on with what another one saw."""
        self._window = told["window"]
        self._lows = {(caller, sender): low for caller, sender, low in told["lows"]}
        self._lows_before = {(caller, sender): low for caller, sender, low in told["lows_before"]}

    def of(self, request: Request, age_s: float, monotonic: float) -> float:
        """Return the seconds that a request was delayed, and compare later ones with it."""
        window = int(monotonic // WINDOW_S)
        if window != self._window:
            self._lows_before = self._lows if window == self._window + 1 else {}
            self._window, self._lows = window, {}
        key = (request.caller, request.sender[:128])
        low_s = min(age_s, self._max_skew_s, self._lows.get(key, age_s))
        if key in self._lows or len(self._lows) < MAX_CLOCKS:
            self._lows[key] = low_s
        return age_s - min(low_s, self._lows_before.get(key, low_s))
