# SPDX-License-Identifier: Apache-2.0
"""The requests that wait for a worker or run: their callers can cancel them, and a drain waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from mco_rpc.current import Cancellation
from mco_rpc.messages import Request

_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that was taken and has no answer yet; `began` is on `time.monotonic`'s clock."""

    caller: str
    request_id: str
    agent: str
    action: str
    began: float

    @property
    def for_s(self) -> float:
        """Seconds since it was taken."""
        return time.monotonic() - self.began


class Running:
    """Cancellations by caller and request: nobody can name another caller's."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._wishes: dict[tuple[str, str], Cancellation] = {}
        self._pending: dict[tuple[str, str], Pending] = {}
        self._begun: set[tuple[str, str]] = set()

    def add(self, request: Request) -> Cancellation:
        """Know a request that waits for a worker."""
        key = (request.caller, request.id)
        with self._changed:
            self._pending[key] = Pending(*key, request.agent, request.action, time.monotonic())
            return self._wishes.setdefault(key, Cancellation())

    def begin(self, request: Request) -> None:
        """Know that a worker took it."""
        with self._changed:
            self._begun.add((request.caller, request.id))

    def remove(self, request: Request) -> None:
        """Forget a request that was answered."""
        key = (request.caller, request.id)
        with self._changed:
            self._wishes.pop(key, None)
            self._pending.pop(key, None)
            self._begun.discard(key)
            self._changed.notify_all()

    def cancel(self, caller: str, request_id: str) -> str:
        """Cancel a request of ``caller``: ``running`` or ``waiting`` if it was told, ``unknown`` if it has ended."""
        with self._changed:
            wish = self._wishes.get((caller, request_id))
            is_begun = (caller, request_id) in self._begun
        if wish is None:
            return "unknown"
        wish.cancel(f"cancelled by {caller}{'' if is_begun else ' before it was begun'}")
        return "running" if is_begun else "waiting"

    def others(self, exempt: Collection[str]) -> list[Pending]:
        """Return what waits or runs, the oldest first, but for some agents."""
        with self._changed:
            return self._others(exempt)

    def await_others(self, exempt: Collection[str], until: float, go_on: Callable[[], None]) -> list[Pending]:
        """Wait until nothing else waits or runs; return what still does then, on `time.monotonic`'s clock.

        Args:
            go_on: is called now and then; raises if nobody wants to wait any longer.
        """
        with self._changed:
            while (others := self._others(exempt)) and (left_s := until - time.monotonic()) > 0:
                self._changed.wait(min(left_s, _LOOK_EVERY_S))
                go_on()
            return others

    def _others(self, exempt: Collection[str]) -> list[Pending]:
        return [pending for pending in self._pending.values() if pending.agent not in exempt]
