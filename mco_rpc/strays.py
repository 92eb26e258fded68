# SPDX-License-Identifier: Apache-2.0
"""End what left the process group of a command that was killed, known by a variable of its environment.

Whoever began a session of its own is found all the same, as all that a process starts inherits the variable; only
what cleared or replaced its environment, or runs as another user than the command, is not.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Set
from pathlib import Path

VARIABLE = "MCO_CALL"
_ROUNDS = 5  # what forks while we look is found the next time
_CHUNK_BYTES = 64 * 1024
_MAX_ENVIRONMENT_BYTES = 8 * 1024 * 1024  # the kernel takes less; a process can claim to have any number
_log = logging.getLogger(__name__)


def new_mark() -> str:
    """Return a value for `VARIABLE` that no other process has."""
    return os.urandom(12).hex()


def end_strays(mark: str, *users: int) -> int:
    """Kill every process that carries a mark; return how many there were.

    Args:
        users: whose processes are looked at beside our own. Nobody else's are: to read what another user's process has
            for an environment can wait for ever, and nobody else was told the mark.
    """
    ended: set[int] = set()
    owners = {os.geteuid(), *users}
    for _ in range(_ROUNDS):
        found = {pid for pid in _running() if pid not in ended and _end(pid, f"{VARIABLE}={mark}".encode(), owners)}
        if not found:
            break
        ended |= found
    if ended:
        _log.info("ended %d processes that had left their group", len(ended))
    return len(ended)


def _running() -> list[int]:
    numbers = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdecimal()]
    return [pid for pid in numbers if pid != os.getpid()]


def _end(pid: int, variable: bytes, owners: Set[int]) -> bool:
    """Kill a process if it is of one of the owners and carries the variable; say whether it was."""
    try:
        fd = os.pidfd_open(pid)  # before it is looked at: its number may be another process's a moment later
    except OSError:
        return False
    try:
        if not _users(pid) <= owners or variable not in _environment(pid):
            return False
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    except (OSError, ValueError):  # it ended meanwhile, or is not ours; one that waits to be reaped has no environment
        return False
    finally:
        os.close(fd)
    return True


def _users(pid: int) -> set[int]:
    """Return as whom it runs: the owner of its folder in /proc says less, for a process can hide that."""
    status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    line = status.partition("\nUid:")[2].partition("\n")[0]
    return {int(uid) for uid in line.split()}


def _environment(pid: int) -> list[bytes]:
    with Path(f"/proc/{pid}/environ").open("rb", buffering=0) as file:
        found = bytearray()
        while len(found) < _MAX_ENVIRONMENT_BYTES and (chunk := file.read(_CHUNK_BYTES)):
            found += chunk
    return bytes(found).split(b"\0")
