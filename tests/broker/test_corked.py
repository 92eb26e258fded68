# SPDX-License-Identifier: Apache-2.0
"""What belongs together goes to the socket in one piece, and at once, with the private methods that pika has now."""

from __future__ import annotations

import threading

import pytest

from mco_rpc.config import BrokerSettings
from mco_rpc.connector import Endpoint, Packet
from mco_rpc.connector.rabbitmq import RabbitmqConnector
from mco_rpc.errors import BrokerError

pytestmark = pytest.mark.broker

WAIT_S = 20.0


class Collector:
    """Takes packets until there are enough."""

    def __init__(self, enough: int) -> None:
        self.bodies: list[bytes] = []
        self._enough = enough
        self.is_connected = threading.Event()
        self.has_enough = threading.Event()

    def on_packet(self, packet: Packet) -> None:
        self.bodies.append(packet.body)
        if len(self.bodies) == self._enough:
            self.has_enough.set()

    def on_returned(self, packet: Packet) -> None: ...

    def on_connected(self) -> None:
        self.is_connected.set()

    def on_disconnected(self, reason: BrokerError) -> None: ...


@pytest.fixture
def sends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what pika gave to sockets."""
    from pika.adapters.utils import io_services_utils

    sizes: list[int] = []
    transport = io_services_utils._AsyncPlaintextTransport
    assert callable(transport._on_socket_writable)
    send = transport._sigint_safe_send

    def count(sock: object, data: bytes) -> object:
        sizes.append(len(data))
        return send(sock, data)

    monkeypatch.setattr(transport, "_sigint_safe_send", staticmethod(count))
    return sizes


def test_many_messages_are_one_piece(broker_url: str, sends: list[int]) -> None:
    # Given a connection to a queue of its own
    collector = Collector(50)
    connector = RabbitmqConnector(BrokerSettings(brokers=(broker_url,)))
    endpoint = Endpoint("mco.reply.corked.1", ("mcollective",), (("mcollective.reply", "corked.1"),))
    connector.open(endpoint, collector)
    try:
        assert collector.is_connected.wait(WAIT_S)
        before = len(sends)
        # When it publishes at once what pika makes 150 frames of
        bodies = [f"{number}".encode() * 100 for number in range(50)]
        connector.publish([Packet("mcollective.reply", "corked.1", body, "reply", "1", "x", b"s") for body in bodies])
        # Then they arrive in order, and were one piece
        assert collector.has_enough.wait(WAIT_S)
        assert collector.bodies == bodies
        assert len(sends) - before == 1
    finally:
        connector.close()
