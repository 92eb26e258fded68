# SPDX-License-Identifier: Apache-2.0
"""Ask everybody: who is there that this filter matches? Ends when nobody new has answered for a while."""

from __future__ import annotations

import dataclasses

import msgspec

from mco_client.call import Call
from mco_client.connection import Connection
from mco_client.core import Core
from mco_client.discovery import Discovered, Discovery, Query
from mco_client.discovery.known import ask_known
from mco_client.text import natural
from mco_rpc.filters import Filter

AGENT, ACTION = "discovery", "ping"


class BroadcastDiscovery(Discovery):
    """One broadcast and a sliding window; nodes that the filter names, one by one, are asked directly."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def core(self, query: Query) -> Core[Discovered]:
        """Return who answers before ``discovery_window_s`` passes without a new answer, or the timeout in all.

        With nothing but nodes that are named it is over when they have answered; one that does not is named, always.
        """
        named = named_in(query.filter)
        if named is not None:
            rest = msgspec.structs.replace(query.filter, identities=())
            return (yield from ask_known(self._connection, sorted(named, key=natural), rest, query, "the filter"))
        call = Call(
            self._connection,
            AGENT,
            ACTION,
            {"agent": query.agent} if query.agent else {},
            node_filter=query.whole_filter,
            targets=None,
            timeout_s=query.timeout_s,
            window_s=self._connection.settings.discovery_window_s,
            limit=query.limit,
            is_kept_open=query.is_kept_open,
        )
        yield from call.core()
        found = call.results()
        good = [result for result in found if result.is_ok]
        is_enough = query.limit is not None and len(good) >= query.limit
        if is_enough:  # whoever answers now is not late
            call.close()
        all_found = Discovered(
            tuple(sorted((result.sender for result in good), key=natural)[: query.limit]),
            found.unverified,
            {result.sender: f"{result.status_text}: {result.message}" for result in found.failed},
            found.unverified_more,
            {result.sender: str(result.data.get("schema") or "") for result in good},
            "broadcast",
            asking=call if query.is_kept_open and not is_enough else None,
        )
        return all_found if is_enough else (yield from self._with_named(all_found, query))

    def _with_named(self, found: Discovered, query: Query) -> Core[Discovered]:
        """Ask nodes that the filter names beside an expression, and that were not heard: a broadcast misses nobody."""
        heard = {*found.nodes, *found.unverified, *found.absent}
        named = [name for name in query.filter.identities if not name.startswith("/") and name not in heard]
        if not named:
            return found
        rest = msgspec.structs.replace(query.filter, identities=())
        asked = dataclasses.replace(query, limit=None, is_kept_open=False)
        more = yield from ask_known(self._connection, sorted(set(named), key=natural), rest, asked, "the filter")
        return dataclasses.replace(
            found,
            nodes=tuple(sorted({*found.nodes, *more.nodes}, key=natural)),
            unverified={**found.unverified, **more.unverified},
            absent={**found.absent, **more.absent},
            unverified_more=found.unverified_more + more.unverified_more,
            schemas={**found.schemas, **more.schemas},
        ).limited(query.limit)


def named_in(node_filter: Filter) -> tuple[str, ...] | None:
    """Return the nodes that a filter names one by one; None if it names none, or some by an expression."""
    named = tuple(dict.fromkeys(node_filter.identities))
    return None if not named or any(name.startswith("/") for name in named) else named
