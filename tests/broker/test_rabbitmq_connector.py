# SPDX-License-Identifier: Apache-2.0
"""What only a real broker, a dead one or a hostile one does to the RabbitMQ connector."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import queue
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

from mco_lab.broker import Broker, free_port
from mco_rpc.config import BrokerSettings
from mco_rpc.connector import Endpoint, Packet, client_endpoint, node_endpoint
from mco_rpc.connector.rabbitmq import RabbitmqConnector
from mco_rpc.errors import BrokerError, BrokerRefused, BrokerUnreachable, ConfigError

pytestmark = [pytest.mark.broker, pytest.mark.filterwarnings("error")]

PATIENCE_S = 30.0
NODE = node_endpoint("web1", ["mcollective"], ["rpcutil"])
ALICE = client_endpoint("alice.1", "mcollective")


class Recorder:
    def __init__(self) -> None:
        self.told: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def on_packet(self, packet: Packet) -> None:
        self.told.put(("packet", packet))

    def on_returned(self, packet: Packet) -> None:
        self.told.put(("returned", packet))

    def on_connected(self) -> None:
        self.told.put(("connected", None))

    def on_disconnected(self, reason: BrokerError) -> None:
        self.told.put(("disconnected", reason))

    def next(self, kind: str) -> Any:
        seen, what = self.told.get(timeout=PATIENCE_S)
        assert seen == kind, f"{seen}: {what}"
        return what


Join = Callable[..., tuple[RabbitmqConnector, Recorder]]


@pytest.fixture
def join() -> Iterator[Join]:
    """Connect to some brokers; leave without a thread, a socket or a warning left behind."""
    made: list[RabbitmqConnector] = []

    def connect(*urls: str, endpoint: Endpoint = ALICE, **settings: Any) -> tuple[RabbitmqConnector, Recorder]:
        connector, recorder = RabbitmqConnector(BrokerSettings(brokers=urls, **settings)), Recorder()
        made.append(connector)
        connector.open(endpoint, recorder)
        return connector, recorder

    before = _sockets()
    yield connect
    for connector in made:
        connector.close()
    made.clear()
    gc.collect()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("amqp ")]
    assert _sockets() <= before


def _sockets() -> set[str]:
    """Return this process's sockets."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if str(entry.readlink()).startswith("socket:"):
                found.add(str(entry.readlink()))
    return found


def request(body: bytes = b"{}", *, key: str = "web1", **more: Any) -> Packet:
    fields: dict[str, Any] = {"message_id": "id1", "signer": "alice", "signature": bytes(64), **more}
    return Packet(exchange="mcollective.node", key=key, body=body, type="request", **fields)


def answer(body: bytes, **more: Any) -> Packet:
    return Packet("mcollective.reply", "alice.1", body, "reply", "id1", "web1", bytes(64), **more)


# What a user sees when it cannot be


def test_a_wrong_password_is_refused(broker_url: str, broker: Broker, join: Join) -> None:
    _, alice = join(broker_url.replace(broker.passwords["lab"], "wrong"))
    reason = alice.next("disconnected")
    assert isinstance(reason, BrokerRefused)
    assert f"broker amqp://lab@127.0.0.1:{broker.port}/" in str(reason)
    assert "refused the user name or password" in str(reason)
    assert "wrong" not in str(reason)


def test_a_missing_virtual_host_is_refused(broker_url: str, join: Join) -> None:
    _, alice = join(f"{broker_url}-none")
    reason = alice.next("disconnected")
    assert isinstance(reason, BrokerRefused)
    assert "has no such virtual host, or we may not use it" in str(reason)


def test_a_right_that_is_missing_is_refused_and_named(broker: Broker, broker_url: str, join: Join) -> None:
    # Given a user who may use the virtual host, and declare nothing in it
    vhost = broker_url.rpartition("/")[2]
    broker.add_user("guest-of-honour", "secret")
    no = {"configure": "^$", "write": ".*", "read": ".*"}
    broker.define({"permissions": [{"user": "guest-of-honour", "vhost": vhost, **no}]})

    _, alice = join(broker.url_for(vhost, "guest-of-honour"))

    reason = alice.next("disconnected")
    assert isinstance(reason, BrokerRefused)
    assert "mcollective.broadcast" in str(reason)
    assert "secret" not in str(reason)


def test_nobody_listens(join: Join) -> None:
    port = free_port()
    _, alice = join(f"amqp://lab:secret@127.0.0.1:{port}/")
    reason = alice.next("disconnected")
    assert isinstance(reason, BrokerUnreachable)
    assert str(reason) == (
        f"broker amqp://lab@127.0.0.1:{port}/: connection refused; does RabbitMQ run there, on this port?"
    )


def test_a_name_that_nobody_knows(join: Join) -> None:
    connector, alice = join("amqp://lab:secret@no-such-host.invalid/")
    reason = alice.next("disconnected")
    assert isinstance(reason, BrokerUnreachable)
    assert "broker amqp://lab@no-such-host.invalid/: the host name cannot be resolved" in str(reason)
    assert connector.addresses() == []


def test_something_that_is_no_broker(join: Join) -> None:
    # Given a server that hangs up on everybody
    with socket.create_server(("127.0.0.1", 0)) as server:
        hanging_up = threading.Thread(target=_hang_up, args=(server,), daemon=True)
        hanging_up.start()
        _, alice = join(f"amqp://127.0.0.1:{server.getsockname()[1]}/")
        reason = alice.next("disconnected")
        server.shutdown(socket.SHUT_RDWR)
        hanging_up.join()
    assert isinstance(reason, BrokerUnreachable)
    assert "connection failed or lost" in str(reason)


def _hang_up(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            server.accept()[0].close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "lab:secret@localhost",
        "http://lab:secret@localhost/",
        "amqp://",
        "amqp:///vhost",
        "amqp://lab:secret@host:port/",
        "amqp://lab:secret@host:99999/",
        "amqp://lab:secret@host/?heartbeat=soon",
        "amqp://lab:secret@host/?colour=red",
        "amqps://lab:secret@host/?ssl_options=(",
    ],
)
def test_what_is_no_amqp_url_is_a_settings_error_without_the_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^brokers: .*expected amqp://user:password@host:5672/vhost") as refused:
        RabbitmqConnector(BrokerSettings(brokers=(url,)))
    assert "secret" not in str(refused.value)


# A list of brokers


def test_a_dead_first_broker_is_passed_over_without_a_word(broker_url: str, join: Join) -> None:
    _, alice = join(f"amqp://127.0.0.1:{free_port()}/", "amqp://no-such-host.invalid/", broker_url)
    alice.next("connected")


def test_when_all_are_dead_it_is_said_once_a_round(join: Join) -> None:
    one, two = free_port(), free_port()
    _, alice = join(f"amqp://127.0.0.1:{one}/", f"amqp://127.0.0.1:{two}/")
    assert str(two) in str(alice.next("disconnected"))


def test_the_loss_of_a_connection_is_told_even_if_another_broker_takes_us_at_once(
    own_broker: Broker, broker_url: str, join: Join
) -> None:
    # Given a connection to the first of two brokers
    _, alice = join(own_broker.url, broker_url)
    alice.next("connected")

    # When it breaks, then the listener learns it before it learns of the new one
    own_broker.kill()
    try:
        assert isinstance(alice.next("disconnected"), BrokerUnreachable)
        alice.next("connected")
    finally:
        own_broker.start()


def test_addresses_are_those_of_all_brokers(join: Join) -> None:
    made = RabbitmqConnector(BrokerSettings(brokers=("amqp://127.0.0.2/", "amqp://127.0.0.1/", "amqp://[::1]/")))
    assert made.addresses() == ["127.0.0.1", "127.0.0.2", "::1"]
    made.close()


# Faults while it runs


def test_a_connection_that_the_broker_closes_is_made_again(broker: Broker, broker_url: str, join: Join) -> None:
    client, alice = join(broker_url)
    alice.next("connected")

    # When our queue is removed under us
    with _raw(broker_url) as channel, contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
        channel.exchange_delete("mcollective.reply")
    client.publish([answer(b"x")])  # to an exchange that is not there: the broker closes the channel

    # Then it is told, and everything is declared anew
    assert "404" in str(alice.next("disconnected"))
    alice.next("connected")
    client.publish([answer(b"again")])
    assert alice.next("packet").body == b"again"


@pytest.mark.parametrize(
    "bad",
    [
        {"key": "x" * 256},
        {"key": "ä" * 128},
        {"message_id": "x" * 256},
        {"correlation_id": "x" * 256},
        {"key": "\ud800"},
        {"expiration_s": math.nan},
        {"expiration_s": math.inf},
        {"signer": 1j},
    ],
    ids=str,
)
def test_what_amqp_cannot_carry_is_logged_and_nothing_else_is_lost(
    broker_url: str, join: Join, caplog: pytest.LogCaptureFixture, bad: dict[str, Any]
) -> None:
    # Given a connection
    client, alice = join(broker_url)
    alice.next("connected")

    # When something that does not fit is published between two that do
    client.publish([answer(b"1"), request(**bad), answer(b"2")])

    # Then the connection lives, and the log says what was left out
    assert [alice.next("packet").body for _ in range(2)] == [b"1", b"2"]
    client.publish([answer(b"3")])
    assert alice.next("packet").body == b"3"
    assert "cannot be sent over AMQP" in caplog.text


@pytest.mark.parametrize("expiration_s", [-5.0, 0.0, 1e-9])
def test_what_expires_at_once_is_still_a_message(broker_url: str, join: Join, expiration_s: float) -> None:
    client, alice = join(broker_url)
    alice.next("connected")
    client.publish([answer(b"late", expiration_s=expiration_s), answer(b"end")])
    # Whether it is delivered in its one millisecond or not, what follows is.
    while alice.next("packet").body != b"end":
        pass


# Hostile publishers


class RawHeaders(pika.BasicProperties):  # type: ignore[misc]
    """Properties whose header table is these very bytes."""

    def __init__(self, table: bytes) -> None:
        super().__init__()
        self._table = table

    def encode(self) -> list[bytes]:
        return [struct.pack(">H", pika.BasicProperties.FLAG_HEADERS), struct.pack(">I", len(self._table)), self._table]


def _field(name: bytes, kind: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + kind + value


HUGE_TIME = struct.pack(">Q", 2**63)
HOSTILE = {
    "no properties": pika.BasicProperties(),
    "signature as text": pika.BasicProperties(headers={"mco-signature": "x", "mco-key": "alice"}),
    "numbers": pika.BasicProperties(headers={"mco-signature": 1, "mco-key": 2}),
    "lists": pika.BasicProperties(headers={"mco-signature": ["x"], "mco-key": [b"alice"]}),
    "tables": pika.BasicProperties(headers={"mco-signature": {"a": 1}, "mco-key": {"b": {"c": [1]}}}),
    "nothing": pika.BasicProperties(headers={"mco-signature": None, "mco-key": None}),
    "truth": pika.BasicProperties(headers={"mco-signature": True, "mco-key": False}),
    "key as bytes": pika.BasicProperties(headers={"mco-signature": b"x", "mco-key": b"\xff"}),
    "ids not UTF-8": pika.BasicProperties(message_id=b"\xff\xfe", correlation_id=b"\xff", type=b"\xfe"),
    "names not UTF-8": RawHeaders(_field(b"\xff\xfe", b"t", b"\x01")),
    "text not UTF-8": RawHeaders(_field(b"mco-key", b"S", struct.pack(">I", 2) + b"\xff\xfe")),
    "a time out of range": RawHeaders(_field(b"mco-key", b"T", HUGE_TIME)),
    "a decimal": RawHeaders(_field(b"mco-key", b"D", b"\xff" + struct.pack(">I", 7))),
    "a double": RawHeaders(_field(b"mco-key", b"d", struct.pack(">d", 1.5))),
    "a time property out of range": pika.BasicProperties(timestamp=2**64 - 1),
}


@contextlib.contextmanager
def _raw(url: str) -> Iterator[Any]:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        yield connection.channel()
    finally:
        connection.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_properties_of_odd_types_break_nothing(broker_url: str, join: Join, name: str) -> None:
    # Given a node
    _, node = join(broker_url, endpoint=NODE)
    node.next("connected")

    # When somebody with the right to publish sends it what no connector of ours would
    with _raw(broker_url) as channel:
        channel.basic_publish("mcollective.node", "web1", b"odd", HOSTILE[name])
        channel.basic_publish("mcollective.node", "web1", b"end", pika.BasicProperties())

    # Then what arrives has fields of the right types, or the connection is made anew
    while True:
        kind, what = node.told.get(timeout=PATIENCE_S)
        if kind == "disconnected":
            node.next("connected")
            break
        assert kind == "packet"
        for field in ("exchange", "key", "type", "message_id", "correlation_id", "signer"):
            assert isinstance(getattr(what, field), str), field
        assert isinstance(what.signature, bytes)
        if what.body == b"end":
            break

    # And the node hears on
    with _raw(broker_url) as channel:
        channel.basic_publish("mcollective.node", "web1", b"alive", pika.BasicProperties())
    while node.next("packet").body != b"alive":
        pass


# Leaving


def test_closing_while_it_connects_leaves_nothing(join: Join) -> None:
    # Given a server that takes connections and says nothing
    with socket.create_server(("127.0.0.1", 0)) as server:
        client, alice = join(f"amqp://127.0.0.1:{server.getsockname()[1]}/", connect_timeout_s=3600.0)
        taken, _ = server.accept()
        with taken:
            taken.recv(8)

            # When we leave, then it ends, and says no more
            client.close()
    assert alice.told.empty()


def test_closing_while_the_address_does_not_answer_leaves_nothing(join: Join) -> None:
    # Given a server whose queue of connections is full: who comes next hangs
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        client, alice = join(f"amqp://127.0.0.1:{server.getsockname()[1]}/", connect_timeout_s=3600.0)
        client.close()
    assert alice.told.empty()


def test_closing_at_once_leaves_nothing(broker_url: str, join: Join) -> None:
    for _ in range(20):
        client, _ = join(broker_url)
        client.close()


def test_a_broker_that_hangs_does_not_keep_us(own_broker: Broker, join: Join) -> None:
    # Given a connection whose heartbeats will not notice for an hour
    client, alice = join(own_broker.url, heartbeat_s=3600)
    alice.next("connected")
    server = own_broker.processes[0].pid

    # When the broker stops to answer
    os.kill(server, signal.SIGSTOP)
    try:
        # Then we leave all the same
        client.close()
    finally:
        os.kill(server, signal.SIGCONT)
    assert alice.told.empty()
