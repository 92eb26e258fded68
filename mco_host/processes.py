# SPDX-License-Identifier: Apache-2.0
"""The processes that /proc shows; whoever ends while we look is passed over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mco_rpc.errors import ActionAborted

from .files import as_text
from .users import user_name

PROC = Path("/proc")
_MAX_NAME = 15  # characters that the kernel keeps of a name
_MAX_COMMAND_LINE_BYTES = 64 * 1024
_ENDED = ("Z", "X", "x")


class Seen(NamedTuple):
    """One process: when it started and how long it computed in ticks (since the boot), and its resident pages."""

    pid: int
    name: str
    started: int
    pages: int
    parent: int = 0
    state: str = "S"
    computed: int = 0
    threads: int = 1

    def age_s(self, now_s: float | None = None) -> float:
        """Return the seconds since it started; ``now_s`` is what `up_s` says, for who asks for many."""
        return round(max(0.0, (up_s() if now_s is None else now_s) - self.started / ticks_per_s()), 2)

    def cpu_s(self) -> float:
        """Return the seconds of a processor that it used."""
        return self.computed / ticks_per_s()

    @property
    def has_ended(self) -> bool:
        """Whether it is only there until its parent asks how it ended."""
        return self.state in _ENDED

    def user(self) -> str:
        """Return the name of the user it runs as, the number if there is none, nothing if it has ended."""
        uid = self.uid()
        return "" if uid is None else user_name(uid)

    def uid(self) -> int | None:
        """Return the number of the user it runs as, None if it has ended."""
        try:
            return (PROC / str(self.pid)).stat().st_uid
        except OSError:
            return None


def running() -> Iterator[Seen]:
    """Yield every process that has not ended.

    Raises:
        ActionAborted: some are hidden from us.
    """
    return (process for process in every() if not process.has_ended)


def every() -> Iterator[Seen]:
    """Yield every process, those that have ended and were not yet asked how, too.

    Raises:
        ActionAborted: some are hidden from us.
    """
    for folder in PROC.iterdir():
        if folder.name.isdigit() and (process := one(int(folder.name))):
            yield process


def one(pid: int) -> Seen | None:
    """Return a process, None if there is none of that number.

    Raises:
        ActionAborted: it is hidden from us.
    """
    try:
        text = (PROC / str(pid) / "stat").read_bytes().decode("utf-8", "replace")
    except PermissionError as e:
        raise ActionAborted(f"process {pid} is hidden from this node: {PROC} is mounted with hidepid") from e
    except OSError:
        return None
    before, _, after = text.rpartition(")")  # a name may hold anything, parentheses too
    fields = after.split()
    return Seen(
        pid,
        _whole(before.partition("(")[2], pid),
        started=int(fields[19]),
        pages=int(fields[21]),
        parent=int(fields[1]),
        state=fields[0],
        computed=int(fields[11]) + int(fields[12]),
        threads=int(fields[17]),
    )


def up_s() -> float:
    """Return the seconds since the boot."""
    return float((PROC / "uptime").read_text().partition(" ")[0])


def ticks_per_s() -> int:
    """Return how many ticks the kernel counts a second."""
    return os.sysconf("SC_CLK_TCK")


def ancestors(pid: int) -> list[int]:
    """Return the numbers of a process's parent, its parent's parent and so on."""
    found: list[int] = []
    process = one(pid)
    while process and process.parent and process.parent not in found:
        found.append(process.parent)
        process = one(process.parent)
    return found


def command_line(pid: int) -> str:
    """Return what a process was started with, with spaces between; nothing if it has ended."""
    return " ".join(arguments(pid)).strip()


def arguments(pid: int) -> list[str]:
    """Return what a process was started with; nothing for threads of the kernel, and for what has ended."""
    try:
        with (PROC / str(pid) / "cmdline").open("rb") as file:
            line = file.read(_MAX_COMMAND_LINE_BYTES)
    except OSError:
        return []
    return line.decode("utf-8", "replace").rstrip("\0").split("\0") if line else []


def _whole(name: str, pid: int) -> str:
    """Return a name that the kernel cut, as the command line has it."""
    if len(name) < _MAX_NAME:
        return name
    program = command_line(pid).partition(" ")[0].rpartition("/")[2]
    return program if program.startswith(name) else name


def details(pid: int) -> dict[str, Any]:
    """Return what costs more to look at: program, folder, open files and cgroup; None where that is hidden."""
    return {
        "executable": _link(pid, "exe"),
        "folder": _link(pid, "cwd"),
        "open_files": _open_files(pid),
        "cgroup": _cgroup(pid),
    }


def _link(pid: int, name: str) -> str | None:
    try:
        return as_text(str((PROC / str(pid) / name).readlink()))
    except OSError:
        return None


def _open_files(pid: int) -> int | None:
    try:
        return sum(1 for _ in (PROC / str(pid) / "fd").iterdir())
    except OSError:
        return None


def _cgroup(pid: int) -> str | None:
    """Return its path in the one hierarchy of cgroups; None on a host that has none."""
    try:
        lines = (PROC / str(pid) / "cgroup").read_text(errors="replace").splitlines()
    except OSError:
        return None
    return next((line[3:] for line in lines if line.startswith("0::")), None)
