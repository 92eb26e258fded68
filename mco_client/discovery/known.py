# SPDX-License-Identifier: Apache-2.0
"""Nodes of which somebody knows that they should be there: only what he cannot decide is asked of themselves.

It is over the moment all of them have answered, and one that does not is named, never passed over.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import msgspec

from mco_client.call import Call
from mco_client.connection import Connection
from mco_client.core import Core, Do
from mco_client.discovery import Discovered, Discovery, Query
from mco_client.discovery.source import Known, Source
from mco_client.results import Result, Results
from mco_rpc.filters import Filter

AGENT = "discovery"


class KnownDiscovery(Discovery):
    """A source of names, and the nodes themselves for what it does not know."""

    def __init__(self, connection: Connection, source: Source) -> None:
        self._connection, self._source = connection, source

    def core(self, query: Query) -> Core[Discovered]:
        """Return whom the source names, as far as they say that the rest of the filter matches them.

        Without such a rest nobody is asked: who is not there will be told by the call itself.
        """
        known: Known = yield Do(functools.partial(self._source.known, query.filter, query.timeout_s))
        if not known.nodes or not (known.residual or query.must_answer):
            return Discovered(known.nodes, absent=known.absent, source=self._source.name).limited(query.limit)
        found = yield from ask_known(self._connection, known.nodes, known.residual, query, self._source.name)
        return dataclasses.replace(found, absent={**known.absent, **found.absent})


def ask_known(
    connection: Connection, nodes: Sequence[str], residual: Filter, query: Query, source: str
) -> Core[Discovered]:
    """Ask nodes that should be there whether the rest of a filter matches them, until all have answered."""
    agent = {"agent": query.agent} if query.agent else {}
    call = Call(
        connection,
        AGENT,
        "match" if residual else "ping",
        {"filter": msgspec.to_builtins(residual), **agent} if residual else agent,
        node_filter=Filter(),
        targets=tuple(nodes),
        timeout_s=query.timeout_s,
        is_kept_open=query.is_kept_open,
    )
    yield from call.core()
    results = call.results()
    answers = results.by_node()
    good = {node: answers[node] for node in nodes if node in answers and answers[node].is_ok}
    matching = {node: result for node, result in good.items() if result.data.get("matches", not residual) is True}
    absent = _absent(results, query.timeout_s, source)
    if query.agent:
        without = [node for node, result in matching.items() if result.data.get("schema") == ""]
        absent |= dict.fromkeys(without, f"it does not offer agent {query.agent}")
    found = tuple(node for node in matching if node not in absent)
    strangers = {result.sender: "it is not one of those that were named" for result in results.unexpected}
    return Discovered(
        found[: query.limit],
        {**results.unverified, **strangers},
        absent,
        results.unverified_more,
        {node: _schema(result) for node, result in matching.items()},
        source,
        asking=call if query.is_kept_open else None,
    )


def _schema(result: Result) -> str:
    return str(result.data.get("schema") or "")


def _absent(results: Results, timeout_s: float, source: str) -> dict[str, str]:
    """Return who should have answered, and why he did not, as far as that is known."""
    reasons = {result.sender: f"{result.status_text}: {result.message}" for result in results.failed}
    reasons |= dict.fromkeys(results.offline, "offline") | dict.fromkeys(results.lost, "went away")
    silence = f"silent for {timeout_s:g} s, though named by {source}"
    return {node: reasons.get(node, silence) for node in results.expected if node in reasons or node in results.missing}
