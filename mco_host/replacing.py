# SPDX-License-Identifier: Apache-2.0
"""Put a whole file in the place of another at once: who reads sees the old one or the new one, also after a crash."""

from __future__ import annotations

import contextlib
import os


def replace(
    folder_fd: int, name: str, content: bytes, *, mode: int, uid: int = -1, gid: int = -1, is_lasting: bool = True
) -> None:
    """Write a file beside the one of that name, and rename it over that.

    Args:
        folder_fd: the folder, open.
        mode: its permissions.
        uid: its owner; whoever we are if -1. The same for ``gid``.
        is_lasting: whether it is worth to wait for the disk.

    Raises:
        OSError: it cannot be; the old one is as it was.
    """
    beside = f".mco-{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(beside, flags, 0o600, dir_fd=folder_fd)
    try:
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(fd, left) :]
            if (uid, gid) != (-1, -1):
                os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)  # last: a change of owner takes bits away
            if is_lasting:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(beside, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside, dir_fd=folder_fd)
        raise
    if not is_lasting:
        return
    # The folder was perhaps opened only to be named.
    with contextlib.suppress(OSError):
        synced = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder_fd)
        try:
            os.fsync(synced)
        finally:
            os.close(synced)
