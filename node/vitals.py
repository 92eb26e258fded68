# SPDX-License-Identifier: Apache-2.0
"""What the process of the daemon costs, from /proc; reads only what is quick to read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def vitals() -> dict[str, Any]:
    """Return memory in bytes, CPU time in seconds, and open files; None for what cannot be read."""
    used = os.times()
    return {"rss_bytes": _rss_bytes(), "cpu_s": round(used.user + used.system, 2), "open_files": _open_files()}


def _rss_bytes() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return None


def _open_files() -> int | None:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return None
