# SPDX-License-Identifier: Apache-2.0
"""Ask the registry who should be there; it knows what the nodes have said of themselves, and when.

It is one node of the collective, and believed as far as that: what it says is checked like any answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from mco_client.call import Call
from mco_client.connection import Connection
from mco_client.core import Core, finish, quietly
from mco_client.discovery import Discovered, Discovery, Query
from mco_client.discovery.known import ask_known
from mco_client.discovery.source import absent_of
from mco_client.results import Results
from mco_client.text import natural, one_line
from mco_rpc import names
from mco_rpc.errors import DiscoveryError
from mco_rpc.filters import Filter

AGENT, ACTION = "registry", "nodes"
PAGE = 5000
MAX_PAGES = 1000
PRESENT, EXPECTED, SILENT, STOPPED = "present", "expected", "silent", "stopped"


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A node that the registry knows.

    Attributes:
        state: present; expected, of whom nobody heard since the registry listens again; silent; stopped.
        last_seen: seconds since the epoch by the registry's clock.
        is_sure: whether the filter is surely for it; if not, only the node can tell.
        schema: digest of the schema of the agent that was asked for.
        problem: what is wrong with what it says of itself.
    """

    identity: str
    state: Literal["present", "expected", "silent", "stopped"]
    last_seen: float
    version: str = ""
    is_sure: bool = True
    schema: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Registry:
    """What the registry answered.

    Attributes:
        identity: who it is.
        nodes: by name, as people count.
        residual: the part of the filter that only the nodes can decide.
        warnings: why the answer may not be complete.
        now: when it answered, in seconds since the epoch by its clock.
        listening_since: since when it has missed nothing.
    """

    identity: str
    nodes: tuple[Registered, ...]
    residual: Filter
    warnings: tuple[str, ...]
    now: float
    listening_since: float
    by_node: Mapping[str, Registered] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_node", {node.identity: node for node in self.nodes})


class _Page(msgspec.Struct, frozen=True, kw_only=True):
    nodes: tuple[Registered, ...]
    next: str
    now: float
    listening_since: float
    residual: Filter = Filter()
    warnings: tuple[str, ...] = ()


class RegistryDiscovery(Discovery):
    """The nodes that the registry knows; those of which it is not sure are asked themselves."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def core(self, query: Query) -> Core[Discovered]:
        """Return whom the registry names, the silent ones too: a call will tell of each whether it is there.

        Who was stopped is not expected; if the filter names such a node, or one that nobody knows, it is absent.
        """
        timeout_s = max(query.timeout_s, self._connection.settings.timeout_s)
        registry: Registry = yield from asked(self._connection, query.whole_filter, timeout_s, query.agent)
        source = f"registry {registry.identity}"
        there = [node for node in registry.nodes if node.state != STOPPED]
        sure = [node.identity for node in there if node.is_sure and not query.must_answer]
        stopped = [node.identity for node in registry.nodes if node.state == STOPPED]
        absent = absent_of(query.filter, registry.by_node, f"{source} knows no such node for this filter")
        absent |= dict.fromkeys(
            set(stopped).intersection(query.filter.identities), f"{source} says that it was stopped"
        )
        schemas = {node.identity: node.schema for node in there if node.schema}
        found = Discovered(tuple(sure), absent=absent, schemas=schemas, source=source, warnings=registry.warnings)
        if unsure := [node.identity for node in there if query.must_answer or not node.is_sure]:
            asked_for = msgspec.structs.replace(query.filter, identities=())
            more = yield from ask_known(self._connection, unsure, asked_for, query, source)
            found = dataclasses.replace(
                more,
                nodes=tuple(sorted((*sure, *more.nodes), key=natural)),
                absent={**absent, **more.absent},
                schemas={**schemas, **more.schemas},
                warnings=registry.warnings,
            )
        return found.limited(query.limit)


def ask(connection: Connection, node_filter: Filter, timeout_s: float) -> Registry:
    """Return the nodes that the registry knows for a filter, by blocking; see `asked`."""
    return finish(asked(connection, node_filter, timeout_s))


def asked(connection: Connection, node_filter: Filter, timeout_s: float, agent: str = "") -> Core[Registry]:
    """Return the nodes that the registry knows for a filter.

    Args:
        timeout_s: seconds to wait for each page of the answer.
        agent: whose schema's digest is wanted.

    Raises:
        DiscoveryError: it is not there, does not answer or is not believed, or what it says makes no sense.
        BrokerError: the broker cannot be used.
    """
    identity = connection.settings.registry
    data: dict[str, Any] = {"filter": msgspec.to_builtins(node_filter), "limit": PAGE}
    if agent:
        data["agent"] = agent
    nodes: list[Registered] = []
    after = ""
    for _ in range(MAX_PAGES):
        where = {"after": after} if after else {}
        call = Call(
            connection, AGENT, ACTION, {**data, **where},
            node_filter=Filter(), targets=(identity,), timeout_s=timeout_s,
        )  # fmt: skip
        yield from quietly(call.core())
        page = _page(identity, call.results(), connection.settings.collective)
        _check(identity, page, after)
        nodes += page.nodes
        after = page.next
        if not after:
            nodes.sort(key=lambda node: natural(node.identity))
            return Registry(identity, tuple(nodes), page.residual, page.warnings, page.now, page.listening_since)
    raise DiscoveryError(f"registry {identity!r}: its answer has more than {MAX_PAGES} pages; it makes no sense")


def _page(identity: str, results: Results, collective: str) -> _Page:
    """Return what was answered, or say why nothing was."""
    who = f"registry {identity!r}"
    result = results.by_node().get(identity)
    if result is None:
        if identity in results.unverified:
            why = f"its answer was not believed: {one_line(results.unverified[identity])}"
        elif identity in (*results.offline, *results.lost):
            why = (
                f"nobody of this name is connected in collective {collective}; does `mco registry serve` run, "
                "and does the setting `registry` name its identity?"
            )
        else:
            why = f"no answer within {results.timeout_s:g} s; it is connected"
        raise DiscoveryError(f"{who}: {why}")
    if not result.is_ok:
        raise DiscoveryError(f"{who}: {result.status_text}: {one_line(result.message)}")
    try:
        return msgspec.convert(result.data, _Page)
    except (msgspec.ValidationError, RecursionError) as e:
        raise DiscoveryError(f"{who}: its answer makes no sense: {one_line(e)}") from e


def _check(identity: str, page: _Page, after: str) -> None:
    """Raise unless a page goes on where the one before ended: nobody shall make us ask for ever."""
    nonsense = f"registry {identity!r}: its answer makes no sense"
    if len(page.nodes) > PAGE:
        raise DiscoveryError(f"{nonsense}: a page of {len(page.nodes):,} nodes, and {PAGE:,} were asked for")
    for node in page.nodes:
        if not names.is_name(node.identity) or node.identity <= after:
            raise DiscoveryError(f"{nonsense}: {one_line(node.identity, 130)!r} comes after {after!r}")
        after = node.identity
    if page.next and (page.next < after or not names.is_name(page.next)):
        raise DiscoveryError(f"{nonsense}: it goes on after {one_line(page.next, 130)!r}")
