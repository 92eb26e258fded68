# SPDX-License-Identifier: Apache-2.0
"""What the commands of ``mco plugin`` ask nodes: which agents and data sources they offer, and their schemas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mco_client.cli import asking, output
from mco_client.text import listed, natural, one_line
from mco_rpc import names
from mco_rpc.errors import DiscoveryError, SchemaError
from mco_rpc.suggestion import did_you_mean

if TYPE_CHECKING:
    from mco_client.connection import Connection
    from mco_client.results import Result, Results
    from mco_client.schema.learning import Known
    from mco_rpc.data import SourceSchema
    from mco_rpc.filters import Filter


def known_of(connection: Connection, agent: str, node_filter: Filter) -> Known:
    """Return what nodes say of an agent, warning if they differ; raise `DiscoveryError` if none says anything."""
    from mco_client.schema.cache import of_user
    from mco_client.schema.learning import learn

    client = asking.client(connection, names.check("agent", agent), node_filter, timeout_s=None, progress=False)
    asking.discover(client, None)
    output.warn_of_absent(client.absent)
    known = learn(connection, agent, client.discovered, client.schemas, of_user(connection.settings.connector))
    if not known.versions:
        raise DiscoveryError(f"no node gave the schema of agent {agent}: {known.why_nothing}")
    if difference := known.difference():
        output.warn(f"not all nodes have the same agent: {difference}")
    return known


def source_of(connection: Connection, name: str, node_filter: Filter) -> SourceSchema:
    """Return the schema of a data source from the first node that offers it, by name; raise `DiscoveryError`."""
    client = asking.client(connection, "rpcutil", node_filter, timeout_s=None, progress=False)
    asking.discover(client, None)
    output.warn_of_absent(client.absent)
    results = client.data_sources()
    known: set[str] = set()
    for result in sorted(results, key=lambda result: natural(result.sender)):
        for each in entries(result, "sources"):
            known.add(one_line(each.get("name"), 64))
            if each.get("name") == name:
                return _source(result.sender, each)
    raise DiscoveryError(
        f"no node offers data source {name!r}{did_you_mean(name, known)}; offered are: {listed(known) or 'none'}"
    )


def sources_on(connection: Connection, nodes: Sequence[str]) -> Results:
    """Return what nodes that were found already say of their data sources."""
    from mco_client.discovery.broadcast import BroadcastDiscovery
    from mco_client.rpc import RpcClient

    client = RpcClient("rpcutil", connection, discovery=BroadcastDiscovery(connection))
    client.discover(nodes=nodes)
    return client.data_sources()


def counted(results: Results, field: str) -> list[dict[str, Any]]:
    """Return what nodes list in an output, equal entries together, with the nodes that have them."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for result in results:
        for each in entries(result, field):
            key = (str(each.get("name")), str(each.get("version") or "-"), str(each.get("description") or ""))
            found.setdefault(key, []).append(result.sender)
    return [
        {"name": name, "version": version, "description": description, "nodes": sorted(nodes, key=natural)}
        for (name, version, description), nodes in sorted(found.items())
    ]


def entries(result: Result, field: str) -> list[dict[str, Any]]:
    """Return the mappings in an output that lists some, whatever a node made of it."""
    told = result.data.get(field) if result.is_ok else None
    if isinstance(told, dict):
        told = [{"name": name, **each} for name, each in told.items() if isinstance(each, dict)]
    return [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []


def _source(node: str, plain: dict[str, Any]) -> SourceSchema:
    import msgspec

    from mco_rpc.data import SourceSchema

    try:
        return msgspec.convert(plain, SourceSchema)
    except (msgspec.ValidationError, RecursionError) as e:
        raise SchemaError(f"{node} gives no schema of a data source: {one_line(e)}") from e
