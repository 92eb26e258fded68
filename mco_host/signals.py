# SPDX-License-Identifier: Apache-2.0
"""Signals to processes, each held by a file descriptor: none ever reaches another process of the same number."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence

from mco_rpc.errors import ActionAborted

from .processes import Seen, one

_LOOK_S = 0.25  # how often a wait asks whether it shall go on


@contextlib.contextmanager
def held(found: Sequence[Seen]) -> Iterator[dict[int, int]]:
    """Yield by its number a file descriptor of each process that is still the one that was found."""
    with contextlib.ExitStack() as stack:
        fds: dict[int, int] = {}
        for process in found:
            try:
                fd = os.pidfd_open(process.pid)
            except ProcessLookupError:
                continue
            except OSError as e:
                raise ActionAborted(f"process {process.pid} cannot be held: {e.strerror}") from e
            stack.callback(os.close, fd)
            # Its number was given away anew between the look and now, unless it started when it did.
            if (now := one(process.pid)) and now.started == process.started and not now.has_ended:
                fds[process.pid] = fd
        yield fds


def send(fds: dict[int, int], number: signal.Signals) -> tuple[list[int], dict[str, str]]:
    """Send a signal to each; return who got it, and by number why another did not: who has ended needs none."""
    sent, failed = [], {}
    for pid, fd in fds.items():
        try:
            signal.pidfd_send_signal(fd, number)
            sent.append(pid)
        except ProcessLookupError:
            continue
        except OSError as e:
            failed[str(pid)] = e.strerror or str(e)
    return sent, failed


def remaining(fds: dict[int, int], wait_s: float, check: Callable[[], None]) -> list[int]:
    """Wait until all have ended, for so long at most; return who has not.

    Args:
        check: called while it waits; what it raises ends the wait.
    """
    by_fd = {fd: pid for pid, fd in fds.items()}
    poll = select.poll()
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    until = time.monotonic() + wait_s
    while by_fd:
        left_s = max(0.0, until - time.monotonic())
        for fd, _ in poll.poll(1000 * min(left_s, _LOOK_S)):
            poll.unregister(fd)
            del by_fd[fd]
        check()
        if left_s <= 0:
            break
    return sorted(by_fd.values())
