# SPDX-License-Identifier: Apache-2.0
"""Whether a node takes work: a drained one answers only who looks after it. It is not remembered across a restart."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from mco_rpc.errors import ActionAborted

# Who is asked how the node fares, and to let it work again.
EXEMPT = frozenset({"controller", "discovery", "rpcutil"})


@dataclass(frozen=True, slots=True)
class Drained:
    """Since when, by whom and why."""

    since: float
    by: str
    reason: str = ""

    def __str__(self) -> str:
        when = dt.datetime.fromtimestamp(self.since, dt.UTC).isoformat(timespec="seconds")
        return f"drained since {when} by {self.by}{f': {self.reason}' if self.reason else ''}"

    def told(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"since": self.since, "by": self.by, "reason": self.reason}


class Draining:
    """The state, and the rung that asks for it."""

    def __init__(self) -> None:
        self.current: Drained | None = None

    def check(self, agent: str) -> None:
        """Raise `ActionAborted` if the node takes no work for this agent."""
        drained = self.current
        if drained is not None and agent not in EXEMPT:
            raise ActionAborted(f"this node is {drained}; ask another node, or let it work again: controller#resume")

    def told(self) -> dict[str, Any] | None:
        """Return the state as plain data, None if the node works."""
        return self.current.told() if self.current else None
