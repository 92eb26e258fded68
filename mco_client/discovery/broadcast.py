# SPDX-License-Identifier: Apache-2.0
"""Ask everybody: who is there that this filter matches? Ends when nobody new has answered for a while."""

from __future__ import annotations

from mco_client.call import Call
from mco_client.connection import Connection
from mco_client.discovery import Discovered
from mco_client.results import Results
from mco_client.text import natural
from mco_rpc.filters import Filter

AGENT, ACTION = "discovery", "ping"


class BroadcastDiscovery:
    """One broadcast and a sliding window."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def discover(self, node_filter: Filter, limit: int | None, timeout_s: float) -> Discovered:
        """Return who answers before ``discovery_window_s`` passes without a new answer, or ``timeout_s`` in all.

        Nodes that the filter names, one by one, are asked directly: it is over when they have answered, and
        one that does not is named, never passed over.
        """
        call = Call(
            self._connection,
            AGENT,
            ACTION,
            {},
            node_filter=node_filter,
            targets=named_in(node_filter),
            timeout_s=timeout_s,
            window_s=self._connection.settings.discovery_window_s,
            limit=limit,
        )
        nodes = sorted((result.sender for result in call if result.is_ok), key=natural)
        found = call.results()
        refused = {result.sender: f"{result.status_text}: {result.message}" for result in found.failed}
        strangers = {result.sender: "it is not one of those that were named" for result in found.unexpected}
        doubted = {**found.unverified, **refused, **strangers}
        return Discovered(tuple(nodes[:limit]), doubted, absent_in(found), found.unverified_more)


def named_in(node_filter: Filter) -> tuple[str, ...] | None:
    """Return the nodes that a filter names one by one; None if it names none, or some by an expression."""
    named = tuple(dict.fromkeys(node_filter.identities))
    return None if not named or any(name.startswith("/") for name in named) else named


def absent_in(found: Results) -> dict[str, str]:
    """Return who was named and did not answer a discovery, and why."""
    reasons = dict.fromkeys(found.offline, "offline") | dict.fromkeys(found.lost, "went away")
    return {node: reasons.get(node, "silent, or the rest of the filter does not match it") for node in found.missing}
