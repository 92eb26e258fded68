# SPDX-License-Identifier: Apache-2.0
"""The connector seam: how signed bodies get from one party to another.

A connector moves bytes between named exchanges and one queue of its own; it does not know what they mean.
Callbacks come on the connector's own thread and must not block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mco_rpc import names
from mco_rpc.errors import BrokerError


@dataclass(frozen=True, slots=True)
class Packet:
    """One message as the broker sees it, on its way out or in.

    Attributes:
        key: routing key.
        type: request, reply or event; a hint for people who look at the broker.
        expiration_s: seconds after which the broker drops it undelivered; None for never.
        mandatory: whether it comes back when no queue is bound to its key.
    """

    exchange: str
    key: str
    body: bytes
    type: str
    message_id: str
    signer: str
    signature: bytes
    correlation_id: str = ""
    expiration_s: float | None = None
    mandatory: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The one queue of a party, and what is routed into it.

    Attributes:
        welcome: bindings that a party can do without, where the broker does not let it have them.
        claim: makes what is published, where another connection has the queue, before we leave.
    """

    queue: str
    collectives: tuple[str, ...]
    bindings: tuple[tuple[str, str], ...]
    welcome: tuple[tuple[str, str], ...] = ()
    claim: Callable[[], Sequence[Packet]] | None = None


class Listener(Protocol):
    """Who is told what happens; all methods are called on the connector's thread."""

    def on_packet(self, packet: Packet) -> None:
        """Take a message that came into our queue."""

    def on_returned(self, packet: Packet) -> None:
        """Take back a mandatory message that nobody's queue was bound for; its body may be left out."""

    def on_connected(self) -> None:
        """Learn that messages flow, for the first time or again."""

    def on_disconnected(self, reason: BrokerError) -> None:
        """Learn that they do not; what was published since the last answer may be lost."""


class Connector(Protocol):
    """A connection to the broker that keeps itself alive."""

    def open(self, endpoint: Endpoint, listener: Listener) -> None:
        """Begin to connect, and to connect again whenever the connection is lost; return at once."""

    def publish(self, packets: Sequence[Packet]) -> None:
        """Send messages, from any thread; without a connection they are dropped and the listener knows."""

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back on the connector's thread as soon as it is free, connected or not; from any thread.

        Who hears nothing knows that this thread hangs.
        """

    def addresses(self) -> list[str]:
        """Return the network addresses of the broker as far as they are known."""

    def close(self) -> None:
        """Send what was published, leave, and call the listener no more; from any thread, more than once."""


class NodeConnector(Connector, Protocol):
    """The connection of a node, whose agents may come and go."""

    def rebind(self, endpoint: Endpoint) -> None:
        """Route into our queue what another endpoint with that queue says, from any thread; return at once.

        What is published from then on is published after that.
        """


def node_endpoint(
    identity: str, collectives: Sequence[str], agents: Sequence[str], topics: Sequence[str] = ()
) -> Endpoint:
    """Return where a node listens: its own name, each agent it offers and each topic, in every collective."""
    bindings = [(names.exchange(c, names.NODE), identity) for c in collectives]
    bindings += [(names.exchange(c, names.BROADCAST), names.agent_key(a)) for c in collectives for a in agents]
    bindings += [(names.exchange(c, names.EVENT), names.event_pattern(t)) for c in collectives for t in topics]
    return Endpoint(names.node_queue(identity), tuple(collectives), tuple(bindings))


def client_endpoint(reply_key: str, collective: str) -> Endpoint:
    """Return where a client listens: its reply key, and nothing else."""
    bindings = ((names.exchange(collective, names.REPLY), reply_key),)
    return Endpoint(names.reply_queue(reply_key), (collective,), bindings)
