# SPDX-License-Identifier: Apache-2.0
"""The connection of who asks: one reply queue and one thread of input and output for all its calls.

It hands what comes in to the call that waits for it; whether to believe it, the call decides.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from weakref import WeakValueDictionary

from mco_client.core import Inbox
from mco_rpc import names
from mco_rpc.config import ClientSettings, client_settings
from mco_rpc.connector import Connector, Packet, client_endpoint
from mco_rpc.errors import BrokerError, BrokerUnreachable, ConfigError
from mco_rpc.security import Security

Incoming = Packet | BrokerError
REPLY, RETURNED, LOST = "reply", "returned", "lost"


class ClosedHere(BrokerUnreachable):
    """We closed the connection ourselves: nothing is tried again."""


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
        make: Callable[[], Connector] = connector or (lambda: _connector(self.settings, self.security))
        self._make: Callable[[], Connector] = lambda: _recorded(make(), self.settings, self.security)
        self._token = ""
        self._unasked: Inbox | None = None
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()
        # A call holds its own: one that nobody can ask any more for late answers leaves nothing behind.
        self._inboxes: WeakValueDictionary[str, Inbox] = WeakValueDictionary()
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
    def notice(self) -> str:
        """What whoever reads the answers must know: that they are recorded ones; nothing for those of a fleet."""
        return str(getattr(self.security, "notice", ""))

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
                reply_key = names.reply_key(self.security.principal, self._token or os.urandom(8).hex())
                attempt = _Attempt(self._make(), reply_key, self.settings.collective, self._arrived)
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

    def expect(self, inbox: Inbox, request_ids: Iterable[str]) -> None:
        """Collect what comes for some requests, until they are forgotten."""
        self._inboxes.update(dict.fromkeys(request_ids, inbox))

    def forget(self, request_ids: Iterable[str]) -> None:
        """Collect no more of what comes for some requests."""
        inboxes = self._inboxes
        for request_id in request_ids:
            inboxes.pop(request_id, None)

    def answer_to(self, token: str, inbox: Inbox) -> None:
        """Be answered under a name that others know, and collect what nobody waits for.

        Raises:
            ConfigError: it is in use under another name.
        """
        if self._current is not None or self._unasked is not None:
            raise ConfigError("reply_to: this connection is in use; who receives answers needs one of its own")
        self._token, self._unasked = token, inbox

    def close(self) -> None:
        """Leave, and let the calls that still wait know; a later call connects again."""
        self._leave(ClosedHere("it was closed here"))

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
            for inbox in {*(reference() for reference in self._inboxes.valuerefs()), self._unasked}:
                if inbox is not None:
                    inbox.put((kind, now, what))
            return
        waiting = self._inboxes.get(request_id, self._unasked)
        if waiting is not None:  # else a late answer to a call that is over
            waiting.put((kind, now, what))


class _Attempt:
    """One connector's life; listens to it. ``reason`` says why it is over."""

    def __init__(
        self, connector: Connector, reply_key: str, collective: str, arrived: Callable[[str, str, Incoming], None]
    ) -> None:
        self.connector = connector
        self.reply_key = reply_key
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


def _connector(settings: ClientSettings, security: Security) -> Connector:
    if settings.connector == "rabbitmq":
        from mco_rpc.connector.rabbitmq import RabbitmqConnector

        return RabbitmqConnector(settings)
    if settings.connector == "replay":
        from mco_client.recording.replay import connector_of

        return connector_of(security)
    raise ConfigError(
        f"connector: {settings.connector!r} cannot be reached from here; expected rabbitmq or replay "
        "(the memory connector lives inside one process: mco demo --memory)"
    )


def _recorded(made: Connector, settings: ClientSettings, security: Security) -> Connector:
    """Return a connector that writes down what is asked and answered, if ``MCO_RECORD`` says where to."""
    file = os.environ.get("MCO_RECORD")
    if not file:
        return made
    if settings.connector == "replay":
        raise ConfigError("MCO_RECORD: a replay cannot be recorded once more; copy its recording")
    from mco_client.recording.recorder import RecordingConnector

    return RecordingConnector(made, Path(file), settings, security)


def _security(settings: ClientSettings) -> Security:
    if settings.connector == "replay":
        from mco_client.recording.replay import replay_of

        return replay_of(settings)
    from mco_rpc.security import keys
    from mco_rpc.security.ed25519 import for_caller

    seed = keys.read_private(Path(settings.key_file).expanduser())
    return for_caller(settings.caller, seed, Path(settings.trusted_nodes).expanduser())
