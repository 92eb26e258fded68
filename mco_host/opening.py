# SPDX-License-Identifier: Apache-2.0
"""Open a file only once it is known to be one: opening a device may do something, and opening a pipe may wait for ever.

A watchdog that is opened and closed again restarts the machine; reading some of the kernel's files takes from others.
"""

from __future__ import annotations

import os
import stat

from mco_rpc.errors import ActionAborted

from .files import kind_of
from .mounts import MADE_UP
from .mounts import kind_of as file_system_of

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def opened(path: str) -> int:
    """Return a file descriptor that reads a regular file, whatever links lead to it.

    Raises:
        OSError: it is not there, or cannot be opened.
        ActionAborted: it is no file, or the kernel makes up what is in it.
    """
    held = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        seen = os.fstat(held)
        if not stat.S_ISREG(seen.st_mode):
            raise ActionAborted(f"{path} is a {kind_of(seen)}, not a file")
        if (made_up := file_system_of(seen.st_dev)) in MADE_UP:
            raise ActionAborted(f"{path} is made up by the kernel when it is read ({made_up})")
        return reopened(held)
    finally:
        os.close(held)


def reopened(held: int, more: int = 0) -> int:
    """Return a file descriptor that reads what another one, opened with O_PATH, only names."""
    return os.open(f"/proc/self/fd/{held}", _FLAGS | more)


def content(path: str, max_bytes: int) -> bytes:
    """Return what is in a regular file.

    Raises:
        OSError: it cannot be read.
        ActionAborted: it is no file, or too large.
    """
    fd = opened(path)
    with os.fdopen(fd, "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ActionAborted(f"{path} has more than {max_bytes} bytes")
    return data
