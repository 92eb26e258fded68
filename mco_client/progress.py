# SPDX-License-Identifier: Apache-2.0
"""A progress bar on stderr, only on a terminal and only for a call that takes a while."""

from __future__ import annotations

import os
import sys
import threading
from types import TracebackType
from typing import Any

PATIENCE_S = 0.3


class Progress:
    """Counts answers; shows a bar once `PATIENCE_S` have passed, whether somebody has answered or not."""

    def __init__(self, *, is_wanted: bool) -> None:
        self._total = 0
        is_terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._is_wanted = is_wanted and is_terminal
        self._done = 0
        self._is_over = False
        self._bar: Any = None
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._is_over = True
            if self._bar is not None:
                self._bar.stop()

    def expect(self, total: int) -> None:
        """Know how many answers there shall be, and begin to wait for them."""
        self._total = total
        if self._is_wanted and self._timer is None:
            self._timer = threading.Timer(PATIENCE_S, self._show)
            self._timer.daemon = True
            self._timer.start()

    def advance(self) -> None:
        """Count one more answer."""
        with self._lock:
            self._done += 1
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], completed=self._done)

    def _show(self) -> None:
        bar = self._made()
        with self._lock:
            if self._is_over:
                return
            bar.add_task("answers", total=self._total, completed=self._done)
            bar.start()
            self._bar = bar

    def _made(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        return Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
