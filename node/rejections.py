# SPDX-License-Identifier: Apache-2.0
"""What is written of messages that nobody is answered for: the first ones of each second, of a flood the number.

Anybody who reaches the broker can send such messages, so they must not be able to fill the disk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from mco_rpc.connector import Packet

from .audit import Audit

_log = logging.getLogger(__name__)
MAX_WRITTEN = 20
WINDOW_S = 1.0


class Rejections:
    """Log and record rejected messages, up to `MAX_WRITTEN` in a window one by one."""

    def __init__(self, audit: Audit, clock: Callable[[], float]) -> None:
        self._audit = audit
        self._clock = clock
        self._lock = threading.Lock()
        self._window_ends = 0.0
        self._written = 0
        self._unwritten = 0
        self._timer: threading.Timer | None = None

    def keep(self, packet: Packet, error: Exception) -> None:
        """Write of a message, or count it for the line at the end of its window."""
        with self._lock:
            now = time.monotonic()
            if now >= self._window_ends and self._timer is None:
                self._window_ends, self._written = now + WINDOW_S, 0
            self._written += 1
            if self._written > MAX_WRITTEN:
                self._unwritten += 1
                if self._timer is None:
                    self._timer = threading.Timer(max(self._window_ends - now, 0.0), self._sum_up)
                    self._timer.daemon = True
                    self._timer.start()
                return
        _log.warning("message %.64r from key %.64r was rejected: %s", packet.message_id, packet.signer, error)
        self._write(request=packet.message_id[:128], signer=packet.signer[:128], reason=str(error)[:1024])

    def close(self) -> None:
        """Write what was only counted so far."""
        if self._timer is not None:
            self._timer.cancel()
        self._sum_up()

    def _sum_up(self) -> None:
        with self._lock:
            count, self._unwritten, self._timer, self._window_ends = self._unwritten, 0, None, 0.0
        if count:
            reason = f"{count} more messages were rejected within {WINDOW_S:g} s"
            _log.warning("%s", reason)
            self._write(request="", signer="", reason=reason, count=count)

    def _write(self, **said: object) -> None:
        self._audit.record({"time": self._clock(), "outcome": "rejected", **said})
