# SPDX-License-Identifier: Apache-2.0
"""Digests of files: never waits for anybody, never reads what is not a file."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable

from mco_rpc.errors import ActionAborted, TimedOut

from .mounts import MADE_UP, kind_of
from .opening import reopened

ALGORITHMS = ("md5", "sha1", "sha256", "sha512")
_CHUNK_BYTES = 256 * 1024
_LARGE_CHUNK_BYTES = 1024 * 1024


def digests_of(path: str, seen: os.stat_result, *, max_bytes: int, until: float) -> dict[str, str]:
    """Return the digests of a file, or the ``digest_problem`` why there are none.

    As many bytes are read as the file had when it was looked at.

    Args:
        seen: the regular file, as it was looked at.
        until: on `time.monotonic`'s clock.

    Raises:
        TimedOut: reading it took too long.
    """
    if seen.st_size > max_bytes:
        return _problem(f"it has {seen.st_size} bytes; at most {max_bytes} are read")
    if (made_up := kind_of(seen.st_dev)) in MADE_UP:
        return _problem(f"the kernel makes it up when it is read ({made_up})")
    try:
        fd = _open(path, seen)
    except OSError as e:
        return _problem(f"it cannot be opened: {e.strerror}")
    if fd is None:
        return _problem("another file took its place while it was looked at")
    try:
        return _read(fd, seen.st_size, until)
    except OSError as e:
        return _problem(f"it cannot be read: {e.strerror}")
    finally:
        os.close(fd)


def digest_of(fd: int, algorithm: str, *, until: float, check: Callable[[], None] = lambda: None) -> tuple[str, int]:
    """Return the digest of an open file from its begin, and the bytes that were read.

    Args:
        algorithm: one of `ALGORITHMS`.
        until: on `time.monotonic`'s clock.
        check: called now and then; what it raises ends the reading.

    Raises:
        TimedOut: reading it took too long.
        ActionAborted: it cannot be read, or became shorter meanwhile.
    """
    import hashlib

    made = hashlib.new(algorithm, usedforsecurity=False)
    size_bytes = os.fstat(fd).st_size
    done_bytes = 0
    try:
        while chunk := os.pread(fd, min(_LARGE_CHUNK_BYTES, size_bytes - done_bytes), done_bytes):
            if time.monotonic() > until:
                raise TimedOut(f"reading its {size_bytes} bytes took too long: {done_bytes} were read")
            check()
            made.update(chunk)
            done_bytes += len(chunk)
    except OSError as e:
        raise ActionAborted(f"it cannot be read: {e.strerror}") from e
    if done_bytes < size_bytes:
        raise ActionAborted("it became shorter while it was read; ask again")
    return made.hexdigest(), done_bytes


def _read(fd: int, size_bytes: int, until: float) -> dict[str, str]:
    import hashlib

    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    left = size_bytes
    while left and (chunk := os.read(fd, min(left, _CHUNK_BYTES))):
        if time.monotonic() > until:
            raise TimedOut(f"reading its {size_bytes} bytes took too long")
        left -= len(chunk)
        md5.update(chunk)
        sha256.update(chunk)
    if left:
        return _problem("it became shorter while it was read")
    return {"md5": md5.hexdigest(), "sha256": sha256.hexdigest()}


def _problem(text: str) -> dict[str, str]:
    return {"digest_problem": text}


def _open(path: str, seen: os.stat_result) -> int | None:
    """Open what was seen, if we may without counting as a reading; None if another file took its place."""
    held = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(held)
        if not stat.S_ISREG(found.st_mode) or (found.st_dev, found.st_ino) != (seen.st_dev, seen.st_ino):
            return None
        try:
            return reopened(held, os.O_NOATIME)
        except PermissionError:
            return reopened(held)
    finally:
        os.close(held)
