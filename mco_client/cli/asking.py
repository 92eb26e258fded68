# SPDX-License-Identifier: Apache-2.0
"""What commands that ask an agent have in common: a client, and who is asked."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import sys
import termios
from typing import TYPE_CHECKING

from mco_client.cli import output
from mco_client.folding import folded
from mco_client.text import by_reason, natural, one_line
from mco_rpc.errors import DiscoveryError
from mco_rpc.suggestion import did_you_mean

if TYPE_CHECKING:
    from mco_client.connection import Connection
    from mco_client.plan import CallOptions
    from mco_client.rpc import RpcClient
    from mco_rpc.filters import Filter

# For an explanation only: who could give it has been asked once already.
_LOOK_AGAIN_S = 1.0
_ASKED_WHY = 10


def client(
    connection: Connection,
    agent: str,
    node_filter: Filter,
    *,
    timeout_s: float | None,
    progress: bool,
    how: CallOptions | None = None,
) -> RpcClient:
    """Return a client for what the options say."""
    from mco_client.rpc import RpcClient

    made = RpcClient(agent, connection, timeout_s=timeout_s, progress=progress, options=how)
    made.add_filter(node_filter)
    return made


def discover(asking: RpcClient, nodes: list[str] | None) -> None:
    """Find who is asked, or take the nodes given.

    Somebody whom we cannot believe is warned about afterwards and makes the exit status bad, but keeps nobody
    from asking the others.

    Raises:
        DiscoveryError: there is nobody to ask.
    """
    found = asking.discover(nodes=nodes, limit=asking.options.discovery_limit)
    output.warn_of_doubts(asking.warnings)
    if not found:
        if asking.stats.unverified:
            asking.require_discovered()
        why = _other_agents(asking)
        if why is None:
            if asking.filter.identities or asking.absent:
                asking.require_discovered()
            why = nobody(asking.connection, asking.filter)
        raise DiscoveryError(why)


def warn_of_unread_names() -> None:
    """Warn that something waits in a pipe that was not read, for it may have named whom to ask.

    A pipe is never read unasked: what is in it may be a loop's own list, or the rest of a script.
    """
    if sys.stdin is None:
        return
    try:
        number = sys.stdin.fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(number).st_mode)
        waiting = struct.unpack("i", fcntl.ioctl(number, termios.FIONREAD, bytes(4)))[0] if is_pipe else 0
    except (OSError, ValueError):
        return
    if waiting:
        output.warn("everybody was asked, and standard input was not read; to ask the nodes that it names: --nodes -")


def nobody(connection: Connection, node_filter: Filter) -> str:
    """Return that nobody answered a discovery, and what may be the reason."""
    settings = connection.settings
    text = f"no node answered within {settings.discovery_timeout_s:g} s for the filter: {node_filter}; "
    if node_filter:
        return f"{text}`mco find` names every node that answers"
    principal = connection.security.principal
    return f"{text}do they run, are they in collective {settings.collective}, and do they trust {principal}?"


def _other_agents(asking: RpcClient) -> str | None:
    """Return that nobody has the agent, and why not as far as nodes say, if somebody offers others."""
    from mco_client.rpc import RpcClient

    patience_s = min(asking.discovery_timeout_s, _LOOK_AGAIN_S)
    other = RpcClient("rpcutil", asking.connection, timeout_s=patience_s, discovery_timeout_s=patience_s)
    other.add_filter(asking.filter)
    if asking.agent == other.agent or not other.discover(limit=_ASKED_WHY):
        return None
    why: dict[str, str] = {}
    offered: dict[str, list[str]] = {}
    for result in other.inventory():
        agents, inactive = result.data.get("agents"), result.data.get("inactive_agents")
        if isinstance(agents, list):
            offered[result.sender] = sorted(one_line(agent) for agent in agents if isinstance(agent, str))
        if isinstance(inactive, dict) and asking.agent in inactive:
            why[result.sender] = str(inactive[asking.agent])
    if not offered:
        return None
    node = min(offered, key=natural)
    reasons = "".join(f"{folded(nodes)}: {reason}; " for nodes, reason in by_reason(why))
    return (
        f"no node that offers agent {asking.agent!r} was discovered{did_you_mean(asking.agent, offered[node])}; "
        f"{reasons}{node} offers {', '.join(offered[node])} (filter: {asking.filter})"
    )
