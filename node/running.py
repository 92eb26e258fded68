# SPDX-License-Identifier: Apache-2.0
"""The requests that wait for a worker or run, so that their callers can cancel them."""

from __future__ import annotations

import threading

from mco_rpc.current import Cancellation
from mco_rpc.messages import Request


class Running:
    """Cancellations by caller and request: nobody can name another caller's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wishes: dict[tuple[str, str], Cancellation] = {}
        self._begun: set[tuple[str, str]] = set()

    def add(self, request: Request) -> Cancellation:
        """Know a request that waits for a worker."""
        with self._lock:
            return self._wishes.setdefault((request.caller, request.id), Cancellation())

    def begin(self, request: Request) -> None:
        """Know that a worker took it."""
        with self._lock:
            self._begun.add((request.caller, request.id))

    def remove(self, request: Request) -> None:
        """Forget a request that was answered."""
        with self._lock:
            self._wishes.pop((request.caller, request.id), None)
            self._begun.discard((request.caller, request.id))

    def cancel(self, caller: str, request_id: str) -> str:
        """Cancel a request of ``caller``: ``running`` or ``waiting`` if it was told, ``unknown`` if it has ended."""
        with self._lock:
            wish = self._wishes.get((caller, request_id))
            is_begun = (caller, request_id) in self._begun
        if wish is None:
            return "unknown"
        wish.cancel(f"cancelled by {caller}{'' if is_begun else ' before it was begun'}")
        return "running" if is_begun else "waiting"
