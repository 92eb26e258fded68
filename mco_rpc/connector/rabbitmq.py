# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ over AMQP 0-9-1: one thread that does all input and output, and connects again by itself.

Only this module and its neighbours `corked` and `amqp` import pika. Nothing here decides; what to do about a lost
connection is the listener's.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence

from mco_rpc import names
from mco_rpc.config import BrokerSettings, redacted
from mco_rpc.connector import Endpoint, Listener, Packet
from mco_rpc.connector.amqp import (  # before pika itself, which it imports without what is not needed
    ACCESS_REFUSED,
    RESOURCE_LOCKED,
    packet_of,
    parameters_of,
    properties_of,
    reason_of,
)
from mco_rpc.connector.aside import bind_if_allowed, say_last
from mco_rpc.connector.corked import CorkedConnection
from mco_rpc.errors import BrokerError, BrokerRefused, BrokerUnreachable, IdentityTaken

# isort: split
import pika
import pika.channel
import pika.exceptions
import pika.spec
from pika.adapters.select_connection import IOLoop

_log = logging.getLogger(__name__)

FIRST_RETRY_S, LAST_RETRY_S = 0.1, 10.0
LEAVE_TIMEOUT_S = 2.0


class RabbitmqConnector:
    """A connection to the first of some brokers that takes us."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._brokers = [(redacted(url), parameters_of(url, settings)) for url in settings.brokers]
        self._turn = 0
        self._failures = 0
        self._loop = IOLoop()
        self._thread: threading.Thread | None = None
        self._connection: CorkedConnection | None = None
        self._channel: pika.channel.Channel | None = None
        self._reason: BrokerError | None = None
        self._consumer_tag = ""
        self._is_open = self._is_connected = self._is_closing = False

    def open(self, endpoint: Endpoint, listener: Listener) -> None:
        """Begin to connect, and to connect again whenever the connection is lost; return at once."""
        self._is_open = True
        self._endpoint, self._listener = endpoint, listener
        self._thread = threading.Thread(target=self._run, name=f"amqp {endpoint.queue}", daemon=True)
        self._thread.start()

    def rebind(self, endpoint: Endpoint) -> None:
        """Route into our queue what another endpoint with that queue says, from any thread; return at once."""
        self._call(functools.partial(self._rebind, endpoint))

    def publish(self, packets: Sequence[Packet]) -> None:
        """Send messages, from any thread; without a connection they are dropped and the listener knows."""
        if threading.current_thread() is self._thread:
            self._send(packets)
        else:
            self._call(functools.partial(self._send, packets))

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back on the connector's thread as soon as it is free, connected or not; from any thread."""
        self._call(callback)

    def addresses(self) -> list[str]:
        """Return the addresses that the brokers' names have now; a name that has none is left out."""
        found: list[str] = []
        for _, parameters in self._brokers:
            with contextlib.suppress(OSError):
                found += [
                    str(info[4][0]) for info in socket.getaddrinfo(parameters.host, None, type=socket.SOCK_STREAM)
                ]
        return sorted(set(found))

    def close(self) -> None:
        """Send what was published, leave, and call the listener no more; from any thread, more than once."""
        self._is_closing = True
        thread, self._thread = self._thread, None
        if thread is None:
            if not self._is_open:
                self._loop.close()
            return
        self._call(self._leave)
        if thread is not threading.current_thread():
            thread.join()

    def _call(self, callback: Callable[[], None]) -> None:
        # After a close the loop is gone, and whoever still publishes lost nothing that was promised.
        with contextlib.suppress(AttributeError, OSError):
            self._loop.add_callback_threadsafe(callback)

    # What follows runs on the connector's thread.

    def _run(self) -> None:
        self._loop.add_callback_threadsafe(self._retry)
        while True:
            try:
                self._loop.start()
                break
            except Exception:
                if self._is_closing and (self._connection is None or self._connection.is_closed):
                    break  # pika stumbles over a connection that is left while it is being made
                # A mistake in one callback must not end the thread that everything else waits for.
                _log.exception("the connection's thread goes on after an error")
                self._loop.call_later(LAST_RETRY_S, self._retry)
        self._loop.close()

    def _connect(self) -> None:
        self._reason = None
        _, parameters = self._brokers[self._turn]
        self._connection = CorkedConnection(
            parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_lost,
            on_close_callback=self._on_lost,
            custom_ioloop=self._loop,
        )

    def _on_open(self, connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: pika.channel.Channel) -> None:
        """Declare everything without waiting for each answer; a refusal closes the channel and says why."""
        self._channel = channel
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_cancel_callback(lambda _: self._give_up(BrokerUnreachable("the broker removed our queue")))
        channel.add_on_return_callback(self._on_returned)
        self._take_queue(channel, self._on_consuming)

    def _take_queue(self, channel: pika.channel.Channel, callback: Callable[[object], None]) -> None:
        for collective in self._endpoint.collectives:
            for kind in names.EXCHANGE_KINDS:
                channel.exchange_declare(names.exchange(collective, kind), "topic", durable=True)
        channel.queue_declare(self._endpoint.queue, exclusive=True, auto_delete=True)
        for exchange, key in self._endpoint.bindings:
            channel.queue_bind(self._endpoint.queue, exchange, key)

        def consuming(frame: object) -> None:
            bind_if_allowed(channel.connection, self._endpoint)
            callback(frame)

        self._consumer_tag = channel.basic_consume(
            self._endpoint.queue, self._on_packet, auto_ack=True, exclusive=True, callback=consuming
        )

    def _rebind(self, endpoint: Endpoint) -> None:
        before, self._endpoint = self._endpoint, endpoint
        channel = self._channel
        if channel is None or not channel.is_open:
            return  # the next connection begins with it
        for exchange, key in endpoint.bindings:
            if (exchange, key) not in before.bindings:
                channel.queue_bind(endpoint.queue, exchange, key)
        for exchange, key in before.bindings:
            if (exchange, key) not in endpoint.bindings:
                channel.queue_unbind(endpoint.queue, exchange, key)

    def _on_consuming(self, _: object) -> None:
        self._failures = 0
        self._is_connected = True
        _log.info("connected to %s as %s", self._brokers[self._turn][0], self._endpoint.queue)
        self._tell(self._listener.on_connected)

    def _on_packet(
        self, _: object, method: pika.spec.Basic.Deliver, properties: pika.BasicProperties, body: bytes
    ) -> None:
        self._tell(self._listener.on_packet, packet_of(method.exchange, method.routing_key, properties, body))

    def _on_returned(
        self, _: object, method: pika.spec.Basic.Return, properties: pika.BasicProperties, _body: bytes
    ) -> None:
        self._tell(self._listener.on_returned, packet_of(method.exchange, method.routing_key, properties, b""))

    def _tell(self, callback: Callable[..., None], *what: object) -> None:
        """Call the listener unless we are leaving; its mistakes must not end this thread."""
        if self._is_closing:
            return
        try:
            callback(*what)
        except Exception:
            _log.exception("%s of %s failed", getattr(callback, "__name__", "a callback"), self._endpoint.queue)

    def _send(self, packets: Sequence[Packet]) -> None:
        channel, connection = self._channel, self._connection
        if channel is None or connection is None or not channel.is_open:
            return
        with connection.corked():
            self._publish(channel, packets)

    def _publish(self, channel: pika.channel.Channel, packets: Sequence[Packet]) -> None:
        user = self._brokers[self._turn][1].credentials.username
        now = int(time.time())
        for packet in packets:
            try:
                channel.basic_publish(
                    packet.exchange, packet.key, packet.body, properties_of(packet, user, now), packet.mandatory
                )
            except (pika.exceptions.AMQPError, ValueError, OverflowError, struct.error) as e:
                _log.error("%.16r %.64r cannot be sent over AMQP: %s", packet.type, packet.message_id, e)

    def _on_channel_closed(self, _: object, error: Exception) -> None:
        self._channel = None
        if isinstance(error, pika.exceptions.ChannelClosedByBroker):
            self._give_up(self._refusal(error.reply_code, error.reply_text))

    def _refusal(self, code: int, text: str) -> BrokerError:
        broker = self._brokers[self._turn][0]
        if code == RESOURCE_LOCKED:
            return IdentityTaken(
                f"queue {self._endpoint.queue} on {broker} is held by another connection: another daemon with this "
                "identity runs, or an earlier connection of this one has not died yet"
            )
        if code == ACCESS_REFUSED:
            return BrokerRefused(f"broker {broker} refused: {text}")
        return BrokerUnreachable(f"broker {broker} closed our channel: {code} {text}")

    def _give_up(self, reason: BrokerError) -> None:
        self._reason = reason
        connection, claim = self._connection, self._endpoint.claim
        if connection is None or not connection.is_open:
            return
        if isinstance(reason, IdentityTaken) and claim is not None:
            say_last(connection, lambda channel: self._publish(channel, claim()))
        else:
            connection.close()

    def _on_lost(self, _: object, error: BaseException) -> None:
        """Tell the listener, then try the next broker after a pause that grows, with jitter."""
        self._connection = self._channel = None
        was_connected, self._is_connected = self._is_connected, False
        if self._is_closing:
            self._loop.stop()
            return
        reason = self._reason or reason_of(self._brokers[self._turn][0], error)
        self._turn = (self._turn + 1) % len(self._brokers)
        self._failures += 1
        # The other brokers of a list are tried at once; only a whole round of failures is followed by a pause.
        rounds = max(0, self._failures - len(self._brokers) + 1)
        pause_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(rounds, 10)) if rounds else 0.0
        if rounds or was_connected:
            self._tell(self._listener.on_disconnected, reason)
        if not self._is_closing:
            self._loop.call_later(pause_s * random.uniform(0.5, 1.0), self._retry)  # noqa: S311 - jitter, no secret

    def _retry(self) -> None:
        if not self._is_closing and self._connection is None:
            self._connect()

    def _leave(self) -> None:
        if self._connection is None:
            self._loop.stop()
            return
        # A broker that hangs does not say good-bye.
        self._loop.call_later(LEAVE_TIMEOUT_S, self._abandon)
        if not (self._connection.is_closing or self._connection.is_closed):
            self._connection.close()

    def _abandon(self) -> None:
        if self._connection is not None:
            self._connection._adapter_disconnect_stream()  # noqa: SLF001 - pika has no public way
