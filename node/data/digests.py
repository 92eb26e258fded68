# SPDX-License-Identifier: Apache-2.0
"""Digests of files, for the data source that looks at them: never waits for anybody, never reads what is not a file."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from mco_rpc.errors import TimedOut

_CHUNK_BYTES = 256 * 1024
# Files that the kernel makes up: their size is not true, and reading one may wait or even change something.
# fmt: off
_MADE_UP = frozenset((
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
    "fusectl", "mqueue", "nsfs", "proc", "pstore", "securityfs", "selinuxfs", "smackfs", "sysfs", "tracefs",
))
# fmt: on


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
    if (made_up := _file_system(seen.st_dev)) in _MADE_UP:
        return _problem(f"the kernel makes it up when it is read ({made_up})")
    try:
        fd = _open(path)
    except OSError as e:
        return _problem(f"it cannot be opened: {e.strerror}")
    try:
        opened = os.fstat(fd)
        if not stat.S_ISREG(opened.st_mode) or (opened.st_dev, opened.st_ino) != (seen.st_dev, seen.st_ino):
            return _problem("another file took its place while it was looked at")
        return _read(fd, seen.st_size, until)
    except OSError as e:
        return _problem(f"it cannot be read: {e.strerror}")
    finally:
        os.close(fd)


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


def _open(path: str) -> int:
    """Open without waiting for anybody and, if we may, without counting as a reading."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_NOATIME)
    except PermissionError:
        return os.open(path, flags)


def _file_system(device: int) -> str:
    """Return the type of the file system with a device number; nothing if it is not told."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            if before.split(" ", 3)[2] == wanted:
                return after.partition(" ")[0]
    return ""
