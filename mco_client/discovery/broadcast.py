# SPDX-License-Identifier: Apache-2.0
"""Ask everybody: who is there that this filter matches? Ends when nobody new has answered for a while."""

from __future__ import annotations

from mco_client.call import Call
from mco_client.connection import Connection
from mco_client.discovery import Discovered
from mco_client.text import natural
from mco_rpc.filters import Filter

AGENT, ACTION = "discovery", "ping"


class BroadcastDiscovery:
    """One broadcast and a sliding window."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def discover(self, node_filter: Filter, limit: int | None, timeout_s: float) -> Discovered:
        """Return who answers before ``discovery_window_s`` passes without a new answer, or ``timeout_s`` in all."""
        named = set(node_filter.identities)
        are_plain = bool(named) and not any(name.startswith("/") for name in named)
        if are_plain:
            limit = min(limit or len(named), len(named))  # nobody else can match: no need to wait for more
        call = Call(
            self._connection,
            AGENT,
            ACTION,
            {},
            node_filter=node_filter,
            targets=None,
            timeout_s=timeout_s,
            window_s=self._connection.settings.discovery_window_s,
            limit=limit,
        )
        nodes = sorted((result.sender for result in call if result.is_ok), key=natural)
        found = call.results()
        refused = {result.sender: f"{result.status_text}: {result.message}" for result in found.failed}
        # Whoever answers in the place of those that were named has ended the wait for them.
        strangers = {
            name: "it is not one of those that were named" for name in nodes if are_plain and name not in named
        }
        nodes = [name for name in nodes if name not in strangers]
        return Discovered(tuple(nodes[:limit]), {**found.unverified, **refused, **strangers})
