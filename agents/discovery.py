# SPDX-License-Identifier: Apache-2.0
"""Answer who looks for nodes: I am here, and your filter matches me."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from mco_rpc.agent import Agent, action, time_left_s
from mco_rpc.errors import FilterError, InvalidData
from mco_rpc.filters import Filter
from mco_rpc.schema import Input, Output

PONG = Output("float", "Seconds since the epoch, by its clock", display_as="Time")
SCHEMA = Output("string", "Digest of the schema of the agent that was named; empty if it is not offered", default="")
AGENT = Input("string", "Agent whose schema the caller wants to know", prompt="Agent", optional=True, max_length=128)
FILTER = Input("hash", "A filter, as requests carry it", prompt="Filter")


class Discovery(Agent):
    """Say that this node is there; the request's filter decides who answers."""

    timeout_s = 2.0

    @action(
        "Say that this node is there",
        inputs={"agent": AGENT},
        outputs={"pong": PONG, "schema": SCHEMA},
        is_inline=True,
    )
    def ping(self, agent: str = "") -> dict[str, Any]:
        """Return the node's time; for a broadcast, which only those answer whom the filter matches."""
        return {"pong": time.time(), "schema": self._digest(agent)}

    @action(
        "Say whether a filter matches this node",
        inputs={"filter": FILTER, "agent": AGENT},
        outputs={"matches": Output("boolean", "Whether it does", display_as="Matches"), "schema": SCHEMA},
    )
    def match(self, filter: dict[str, Any], agent: str = "") -> dict[str, Any]:
        """Answer yes or no; for who knows whom to expect, and would not tell silence from a no."""
        try:
            asked = msgspec.convert(filter, Filter).check()
            until = time.monotonic() + time_left_s(self.timeout_s)
            subject = self.node.subject(until if asked.needs_data else None)
            return {"matches": asked.matches(subject), "schema": self._digest(agent)}
        except (FilterError, msgspec.ValidationError) as e:
            raise InvalidData(f"filter: {e}") from e

    def _digest(self, agent: str) -> str:
        schema = self.node.agents().get(agent) if agent else None
        return schema.digest if schema else ""
