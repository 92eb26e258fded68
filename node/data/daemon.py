# SPDX-License-Identifier: Apache-2.0
"""The data source about the daemon itself, so that filters can pass over nodes that take no work, or find old ones."""

from __future__ import annotations

from typing import Any

from mco_rpc.data import DataSource, Output

FIELDS = {
    "drained": Output("boolean", "Whether it takes no work"),
    "reason": Output("string", "Why it takes no work"),
    "version": Output("string", "Its version"),
    "uptime_s": Output("float", "Seconds since it started"),
    "log_level": Output("string", "What it logs: this and worse"),
    "running": Output("integer", "Actions that run"),
    "waiting": Output("integer", "Requests that wait for a worker"),
    "hanging": Output("integer", "Actions that run past their deadline"),
    "problems": Output("integer", "How much is wrong: facts, agents that did not load"),
}


class Daemon(DataSource):
    """Say how the daemon fares."""

    keep_s = 0.0
    fields = FIELDS

    def query(self) -> dict[str, Any]:
        """Return what filters may want to know of its counters."""
        stats = self.node.stats()
        drained, workers = stats["drained"], stats["workers"]
        return {
            "drained": drained is not None,
            "reason": drained["reason"] if drained else None,
            "version": stats["version"],
            "uptime_s": stats["uptime_s"],
            "log_level": stats["log_level"],
            "running": workers["running"],
            "waiting": workers["waiting"],
            "hanging": workers["hanging"],
            "problems": len(self.node.problems()),
        }
