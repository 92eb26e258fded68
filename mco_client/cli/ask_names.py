# SPDX-License-Identifier: Apache-2.0
"""The process that asks the fleet for its names, for `mco_client.cli.fleet_names`; it prints nothing, and soon ends."""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mco_client.cli.fleet_names import AgentName, Names, write
from mco_client.connection import Connection
from mco_client.discovery.broadcast import BroadcastDiscovery
from mco_client.discovery.choice import configured
from mco_client.results import Results
from mco_client.rpc import RpcClient
from mco_client.schema.cache import SchemaCache, of_user
from mco_client.schema.learning import learn
from mco_client.text import natural
from mco_rpc.config import client_settings
from mco_rpc.errors import McoError
from mco_rpc.filters import Filter

# Whatever hangs, the process does not outlive this.
MAX_LIFE_S = 20
PATIENCE_S = 3.0
# So many tell what they have; that all have told their name is enough.
ASKED = 50
MAX_NODES = 20_000
MAX_NAMES = 2000
MAX_VALUES = 50
MAX_LENGTH = 128


def gather(connection: Connection) -> Names:
    """Return the names that a fleet gives.

    Raises:
        McoError: it gives none.
    """
    own = connection.settings.discovery
    # Standard input is not there, and nobody expects a command of theirs to run at the press of a key.
    source = BroadcastDiscovery(connection) if own in ("stdin", "external") else configured(connection)
    found = source.discover(Filter(), None, connection.settings.discovery_timeout_s)
    nodes = sorted(found.nodes, key=natural)[:MAX_NODES]
    if not nodes:
        return Names()
    client = RpcClient("rpcutil", connection, timeout_s=PATIENCE_S)
    client.discover(nodes=random.sample(nodes, min(ASKED, len(nodes))))
    told = client.inventory()
    facts = _facts(told)
    return Names(
        seen_at=connection.clock(),
        nodes=tuple(nodes),
        agents=_agents(connection, told),
        facts=facts,
        classes=_all(told, "classes"),
        collectives=_all(told, "collectives"),
    )


def _all(told: Results, output: str) -> tuple[str, ...]:
    """Return the texts that the lists of all nodes hold."""
    seen: dict[str, None] = {}
    for result in told:
        given = result.data.get(output)
        seen.update(dict.fromkeys(_texts(given if isinstance(given, list) else ())))
    return tuple(sorted(seen, key=natural)[:MAX_NAMES])


def _facts(told: Results) -> dict[str, tuple[str, ...]]:
    values: dict[str, dict[str, None]] = {}
    for result in told:
        given = result.data.get("facts")
        for name, value in given.items() if isinstance(given, Mapping) else ():
            if len(str(name)) <= MAX_LENGTH and (name in values or len(values) < MAX_NAMES):
                known = values.setdefault(str(name), {})
                for text in _texts(map(_word, value if isinstance(value, list) else [value])):
                    if len(known) < MAX_VALUES:
                        known[text] = None
    return {name: tuple(sorted(known, key=natural)) for name, known in sorted(values.items())}


def _word(value: object) -> object:
    """Return a fact's value as a filter takes it; what is no scalar is none."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _texts(values: Iterable[object]) -> list[str]:
    return [value for value in values if isinstance(value, str) and 0 < len(value) <= MAX_LENGTH]


def _agents(connection: Connection, told: Results) -> dict[str, AgentName]:
    """Return the agents of all, and have the schema of each in the user's cache."""
    offering: dict[str, list[str]] = {}
    for result in told:
        given = result.data.get("agents")
        for name in _texts(given if isinstance(given, list) else ()):
            if len(offering) < MAX_NAMES or name in offering:
                offering.setdefault(name, []).append(result.sender)
    cache = of_user(connection.settings.connector)
    return {name: _named(connection, name, nodes, cache) for name, nodes in sorted(offering.items())}


def _named(connection: Connection, agent: str, nodes: Sequence[str], cache: SchemaCache) -> AgentName:
    with contextlib.suppress(McoError):
        known = learn(connection, agent, nodes, {}, cache, is_first_enough=True)
        if known.versions:
            version = known.versions[0]
            return AgentName(version.digest, version.schema.description[:MAX_LENGTH])
    return AgentName()


def main(arguments: Sequence[str]) -> int:
    """Ask, and write what came to the file; return 0 if something did."""
    file, config, collective = arguments
    signal.alarm(MAX_LIFE_S)  # which ends it, for nobody handles it
    try:
        settings = client_settings(Path(config) if config else None)
        changes: dict[str, Any] = {"collective": collective} if collective else {}
        settings = msgspec.structs.replace(
            settings, **changes, connect_timeout_s=min(settings.connect_timeout_s, PATIENCE_S)
        )
        settings.check()
        with Connection(settings) as connection:
            seen = gather(connection)
    except (McoError, OSError, ValueError):
        return 1
    if seen.seen_at:
        write(Path(file), msgspec.structs.replace(seen, seen_at=time.time()))
    return 0 if seen.seen_at else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
