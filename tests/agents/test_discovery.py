# SPDX-License-Identifier: Apache-2.0
"""The agent that answers to broadcasts, alone and in a collective."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mco_agents.discovery import Discovery
from mco_client.rpc import RpcClient
from mco_lab.memory import MemoryFleet

HOSTS = {
    "web1": {"facts": {"country": "de", "cores": 4}, "classes": ["dev_server", "web"]},
    "web2": {"facts": {"country": "fr", "cores": 16}, "classes": ["web"]},
    "db1": {
        "facts": {"country": "de", "disks": ["sda", "sdb"]},
        "classes": ["db", "dev_server"],
        "settings": {"agents": {"iptables": {"enabled": False}}},
    },
}


def test_ping_is_the_time_on_the_node(node: Any) -> None:
    # When it is pinged between two looks at the clock
    before = time.time()
    made = Discovery(node).ping()

    # Then its answer is in between, and its schema allows it
    assert before <= made["pong"] <= time.time()  # type: ignore[operator]
    assert Discovery.schema().action("ping").check_outputs("discovery", made) == made


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], ["db1", "web1", "web2"]),
        ([("identity_filter", "web1")], ["web1"]),
        ([("identity_filter", "/^web/")], ["web1", "web2"]),
        ([("identity_filter", "web1"), ("identity_filter", "db1")], ["db1", "web1"]),
        ([("class_filter", "dev_server")], ["db1", "web1"]),
        ([("class_filter", "/dev_/"), ("class_filter", "web")], ["web1"]),
        ([("fact_filter", "country=de")], ["db1", "web1"]),
        ([("fact_filter", "cores>=5")], ["web2"]),
        ([("fact_filter", "cores!=4")], ["web2"]),
        ([("fact_filter", "disks=sdb")], ["db1"]),
        ([("class_filter", "/dev_server/"), ("fact_filter", "country=de"), ("agent_filter", "iptables")], ["web1"]),
        ([("class_filter", "none")], []),
    ],
)
def test_who_the_filter_matches_answers(filters: list[tuple[str, str]], expected: list[str]) -> None:
    # Given a collective
    with MemoryFleet(HOSTS) as fleet:
        # When it is asked who is there
        client = RpcClient("rpcutil", fleet.connection(), discovery_timeout_s=5.0 if expected else 0.2)
        for name, value in filters:
            getattr(client, name)(value)

        # Then those whom the filter matches are
        assert client.discovered == expected


def test_a_node_that_stops_is_not_found_any_more() -> None:
    # Given a collective that was asked
    with MemoryFleet(HOSTS) as fleet:
        client = RpcClient("rpcutil", fleet.connection())
        assert client.discovered == ["db1", "web1", "web2"]

        # When a node stops, and it is asked again
        fleet.stop("web1")

        # Then the others are there; who still asks the one that left learns at once that it is offline
        assert client.ping().offline == ("web1",)
        assert client.discover() == ["db1", "web2"]
        client.ping().require_ok()
