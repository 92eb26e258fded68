# SPDX-License-Identifier: Apache-2.0
"""Follow a file as it grows, by its name: one that is rotated or cut short is read on from the begin."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from mco_host.contents import MAX_LINE_BYTES, as_line
from mco_host.paths import Place, walked
from mco_rpc.current import current
from mco_rpc.errors import ActionAborted

LOOK_S = 0.25
_CHUNK_BYTES = 64 * 1024


class Follower:
    """Tells the lines that are added to a file.

    Args:
        opened: opens a place, after judging whether that is allowed, each time anew.
        tell: is told the lines.
        check: raises if the caller wished the end.
    """

    def __init__(
        self,
        path: str,
        opened: Callable[[Place], int],
        tell: Callable[[str], None],
        check: Callable[[], None],
    ) -> None:
        self._path, self._opened, self._tell, self._check = path, opened, tell, check
        self._begun = b""
        self._told = 0
        self._fd = self._at = -1

    def follow(self, fd: int, at: int, follow_s: float) -> int:
        """Follow an open file for so many seconds from a place in it; return how many lines were told."""
        until = time.monotonic() + follow_s
        woken = threading.Event()
        self._fd, self._at = os.dup(fd), at
        try:
            with current().cancellation.waking(woken.set):
                while True:
                    self._check()
                    self._look()
                    left_s = until - time.monotonic()
                    if left_s <= 0:
                        break
                    woken.wait(min(left_s, LOOK_S))
        except OSError as e:
            raise ActionAborted(f"{self._path} cannot be read any more: {e.strerror}") from e
        finally:
            os.close(self._fd)
        self._flush()
        return self._told

    def _look(self) -> None:
        """Tell what was added, to the end of a file that was renamed too, and go on with the one of the name."""
        with walked(self._path) as place:
            seen = os.fstat(self._fd)
            if seen.st_size < self._at:
                self._flush()
                self._at = 0
            self._read(seen.st_size)
            if place.seen and (place.seen.st_dev, place.seen.st_ino) != (seen.st_dev, seen.st_ino):
                fd = self._opened(place)
                os.close(self._fd)
                self._fd, self._at = fd, 0
                self._flush()
                self._read(os.fstat(fd).st_size)

    def _read(self, end: int) -> None:
        while self._at < end and (chunk := os.pread(self._fd, min(_CHUNK_BYTES, end - self._at), self._at)):
            self._check()
            self._at += len(chunk)
            *whole, self._begun = (self._begun + chunk).split(b"\n")
            if len(self._begun) > MAX_LINE_BYTES:
                whole, self._begun = [*whole, self._begun], b""
            self._say(whole)

    def _flush(self) -> None:
        if self._begun:
            self._say([self._begun])
            self._begun = b""

    def _say(self, lines: list[bytes]) -> None:
        if lines:
            self._told += len(lines)
            self._tell("\n".join(map(as_line, lines)))
