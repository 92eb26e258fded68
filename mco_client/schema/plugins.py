# SPDX-License-Identifier: Apache-2.0
"""What this machine has installed: plug-ins by kind, found by their entry points. It imports only what is asked for."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from mco_rpc.agent import Agent
from mco_rpc.data import DataSource, SourceSchema
from mco_rpc.errors import ConfigError
from mco_rpc.schema import AgentSchema
from mco_rpc.suggestion import did_you_mean

PREFIX = "mco."
AGENTS, DATA = "agents", "data"


def installed() -> dict[str, dict[str, EntryPoint]]:
    """Return kind -> name -> entry point of everything that extends this project."""
    found: dict[str, dict[str, EntryPoint]] = {}
    known = entry_points()
    for group in sorted(known.groups):
        if group.startswith(PREFIX):
            ordered = sorted(known.select(group=group), key=lambda entry: entry.name)
            found[group.removeprefix(PREFIX)] = {entry.name: entry for entry in ordered}
    return found


def load(kind: str, name: str) -> object:
    """Return an installed plug-in.

    Raises:
        ConfigError: there is none of this name, or it cannot be loaded.
    """
    known = installed().get(kind, {})
    if name not in known:
        raise ConfigError(
            f"no {name!r} of kind {kind} is installed here{did_you_mean(name, known)}; "
            f"installed: {', '.join(known) or 'none'}"
        )
    entry = known[name]
    try:
        loaded: object = entry.load()
    except (Exception, SystemExit) as e:
        raise ConfigError(f"{kind}/{name} ({entry.value}) cannot be loaded: {type(e).__name__}: {e}") from e
    return loaded


def agent_schema(name: str) -> AgentSchema:
    """Return the schema of an installed agent; raise `ConfigError` or `SchemaError` if there is none."""
    loaded = load(AGENTS, name)
    if not (isinstance(loaded, type) and issubclass(loaded, Agent)):
        raise ConfigError(f"agents/{name} is not a subclass of mco_rpc.agent.Agent")
    return loaded.schema()


def source_schema(name: str) -> SourceSchema:
    """Return the schema of an installed data source; raise `ConfigError` or `SchemaError` if there is none."""
    loaded = load(DATA, name)
    if not (isinstance(loaded, type) and issubclass(loaded, DataSource)):
        raise ConfigError(f"data/{name} is not a subclass of mco_rpc.data.DataSource")
    return loaded.schema()
