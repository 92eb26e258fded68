# SPDX-License-Identifier: Apache-2.0
"""A node's queue given up, taken back, and exchanged for another one, on a real RabbitMQ: nothing in it is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator

import pytest

from mco_rpc import names
from mco_rpc.config import BrokerSettings
from mco_rpc.connector import Endpoint, Packet, client_endpoint, node_endpoint
from mco_rpc.connector import leaving as leaving_module
from mco_rpc.connector.movable import MovableConnector
from mco_rpc.errors import BrokerError

pytestmark = pytest.mark.broker

WAIT_S = 20.0
NODE = node_endpoint("web1", ["mcollective"], ["rpcutil"])
SPARE = dataclasses.replace(NODE, queue=names.handover_queue(NODE.queue))


class Party:
    """A connector, and what came."""

    def __init__(self, url: str, endpoint: Endpoint) -> None:
        self._changed = threading.Condition()
        self.came: list[bytes] = []
        self.returned: list[bytes] = []
        self.connections = 0
        self.connector = MovableConnector(BrokerSettings(brokers=(url,)))
        self.connector.open(endpoint, self)
        self.until(lambda: self.connections == 1)

    def on_packet(self, packet: Packet) -> None:
        self._note(self.came, packet.body)

    def on_returned(self, packet: Packet) -> None:
        self._note(self.returned, packet.message_id.encode())

    def on_connected(self) -> None:
        with self._changed:
            self.connections += 1
            self._changed.notify_all()

    def on_disconnected(self, reason: BrokerError) -> None: ...

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        with self._changed:
            assert self._changed.wait_for(is_so, WAIT_S), (self.came, self.returned)

    def send(self, *texts: str) -> None:
        """Ask the node."""
        self.connector.publish(
            [
                Packet(
                    exchange="mcollective.node", key="web1", body=text.encode(), type="request", message_id=text,
                    signer="alice", signature=b"", mandatory=True,
                )
                for text in texts
            ]
        )  # fmt: skip

    def _note(self, where: list[bytes], what: bytes) -> None:
        with self._changed:
            where.append(what)
            self._changed.notify_all()


Join = Callable[[Endpoint], Party]


@pytest.fixture
def join(broker_url: str) -> Iterator[Join]:
    with contextlib.ExitStack() as stack:

        def connect(endpoint: Endpoint) -> Party:
            party = Party(broker_url, endpoint)
            stack.callback(party.connector.close)
            return party

        yield connect


def released(party: Party) -> None:
    is_done = threading.Event()
    party.connector.release(is_done.set)
    assert is_done.wait(WAIT_S)


def test_a_queue_that_is_given_up_loses_nothing_and_can_be_had_by_another(join: Join) -> None:
    # Given a node that is asked, and another process that listens already
    node, client = join(NODE), join(client_endpoint("alice.1", "mcollective"))
    spare = join(SPARE)
    texts = [str(number) for number in range(300)]
    client.send(*texts)
    client.until(lambda: not client.returned)
    spare.until(lambda: len(spare.came) == 300)

    # When it gives up its queue
    released(node)

    # Then all that was in it has come, the queue is free, and the connection still sends
    assert node.came == [text.encode() for text in texts]
    node.send("from the old one")
    spare.until(lambda: spare.came[-1] == b"from the old one")
    is_moved = threading.Event()
    spare.connector.move(NODE, is_moved.set)
    assert is_moved.wait(WAIT_S)
    client.send("last")
    spare.until(lambda: spare.came[-1] == b"last")
    assert node.came[-1] == b"299"
    assert spare.connections == 1

    # And what was the other's own queue is gone
    join(SPARE)


@pytest.mark.parametrize("is_late", [False, True])
def test_a_queue_can_be_taken_back(join: Join, is_late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a node that has given up its queue, or is about to
    node, client = join(NODE), join(client_endpoint("alice.1", "mcollective"))
    if is_late:
        released(node)
        client.send("nobody is there")
        client.until(lambda: client.returned == [b"nobody is there"])
    else:
        monkeypatch.setattr(leaving_module.Emptying, "look", lambda self: None)
        node.connector.release(lambda: None)

    # When it takes it back
    is_done = threading.Event()
    node.connector.reclaim(is_done.set)
    assert is_done.wait(WAIT_S)

    # Then it is asked again, over the same connection, once each
    node.send("1", "2")
    node.until(lambda: node.came == [b"1", b"2"])
    assert node.connections == 1


def test_who_has_no_queue_any_more_takes_none_when_he_connects_again(join: Join) -> None:
    node = join(NODE)
    released(node)
    assert node.connector._connection is not None
    node.connector.soon(node.connector._connection.close)
    successor = join(NODE)
    client = join(client_endpoint("alice.1", "mcollective"))
    until = threading.Event()
    for _ in range(500):
        client.connector.publish([])
        node.connector.publish(
            [
                Packet(
                    exchange="mcollective.reply", key="alice.1", body=b"still", type="reply", message_id="m",
                    signer="web1", signature=b"",
                )
            ]
        )  # fmt: skip
        if client.came or until.wait(0.02):
            break
    assert client.came
    assert successor.connections == 1
