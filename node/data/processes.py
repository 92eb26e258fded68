# SPDX-License-Identifier: Apache-2.0
"""The processes that /proc shows; whoever ends while we look is passed over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mco_rpc.errors import ActionAborted

from .users import user_name

PROC = Path("/proc")
_MAX_NAME = 15  # characters that the kernel keeps of a name
_MAX_COMMAND_LINE_BYTES = 64 * 1024
_ENDED = ("Z", "X", "x")


class Seen(NamedTuple):
    """One process: when it started in ticks since the boot, and its resident pages."""

    pid: int
    name: str
    started: int
    pages: int

    def age_s(self) -> float:
        """Return the seconds since it started."""
        up_s = float((PROC / "uptime").read_text().partition(" ")[0])
        return round(max(0.0, up_s - self.started / os.sysconf("SC_CLK_TCK")), 2)

    def user(self) -> str:
        """Return the name of the user it runs as, the number if there is none, nothing if it has ended."""
        try:
            return user_name((PROC / str(self.pid)).stat().st_uid)
        except OSError:
            return ""


def running() -> Iterator[Seen]:
    """Yield every process that has not ended.

    Raises:
        ActionAborted: some are hidden from us.
    """
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            text = (folder / "stat").read_bytes().decode("utf-8", "replace")
        except PermissionError as e:
            raise ActionAborted(
                f"process {folder.name} is hidden from this node: {PROC} is mounted with hidepid"
            ) from e
        except OSError:
            continue
        before, _, after = text.rpartition(")")  # a name may hold anything, parentheses too
        fields = after.split()
        if fields[0] not in _ENDED:
            name = before.partition("(")[2]
            pid = int(folder.name)
            yield Seen(pid, _whole(name, pid), started=int(fields[19]), pages=int(fields[21]))


def command_line(pid: int) -> str:
    """Return what a process was started with, with spaces between; nothing if it has ended."""
    try:
        with (PROC / str(pid) / "cmdline").open("rb") as file:
            line = file.read(_MAX_COMMAND_LINE_BYTES)
    except OSError:
        return ""
    return line.replace(b"\0", b" ").decode("utf-8", "replace").strip()


def _whole(name: str, pid: int) -> str:
    """Return a name that the kernel cut, as the command line has it."""
    if len(name) < _MAX_NAME:
        return name
    program = command_line(pid).partition(" ")[0].rpartition("/")[2]
    return program if program.startswith(name) else name
