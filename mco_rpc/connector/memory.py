# SPDX-License-Identifier: Apache-2.0
"""A broker in this process: the same exchanges, queues and returns as RabbitMQ's, and no network.

Each queue has one thread that delivers in order, so callbacks come from elsewhere, as they do for real.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import threading
from collections.abc import Callable, Sequence

from mco_rpc.connector import Endpoint, Listener, Packet
from mco_rpc.errors import BrokerUnreachable, IdentityTaken

_log = logging.getLogger(__name__)


class MemoryBroker:
    """Exchanges and queues that live as long as this object."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, MemoryConnector] = {}
        self._bindings: dict[tuple[str, str], set[str]] = {}
        self._patterns: set[tuple[str, str]] = set()
        self._is_up = True

    def connector(self) -> MemoryConnector:
        """Return a new connection to this broker."""
        return MemoryConnector(self)

    def stop(self) -> None:
        """Drop every connection and take no new one until `start`."""
        with self._lock:
            self._is_up = False
            dropped = list(self._queues.values())
            self._queues.clear()
            self._bindings.clear()
            self._patterns.clear()
        for connector in dropped:
            connector.dropped(BrokerUnreachable("the memory broker was stopped"))

    def start(self, connectors: Sequence[MemoryConnector] = ()) -> None:
        """Take connections again, first those of ``connectors``, which connect as a real one would by itself."""
        with self._lock:
            self._is_up = True
        for connector in connectors:
            connector.connect()

    def attach(self, connector: MemoryConnector, endpoint: Endpoint) -> None:
        """Declare a queue and its bindings for one connection."""
        with self._lock:
            if not self._is_up:
                raise BrokerUnreachable("the memory broker is stopped")
            if endpoint.queue in self._queues:
                raise IdentityTaken(f"queue {endpoint.queue} is held by another connection")
            connector.attached()
            self._queues[endpoint.queue] = connector
            self._bind(endpoint)

    def detach(self, connector: MemoryConnector, endpoint: Endpoint) -> None:
        """Remove a connection's queue and bindings."""
        with self._lock:
            if self._queues.get(endpoint.queue) is connector:
                del self._queues[endpoint.queue]
                for bound in self._bindings.values():
                    bound.discard(endpoint.queue)

    def rebind(self, connector: MemoryConnector, endpoint: Endpoint) -> None:
        """Replace the bindings of a connection's queue."""
        with self._lock:
            if self._queues.get(endpoint.queue) is not connector:
                return
            for bound in self._bindings.values():
                bound.discard(endpoint.queue)
            self._bind(endpoint)

    def _bind(self, endpoint: Endpoint) -> None:
        for exchange, pattern in (*endpoint.bindings, *endpoint.welcome):
            self._bindings.setdefault((exchange, pattern), set()).add(endpoint.queue)
            if "*" in pattern or "#" in pattern:
                self._patterns.add((exchange, pattern))

    def route(self, packet: Packet) -> bool:
        """Put a message into every queue bound for it; say whether there was one."""
        with self._lock:
            bound = set(self._bindings.get((packet.exchange, packet.key), ()))
            for exchange, pattern in self._patterns:
                if exchange == packet.exchange and _topic_matches(pattern.split("."), packet.key.split(".")):
                    bound |= self._bindings[exchange, pattern]
            targets = [self._queues[name] for name in bound]
        for target in targets:
            target.deliver(packet)
        return bool(targets)


class MemoryConnector:
    """One connection to a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._inbox: queue.SimpleQueue[tuple[str, tuple[object, ...]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._endpoint: Endpoint | None = None
        self._is_connected = self._has_left = False

    def open(self, endpoint: Endpoint, listener: Listener) -> None:
        """Connect; the listener learns on its thread whether that worked."""
        self._endpoint = endpoint
        self._thread = threading.Thread(
            target=self._run, args=(listener,), name=f"memory {endpoint.queue}", daemon=True
        )
        self._thread.start()
        self.connect()

    def connect(self) -> None:
        """Connect once more, after the broker came back."""
        if self._endpoint is None or self._thread is None:
            return
        try:
            self._broker.attach(self, self._endpoint)
        except (BrokerUnreachable, IdentityTaken) as e:
            if isinstance(e, IdentityTaken) and self._endpoint.claim is not None:
                for packet in self._endpoint.claim():
                    self._broker.route(packet)
            self._inbox.put(("disconnected", (e,)))

    def rebind(self, endpoint: Endpoint) -> None:
        """Route into our queue what another endpoint with that queue says."""
        self._endpoint = endpoint
        self._broker.rebind(self, endpoint)

    def publish(self, packets: Sequence[Packet]) -> None:
        """Route messages at once; what nobody is bound for comes back if it is mandatory."""
        if not self._is_connected:
            return
        for packet in packets:
            if not self._broker.route(packet) and packet.mandatory:
                self._inbox.put(("returned", (dataclasses.replace(packet, body=b""),)))

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back on the connector's thread as soon as it is free."""
        self._inbox.put(("call", (callback,)))

    def addresses(self) -> list[str]:
        """Return nothing: there is no network."""
        return []

    def close(self) -> None:
        """Leave, after what is in the inbox was delivered."""
        if self._endpoint is not None:
            self._broker.detach(self, self._endpoint)
        self._is_connected = False
        thread, self._thread = self._thread, None
        if thread is not None:
            self._inbox.put(("close", ()))
            if thread is threading.current_thread():
                self._has_left = True
            else:
                thread.join()

    def attached(self) -> None:
        """Learn, before anything is delivered, that the connection is there; the broker calls this."""
        self._is_connected = True
        self._inbox.put(("connected", ()))

    def deliver(self, packet: Packet) -> None:
        """Put a message into our queue; the broker calls this."""
        self._inbox.put(("packet", (packet,)))

    def dropped(self, reason: BrokerUnreachable) -> None:
        """Lose the connection; the broker calls this."""
        self._is_connected = False
        self._inbox.put(("disconnected", (reason,)))

    def on_call(self, callback: Callable[[], None]) -> None:
        """Do what somebody wanted done on this thread."""
        callback()

    def _run(self, listener: Listener) -> None:
        while not self._has_left:
            kind, what = self._inbox.get()
            if kind == "close":
                return
            try:
                getattr(listener if kind != "call" else self, f"on_{kind}")(*what)
            except Exception:  # a listener's mistake must not end this thread, here as for real
                _log.exception("on_%s failed", kind)


def _topic_matches(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_topic_matches(pattern[1:], words[n:]) for n in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _topic_matches(pattern[1:], words[1:])
