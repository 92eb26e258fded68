# SPDX-License-Identifier: Apache-2.0
"""The names on the wire: exchanges, queues and routing keys, and what an identity may look like.

Nothing else in the project spells one of these names.
"""

from __future__ import annotations

import re

from mco_rpc.errors import ConfigError

# Letters, digits and what host names, broker users and classes need; nothing that a topic pattern reads
# as a wildcard and nothing that could leave a folder or a terminal line.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:+-]{0,127}\Z")

# A reply key is a name too: the caller's, a dot and a token.
MAX_CALLER_LENGTH = 100

BROADCAST, NODE, REPLY, EVENT = "broadcast", "node", "reply", "event"
EXCHANGE_KINDS = (BROADCAST, NODE, REPLY, EVENT)


def check(kind: str, name: str) -> str:
    """Return ``name`` if it can be the name of a ``kind`` (identity, caller, collective, agent).

    Raises:
        ConfigError: it cannot; the text says what is allowed.

    >>> check("identity", "web1.example.net")
    'web1.example.net'
    """
    if not _NAME.match(name):
        raise ConfigError(
            f"{kind} {name!r} cannot be used: 1 to 128 letters, digits and _ . @ : + - are allowed, "
            "and the first is a letter or a digit"
        )
    if kind == "caller" and len(name) > MAX_CALLER_LENGTH:
        raise ConfigError(
            f"caller {name!r} cannot be used: {len(name)} characters; at most {MAX_CALLER_LENGTH} are allowed, "
            "because answers are addressed with the name and more"
        )
    return name


def is_name(name: str) -> bool:
    """Say whether ``name`` could be an identity, a caller, a collective or an agent."""
    return _NAME.match(name) is not None


def exchange(collective: str, kind: str) -> str:
    """Return the exchange of a collective for one of `EXCHANGE_KINDS`."""
    return f"{collective}.{kind}"


def agent_key(agent: str) -> str:
    """Return the key on which everybody who offers ``agent`` is asked."""
    return f"agent.{agent}"


def event_key(kind: str, identity: str) -> str:
    """Return the key of an event of ``kind`` about ``identity``."""
    return f"{kind}.{identity}"


def event_pattern(kind: str) -> str:
    """Return the pattern of the keys of all events of ``kind``: an identity may hold dots."""
    return f"{kind}.#"


def node_queue(identity: str) -> str:
    """Return the one queue of a node."""
    return f"mco.node.{identity}"


def handover_queue(queue: str) -> str:
    """Return the queue of a node's new process, while the old one still has the node's own ``queue``.

    >>> handover_queue(node_queue("web1"))
    'mco.handover.web1'
    """
    return f"mco.handover.{queue.removeprefix(node_queue(''))}"


def reply_queue(reply_key: str) -> str:
    """Return the one queue of a client whose answers come under ``reply_key``."""
    return f"mco.reply.{reply_key}"


def reply_key(caller: str, token: str) -> str:
    """Return the key on which a client is answered; it begins with the caller's name.

    >>> reply_key("key=alice", "5f0c")
    'alice.5f0c'
    """
    return f"{bare_caller(caller)}.{token}"


def bare_caller(caller: str) -> str:
    """Return the name of a caller without the kind that says who vouches for it."""
    return caller.partition("=")[2] or caller


def is_reply_key_of(caller: str, key: str) -> bool:
    """Say whether ``caller`` may ask for answers under ``key``: a caller gets only its own."""
    name, dot, token = key.rpartition(".")
    return bool(dot and token) and name == bare_caller(caller) and is_name(key)
