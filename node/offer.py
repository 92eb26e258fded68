# SPDX-License-Identifier: Apache-2.0
"""What a node offers at one moment: agents, their schemas and digests, and data sources, that belong together.

It is replaced as a whole and never changed: a request sees one offer from its first rung to its answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mco_rpc.agent import Agent
from mco_rpc.schema import AgentSchema

from .data.sources import Sources
from .loader import Loaded


@dataclass(frozen=True, slots=True)
class Offer:
    """Agents by name, with all that is said of them."""

    agents: Mapping[str, Agent]
    schemas: Mapping[str, AgentSchema]
    digests: Mapping[str, str]
    sources: Sources
    inactive: Mapping[str, str]
    unbound: frozenset[str]
    problems: tuple[str, ...]

    @classmethod
    def of(cls, loaded: Loaded, before: Offer | None = None) -> Offer:
        """Return the offer of what was loaded; an agent that was kept keeps its schema."""
        schemas = {
            name: before.schemas[name] if before and before.agents.get(name) is agent else agent.schema()
            for name, agent in loaded.agents.items()
        }
        return cls(
            agents=dict(loaded.agents),
            schemas=schemas,
            digests={name: schema.digest for name, schema in schemas.items()},
            sources=Sources(loaded.sources, loaded.inactive_sources),
            inactive=dict(loaded.inactive),
            unbound=loaded.unbound,
            problems=tuple(loaded.problems),
        )

    @property
    def bound(self) -> list[str]:
        """The agents on whose keys everybody is heard."""
        return [name for name in self.agents if name not in self.unbound]
