# SPDX-License-Identifier: Apache-2.0
"""Signals during a run: TERM and HUP end it as Ctrl-C does, with its undo; none cuts an undo short."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def term_interrupts() -> Iterator[None]:
    """Let TERM and HUP raise `KeyboardInterrupt` inside: who cancels a job does not mean to leave half of it behind."""
    with _handlers(dict.fromkeys((signal.SIGTERM, signal.SIGHUP), _interrupt)):
        yield


@contextlib.contextmanager
def uninterrupted() -> Iterator[list[int]]:
    """Hold back Ctrl-C, TERM and HUP inside, yielding those that came; they are delivered at the end in any case."""
    came: list[int] = []
    held = {number: lambda n, _: came.append(n) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with _handlers(held):
            yield came
    finally:
        if came:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _handlers(wanted: Mapping[signal.Signals, signal._HANDLER]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Python gives signals to its main thread only
        return
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
