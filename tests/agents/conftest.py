# SPDX-License-Identifier: Apache-2.0
"""A node for agents that only look at it: what it knows is what the test says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from mco_agents.discovery import Discovery
from mco_agents.rpcutil import Rpcutil
from mco_node.data.collective import Collective
from mco_node.data.fstat import Fstat
from mco_node.data.sources import Sources
from mco_rpc.data import SourceSchema
from mco_rpc.errors import FilterError
from mco_rpc.filters import Subject
from mco_rpc.schema import AgentSchema


class FakeNode:
    """A `mco_rpc.agent.NodeView` with values that a test may change."""

    identity = "web1"
    collectives = ("mcollective", "second")

    def __init__(self) -> None:
        self.known: dict[str, Any] = {"country": "de", "cores": 4, "empty": None}
        self.wrong: list[str] = []
        self.sources = Sources({"collective": Collective(self), "fstat": Fstat(self)}, {"package": "no dpkg here"})

    def facts(self) -> Mapping[str, Any]:
        return self.known

    def classes(self) -> frozenset[str]:
        return frozenset({"web", "dev_server"})

    def agents(self) -> Mapping[str, AgentSchema]:
        return {"rpcutil": Rpcutil.schema(), "discovery": Discovery.schema()}

    def subject(self, until: float | None = None) -> Subject:
        def data(source: str, arguments: tuple[str, ...]) -> Mapping[str, Any]:
            assert until is not None
            if source != "file":
                raise FilterError(f"there is no data source {source!r}")
            return {"path": arguments[0], "left_s": until - time.monotonic()}

        return Subject(self.identity, self.classes(), frozenset(self.agents()), self.known, data)

    def data(self, source: str, arguments: tuple[str, ...]) -> Mapping[str, Any]:
        return self.sources.query(source, arguments, time.monotonic() + 20)

    def data_sources(self) -> Mapping[str, SourceSchema]:
        return self.sources.schemas()

    def inactive_data_sources(self) -> Mapping[str, str]:
        return self.sources.inactive

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
            "clock": 1_800_000_003.5,
            "in_progress": 1,
            "rungs": {"ok": 3},
            "sent": {"replies": 3},
            "actions": {},
            "audit_failures": 0,
            "workers": {"count": 8, "running": 1, "waiting": 0, "hanging": 0, "queue_limit": 1000},
            "connection": {"is_connected": True, "since": 1_800_000_000.0, "reconnects": 0},
            "process": {"rss_bytes": 1, "cpu_s": 0.1, "open_files": 9},
            "rivals": {"count": 0, "last": ""},
            "drained": None,
            "last_reload": None,
            "log_level": "info",
        }

    def settings(self) -> Mapping[str, Any]:
        return {
            "identity": "web1",
            "workers": 8,
            "brokers": ["amqp://lab@h/"],
            "agents": {"x": {"password": "s"}},
            "data": {},
        }

    def broker_addresses(self) -> list[str]:
        return []


@pytest.fixture
def node() -> FakeNode:
    """A node without faults."""
    return FakeNode()
