# SPDX-License-Identifier: Apache-2.0
"""Processes the lab started: told apart from a later process with the same number, and ended for certain.

Must not decide which processes belong to a lab; that is the state's and the network's business.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

_PROC = Path("/proc")
# Where ip, nft and iptables are, and what the PATH of a user who became root may lack.
_SYSTEM_FOLDERS = ("/usr/sbin", "/sbin")


class ProcessId(msgspec.Struct, frozen=True):
    """A process number together with the moment the process began: numbers are reused, the pair is not."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Return the identity of the process that has this number now, or None if there is none."""
        fields = _stat(pid)
        return cls(pid, int(fields[19])) if fields else None

    @property
    def is_running(self) -> bool:
        """Say whether the process exists and has not ended (one that waits to be reaped has)."""
        fields = _stat(self.pid)
        return bool(fields) and int(fields[19]) == self.start_ticks and fields[0] not in "ZX"

    @property
    def is_stopped(self) -> bool:
        """Say whether the process was stopped by a signal and has not gone on since."""
        fields = _stat(self.pid)
        return bool(fields) and int(fields[19]) == self.start_ticks and fields[0] in "Tt"

    def send(self, number: int) -> bool:
        """Send a signal; False if the process is gone, and then nobody else was signalled."""
        with self._open() as fd:
            if fd is None:
                return False
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, number)
                return True
        return False

    def wait(self, timeout_s: float) -> bool:
        """Wait until the process has ended; False if it still runs after ``timeout_s``."""
        with self._open() as fd:
            if fd is None:
                return True
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            return bool(poll.poll(max(0.0, timeout_s) * 1000))

    @contextlib.contextmanager
    def _open(self) -> Iterator[int | None]:
        """Yield a pidfd of exactly this process, or None: what is checked is what is signalled."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            yield fd if self.is_running else None
        finally:
            os.close(fd)


def end(processes: Iterable[ProcessId], *, timeout_s: float = 5.0) -> list[ProcessId]:
    """Kill processes at once and wait for them; return those that outlived ``timeout_s``."""
    killed = [process for process in processes if process.send(signal.SIGKILL)]
    deadline = time.monotonic() + timeout_s
    return [process for process in killed if not process.wait(deadline - time.monotonic())]


def reap(children: Iterable[subprocess.Popen[bytes]]) -> None:
    """Collect the status of children that have ended, so that none stays behind as a zombie."""
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(1.0)


def system_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment, this process's if none is given, whose PATH has the system's programs too."""
    known = dict(os.environ if environment is None else environment)
    folders = [folder for folder in known.get("PATH", os.defpath).split(os.pathsep) if folder]
    folders += [folder for folder in _SYSTEM_FOLDERS if folder not in folders]
    return {**known, "PATH": os.pathsep.join(folders)}


def find_program(name: str) -> str | None:
    """Return where a program is, as the commands of the lab find it."""
    return shutil.which(name, path=system_environment()["PATH"])


def all_processes() -> list[int]:
    """Return the number of every process of the machine."""
    return [int(entry) for entry in os.listdir(_PROC) if entry.isdigit()]  # noqa: PTH208 - no need for paths


def children_of(parent: int) -> list[int]:
    """Return the numbers of the processes whose parent is ``parent``."""
    return [pid for pid in all_processes() if (fields := _stat(pid)) and int(fields[1]) == parent]


def parent_of(process: ProcessId) -> ProcessId | None:
    """Return the parent of a process that runs."""
    fields = _stat(process.pid)
    return ProcessId.of(int(fields[1])) if fields else None


def tail(log: Path, lines: int = 40) -> str:
    """Return the last lines of a log, indented, for an error message; the log itself may be gone with its lab."""
    try:
        text = log.read_text("utf-8", "replace").strip()
    except OSError as e:
        return f"its log {log} cannot be read: {e.strerror}"
    if not text:
        return f"its log {log} is empty"
    kept = "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
    return f"its log ends with:\n{kept}"


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat that follow the name: state, parent, ..."""
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()
