# SPDX-License-Identifier: Apache-2.0
"""Interfaces and routes: the part of the host agent that is about the network."""

from __future__ import annotations

from typing import Any

from mco_host import network
from mco_rpc.agent import Agent, Aggregate, Input, Output, action

INTERFACE = Input(
    "string",
    "Only this one, such as eth0",
    prompt="Interface",
    optional=True,
    max_length=64,
    validate="shellsafe",
)


class Network(Agent):
    """Say which interfaces and routes there are."""

    @action(
        "List the network interfaces",
        inputs={"interface": INTERFACE},
        outputs={
            "interfaces": Output(
                "array",
                "Each with interface, is_up, mtu, speed_mbit, flags, mac, addresses (with the length of their network) "
                "and counters of bytes, packets, errors and drops: received_bytes, sent_bytes and so on",
                display_as="Interfaces",
                default=[],
            ),
            "exists": Output("boolean", "Whether there is any", display_as="Exists"),
            "is_up": Output("boolean", "Whether all of them are up", display_as="Up"),
            "addresses": Output(
                "array", "All addresses, without those of loopback", display_as="Addresses", default=[]
            ),
        },
        aggregates=[Aggregate("summary", "is_up")],
    )
    def interfaces(self, interface: str | None = None) -> dict[str, Any]:
        """Ask the kernel."""
        found = [each for each in network.interfaces() if interface in (None, each["interface"])]
        return {
            "interfaces": found,
            "exists": bool(found),
            "is_up": all(each["is_up"] for each in found) if found else None,
            "addresses": [
                address.partition("/")[0]
                for each in found
                if "loopback" not in each["flags"]
                for address in each["addresses"]
            ],
        }

    @action(
        "List the routes to elsewhere",
        outputs={
            "routes": Output(
                "array",
                "Each with destination (default, or a network), family, gateway, interface, metric and is_rejected; of "
                "IPv4 those of the main table",
                display_as="Routes",
                default=[],
            ),
            "gateway": Output("string", "Where IPv4 goes by default", display_as="Gateway"),
            "gateway6": Output("string", "Where IPv6 goes by default", display_as="IPv6 gateway"),
        },
        aggregates=[Aggregate("summary", "gateway")],
    )
    def routes(self) -> dict[str, Any]:
        """Ask the kernel."""
        found = network.routes()
        return {"routes": found, "gateway": _gateway(found, "ipv4"), "gateway6": _gateway(found, "ipv6")}


def _gateway(found: list[dict[str, Any]], family: str) -> str | None:
    usual = [
        route
        for route in found
        if route["destination"] == "default" and route["family"] == family and not route["is_rejected"]
    ]
    gateway: str | None = min(usual, key=lambda route: route["metric"])["gateway"] if usual else None
    return gateway
