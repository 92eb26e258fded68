# SPDX-License-Identifier: Apache-2.0
"""A progress bar on stderr, only on a terminal and only for a call that takes a while."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

PATIENCE_S = 0.3


class Progress:
    """Counts answers; shows a bar once `PATIENCE_S` have passed."""

    def __init__(self, *, is_wanted: bool) -> None:
        self._total = 0
        self._is_wanted = is_wanted and sys.stderr.isatty()
        self._began = time.monotonic()
        self._done = 0
        self._bar: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def expect(self, total: int) -> None:
        """Know how many answers there shall be."""
        self._total = total

    def advance(self) -> None:
        """Count one more answer."""
        self._done += 1
        if not self._is_wanted:
            return
        if self._bar is None and time.monotonic() - self._began > PATIENCE_S:
            self._bar = self._made()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done)

    def _made(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        bar.add_task("answers", total=self._total)
        bar.start()
        return bar
