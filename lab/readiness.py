# SPDX-License-Identifier: Apache-2.0
"""Wait for many started processes at once, until each said that it is ready or is known to have failed.

A process is ready when a line that begins with READY comes through its pipe. Starts and ends nothing.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError
from .process import tail

_READY = b"READY"
_CHUNK_BYTES = 4096


@dataclass
class Start:
    """A process on its way up."""

    label: str
    child: subprocess.Popen[bytes]
    pipe: int
    log: Path
    said: bytes = b""

    @property
    def is_ready(self) -> bool:
        """Whether the whole line is there."""
        return self.said.startswith(_READY) and self.said.endswith(b"\n")


def spawn(label: str, log: Path, argv_for: Callable[[int], Sequence[str]], environment: dict[str, str]) -> Start:
    """Start a process that reports through the descriptor its command is made for."""
    reads, writes = os.pipe()
    try:
        with log.open("ab") as output:
            child = subprocess.Popen(
                argv_for(writes),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                pass_fds=(writes,),
                start_new_session=True,
            )
    except BaseException:
        os.close(reads)
        raise
    finally:
        os.close(writes)
    return Start(label, child, reads, log)


def wait(starts: Sequence[Start], timeout_s: float) -> None:
    """Wait for all of them; every failure is reported, not the first one only.

    Raises:
        LabError: at least one ended or was not ready in time; the text has the end of each one's log.
    """
    deadline = time.monotonic() + timeout_s
    problems = []
    poll = select.poll()
    waiting: dict[int, Start] = {}
    for start in starts:
        waiting[start.pipe] = start
        poll.register(start.pipe, select.POLLIN)
    try:
        while waiting:
            events = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not events:
                break
            for fd, _ in events:
                start = waiting[fd]
                chunk = os.read(fd, _CHUNK_BYTES)
                start.said += chunk
                if chunk and not start.is_ready:
                    continue
                poll.unregister(fd)
                del waiting[fd]
                if not start.is_ready:
                    problems.append(f"{start.label} {_ending(start)} before it was ready; {tail(start.log)}")
    finally:
        for start in starts:
            os.close(start.pipe)
    problems += [f"{start.label} was not ready within {timeout_s:g} s; {tail(start.log)}" for start in waiting.values()]
    if problems:
        count = f"{len(problems)} of {len(starts)} did not start: " if len(starts) > 1 else ""
        raise LabError(count + "\n".join(problems))


def _ending(start: Start) -> str:
    """Say how a process ended whose pipe was closed; it may go on without it."""
    try:
        return f"ended with status {start.child.wait(1.0)}"
    except subprocess.TimeoutExpired:
        return "closed its --ready-fd"
