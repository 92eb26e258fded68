# SPDX-License-Identifier: Apache-2.0
"""A recording that is being written: lines are added as a whole, by any number of threads and processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from mco_client.recording import (
    MAX_HEADER_BYTES,
    VERSION,
    Entry,
    Header,
    header_in,
    open_at_once,
    require_kind,
    require_regular,
)
from mco_rpc import __version__
from mco_rpc.errors import RecordingError

_TAIL_BYTES = 64 * 1024
# To write a line takes far less than a millisecond, so whoever holds the lock for longer has been stopped.
MAX_WAIT_S = 5.0
_LOOK_AGAIN_S = 0.01
# As every line of these kinds begins that we write.
_ASKED, _CAME = b'{"kind":"asked', b'{"kind":"came"'


class RecordingFile:
    """A recording that is being written, by any number of threads and processes: each line as a whole.

    A file that is not there is made, for its owner's eyes; one that is there is added to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise RecordingError(f"recording {path} cannot be written: {e.strerror}") from e
        try:
            require_regular(path, self._fd)
            with self._alone():
                if os.fstat(self._fd).st_size == 0:
                    self._append(Header(version=VERSION, at=time.time(), mco=__version__))
                self.header = header_in(path, os.pread(self._fd, MAX_HEADER_BYTES, 0).partition(b"\n")[0])
        except BaseException:
            os.close(self._fd)
            raise

    def write(self, entry: Entry) -> None:
        """Add a line.

        Raises:
            RecordingError: it cannot be written, or somebody else does not let go of it; the file is as it was.
        """
        with self._alone():
            self._append(entry)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            if self._fd < 0:
                raise RecordingError(f"recording {self.path} is closed")
            try:
                self._take_lock()
                try:
                    yield
                finally:
                    fcntl.flock(self._fd, fcntl.LOCK_UN)
            except OSError as e:
                raise RecordingError(f"recording {self.path} cannot be written: {e.strerror}") from e

    def _take_lock(self) -> None:
        until = time.monotonic() + MAX_WAIT_S
        while not self._is_locked():
            if time.monotonic() >= until:
                raise RecordingError(
                    f"recording {self.path} is held by another process, and was not let go of within {MAX_WAIT_S:g} s: "
                    "an mco that was stopped (Ctrl-Z), or a command such as flock; `lslocks` names it; let it go on, "
                    "end it, or record to another file"
                )
            time.sleep(_LOOK_AGAIN_S)

    def _is_locked(self) -> bool:
        """Take the lock if nobody else holds it; say whether it is ours."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _append(self, entry: Entry) -> None:
        line = msgspec.json.encode(entry) + b"\n"
        before = self._whole_bytes()
        left = memoryview(line)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            os.ftruncate(self._fd, before)
            raise

    def _whole_bytes(self) -> int:
        """Return the size of the file, without the half line of somebody who was killed while he wrote it."""
        size = end = os.fstat(self._fd).st_size
        while end:
            begin = max(0, end - _TAIL_BYTES)
            newline = os.pread(self._fd, end - begin, begin).rfind(b"\n")
            if newline >= 0:
                end = begin + newline + 1
                break
            end = begin
        if end < size:
            os.ftruncate(self._fd, end)
        return end


def create(path: Path, redacted: Sequence[str] = (), *, is_forced: bool = False) -> None:
    """Begin a recording.

    Args:
        redacted: patterns of fields whose values are blanked.
        is_forced: replace a recording that is there.

    Raises:
        RecordingError: something is there, or it cannot be made.
    """
    try:
        if is_forced and path.exists():
            with open(path, "rb", opener=open_at_once) as file:
                require_regular(path, file.fileno())
                if line := file.readline(MAX_HEADER_BYTES):
                    require_kind(path, line)
            path.unlink()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as new:
            header = Header(version=VERSION, at=time.time(), mco=__version__, redacted=tuple(redacted))
            new.write(msgspec.json.encode(header) + b"\n")
    except FileExistsError as e:
        raise RecordingError(f"recording {path} is there already; give another name, or --force to replace it") from e
    except OSError as e:
        raise RecordingError(f"recording {path} cannot be written: {e.strerror}") from e


def tally(path: Path) -> tuple[int, int]:
    """Return how many questions and answers a recording holds, however large it is.

    Raises:
        RecordingError: it cannot be read.
    """
    try:
        with open(path, "rb", opener=open_at_once) as file:
            require_regular(path, file.fileno())
            kinds = Counter(line[: len(_CAME)] for line in file)
    except OSError as e:
        raise RecordingError(f"recording {path}: {e.strerror}") from e
    return kinds[_ASKED], kinds[_CAME]
