# SPDX-License-Identifier: Apache-2.0
"""Signals and other news for the main thread, none of which it can sleep through.

A thread that waits for a lock or a queue is not woken by a signal that comes a moment before it blocks, or to another
thread of the process; so the main thread waits for a pipe, into which Python's own handler writes at once.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
from collections.abc import Iterable


class Notes:
    """What is put in from any thread and by signals, in order; None is news of any other kind."""

    def __init__(self) -> None:
        self._notes: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def heed(self, signals: Iterable[int]) -> None:
        """Note these signals from now on; only the main thread may ask for it."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, lambda number, _: self.put(number))

    def put(self, note: int | None = None) -> None:
        """Note something; safe in a signal handler."""
        self._notes.put(note)
        with contextlib.suppress(BlockingIOError):  # it is full: who reads is woken all the same
            os.write(self._write, b"\0")

    def get(self) -> int | None:
        """Wait for the next note; only one thread may."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self._notes.get_nowait()
            select.select([self._read], [], [])
            os.read(self._read, 4096)
