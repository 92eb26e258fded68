# SPDX-License-Identifier: Apache-2.0
"""What a node counts: every message it received ends on exactly one rung, and with one outcome.

It only counts; nothing here decides what becomes of a message.
"""

from __future__ import annotations

import enum
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any

# Reloads may bring ever new names; what is counted by name is bounded.
MAX_ACTIONS = 1000
RECEIVED = "received"


class Rung(enum.StrEnum):
    """Where the way of a message ended, from the first rung of the ladder to the last."""

    SIZE = "too_large"
    SIGNATURE = "not_authentic"
    DECODING = "undecodable"
    PROBE = "probed"
    SKEW = "clock_skew"
    TIME = "expired"
    REPLAY = "replayed"
    COLLECTIVE = "other_collective"
    REPLY_KEY = "foreign_reply_key"
    FILTER = "filtered"
    BAD_FILTER = "invalid_filter"
    ACTION = "unknown_action"
    INPUT = "invalid_input"
    NOOP = "noop_refused"
    AUTHORIZATION = "denied"
    DRAIN = "drained"
    BUSY = "busy"
    LATE = "not_begun"
    STOP = "stopped"
    CANCELLED = "cancelled"
    TIME_OUT = "timed_out"
    REFUSED = "refused_by_agent"
    FAILED = "failed"
    OUTPUT = "invalid_output"
    REPLY = "unsendable"
    OK = "ok"


@dataclass(slots=True)
class _Used:
    """How an action was used: its calls, those that did not succeed, and the seconds they took together."""

    calls: int = 0
    failed: int = 0
    seconds: float = 0.0


class Tally:
    """Counts from any thread; what it tells belongs to one moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: Counter[str] = Counter()
        self._rungs: Counter[Rung] = Counter()
        self._others: Counter[str] = Counter()
        self._used: dict[str, _Used] = {}
        self._received = self._ended = 0

    def receive(self) -> None:
        """Count a message that came."""
        with self._lock:
            self._received += 1

    def end(self, rung: Rung, outcome: str) -> None:
        """Count where a message ended, and how."""
        with self._lock:
            self._ended += 1
            self._rungs[rung] += 1
            self._outcomes[outcome] += 1

    def use(self, where: str, seconds: float, *, is_ok: bool) -> None:
        """Count a call of an action of this node."""
        with self._lock:
            used = self._used.get(where)
            if used is None:
                if len(self._used) >= MAX_ACTIONS:
                    return
                used = self._used[where] = _Used()
            used.calls += 1
            used.failed += not is_ok
            used.seconds += seconds

    def add(self, what: str) -> None:
        """Count one more of something else."""
        with self._lock:
            self._others[what] += 1

    def outcomes(self) -> dict[str, int]:
        """Return the messages received, and how many of them ended how."""
        with self._lock:
            return self._told_outcomes()

    def told(self) -> dict[str, Any]:
        """Return all that was counted."""
        with self._lock:
            return {
                "counters": self._told_outcomes(),
                "in_progress": self._received - self._ended,
                "rungs": {rung.value: self._rungs[rung] for rung in Rung},
                "sent": dict(self._others),
                "actions": {
                    where: {"calls": used.calls, "failed": used.failed, "seconds": round(used.seconds, 6)}
                    for where, used in sorted(self._used.items())
                },
            }

    def _told_outcomes(self) -> dict[str, int]:
        received = {RECEIVED: self._received} if self._received else {}
        return {**received, **self._outcomes}
