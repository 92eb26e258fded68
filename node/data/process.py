# SPDX-License-Identifier: Apache-2.0
"""The data source about processes; command lines, which may hold secrets, are looked at only where that is allowed."""

from __future__ import annotations

import os
from typing import Any

from mco_host.processes import PROC, command_line, running
from mco_rpc.data import DataSource, Input, Output
from mco_rpc.filters import patterns

ARGUMENTS = {"name": Input("string", "Name of a program, or /an expression/ that is found in it", max_length=512)}
FIELDS = {
    "count": Output("integer", "How many there are; what has ended and is not yet gone does not count"),
    "exists": Output("boolean", "Whether there is one"),
    "pids": Output("array", "Their numbers"),
    "users": Output("array", "Names of the users they run as"),
    "oldest_s": Output("number", "Seconds since the first of them started"),
    "youngest_s": Output("number", "Seconds since the last of them started"),
    "rss_bytes": Output("integer", "Memory that they use together, shared memory counted for each"),
}


class Process(DataSource):
    """Count the processes of a name."""

    arguments = ARGUMENTS
    fields = FIELDS
    setting_names = ("command_lines",)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._is_line_matched = self.setting("command_lines", False)

    @staticmethod
    def activate_when(settings: object) -> str | None:
        """Ask for a /proc that shows every process."""
        return None if (PROC / "1").exists() else f"{PROC} does not show the processes of others"

    def query(self, name: str) -> dict[str, Any]:
        """Look through all processes once."""
        is_expression = len(name) > 2 and name.startswith("/") and name.endswith("/")
        expression = patterns.compiled(name[1:-1]) if is_expression else None

        def matches(text: str) -> bool:
            return patterns.finds(expression, text) if expression else text == name

        is_line_matched = self._is_line_matched and is_expression
        found = [
            process
            for process in running()
            if matches(process.name) or (is_line_matched and matches(command_line(process.pid)))
        ]
        ages = [process.age_s() for process in found]
        return {
            "count": len(found),
            "exists": bool(found),
            "pids": sorted(process.pid for process in found),
            "users": sorted({process.user() for process in found} - {""}),
            "oldest_s": max(ages, default=None),
            "youngest_s": min(ages, default=None),
            "rss_bytes": sum(process.pages for process in found) * os.sysconf("SC_PAGE_SIZE"),
        }
