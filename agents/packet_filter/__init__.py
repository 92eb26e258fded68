# SPDX-License-Identifier: Apache-2.0
"""What every packet filter of a host can do for the iptables agent, whichever tool drives it.

A back end keeps its rules in a place of its own (a chain, a table), never touches a rule that is not
there, and says only what it knows: where it cannot be sure what the kernel does, it raises. It decides
nothing: what may be blocked, and whether an action did what it was asked for, is the agent's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from mco_rpc.command import Completed
from mco_rpc.errors import ActionAborted

# A single address is the network of one address: /32 or /128.
Network = IPv4Network | IPv6Network


class PacketFilterError(ActionAborted):
    """The packet filter did not do its work, or it cannot be said for sure what it does."""


class NotReached(PacketFilterError):
    """Rules of ours exist, but another rule is asked before them, or none leads there; a change repairs that.

    Attributes:
        networks: what would be dropped if our rules were asked first.
    """

    def __init__(self, message: str, networks: Sequence[Network]) -> None:
        super().__init__(message)
        self.networks = list(networks)


class NoIPv6(PacketFilterError):
    """IPv6 is off on this host, so that nothing can be said or done about its addresses."""


class Run(Protocol):
    """Runs a command to its end; `mco_rpc.agent.Agent.run` is one."""

    def __call__(self, *argv: str, stdin: bytes = b"") -> Completed:
        """Return how the command ended; what it printed is bounded."""


class PacketFilter(Protocol):
    """Drops what comes from addresses and networks."""

    @property
    def name(self) -> str:
        """The back end as replies show it: iptables-nft, iptables-legacy, nftables or memory."""

    def block(self, network: Network) -> None:
        """Have a rule that drops what comes from exactly this network, first in line; idempotent.

        Raises:
            PacketFilterError: it could not; nothing was changed.
        """

    def unblock(self, network: Network) -> None:
        """Have no rule for exactly this network; idempotent, and rules for wider or narrower ones stay.

        Raises:
            PacketFilterError: it could not; nothing was changed.
        """

    def blocked(self, version: int | None = None) -> list[Network]:
        """Return the networks it drops, each once: IPv4 before IPv6, each in the order of the rules.

        Args:
            version: 4 or 6 to look at one family only; both if None.

        Raises:
            PacketFilterError: it cannot be said for sure.
        """
