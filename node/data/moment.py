# SPDX-License-Identifier: Apache-2.0
"""Answers that are good for a moment: many callers who ask the same at once cost one look.

It knows nothing of data sources; what is asked and how is the caller's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mco_rpc.errors import FilterError

MAX_ANSWERS = 256
Look = Callable[[], Mapping[str, Any]]


class CutShort(FilterError):
    """Who asked had no time for it; that says nothing to anybody else who asks the same."""


@dataclass(slots=True, eq=False)
class _Flight:
    """One look: who began it has until ``until``; it is ``done`` with fields or with the text of what failed."""

    until: float
    keep_s: float
    done: threading.Event = field(default_factory=threading.Event)
    fields: Mapping[str, Any] | None = None
    failure: str | None = None
    good_until: float = 0.0


class Moment:
    """Keeps what was answered for a moment, and lets one caller look for all who ask meanwhile.

    Args:
        clock: seconds of a clock that nobody sets; deadlines are on it, too.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_answers: int = MAX_ANSWERS) -> None:
        self._clock = clock
        self._max_answers = max_answers
        self._lock = threading.Lock()
        self._flights: dict[Hashable, _Flight] = {}

    def get(
        self, key: Hashable, look: Callable[[], Mapping[str, Any]], until: float, keep_s: float
    ) -> Mapping[str, Any]:
        """Return what ``look`` gives, or gave a moment ago, or gives to another caller just now.

        Args:
            until: when the caller gives up waiting.
            keep_s: seconds for which the answer is good.

        Raises:
            FilterError: the look failed, or did not end in time.
        """
        while True:
            flight, is_ours = self._join(key, until, keep_s)
            if is_ours:
                return self._fly(key, flight, look)
            if not flight.done.wait(max(0.0, min(until, flight.until) - self._clock())) and self._clock() >= until:
                raise CutShort("another request asks the same, and has no answer either")
            if flight.fields is not None:
                return flight.fields
            if flight.failure is not None:
                raise FilterError(flight.failure)

    def _join(self, key: Hashable, until: float, keep_s: float) -> tuple[_Flight, bool]:
        """Return the look to wait for, or a new one and True: the caller has to make it."""
        now = self._clock()
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None and now < (flight.good_until if flight.done.is_set() else flight.until):
                return flight, False
            made = self._flights[key] = _Flight(until, keep_s)
            self._forget()
            return made, True

    def _fly(self, key: Hashable, flight: _Flight, look: Look) -> Mapping[str, Any]:
        try:
            fields = flight.fields = look()
        except FilterError as e:
            flight.failure = None if isinstance(e, CutShort) else str(e)
            raise
        else:
            return fields
        finally:
            with self._lock:
                is_answered = flight.fields is not None or flight.failure is not None
                flight.good_until = self._clock() + flight.keep_s if is_answered else 0.0
                if not is_answered and self._flights.get(key) is flight:
                    del self._flights[key]
            flight.done.set()

    def _forget(self) -> None:
        """Drop the oldest answers if there are too many; what is being looked for stays."""
        excess = len(self._flights) - self._max_answers
        if excess > 0:
            answered = [key for key, flight in self._flights.items() if flight.done.is_set()]
            for key in sorted(answered, key=lambda key: self._flights[key].good_until)[:excess]:
                del self._flights[key]
