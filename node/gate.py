# SPDX-License-Identifier: Apache-2.0
"""Between the connector and the dispatcher: while two processes, or two queues, overlap, each message goes on once.

What comes twice there is the same bytes on two ways, and no replay; usually the gate is open and costs nothing.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable

from mco_rpc.connector import Packet


class Gate:
    """Passes messages on, holds them, or drops those that came before."""

    def __init__(self, receive: Callable[[Packet], None]) -> None:
        self._receive = receive
        self._lock = threading.Lock()
        self._held: list[Packet] | None = None
        self._seen: set[str] | None = None
        self._forget_at: float | None = None

    def take(self, packet: Packet) -> None:
        """Take a message, on the connector's thread."""
        if self._seen is None and self._held is None:
            self._receive(packet)
            return
        with self._lock:
            if self._held is not None:
                self._held.append(packet)
            else:
                self._pass(packet)

    def hold(self) -> None:
        """Keep what comes until `open`."""
        self._held = []

    def open(self, seen: Iterable[str]) -> None:
        """Pass on what was held, but for what somebody else has seen, and what comes from now on once."""
        with self._lock:
            self._seen, self._forget_at = set(seen), None
            held, self._held = self._held or [], None
        for packet in held:
            with self._lock:  # for one message at a time: who reads from the broker must not wait for thousands
                self._pass(packet)

    def remember(self) -> None:
        """Remember from now on what comes."""
        with self._lock:
            self._seen, self._forget_at = set(), None

    def seen(self) -> list[str]:
        """Return what came since."""
        with self._lock:
            return sorted(self._seen or ())

    def forget(self, in_s: float = 0.0) -> None:
        """Pass on everything again, a little later: a second copy may still be on its way."""
        with self._lock:
            self._forget_at = time.monotonic() + in_s

    def _pass(self, packet: Packet) -> None:
        if self._forget_at is not None and time.monotonic() >= self._forget_at:
            self._seen = None
        if self._seen is not None:
            name = hashlib.blake2b(packet.signature + packet.body, digest_size=16).hexdigest()
            if name in self._seen:
                return
            self._seen.add(name)
        self._receive(packet)
