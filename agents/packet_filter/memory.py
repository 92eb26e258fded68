# SPDX-License-Identifier: Apache-2.0
"""A packet filter that drops nothing and remembers everything: for tests, and for a first look without root."""

from __future__ import annotations

from . import Network


class MemoryFilter:
    """Keeps what it would drop in memory, for as long as the node runs."""

    name = "memory"

    def __init__(self) -> None:
        self._networks: dict[Network, None] = {}  # an ordered set

    def block(self, network: Network) -> None:
        """Remember a network."""
        self._networks.setdefault(network)

    def unblock(self, network: Network) -> None:
        """Forget a network."""
        self._networks.pop(network, None)

    def blocked(self, version: int | None = None) -> list[Network]:
        """Return what is remembered, IPv4 first, each family in the order it came."""
        versions = (4, 6) if version is None else (version,)
        return [network for wanted in versions for network in list(self._networks) if network.version == wanted]
