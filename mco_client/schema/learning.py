# SPDX-License-Identifier: Apache-2.0
"""What the nodes of a fleet say that an agent can be asked: who has which version of its schema.

A node names its schema by digest. What has the digest that a node claims is that node's schema, whoever gave it;
what has not is not believed. Nothing here decides what to do about a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mco_client.connection import Connection
from mco_client.discovery.broadcast import BroadcastDiscovery
from mco_client.results import Result
from mco_client.rpc import RpcClient
from mco_client.schema.cache import SchemaCache, is_digest
from mco_client.text import listed, natural, one_line
from mco_rpc.errors import SchemaError
from mco_rpc.schema import ActionSchema, AgentSchema

# Asked together, so that one that hangs, or lies, is not the only one.
ASKED_FOR_SCHEMA = 3
# A fleet has a few; who claims more wants to keep us busy.
MAX_VERSIONS = 16


@dataclass(frozen=True, slots=True)
class Version:
    """One schema of an agent, and who is known to have it."""

    digest: str
    schema: AgentSchema
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an agent in a fleet.

    Attributes:
        versions: those with the most nodes first.
        unknown: nodes that claim a schema which nobody gave, and why.
        why_nothing: why there are no versions.
    """

    agent: str
    versions: tuple[Version, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)
    why_nothing: str = ""

    def action(self, name: str) -> ActionSchema | None:
        """Return the declaration of an action that most nodes have; None if none has it."""
        declared = (version.schema.actions.get(name) for version in self.versions)
        return next((action for action in declared if action is not None), None)

    def is_harmless(self, action: str) -> bool:
        """Say whether everybody who says something of an action says that it changes nothing.

        A schema that is claimed and not given may say anything: nothing is harmless then.
        """
        declared = [version.schema.actions.get(action) for version in self.versions]
        is_agreed = bool(declared) and all(each is not None and not each.mutating for each in declared)
        return is_agreed and not self.unknown

    def by_node(self) -> dict[str, Version]:
        """Return the version of each node of which it is known."""
        return {node: version for version in self.versions for node in version.nodes}

    def by_digest(self) -> dict[str, Version]:
        """Return the versions by digest."""
        return {version.digest: version for version in self.versions}

    def name_of(self, version: Version) -> str:
        """Return how to call a version: by its number, and by its digest too where the number does not tell."""
        number = version.schema.version
        is_unique = sum(other.schema.version == number for other in self.versions) == 1
        return one_line(
            f"{version.schema.name} {number}" if is_unique else f"{version.schema.name} {number} ({version.digest})"
        )

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return plain data about the versions, as ``-j`` prints it."""
        return [
            {"digest": version.digest, "version": version.schema.version, "nodes": list(version.nodes)}
            for version in self.versions
        ]

    def difference(self) -> str:
        """Return how the nodes differ, who deviates by name; nothing if they do not.

        As in ``3 nodes: iptables 1.0; 2 nodes: iptables 1.1: web3, web9``.
        """
        return self.difference_of({version.digest: version.nodes for version in self.versions})

    def difference_of(self, nodes: Mapping[str, Sequence[str]]) -> str:
        """Return the same for nodes by digest, as their replies gave it; who gave none is left out."""
        known = self.by_digest()
        seen = sorted((digest for digest in nodes if digest), key=lambda digest: (-len(nodes[digest]), digest))
        if len(seen) < 2:
            return ""
        parts = []
        for number, digest in enumerate(seen):
            count = len(nodes[digest])
            called = self.name_of(known[digest]) if digest in known else f"schema {one_line(digest)}"
            names = f": {listed(nodes[digest])}" if number else ""
            parts.append(f"{count} node{'' if count == 1 else 's'}: {called}{names}")
        return "; ".join(parts)


def learn(
    connection: Connection,
    agent: str,
    nodes: Sequence[str],
    digests: Mapping[str, str],
    cache: SchemaCache,
    *,
    is_first_enough: bool = False,
) -> Known:
    """Return what is known of an agent on some nodes, asking those that have what the cache has not.

    Args:
        digests: node -> digest, as the nodes claimed when they were found; without any, a few nodes are asked.
        is_first_enough: without digests: whether the first usable answer ends the wait; else all who were asked are
            awaited, because a single one may lie.
    """
    claims: dict[str, list[str]] = {}
    unknown: dict[str, str] = {}
    for node in sorted(nodes, key=natural):
        if is_digest(digests.get(node)):
            claims.setdefault(digests[node], []).append(node)
        else:
            unknown[node] = "it does not say which schema it has"
    if not claims:
        return _sampled(connection, agent, nodes, cache, is_first_enough=is_first_enough)
    by_size = sorted(claims, key=lambda digest: (-len(claims[digest]), digest))
    reasons = _fetched(connection, agent, {digest: claims[digest] for digest in by_size[:MAX_VERSIONS]}, cache)
    versions = []
    for digest in by_size:
        schema = cache.get(digest)
        if schema is not None and schema.name == agent:
            versions.append(Version(digest, schema, tuple(claims[digest])))
            continue
        why = "which nobody gave" if schema is None else f"which is that of agent {schema.name}"
        for node in claims[digest]:
            unknown[node] = reasons.get(node) or f"it claims schema {digest}, {why}"
    return Known(agent, tuple(versions), unknown, "" if versions else _told(unknown))


def _fetched(
    connection: Connection, agent: str, claims: Mapping[str, Sequence[str]], cache: SchemaCache
) -> dict[str, str]:
    """Put what the cache has not into it, as far as nodes give it; return node -> why it is of no use."""
    wanted = {digest for digest in claims if cache.get(digest) is None}
    targets = [node for digest in claims if digest in wanted for node in claims[digest][:ASKED_FOR_SCHEMA]]
    claimed = {node: digest for digest in wanted for node in claims[digest]}
    reasons: dict[str, str] = {}
    for result in _answers(connection, agent, targets) if targets else ():
        try:
            digest = _digest_in(result, agent, cache)
        except SchemaError as e:
            reasons[result.sender] = str(e)
            continue
        if digest != claimed.get(result.sender):
            reasons[result.sender] = f"it claims schema {claimed.get(result.sender)}, and gives {digest}"
        wanted.discard(digest)
        if not wanted:
            break
    return reasons


def _sampled(
    connection: Connection, agent: str, nodes: Sequence[str], cache: SchemaCache, *, is_first_enough: bool
) -> Known:
    """Ask some of the nodes, of whom nothing is known."""
    targets = list(nodes[:ASKED_FOR_SCHEMA])
    found: dict[str, list[str]] = {}
    reasons = {}
    for result in _answers(connection, agent, targets):
        try:
            found.setdefault(_digest_in(result, agent, cache), []).append(result.sender)
        except SchemaError as e:
            reasons[result.sender] = str(e)
        else:
            if is_first_enough:
                break
    versions = []
    for digest in sorted(found, key=lambda digest: (-len(found[digest]), digest)):
        schema = cache.get(digest)
        if schema is not None:
            versions.append(Version(digest, schema, tuple(sorted(found[digest], key=natural))))
    why = _told(reasons) or f"no reply from {', '.join(targets)}"
    return Known(agent, tuple(versions), why_nothing="" if versions else why)


def _answers(connection: Connection, agent: str, nodes: Iterable[str]) -> Iterator[Result]:
    asking = RpcClient(
        "rpcutil",
        connection,
        discovery=BroadcastDiscovery(connection),  # whatever the settings say: nobody is looked for
        timeout_s=connection.settings.discovery_timeout_s,
    )
    asking.discover(nodes=nodes)
    return asking.stream("schema_of", agent=agent)


def _digest_in(result: Result, agent: str, cache: SchemaCache) -> str:
    """Keep the schema in an answer; return its digest, or raise `SchemaError`."""
    if not result.is_ok:
        raise SchemaError(f"{result.status_text}: {result.message}")
    digest = cache.put(result.data.get("schema"))
    schema = cache.get(digest)
    if schema is None or schema.name != agent:
        raise SchemaError(f"it gives the schema of agent {schema.name if schema else '?'} for that of {agent}")
    return digest


def _told(reasons: Mapping[str, str]) -> str:
    return one_line("; ".join(f"{node}: {why}" for node, why in sorted(reasons.items())))
