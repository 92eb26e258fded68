# SPDX-License-Identifier: Apache-2.0
"""The connection of who asks: one reply queue and one thread of input and output for all its calls.

It hands what comes in to the call that waits for it; whether to believe it, the call decides.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from mco_rpc import names
from mco_rpc.config import ClientSettings, client_settings
from mco_rpc.connector import Connector, Packet, client_endpoint
from mco_rpc.errors import BrokerError, BrokerUnreachable, ConfigError
from mco_rpc.security import Security

Incoming = Packet | BrokerError
Inbox = queue.SimpleQueue[tuple[str, float, Incoming]]
REPLY, RETURNED, LOST = "reply", "returned", "lost"


class Connection:
    """A connection to the broker, opened when it is first needed and again after it was lost.

    Args:
        settings: the client's; from its configuration files if None.
        connector: makes the connector; by the settings if None.
        security: by the settings' key files if None.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        settings: ClientSettings | None = None,
        *,
        connector: Callable[[], Connector] | None = None,
        security: Security | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or client_settings()
        self.security = security or _security(self.settings)
        self.clock = clock
        self._make = connector or (lambda: _connector(self.settings))
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._inboxes: dict[str, Inbox] = {}
        self._current: _Attempt | None = None
        self._parents: list[_Attempt] = getattr(self, "_parents", [])

    def _stay_in_process(self) -> None:
        """After a fork, begin anew: the socket and its thread are the parent's, and only the parent may close them."""
        if self._process != os.getpid():
            current = self._current
            self._begin()
            if current is not None:  # kept, so that nothing of it is closed as garbage
                self._parents.append(current)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def reply_key(self) -> str:
        """The routing key of our replies, connecting first if need be."""
        return self.open().reply_key

    def open(self) -> _Attempt:
        """Connect unless we are connected.

        Raises:
            BrokerError: it could not be done; nothing goes on trying in the background.
        """
        self._stay_in_process()
        with self._lock:
            if self._current is None or self._current.reason is not None:
                self._leave()
                attempt = _Attempt(self._make(), self.security.principal, self.settings.collective, self._arrived)
                attempt.connect(self.settings.connect_timeout_s * 2 * len(self.settings.brokers))
                self._current = attempt
            return self._current

    def publish(self, packets: list[Packet], reply_key: str) -> None:
        """Send requests that are answered under ``reply_key``, from any thread.

        Raises:
            BrokerUnreachable: the connection with that key is over, and no answer could come.
        """
        attempt = self._with_key(reply_key)
        if attempt is None:
            raise BrokerUnreachable("the connection was lost just before the request was sent; nobody got it")
        attempt.connector.publish(packets)

    def probe(self, packets: list[Packet], reply_key: str) -> None:
        """Send what only asks the broker something; without the connection of that key, never mind."""
        attempt = self._with_key(reply_key)
        if attempt is not None:
            with contextlib.suppress(BrokerError):
                attempt.connector.publish(packets)

    def _with_key(self, reply_key: str) -> _Attempt | None:
        """Return the connection that a call began with, if it is still the one; never a new one."""
        current = self._current if self._process == os.getpid() else None
        is_same = current is not None and current.reason is None and current.reply_key == reply_key
        return current if is_same else None

    @contextlib.contextmanager
    def inbox(self, *request_ids: str) -> Iterator[Inbox]:
        """Collect what comes for a request, or for each part of one, for as long as somebody waits."""
        inbox: Inbox = queue.SimpleQueue()
        inboxes = self._inboxes
        inboxes.update(dict.fromkeys(request_ids, inbox))
        try:
            yield inbox
        finally:
            for request_id in request_ids:
                inboxes.pop(request_id, None)

    def close(self) -> None:
        """Leave, and let the calls that still wait know; a later call connects again."""
        self._leave(BrokerUnreachable("it was closed here"))

    def _leave(self, reason: BrokerError | None = None) -> None:
        self._stay_in_process()
        with self._lock:
            attempt, self._current = self._current, None
        # To close takes a while if the broker hangs; nobody shall ask over it, or wait for it, meanwhile.
        if reason is not None:
            self._arrived(LOST, "", reason)
        if attempt is not None:
            attempt.connector.close()

    def _arrived(self, kind: str, request_id: str, what: Incoming) -> None:
        now = time.monotonic()
        if kind == LOST:
            for inbox in list(self._inboxes.values()):
                inbox.put((kind, now, what))
            return
        waiting = self._inboxes.get(request_id)
        if waiting is not None:  # else a late answer to a call that is over
            waiting.put((kind, now, what))


class _Attempt:
    """One connector's life; listens to it. ``reason`` says why it is over."""

    def __init__(
        self, connector: Connector, caller: str, collective: str, arrived: Callable[[str, str, Incoming], None]
    ) -> None:
        self.connector = connector
        self.reply_key = names.reply_key(caller, os.urandom(8).hex())
        self.reason: BrokerError | None = None
        self._collective = collective
        self._arrived = arrived
        self._settled = threading.Event()

    def connect(self, timeout_s: float) -> None:
        """Wait until messages flow; raise why they do not."""
        self.connector.open(client_endpoint(self.reply_key, self._collective), self)
        if not self._settled.wait(timeout_s):
            self.reason = BrokerUnreachable(f"no broker took our connection within {timeout_s:g} s")
        if self.reason is not None:
            self.connector.close()
            raise self.reason

    def on_packet(self, packet: Packet) -> None:
        """Hand a reply to its call."""
        self._arrived(REPLY, packet.correlation_id, packet)

    def on_returned(self, packet: Packet) -> None:
        """Hand back what reached nobody."""
        self._arrived(RETURNED, packet.message_id, packet)

    def on_connected(self) -> None:
        """Let `connect` return."""
        self._settled.set()

    def on_disconnected(self, reason: BrokerError) -> None:
        """Let `connect`, or every call that waits, know."""
        self.reason = reason
        self._settled.set()
        self._arrived(LOST, "", reason)


def _connector(settings: ClientSettings) -> Connector:
    if settings.connector == "rabbitmq":
        from mco_rpc.connector.rabbitmq import RabbitmqConnector

        return RabbitmqConnector(settings)
    raise ConfigError(
        f"connector: {settings.connector!r} cannot be reached from here; expected rabbitmq "
        "(the memory connector lives inside one process: mco demo --memory)"
    )


def _security(settings: ClientSettings) -> Security:
    from mco_rpc.security import keys
    from mco_rpc.security.ed25519 import for_caller

    seed = keys.read_private(Path(settings.key_file).expanduser())
    return for_caller(settings.caller, seed, Path(settings.trusted_nodes).expanduser())
