# SPDX-License-Identifier: Apache-2.0
"""What every connector does, in memory and over a real RabbitMQ."""

from __future__ import annotations

import dataclasses
import gc
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

from mco_rpc.config import BrokerSettings
from mco_rpc.connector import Connector, Endpoint, Packet, client_endpoint, node_endpoint
from mco_rpc.connector.memory import MemoryBroker, MemoryConnector
from mco_rpc.connector.rabbitmq import RabbitmqConnector
from mco_rpc.errors import BrokerError, BrokerUnreachable, IdentityTaken

PATIENCE_S = 30.0
NODE, ALICE = node_endpoint("web1", ["mcollective"], ["rpcutil", "iptables"]), client_endpoint("alice.1", "mcollective")

pytestmark = pytest.mark.filterwarnings("error")


class Recorder:
    """Keeps what it is told, in order, for a test to wait for."""

    def __init__(self) -> None:
        self.told: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.threads: set[str] = set()

    def on_packet(self, packet: Packet) -> None:
        self.threads.add(threading.current_thread().name)
        self.told.put(("packet", packet))

    def on_returned(self, packet: Packet) -> None:
        self.told.put(("returned", packet))

    def on_connected(self) -> None:
        self.told.put(("connected", None))

    def on_disconnected(self, reason: BrokerError) -> None:
        self.told.put(("disconnected", reason))

    def next(self, kind: str) -> Any:
        """Return what comes next, which must be of this kind."""
        seen, what = self.told.get(timeout=PATIENCE_S)
        assert seen == kind, f"{seen}: {what}"
        return what

    def until_packet(self, key: str) -> Packet:
        """Return the next message with this key; only other messages may come before it."""
        while (packet := self.next("packet")).key != key:
            pass
        assert isinstance(packet, Packet)
        return packet

    def until(self, kind: str) -> Any:
        """Return the next of this kind; only failed attempts to connect may come before it."""
        while True:
            seen, what = self.told.get(timeout=PATIENCE_S)
            if seen == kind:
                return what
            assert seen == "disconnected", f"{seen}: {what}"


class Place(Protocol):
    """A kind of broker, and how connections to it are made and lost."""

    def connector(self) -> Connector: ...

    def stop(self) -> None: ...

    def start(self) -> None: ...

    def retry(self, connector: Connector) -> None: ...


class MemoryPlace:
    """A broker in this process; nothing connects again by itself there."""

    def __init__(self) -> None:
        self._broker = MemoryBroker()
        self._made: list[MemoryConnector] = []

    def connector(self) -> Connector:
        self._made.append(self._broker.connector())
        return self._made[-1]

    def stop(self) -> None:
        self._broker.stop()

    def start(self) -> None:
        self._broker.start(self._made)

    def retry(self, connector: Connector) -> None:
        assert isinstance(connector, MemoryConnector)
        connector.connect()


class RabbitmqPlace:
    """A virtual host of the shared broker, or of one that this module may stop."""

    def __init__(self, url: str, broker: Any = None) -> None:
        self._settings = BrokerSettings(brokers=(url,))
        self._broker = broker

    def connector(self) -> Connector:
        return RabbitmqConnector(self._settings)

    def stop(self) -> None:
        self._broker.stop()

    def start(self) -> None:
        self._broker.start()

    def retry(self, connector: Connector) -> None:
        """Do nothing: a real connector tries by itself."""


@pytest.fixture(params=["memory", pytest.param("rabbitmq", marks=pytest.mark.broker)])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "memory":
        return MemoryPlace()
    return RabbitmqPlace(request.getfixturevalue("broker_url"))


@pytest.fixture(params=["memory", pytest.param("rabbitmq", marks=pytest.mark.broker)])
def breakable(request: pytest.FixtureRequest) -> Place:
    """A place whose broker may be stopped."""
    if request.param == "memory":
        return MemoryPlace()
    broker = request.getfixturevalue("own_broker")
    return RabbitmqPlace(broker.url, broker)


Join = Callable[[Place, Endpoint], tuple[Connector, Recorder]]


@pytest.fixture
def join() -> Iterator[Join]:
    """Connect, and leave at the end without a thread, a socket or a warning left behind."""
    made: list[Connector] = []

    def connect(place: Place, endpoint: Endpoint) -> tuple[Connector, Recorder]:
        connector, recorder = place.connector(), Recorder()
        made.append(connector)
        connector.open(endpoint, recorder)
        return connector, recorder

    yield connect
    for connector in made:
        connector.close()
    # A connection that was forgotten is a ResourceWarning now, and that is an error.
    made.clear()
    gc.collect()
    assert not [t.name for t in threading.enumerate() if t.name.startswith(("amqp ", "memory "))]


def request(body: bytes = b"{}", *, key: str = "web1", exchange: str = "mcollective.node", **more: Any) -> Packet:
    return Packet(
        exchange=exchange,
        key=key,
        body=body,
        type="request",
        message_id=more.pop("message_id", "id1"),
        signer="alice",
        signature=bytes(range(64)),
        **more,
    )


def test_a_message_arrives_as_it_was_sent(place: Place, join: Join) -> None:
    # Given a node and a client
    _, node = join(place, NODE)
    node.next("connected")
    client, alice = join(place, ALICE)
    alice.next("connected")

    # When the client asks, with all that a packet can carry
    sent = request(b'{"\xc3\xa4": 1}', correlation_id="c1", expiration_s=60.0, mandatory=True)
    client.publish([sent])

    # Then the node has it, and its routing
    got = node.next("packet")
    for field in ("exchange", "key", "body", "type", "message_id", "correlation_id", "signer", "signature"):
        assert getattr(got, field) == getattr(sent, field), field


def test_who_has_a_queue_hears_of_who_wants_it(place: Place, join: Join) -> None:
    # Given a node that wants to hear of others
    key = ("mcollective.event", "rival.web1")
    _, node = join(place, dataclasses.replace(NODE, welcome=(key,)))
    node.next("connected")
    ask, alice = join(place, ALICE)
    alice.next("connected")

    # When another one comes of the same name, again and again
    claim = request(b"it is me", exchange=key[0], key=key[1])
    other, rival = join(place, dataclasses.replace(NODE, claim=lambda: [claim]))
    place.retry(other)

    # Then it is refused, and the first one hears it each time, and works on
    assert [node.until_packet(key[1]).body for _ in range(2)] == [b"it is me"] * 2
    assert isinstance(rival.next("disconnected"), IdentityTaken)
    ask.publish([request(b"still there?")])
    assert node.until_packet("web1").body == b"still there?"


def test_what_one_sends_arrives_in_order(place: Place, join: Join) -> None:
    _, node = join(place, NODE)
    node.next("connected")
    client, alice = join(place, ALICE)
    alice.next("connected")

    for start in range(0, 500, 50):
        client.publish([request(str(number).encode()) for number in range(start, start + 50)])

    assert [int(node.next("packet").body) for _ in range(500)] == list(range(500))
    assert len(node.threads) == 1


def test_a_node_hears_its_name_and_its_agents_and_nothing_else(place: Place, join: Join) -> None:
    # Given two nodes, of which one offers another agent
    _, web1 = join(place, NODE)
    _, db1 = join(place, node_endpoint("db1", ["mcollective", "other"], ["rpcutil"]))
    client, alice = join(place, ALICE)
    for recorder in (web1, db1, alice):
        recorder.next("connected")

    # When everything is asked
    client.publish(
        [
            request(b"both", exchange="mcollective.broadcast", key="agent.rpcutil"),
            request(b"nobody", exchange="mcollective.broadcast", key="agent.puppet"),
            request(b"web1 by agent", exchange="mcollective.broadcast", key="agent.iptables"),
            request(b"nobody", exchange="mcollective.broadcast", key="agent"),
            request(b"nobody", exchange="mcollective.broadcast", key="agent.rpcutil.x"),
            request(b"db1", key="db1"),
            request(b"nobody", exchange="mcollective.broadcast", key="web1"),
            request(b"nobody", exchange="mcollective.event", key="web1"),
            request(b"web1", key="web1"),
            request(b"other", exchange="other.node", key="db1"),
        ]
    )

    # Then each has its own
    assert [web1.next("packet").body for _ in range(3)] == [b"both", b"web1 by agent", b"web1"]
    assert [db1.next("packet").body for _ in range(3)] == [b"both", b"db1", b"other"]
    # And nothing more: an answer to the client comes after whatever was wrongly routed to it.
    client.publish(
        [request(b"end", exchange="mcollective.reply", key="alice.1"), request(b"end"), request(b"end", key="db1")]
    )
    for recorder in (alice, web1, db1):
        assert recorder.next("packet").body == b"end"


def test_a_pattern_hears_what_fits_it(place: Place, join: Join) -> None:
    exchange = "mcollective.event"
    patterns = {"one": "presence.*", "all": "presence.#", "hash": "#", "middle": "*.web1"}
    recorders = {}
    for name, pattern in patterns.items():
        _, recorders[name] = join(place, Endpoint(f"mco.reply.{name}", ("mcollective",), ((exchange, pattern),)))
        recorders[name].next("connected")
    client, alice = join(place, ALICE)
    alice.next("connected")

    keys = ["presence", "presence.web1", "presence.web1.x", "lifecycle.web1"]
    client.publish([request(key.encode(), exchange=exchange, key=key) for key in keys])
    client.publish([request(b"end", exchange=exchange, key="presence.web1")])

    def heard(name: str) -> list[bytes]:
        made = []
        while (body := recorders[name].next("packet").body) != b"end":
            made.append(body)
        return made

    assert heard("one") == [b"presence.web1"]
    assert heard("all") == [b"presence", b"presence.web1", b"presence.web1.x"]
    assert heard("hash") == [key.encode() for key in keys]
    assert heard("middle") == [b"presence.web1", b"lifecycle.web1"]


def test_a_binding_made_twice_delivers_once(place: Place, join: Join) -> None:
    binding = ("mcollective.node", "web1")
    _, node = join(place, Endpoint("mco.node.web1", ("mcollective",), (binding, binding, ("mcollective.node", "#"))))
    node.next("connected")
    client, alice = join(place, ALICE)
    alice.next("connected")

    client.publish([request(b"1"), request(b"2")])

    assert [node.next("packet").body for _ in range(2)] == [b"1", b"2"]


def test_a_mandatory_message_that_nobody_hears_comes_back_at_once(place: Place, join: Join) -> None:
    client, alice = join(place, ALICE)
    alice.next("connected")

    client.publish(
        [
            request(key="gone", message_id="m1", correlation_id="c1", mandatory=True),
            request(key="gone", message_id="m2", mandatory=False),
            request(key="gone2", message_id="m3", mandatory=True),
        ]
    )

    first, second = alice.next("returned"), alice.next("returned")
    assert (first.exchange, first.key, first.message_id, first.correlation_id) == (
        "mcollective.node",
        "gone",
        "m1",
        "c1",
    )
    assert (second.key, second.message_id) == ("gone2", "m3")


def test_a_node_that_left_is_not_there(place: Place, join: Join) -> None:
    node, web1 = join(place, NODE)
    web1.next("connected")
    client, alice = join(place, ALICE)
    alice.next("connected")

    node.close()
    client.publish([request(mandatory=True)])

    assert alice.next("returned").key == "web1"


@pytest.mark.parametrize("size", [0, 1, 131_072, 8 * 1024 * 1024])
def test_a_body_of_any_size_arrives(place: Place, join: Join, size: int) -> None:
    _, node = join(place, NODE)
    node.next("connected")
    client, alice = join(place, ALICE)
    alice.next("connected")

    client.publish([request(bytes(size)), request(b"after")])

    assert node.next("packet").body == bytes(size)
    assert node.next("packet").body == b"after"


def test_what_was_published_before_a_close_arrives(place: Place, join: Join) -> None:
    _, node = join(place, NODE)
    node.next("connected")
    client, alice = join(place, ALICE)
    alice.next("connected")

    for number in range(100):
        client.publish([request(str(number).encode() + bytes(10_000))])
    client.close()

    assert [int(node.next("packet").body.rstrip(b"\0")) for _ in range(100)] == list(range(100))


def test_publishing_without_a_connection_harms_nobody(place: Place, join: Join) -> None:
    # Given a connector that was not opened
    connector = place.connector()
    connector.publish([request(mandatory=True)])

    # When it is opened, it has forgotten
    recorder = Recorder()
    connector.open(ALICE, recorder)
    recorder.next("connected")
    connector.publish([request(b"end", exchange="mcollective.reply", key="alice.1")])
    assert recorder.next("packet").body == b"end"

    # And when it is closed, it does not complain
    connector.close()
    connector.publish([request()])
    assert recorder.told.empty()


def test_close_may_be_called_twice_and_by_many(place: Place, join: Join) -> None:
    client, alice = join(place, ALICE)
    alice.next("connected")

    threads = [threading.Thread(target=client.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    client.close()

    assert not any(thread.is_alive() for thread in threads)
    assert alice.told.empty()


def test_a_connector_that_was_never_opened_leaves_nothing(place: Place) -> None:
    connector = place.connector()
    connector.close()
    connector.close()
    del connector
    gc.collect()


def test_a_listener_may_close_from_its_own_callback_and_hears_no_more(place: Place, join: Join) -> None:
    _, node = join(place, NODE)
    node.next("connected")
    told: list[bytes] = []
    closed = threading.Event()

    class Leaver(Recorder):
        def on_packet(self, packet: Packet) -> None:
            told.append(packet.body)
            leaver.close()
            closed.set()

    leaver = place.connector()
    recorder = Leaver()
    leaver.open(ALICE, recorder)
    recorder.next("connected")
    sender, bob = join(place, client_endpoint("bob.1", "mcollective"))
    bob.next("connected")

    sender.publish([request(str(n).encode(), exchange="mcollective.reply", key="alice.1") for n in range(50)])

    assert closed.wait(PATIENCE_S)
    # The one that leaves is gone from the broker when its key is free again.
    while True:
        sender.publish([request(exchange="mcollective.reply", key="alice.1", mandatory=True)])
        try:
            assert bob.told.get(timeout=0.1)[0] == "returned"
        except queue.Empty:
            continue
        break
    assert told == [b"0"]


def test_a_listener_that_raises_goes_on_hearing(place: Place, join: Join, caplog: pytest.LogCaptureFixture) -> None:
    class Clumsy(Recorder):
        def on_packet(self, packet: Packet) -> None:
            super().on_packet(packet)
            if packet.body == b"bad":
                raise KeyError("what a listener must not do")

    client, clumsy = place.connector(), Clumsy()
    client.open(ALICE, clumsy)
    clumsy.next("connected")

    client.publish([request(body, exchange="mcollective.reply", key="alice.1") for body in (b"bad", b"good")])

    assert [clumsy.next("packet").body for _ in range(2)] == [b"bad", b"good"]
    client.close()
    assert "on_packet" in caplog.text
    assert "what a listener must not do" in caplog.text


def test_the_second_with_a_name_is_told_so_and_gets_it_once_the_first_is_gone(place: Place, join: Join) -> None:
    # Given a node
    first, web1 = join(place, NODE)
    web1.next("connected")

    # When another one comes with its name
    second, double = join(place, NODE)

    # Then it is told why it cannot have it, and the first does not notice
    reason = double.next("disconnected")
    assert isinstance(reason, IdentityTaken)
    assert "mco.node.web1" in str(reason)
    assert web1.told.empty()

    # And when the first goes, the second takes over
    first.close()
    place.retry(second)
    double.until("connected")
    second.publish([request(b"mine")])
    assert double.next("packet").body == b"mine"


def test_a_callback_comes_on_the_thread_that_hears_with_a_broker_and_without(breakable: Place, join: Join) -> None:
    # Given a connector, and what asks it to call back
    connector, node = join(breakable, NODE)
    node.next("connected")
    called: queue.SimpleQueue[str] = queue.SimpleQueue()

    def call_back() -> None:
        called.put(threading.current_thread().name)

    # When its broker is there, and when it is away
    connector.soon(call_back)
    assert NODE.queue in called.get(timeout=PATIENCE_S)
    breakable.stop()
    node.next("disconnected")
    connector.soon(call_back)

    # Then it is called all the same
    assert NODE.queue in called.get(timeout=PATIENCE_S)
    breakable.start()


def test_a_lost_broker_is_told_and_found_again(breakable: Place, join: Join) -> None:
    # Given a node and a client
    node, web1 = join(breakable, NODE)
    client, alice = join(breakable, ALICE)
    web1.next("connected")
    alice.next("connected")

    # When the broker goes
    breakable.stop()

    # Then both learn it, and may publish without harm
    for recorder in (web1, alice):
        assert isinstance(recorder.next("disconnected"), BrokerUnreachable)
    client.publish([request(b"lost", mandatory=True)])

    # And when it comes back, everything is as before, bindings too
    breakable.start()
    for recorder in (web1, alice):
        recorder.until("connected")
    client.publish([request(b"again")])
    assert web1.next("packet").body == b"again"
    node.publish([request(b"answer", exchange="mcollective.reply", key="alice.1")])
    assert alice.next("packet").body == b"answer"


def test_a_broker_that_is_not_there_yet_is_found_when_it_comes(breakable: Place, join: Join) -> None:
    breakable.stop()
    try:
        client, alice = join(breakable, ALICE)
        assert isinstance(alice.next("disconnected"), BrokerUnreachable)
    finally:
        breakable.start()
    alice.until("connected")
    client.publish([request(exchange="mcollective.reply", key="alice.1")])
    alice.next("packet")


def test_closing_while_the_broker_is_away_leaves_nothing(breakable: Place, join: Join) -> None:
    client, alice = join(breakable, ALICE)
    alice.next("connected")
    breakable.stop()
    try:
        alice.next("disconnected")
        client.close()
    finally:
        breakable.start()


def test_bindings_change_while_messages_flow(place: Place, join: Join) -> None:
    # Given a node
    node, web1 = join(place, NODE)
    web1.next("connected")
    client, alice = join(place, ALICE)
    alice.next("connected")

    # When it offers another agent, and one no more
    node.rebind(node_endpoint("web1", ["mcollective"], ["rpcutil", "puppet"]))
    node.publish([request(b"now", exchange="mcollective.reply", key="alice.1")])
    assert alice.next("packet").body == b"now"

    # Then what was published after it says so comes accordingly, and what it keeps comes as before
    for agent in ("puppet", "iptables", "rpcutil"):
        client.publish([request(agent.encode(), exchange="mcollective.broadcast", key=f"agent.{agent}")])
    client.publish([request(b"end")])
    assert [web1.next("packet").body for _ in range(3)] == [b"puppet", b"rpcutil", b"end"]


def test_bindings_that_changed_are_there_after_a_lost_connection(breakable: Place, join: Join) -> None:
    node, web1 = join(breakable, NODE)
    web1.next("connected")
    breakable.stop()
    web1.next("disconnected")
    node.rebind(node_endpoint("web1", ["mcollective"], ["puppet"]))
    breakable.start()
    web1.until("connected")
    client, alice = join(breakable, ALICE)
    alice.next("connected")
    for agent in ("rpcutil", "puppet"):
        client.publish([request(agent.encode(), exchange="mcollective.broadcast", key=f"agent.{agent}")])
    assert web1.next("packet").body == b"puppet"
