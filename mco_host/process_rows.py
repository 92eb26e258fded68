# SPDX-License-Identifier: Apache-2.0
"""Processes as plain values, the way `ps` shows them; arguments are the caller's to add."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from .processes import Seen, up_s

_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "waiting for a disk",
    "Z": "zombie",
    "T": "stopped",
    "t": "traced",
    "I": "idle",
    "X": "dead",
    "x": "dead",
    "P": "parked",
}


def rows(found: Iterable[Seen], before: Mapping[int, Seen], began_s: float) -> list[dict[str, Any]]:
    """Return what is told of each.

    Args:
        before: what they were when a measurement began.
        began_s: when that was, in seconds since the boot.
    """
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    now_s, now = up_s(), time.time()
    told = []
    for process in found:
        rss_bytes = process.pages * os.sysconf("SC_PAGE_SIZE")
        age_s = process.age_s(now_s)
        then = before.get(process.pid)
        if then and then.started == process.started:
            used_s, over_s = process.cpu_s() - then.cpu_s(), now_s - began_s
        else:
            used_s, over_s = process.cpu_s(), age_s
        told.append(
            {
                "pid": process.pid,
                "ppid": process.parent,
                "name": process.name,
                "user": process.user(),
                "state": _STATES.get(process.state, process.state),
                "cpu_percent": round(100 * used_s / over_s, 1) if over_s > 0 else 0.0,
                "memory_percent": round(100 * rss_bytes / memory_bytes, 2),
                "rss_bytes": rss_bytes,
                "started_at": round(now - age_s, 2),
                "age_s": age_s,
                "threads": process.threads,
            }
        )
    return told
