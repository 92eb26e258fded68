# SPDX-License-Identifier: Apache-2.0
"""A node for agents that only look at it: what it knows is what the test says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mco_agents.discovery import Discovery
from mco_agents.rpcutil import Rpcutil
from mco_rpc.schema import AgentSchema


class FakeNode:
    """A `mco_rpc.agent.NodeView` with values that a test may change."""

    identity = "web1"
    collectives = ("mcollective", "second")

    def __init__(self) -> None:
        self.known: dict[str, Any] = {"country": "de", "cores": 4, "empty": None}
        self.wrong: list[str] = []

    def facts(self) -> Mapping[str, Any]:
        return self.known

    def classes(self) -> frozenset[str]:
        return frozenset({"web", "dev_server"})

    def agents(self) -> Mapping[str, AgentSchema]:
        return {"rpcutil": Rpcutil.schema(), "discovery": Discovery.schema()}

    def problems(self) -> list[str]:
        return self.wrong

    def stats(self) -> dict[str, Any]:
        return {
            "version": "0.1.0",
            "pid": 17,
            "started_at": 1_800_000_000.0,
            "uptime_s": 3.5,
            "threads": 4,
            "hanging_actions": 0,
            "inactive_agents": {"iptables": "iptables is not installed"},
            "counters": {"ok": 3},
        }

    def settings(self) -> Mapping[str, Any]:
        return {"identity": "web1", "workers": 8, "brokers": ["amqp://lab@h/"], "agents": {"x": {"password": "s"}}}

    def broker_addresses(self) -> list[str]:
        return []


@pytest.fixture
def node() -> FakeNode:
    """A node without faults."""
    return FakeNode()
