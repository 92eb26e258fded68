# SPDX-License-Identifier: Apache-2.0
"""Keep a lab while a command runs, and tear it down however that ends: status, signal or interruption.

For entry points only: it takes over the process's signal handlers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .lab import Lab

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STATUS_OF_SIGNAL = 128
_GRACE_S = 10.0


class Interrupted(BaseException):
    """A signal asked this process to end; what is up has to be torn down first."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = STATUS_OF_SIGNAL + number


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Raise `Interrupted` on a signal inside; yield what makes further signals be ignored, for the way down."""
    is_over = False

    def ignore() -> None:
        nonlocal is_over
        is_over = True

    def interrupt(number: int, _frame: object) -> None:
        if not is_over:
            raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield ignore
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def hold(lab: Lab, use: Callable[[], int], bring_up: Callable[[], object] | None = None) -> int:
    """Bring a lab up, use it, tear it down; return the status of its use, 128 + n if signal n ended it.

    Args:
        bring_up: called instead of ``lab.up``, by who wants to say something about it.
    """
    with interruptible() as ignore_signals:
        try:
            (bring_up or lab.up)()
            return use()
        except Interrupted as e:
            return e.status
        finally:
            ignore_signals()
            lab.down()


def run(lab: Lab, command: Sequence[str]) -> int:
    """Run a command in the foreground of a lab and pass signals on to it; return its status, or 128 + n."""
    child = lab.popen(command)
    try:
        status = _attend(child)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    return status_of(status)


def status_of(returncode: int) -> int:
    """Return the status a shell would report: 128 + n if signal n ended the process."""
    return STATUS_OF_SIGNAL - returncode if returncode < 0 else returncode


def _attend(child: subprocess.Popen[Any]) -> int:
    while True:
        try:
            return child.wait()
        except Interrupted as e:
            number = e.status - STATUS_OF_SIGNAL
            # A terminal sends Ctrl-C to both of us; what it means is then the command's choice, as in a shell.
            if number != signal.SIGINT or not _is_terminals_foreground():
                child.send_signal(number)
            if number != signal.SIGINT:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return child.wait(_GRACE_S)
                raise


def _is_terminals_foreground() -> bool:
    try:
        return os.tcgetpgrp(sys.__stdin__.fileno()) == os.getpgrp() if sys.__stdin__ else False
    except (OSError, ValueError):
        return False
