# SPDX-License-Identifier: Apache-2.0
"""For tests of calls: real nodes with an agent that does everything, and nodes that say what the test says."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_client import core
from mco_client.client import ClientCore
from mco_client.connection import Connection
from mco_client.core import Pause
from mco_client.rpc import RpcClient
from mco_lab.memory import CALLER, MemoryFleet
from mco_rpc import names
from mco_rpc.config import ClientSettings
from mco_rpc.connector import Packet, node_endpoint
from mco_rpc.errors import BrokerError
from mco_rpc.messages import Ack, Answer, Progress, Reply, Request, decode_request, encode
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import Ed25519Security, for_node

LIBDIR = Path(__file__).with_name("libdir_calls")
LONG_S = 60.0  # a test that waits for so long has failed
SHORT_S = 0.15  # a call that is to end without all its answers
AGENTS = ("rpcutil", "discovery", "worker")

Script = Callable[["Scripted", Request], None]


class Scripted:
    """A node of the test's own making; it says what ``script`` or the test says, and keeps what it was asked."""

    def __init__(
        self, world: World, identity: str, script: Script | None, collectives: tuple[str, ...] = ("mcollective",)
    ) -> None:
        self.world, self.identity, self.script = world, identity, script
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self.connector = world.fleet.broker.connector()
        self.connector.open(node_endpoint(identity, collectives, AGENTS), self)

    def security(self, identity: str | None = None) -> Ed25519Security:
        """Return the security of a node of the fleet, or of one that nobody knows."""
        identity = identity or self.identity
        return for_node(identity, self.world.fleet._node_seeds.get(identity, keys.new_seed()), {})

    @property
    def requests(self) -> list[Request]:
        """What it was asked for so far, probes left out."""
        with self._changed:
            return list(self._requests)

    def asked(self, count: int = 1) -> Request:
        """Return the ``count``-th request, waiting for it."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._requests) >= count, LONG_S), "nobody asked"
            return self._requests[count - 1]

    def reply(self, request: Request, **fields: Any) -> None:
        """Answer."""
        self.send(request, Reply(**{**self.head(request), **fields}))

    def ack(self, request: Request, **fields: Any) -> None:
        """Say that the action begins."""
        self.send(request, Ack(**{**self.head(request), **fields}))

    def tell(self, request: Request, number: int, text: str = "", **fields: Any) -> None:
        """Say something meanwhile."""
        self.send(request, Progress(**{**self.head(request), "number": number, "text": text, **fields}))

    def head(self, request: Request) -> dict[str, Any]:
        where = {"collective": request.collective, "agent": request.agent, "action": request.action}
        return {"id": request.id, "sender": self.identity, "sent_at": time.time(), **where}

    def send(self, request: Request, answer: Answer, *, by: str | None = None, **fields: Any) -> None:
        """Send an answer signed by ``by``, with some fields of the packet replaced."""
        body = encode(answer)
        security = self.security(by)
        packet = Packet(
            exchange=names.exchange(request.collective, names.REPLY),
            key=request.reply_to or "",
            body=body,
            type="reply",
            message_id=request.id,
            correlation_id=request.id,
            signer=security.signer,
            signature=security.sign(body),
        )
        self.connector.publish([dataclasses.replace(packet, **fields)])

    def on_packet(self, packet: Packet) -> None:
        request = decode_request(packet.body)
        if packet.type != "request" or (request.targets is not None and self.identity not in request.targets):
            return
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
        if self.script is not None:
            self.script(self, request)

    def on_returned(self, packet: Packet) -> None: ...

    def on_connected(self) -> None: ...

    def on_disconnected(self, reason: BrokerError) -> None: ...


class World:
    """A fleet of real nodes, and scripted ones whose keys are trusted too."""

    def __init__(self, fleet: MemoryFleet) -> None:
        self.fleet = fleet
        self._scripted: list[Scripted] = []

    def connection(self) -> Connection:
        return self.fleet.connection()

    def client(self, *nodes: str, agent: str = "worker", **options: Any) -> RpcClient:
        """Return a client that asks these nodes, on a connection of its own."""
        made = RpcClient(agent, self.connection())
        if nodes:
            made.discover(nodes=nodes)
        return made.using(**options)

    def worker(self, identity: str = "web1") -> Any:
        """Return the agent of a real node."""
        return self.fleet.nodes[identity].agent("worker")

    def scripted(self, identity: str, script: Script | None = None) -> Scripted:
        """Return a node that says what the test says, in the place of a real one."""
        if identity in self.fleet.nodes:
            self.fleet.stop(identity)
        made = Scripted(self, identity, script)
        self._scripted.append(made)
        return made

    def close(self) -> None:
        for identity in self.fleet.nodes:
            self.worker(identity).gate.set()
        for scripted in self._scripted:
            scripted.connector.close()


def world_of(*identities: str, collectives: dict[str, list[str]] | None = None, **settings: Any) -> Iterator[World]:
    """Yield a fleet of real nodes of these names, the last two of them with a single worker."""
    defaults: dict[str, Any] = {
        "connector": "memory", "caller": CALLER, "discovery_window_s": 0.3, "discovery_timeout_s": LONG_S,
        "timeout_s": LONG_S,
    }  # fmt: skip
    node_settings: dict[str, Any] = {"libdir": [str(LIBDIR)], "drain_timeout_s": 5.0}
    hosts = {
        identity: {
            "facts": {"country": "de"},
            "settings": {
                **node_settings,
                **({"collectives": collectives[identity]} if collectives and identity in collectives else {}),
            },
        }
        for identity in identities
    }
    with MemoryFleet(hosts, ClientSettings(**{**defaults, **settings})) as fleet:
        made = World(fleet)
        try:
            yield made
        finally:
            made.close()


def answers(**fields: Any) -> Script:
    """Return a script that answers every request at once."""
    return lambda node, request: node.reply(request, **fields)


def one_after_the_other(*scripts: Script | None) -> Script:
    """Return a script that does something else with each request of an action, the last one for ever."""
    left = list(scripts)

    def answer(node: Scripted, request: Request) -> None:
        script = left.pop(0) if len(left) > 1 else left[0]
        if script is not None:
            script(node, request)

    return answer


def pauses(monkeypatch: pytest.MonkeyPatch, during: Callable[[], None] = lambda: None) -> list[float]:
    """Let pauses take no time; return a list of those that were made. ``during`` is what happens in them."""
    made: list[float] = []
    done = core._done

    def quickly(operation: core.Operation) -> Any:
        if not isinstance(operation, Pause):
            return done(operation)
        made.append(operation.seconds)
        during()
        return None

    monkeypatch.setattr(core, "_done", quickly)
    return made


def senders(results: Any) -> list[str]:
    return sorted(result.sender for result in results)


def spin(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < end, "it never came true"
        threading.Event().wait(0.001)


def until(seconds: float) -> None:
    """Wait until so much time has passed on the clock that deadlines are on."""
    end = time.monotonic() + seconds
    spin(lambda: time.monotonic() > end)


def came(client: ClientCore, send: Callable[[], None]) -> None:
    """Send an answer, and wait until it is in the inbox of the one call that is under way."""
    (inbox,) = set(client.connection._inboxes.values())
    before = inbox._arrivals.qsize()
    send()
    spin(lambda: inbox._arrivals.qsize() > before)
