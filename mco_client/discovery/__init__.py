# SPDX-License-Identifier: Apache-2.0
"""The discovery seam: which nodes are there for a filter, and who should be there and is not."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mco_client.core import Core, finish
from mco_rpc.filters import Filter

if TYPE_CHECKING:
    from mco_client.call import Call


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for.

    Attributes:
        agent: that the nodes shall offer; any if it is empty.
        limit: so many are enough.
        timeout_s: seconds to wait for nodes at most.
        must_answer: whether the nodes are asked, even where somebody knows that they match.
        is_kept_open: whether `Discovered.late` shall know who answers too late.
    """

    filter: Filter = field(default_factory=Filter)
    agent: str = ""
    limit: int | None = None
    timeout_s: float = 2.0
    must_answer: bool = False
    is_kept_open: bool = False

    @property
    def whole_filter(self) -> Filter:
        """The filter with the agent in it."""
        return self.filter.merged(Filter(agents=(self.agent,))) if self.agent else self.filter


@dataclass(frozen=True, slots=True)
class Discovered:
    """Who was found.

    Attributes:
        unverified: nodes whose answers were not believed, and why; a population with some is not complete.
        unverified_more: such answers beyond those that ``unverified`` names.
        absent: nodes that should be there and are not known to be, and why; the same holds.
        schemas: digests of the agent's schema by node, as far as the nodes said.
        source: who knew them.
        warnings: why whoever knew them may not know everybody.
        asking: the question itself, if it is kept open for late answers.
    """

    nodes: tuple[str, ...]
    unverified: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    unverified_more: int = 0
    schemas: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    warnings: tuple[str, ...] = ()
    asking: Call | None = field(default=None, compare=False, repr=False)

    def late(self) -> dict[str, float]:
        """Return who answered after the discovery had ended and was not found, and after how many seconds."""
        late = self.asking.late() if self.asking else {}
        return {node: round(after_s, 3) for node, after_s in late.items() if node not in self.nodes}

    def close(self) -> None:
        """Care for no more late answers."""
        if self.asking:
            self.asking.close()

    def limited(self, limit: int | None) -> Discovered:
        """Return the same with at most ``limit`` nodes."""
        return dataclasses.replace(self, nodes=self.nodes[:limit])


class Discovery(ABC):
    """Somebody who finds nodes."""

    @abstractmethod
    def core(self, query: Query) -> Core[Discovered]:
        """Return whom the query asks for; yield the `Result` of each node that was asked, as it comes.

        Raises:
            DiscoveryError: it cannot say.
            BrokerError: nobody can be asked.
        """

    def discover(self, node_filter: Filter, limit: int | None, timeout_s: float) -> Discovered:
        """Return the nodes that the filter matches, at most ``limit``, by blocking."""
        return finish(self.core(Query(node_filter, limit=limit, timeout_s=timeout_s)))
