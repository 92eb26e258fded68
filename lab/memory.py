# SPDX-License-Identifier: Apache-2.0
"""Nodes in this process over the memory connector: no root, no broker, no network; the embedded default.

They are real nodes with real agents, signatures and filters; only the broker and the packet filter are kept
in memory. The one place of the lab that imports the node.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import yaml

from mco_client.connection import Connection
from mco_node.audit import MemoryAudit
from mco_node.daemon import Node
from mco_rpc.config import ClientSettings, NodeSettings
from mco_rpc.connector.memory import MemoryBroker, MemoryConnector
from mco_rpc.errors import BrokerUnreachable
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import for_caller, for_node

from .spec import read as read_spec

CALLER = "operator"


class MemoryFleet:
    """A fleet of in-process nodes, up while the context lasts.

    Args:
        hosts: identity -> ``{"classes": [...], "facts": {...}}``, and ``"settings"`` of the node where they differ.
    """

    def __init__(self, hosts: Mapping[str, Mapping[str, Any]], settings: ClientSettings | None = None) -> None:
        self._settings = settings or ClientSettings(connector="memory", caller=CALLER, discovery_window_s=0.05)
        self._hosts = hosts
        self._caller_seed = keys.new_seed()
        self._node_seeds = {identity: keys.new_seed() for identity in hosts}
        self._connections: list[Connection] = []
        self.broker = MemoryBroker()
        self.connectors: dict[str, MemoryConnector] = {}
        self.nodes: dict[str, Node] = {}
        self.audits: dict[str, MemoryAudit] = {}

    @classmethod
    def of_hosts(cls, **facts: Mapping[str, Any]) -> MemoryFleet:
        """Return a fleet of hosts with facts and no classes."""
        return cls({identity: {"facts": values} for identity, values in facts.items()})

    @classmethod
    def of_demo(cls) -> MemoryFleet:
        """Return the hosts of the bundled ``firewall.yaml``, the plain ones left out."""
        return cls.of_spec(Path(__file__).with_name("firewall.yaml"))

    @classmethod
    def of_spec(cls, file: Path) -> MemoryFleet:
        """Return the hosts that a lab's file describes, the plain ones left out."""
        hosts = read_spec(file).hosts
        return cls({h.identity: {"classes": h.classes, "facts": h.facts} for h in hosts if h.has_node})

    def __enter__(self) -> MemoryFleet:
        self._folder = tempfile.TemporaryDirectory(prefix="mco-memory-")
        try:
            for identity in self._hosts:
                self.start(identity)
            self._await_nodes()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections:
            connection.close()
        for identity in list(self.nodes):
            self.stop(identity)
        self._folder.cleanup()

    def _await_nodes(self) -> None:
        for identity, node in self.nodes.items():
            if not node.is_connected.wait(10):
                raise BrokerUnreachable(f"node {identity} did not connect to the memory broker within 10 s")

    def start(self, identity: str) -> Node:
        """Start a node of the fleet."""
        host = self._hosts[identity]
        folder = Path(self._folder.name) / identity
        folder.mkdir(exist_ok=True)
        (folder / "facts.yaml").write_text(yaml.safe_dump(dict(host.get("facts", {}))))
        (folder / "classes.yaml").write_text(yaml.safe_dump(list(host.get("classes", []))))
        values = {
            "identity": identity,
            "connector": "memory",
            "facts_file": str(folder / "facts.yaml"),
            "classes_file": str(folder / "classes.yaml"),
            "facts_dir": str(folder / "facts.d"),
            "agents": {"iptables": {"backend": "memory"}},
            **host.get("settings", {}),
        }
        settings = msgspec.convert(values, NodeSettings)
        connector = self.connectors[identity] = self.broker.connector()
        trusted = {self._settings.caller: keys.public_of(self._caller_seed)}
        security = for_node(identity, self._node_seeds[identity], trusted)
        audit = self.audits.setdefault(identity, MemoryAudit())
        node = self.nodes[identity] = Node(settings, connector, security, audit=audit)
        node.start()
        return node

    def stop(self, identity: str) -> None:
        """Stop a node of the fleet."""
        self.nodes.pop(identity).stop()

    def folder(self, identity: str) -> Path:
        """Return where a node's facts and classes are."""
        return Path(self._folder.name) / identity

    def connection(self) -> Connection:
        """Return a new connection of the fleet's one caller; it is closed with the fleet."""
        trusted = {identity: keys.public_of(seed) for identity, seed in self._node_seeds.items()}
        security = for_caller(self._settings.caller, self._caller_seed, trusted)
        made = Connection(self._settings, connector=self.broker.connector, security=security)
        self._connections.append(made)
        return made
