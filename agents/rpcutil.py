# SPDX-License-Identifier: Apache-2.0
"""Ask a node about itself: what it knows, what it offers, how it fares."""

from __future__ import annotations

import time
from typing import Any

from mco_rpc.agent import Agent, action, time_left_s
from mco_rpc.errors import ActionAborted, FilterError, InvalidData, UnknownAction
from mco_rpc.filters import Filter
from mco_rpc.schema import Aggregate, Input, Output
from mco_rpc.suggestion import did_you_mean
from mco_rpc.validation import shown

from .controller import STATS

FACT = Input("string", "Name of a fact", prompt="Fact", max_length=256)
FACTS = Input("array", "Names of facts", prompt="Facts", max_length=256)
AGENT = Input("string", "Name of an agent", prompt="Agent", max_length=128)
REQUESTS = Input("array", "Ids of requests", prompt="Requests", max_length=1000)
SOURCE = Input("string", "Name of a data source", prompt="Source", max_length=64)
QUERY = Input("any", "What to ask it: a text, or a list of texts", prompt="Query", optional=True)
FILTER = Input("hash", "A filter, as requests have it", prompt="Filter")
ITEM = Input("string", "Name of a configuration item", prompt="Item", max_length=128)
_PLUGINS = {"agents": "agents", "data": "data sources"}


class Rpcutil(Agent):
    """Ask a node about itself."""

    @action(
        "Say that this node answers",
        outputs={"pong": Output("float", "Seconds since the epoch, by its clock")},
        is_inline=True,
    )
    def ping(self) -> dict[str, Any]:
        """Return the node's time."""
        return {"pong": time.time()}

    @action(
        "Say what this node is, knows and offers",
        outputs={
            "identity": Output("string", "Its name"),
            "version": Output("string", "Version of the daemon"),
            "collectives": Output("array", "Collectives it answers in"),
            "agents": Output("array", "Agents it offers"),
            "inactive_agents": Output("hash", "Agents it does not offer, and why"),
            "classes": Output("array", "Configuration management classes it has"),
            "facts": Output("hash", "Its facts"),
            "problems": Output("array", "What is wrong with it: broken facts, agents that did not load"),
        },
    )
    def inventory(self) -> dict[str, Any]:
        """Return all of it at once."""
        stats = self.node.stats()
        return {
            "identity": self.node.identity,
            "version": stats["version"],
            "collectives": list(self.node.collectives),
            "agents": sorted(self.node.agents()),
            "inactive_agents": stats["inactive_agents"],
            "classes": sorted(self.node.classes()),
            "facts": dict(self.node.facts()),
            "problems": self.node.problems(),
        }

    @action(
        "Say the value of a fact",
        inputs={"fact": FACT},
        outputs={
            "fact": Output("string", "Its name"),
            "value": Output("any", "Its value"),
            "exists": Output("boolean", "Whether the node has it"),
        },
        aggregates=[Aggregate("summary", "value")],
    )
    def get_fact(self, fact: str) -> dict[str, Any]:
        """Return one fact, None if it is not there."""
        facts = self.node.facts()
        return {"fact": fact, "value": facts.get(fact), "exists": fact in facts}

    @action("Say the values of several facts", inputs={"facts": FACTS}, outputs={"values": Output("hash", "By name")})
    def get_facts(self, facts: list[str]) -> dict[str, Any]:
        """Return those that are there."""
        known = self.node.facts()
        return {"values": {name: known[name] for name in facts if isinstance(name, str) and name in known}}

    @action(
        "List the agents with their versions",
        outputs={"agents": Output("array", "Name, version, description, and the digest that names the schema")},
    )
    def agent_inventory(self) -> dict[str, Any]:
        """Return a row an agent."""
        return {
            "agents": [
                {
                    "name": schema.name,
                    "version": schema.version,
                    "description": schema.description,
                    "digest": schema.digest,
                }
                for _, schema in sorted(self.node.agents().items())
            ]
        }

    @action(
        "Say what an agent can be asked",
        inputs={"agent": AGENT},
        outputs={
            "schema": Output("hash", "Its schema as JSON"),
            "digest": Output("string", "What names the schema, whatever its version says"),
        },
    )
    def schema_of(self, agent: str) -> dict[str, Any]:
        """Return an agent's schema."""
        agents = self.node.agents()
        if agent not in agents:
            raise UnknownAction(
                f"this node offers no agent {agent!r}{did_you_mean(agent, agents)}; "
                f"it offers {', '.join(sorted(agents))}"
            )
        return {"schema": agents[agent].to_json(), "digest": agents[agent].digest}

    @action(
        "Ask a data source, as a filter does",
        inputs={"source": SOURCE, "query": QUERY},
        outputs={
            "source": Output("string", "Its name"),
            "query": Output("array", "What it was asked"),
            "fields": Output("hash", "What it says"),
        },
        timeout_s=20.0,
    )
    def get_data(self, source: str, query: object = None) -> dict[str, Any]:
        """Return the fields; numbers count as the texts that they were on a command line."""
        asked = query if isinstance(query, list) else [] if query is None else [query]
        if not all(isinstance(text, str) or type(text) is int for text in asked):
            raise InvalidData(f"rpcutil#get_data: input query: expected a text or a list of texts, got {shown(query)}")
        texts = tuple(map(str, asked))
        try:
            return {"source": source, "query": list(texts), "fields": dict(self.node.data(source, texts))}
        except FilterError as e:
            is_known = source in self.node.data_sources()
            raise (ActionAborted if is_known else InvalidData)(str(e)) from e

    @action(
        "Say what the data sources of this node can be asked",
        outputs={
            "sources": Output("hash", "By name: description, arguments, fields and time-out"),
            "inactive": Output("hash", "Data sources that do not apply to it, and why"),
        },
    )
    def data_sources(self) -> dict[str, Any]:
        """Return their schemas."""
        sources = {name: schema.to_json() for name, schema in self.node.data_sources().items()}
        return {"sources": sources, "inactive": dict(self.node.inactive_data_sources())}

    @action(
        "Say why a filter matches this node, or why not",
        inputs={"filter": FILTER},
        outputs={
            "matches": Output("boolean", "Whether it does", display_as="Matches"),
            "verdict": Output("hash", "Every term, what was seen here, and which decided"),
        },
        timeout_s=20.0,
    )
    def explain_filter(self, filter: dict[str, Any]) -> dict[str, Any]:
        """Return the verdict; what a data source cannot say is in it."""
        from mco_rpc.filters.verdict import explain  # for whoever asks why, which is seldom

        until = time.monotonic() + time_left_s(self.timeout_s)
        try:
            verdict = explain(Filter.from_json(filter), self.node.subject(until))
        except FilterError as e:
            raise InvalidData(f"filter: {e}") from e
        return {"matches": verdict.matches, "verdict": verdict.to_json()}

    @action("Say the collectives this node is in", outputs={"collectives": Output("array", "Their names")})
    def collective_info(self) -> dict[str, Any]:
        """Return the collectives."""
        return {"collectives": list(self.node.collectives)}

    @action(
        "Say how the daemon fares",
        outputs=STATS,
        aggregates=[Aggregate("summary", "version")],
    )
    def daemon_stats(self) -> dict[str, Any]:
        """Return the counters."""
        return self.node.stats()

    @action(
        "Say the value of a configuration item", inputs={"item": ITEM}, outputs={"value": Output("any", "Its value")}
    )
    def get_config_item(self, item: str) -> dict[str, Any]:
        """Return a setting; secrets are left out."""
        settings = self.node.settings()
        if item not in settings:
            raise InvalidData(f"there is no configuration item {item!r}{did_you_mean(item, settings)}")
        if item in ("agents", "data"):
            raise ActionAborted(f"the {_PLUGINS[item]}' own settings may hold secrets and are not sent")
        return {"value": settings[item]}

    @action(
        "End requests of yours that wait or run on this node",
        inputs={"requests": REQUESTS},
        outputs={"states": Output("hash", "By request: running, waiting, or unknown if it has ended")},
        is_inline=True,  # all workers may be busy with what is to end
    )
    def cancel(self, requests: list[str]) -> dict[str, Any]:
        """Tell each of them; what a running one has done already stays done."""
        return {"states": {str(request): self.node.cancel(str(request)) for request in requests}}
