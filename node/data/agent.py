# SPDX-License-Identifier: Apache-2.0
"""The data source about agents, from the schemas that the node has at hand."""

from __future__ import annotations

from typing import Any

from mco_rpc.data import DataSource, Input, Output

ARGUMENTS = {"agent": Input("string", "Name of an agent", max_length=128)}
FIELDS = {
    "present": Output("boolean", "Whether it is offered"),
    "agent": Output("string", "Its name"),
    "version": Output("string", "Its version"),
    "description": Output("string", "What it is for"),
    "timeout": Output("float", "The same as timeout_s"),
    "timeout_s": Output("float", "Seconds an action may take unless it says otherwise"),
    "author": Output("string", "Who wrote it"),
    "license": Output("string", "Its licence"),
    "url": Output("string", "Where more is said about it"),
    "actions": Output("array", "Names of its actions"),
}


class AgentSource(DataSource):
    """Say whether the node offers an agent, and which one."""

    name = "agent"
    keep_s = 0.0
    arguments = ARGUMENTS
    fields = FIELDS

    def query(self, agent: str) -> dict[str, Any]:
        """Return what its schema says."""
        schema = self.node.agents().get(agent)
        if schema is None:
            return {"present": False, "agent": agent}
        return {
            "present": True,
            "agent": agent,
            "version": schema.version,
            "description": schema.description,
            "timeout": schema.timeout_s,
            "timeout_s": schema.timeout_s,
            "author": schema.author,
            "license": schema.license,
            "url": schema.url,
            "actions": sorted(schema.actions),
        }
