# SPDX-License-Identifier: Apache-2.0
"""The audit seam: one record of every request for this node, allowed or not, and of what became of it.

What a filter meant for others leaves no record; of a flood of rejected messages there are some, and their number.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from collections import deque
from pathlib import Path
from typing import Any, Protocol

import msgspec

from mco_rpc.errors import ConfigError

_log = logging.getLogger(__name__)
MAX_RECORD_BYTES = 16 * 1024
# Through a link that somebody else put there, records would go into a file of his choice.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Audit(Protocol):
    """Keeps records.

    Attributes:
        failures: the records that could not be kept.
    """

    failures: int

    def record(self, entry: dict[str, Any]) -> None:
        """Keep one record; never raise."""

    def close(self) -> None:
        """Keep no more."""


class MemoryAudit:
    """The last records, for tests and first looks; with ``keep=0`` none, where no audit is configured."""

    def __init__(self, keep: int = 1000) -> None:
        self.failures = 0
        self.entries: deque[dict[str, Any]] = deque(maxlen=keep)

    def record(self, entry: dict[str, Any]) -> None:
        """Append the record."""
        self.entries.append(entry)

    def close(self) -> None:
        """Do nothing."""


class JsonLinesAudit:
    """One JSON object a line, appended to a file that only its owner reads; log rotation may move it away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.failures = 0
        self._lock = threading.Lock()
        self._fd = -1
        self._is_torn = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._reopen()
        except OSError as e:
            raise ConfigError(f"audit_file: {path}: {e.strerror}") from e

    def record(self, entry: dict[str, Any]) -> None:
        """Append one line; a disk that takes none is logged, and the node goes on."""
        try:
            line = msgspec.json.encode(entry, enc_hook=str)
            if len(line) > MAX_RECORD_BYTES:
                line = msgspec.json.encode({**entry, "data": f"left out: {len(line)} bytes"}, enc_hook=str)
            with self._lock:
                if not self._is_in_place():
                    self._reopen()
                self._append(line)
        except (OSError, TypeError, ValueError, RecursionError) as e:
            self.failures += 1
            _log.error("audit record of request %s could not be written to %s: %s", entry.get("request"), self._path, e)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _append(self, line: bytes) -> None:
        whole = b"\n" * self._is_torn + line + b"\n"  # a record cut short must not spoil the next one
        written = os.write(self._fd, whole)
        self._is_torn = written < len(whole)
        if self._is_torn:
            raise OSError(errno.ENOSPC, f"only {written} of {len(whole)} bytes were written")

    def _is_in_place(self) -> bool:
        try:
            there, ours = self._path.stat(), os.fstat(self._fd)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _reopen(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._is_torn = False
        self._fd = os.open(self._path, _FLAGS, 0o600)
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.fchmod(self._fd, 0o600)  # an older file may be open to others
