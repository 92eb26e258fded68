# SPDX-License-Identifier: Apache-2.0
"""The discovery seam: which nodes are there for a filter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mco_rpc.filters import Filter


@dataclass(frozen=True, slots=True)
class Discovered:
    """Who was found.

    Attributes:
        unverified: nodes whose answers were not believed, and why; a population with some is not complete.
        unverified_more: such answers beyond those that ``unverified`` names.
        absent: nodes that were named, one by one, and not found, and why; the same holds.
    """

    nodes: tuple[str, ...]
    unverified: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    unverified_more: int = 0


class Discovery(Protocol):
    """A source of nodes."""

    def discover(self, node_filter: Filter, limit: int | None, timeout_s: float) -> Discovered:
        """Return the nodes that the filter matches, at most ``limit``; raise `DiscoveryError` if it cannot say."""
