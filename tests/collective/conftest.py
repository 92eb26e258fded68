# SPDX-License-Identifier: Apache-2.0
"""A collective in this process, with a clock that only the tests move and callers that may send anything."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from mco_node.audit import MemoryAudit
from mco_node.daemon import Node
from mco_rpc import names
from mco_rpc.config import NodeSettings
from mco_rpc.connector import Packet, client_endpoint
from mco_rpc.connector.memory import MemoryBroker
from mco_rpc.errors import BrokerError
from mco_rpc.messages import Reply, Request, decode_reply, encode, new_id
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import Ed25519Security, for_caller, for_node

LIBDIR = Path(__file__).with_name("libdir")
COLLECTIVE = "mcollective"
WAIT_S = 20.0


class Clock:
    """Seconds since the epoch, as the test says."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class Caller:
    """Who asks, byte by byte if need be; listens under one reply key and believes every reply."""

    def __init__(self, collective: Collective, name: str, seed: bytes) -> None:
        self._collective = collective
        self.name = name
        self.security: Ed25519Security = for_caller(name, seed, {})
        self.reply_key = names.reply_key(self.security.principal, "test")
        self._changed = threading.Condition()
        self.packets: list[Packet] = []
        self.connector = collective.broker.connector()
        self.connector.open(client_endpoint(self.reply_key, COLLECTIVE), self)

    def on_packet(self, packet: Packet) -> None:
        with self._changed:
            self.packets.append(packet)
            self._changed.notify_all()

    def on_returned(self, packet: Packet) -> None: ...

    def on_connected(self) -> None: ...

    def on_disconnected(self, reason: BrokerError) -> None: ...

    @property
    def replies(self) -> list[Reply]:
        """What has come so far."""
        with self._changed:
            return [decode_reply(packet.body) for packet in self.packets]

    def request(self, agent: str = "rpcutil", action: str = "ping", **fields: Any) -> Request:
        """Return a good request, with ``fields`` in the place of its own."""
        values: dict[str, Any] = {
            "id": new_id(),
            "collective": COLLECTIVE,
            "agent": agent,
            "action": action,
            "caller": self.security.principal,
            "sender": "test",
            "sent_at": self._collective.clock(),
            "ttl_s": 10.0,
            "reply_to": self.reply_key,
            **fields,
        }
        return Request(**values)

    def packet(self, request: Request, node: str | None = None, **fields: Any) -> Packet:
        """Return a request as it is sent to one node, or to everybody."""
        body = encode(request)
        to_all = names.exchange(COLLECTIVE, names.BROADCAST), names.agent_key(request.agent)
        exchange, key = (names.exchange(COLLECTIVE, names.NODE), node) if node else to_all
        packet = Packet(
            exchange=exchange,
            key=key,
            body=body,
            type="request",
            message_id=request.id,
            correlation_id=request.id,
            signer=self.security.signer,
            signature=self.security.sign(body),
        )
        return dataclasses.replace(packet, **fields)

    def send(self, request: Request, node: str | None = "web1", **fields: Any) -> Request:
        """Send a request and return it."""
        self.connector.publish([self.packet(request, node, **fields)])
        return request

    def ask(self, agent: str, action: str, /, node: str = "web1", **data: Any) -> Reply:
        """Ask one node and return its reply."""
        return self.reply_to(self.send(self.request(agent, action, data=data), node))

    def reply_to(self, request: Request) -> Reply:
        """Return the one reply to a request, waiting for it."""
        (reply,) = self.replies_to(request, 1)
        return reply

    def replies_to(self, request: Request, count: int) -> list[Reply]:
        """Return the replies to a request, waiting until there are so many."""

        def ours() -> list[Reply]:
            return [reply for packet in self.packets if (reply := decode_reply(packet.body)).id == request.id]

        with self._changed:
            assert self._changed.wait_for(lambda: len(ours()) >= count, WAIT_S), f"{ours()} in {WAIT_S} s"
            return ours()


class Audit(MemoryAudit):
    """An audit that can be waited for: a record may come from any thread."""

    def __init__(self) -> None:
        super().__init__(10_000)
        self._changed = threading.Condition()

    def record(self, entry: dict[str, Any]) -> None:
        with self._changed:
            super().record(entry)
            self._changed.notify_all()

    def of(self, request_id: str, count: int) -> list[dict[str, Any]]:
        """Return the records of a request, waiting until there are so many."""

        def ours() -> list[dict[str, Any]]:
            return [entry for entry in self.entries if entry["request"] == request_id]

        with self._changed:
            assert self._changed.wait_for(lambda: len(ours()) >= count, WAIT_S), f"{ours()} in {WAIT_S} s"
            return ours()


class Collective:
    """Nodes and callers around one memory broker; every node has the faulty agent, and trusts ``operator``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.clock = Clock()
        self.broker = MemoryBroker()
        self._seeds: dict[str, bytes] = {}
        self.trusted: dict[str, bytes] = {}
        self.callers: list[Caller] = []
        self.nodes: list[Node] = []
        self.audits: dict[str, Audit] = {}

    def caller(self, name: str = "operator", *, is_trusted: bool = True) -> Caller:
        """Return a caller with a key of its own."""
        seed = keys.new_seed()
        if is_trusted:
            self.trusted[name] = keys.public_of(seed)
        made = Caller(self, name, seed)
        self.callers.append(made)
        return made

    def node(
        self,
        identity: str = "web1",
        *,
        facts: dict[str, Any] | None = None,
        classes: list[str] | None = None,
        is_awaited: bool = True,
        **settings: Any,
    ) -> Node:
        """Return a node that was started and, unless it cannot, has connected."""
        folder = self._folder / identity
        folder.mkdir(exist_ok=True)
        (folder / "facts.yaml").write_text(yaml.safe_dump(facts or {"country": "de"}))
        (folder / "classes.yaml").write_text(yaml.safe_dump(classes or ["dev_server"]))
        values = {
            "identity": identity,
            "connector": "memory",
            "facts_file": str(folder / "facts.yaml"),
            "classes_file": str(folder / "classes.yaml"),
            "facts_dir": str(folder / "facts.d"),
            "libdir": [str(LIBDIR)],
            "agents": {"iptables": {"backend": "memory"}},
            **settings,
        }
        security = for_node(identity, self._seeds.setdefault(identity, keys.new_seed()), self.trusted)
        audit = self.audits.setdefault(identity, Audit())
        made = Node(
            msgspec.convert(values, NodeSettings),
            self.broker.connector(),
            security,
            clock=self.clock,
            monotonic=self.clock,
            audit=audit,
        )
        self.nodes.append(made)
        made.start()
        assert not is_awaited or made.is_connected.wait(WAIT_S)
        return made

    def folder(self, identity: str = "web1") -> Path:
        """Return where a node's files are."""
        return self._folder / identity

    def records(self, request: Request, identity: str = "web1", *, count: int = 1) -> list[dict[str, Any]]:
        """Return a node's audit records of a request, waiting until there are so many."""
        return self.audits[identity].of(request.id, count)

    def close(self) -> None:
        """Let everything that waits go on, and stop."""
        for node in self.nodes:
            if "faulty" in node.agents():
                node.agent("faulty").gate.set()  # type: ignore[attr-defined]
        for caller in self.callers:
            caller.connector.close()
        for node in self.nodes:
            node.stop()


@pytest.fixture
def collective(tmp_path: Path) -> Iterator[Collective]:
    """An empty collective."""
    made = Collective(tmp_path)
    yield made
    made.close()


@pytest.fixture
def caller(collective: Collective) -> Caller:
    """A caller whom every node trusts."""
    return collective.caller()


@pytest.fixture
def node(collective: Collective, caller: Caller) -> Node:
    """A node named ``web1``."""
    return collective.node()
