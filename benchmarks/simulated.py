# SPDX-License-Identifier: Apache-2.0
"""One call to very many nodes, of which only the answers are real: what the client and the broker cost.

A process stands for all nodes: it takes the one broadcast and answers under every name, each answer signed with that
node's key. Making the signatures is no part of what is measured, but shares the machine with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
from _fleet import Nodes, median, nodes, row

from mco_client import Connection, RpcClient
from mco_rpc import names
from mco_rpc.config import BrokerSettings
from mco_rpc.connector import Endpoint, Packet
from mco_rpc.connector.rabbitmq import RabbitmqConnector
from mco_rpc.errors import BrokerError
from mco_rpc.messages import Reply, decode_request, encode
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import Ed25519Security, for_node

TARGETS_MS = {100: 15.0, 1_000: 130.0, 5_000: 650.0, 10_000: 1_400.0}
COLLECTIVE = "mcollective"


class Crowd:
    """Answers a broadcast under many names."""

    def __init__(self, url: str, seeds: dict[str, bytes]) -> None:
        self._nodes: dict[str, Ed25519Security] = {name: for_node(name, seed, {}) for name, seed in seeds.items()}
        self._connector = RabbitmqConnector(BrokerSettings(brokers=(url,)))
        self.is_connected = threading.Event()

    def open(self) -> None:
        """Take what is asked of everybody."""
        bindings = ((names.exchange(COLLECTIVE, names.BROADCAST), names.agent_key("rpcutil")),)
        self._connector.open(Endpoint("mco.node.crowd", (COLLECTIVE,), bindings), self)

    def on_packet(self, packet: Packet) -> None:
        """Answer under each name that is asked."""
        request = decode_request(packet.body)
        for name in request.targets or ():
            security = self._nodes[name]
            body = encode(
                Reply(
                    id=request.id,
                    collective=COLLECTIVE,
                    agent=request.agent,
                    action=request.action,
                    sender=name,
                    sent_at=time.time(),
                    data={"pong": 1.0},
                )
            )
            signed = security.sign(body)
            exchange, key = names.exchange(COLLECTIVE, names.REPLY), request.reply_to or ""
            self._connector.publish([Packet(exchange, key, body, "reply", request.id, name, signed, request.id)])

    def on_returned(self, packet: Packet) -> None:
        """Do nothing."""

    def on_connected(self) -> None:
        """Let the measuring begin."""
        self.is_connected.set()

    def on_disconnected(self, reason: BrokerError) -> None:
        """Say why nothing will come."""
        print(reason, file=sys.stderr)


def answer(url: str, file: str) -> None:
    """Stand for the nodes whose seeds are in a file, until standard input ends."""
    crowd = Crowd(url, msgspec.json.decode(Path(file).read_bytes(), type=dict[str, bytes]))
    crowd.open()
    crowd.is_connected.wait(30)
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)


def measure(fleet: Nodes) -> None:
    """Measure each size."""
    identities = [f"n{number}" for number in range(max(TARGETS_MS))]
    for name in identities:
        keys.generate(fleet.folder / f"{name}.key", fleet.folder / "nodes" / f"{name}.pub")
    seeds = {name: keys.read_private(fleet.folder / f"{name}.key") for name in identities}
    file = fleet.folder / "seeds.json"
    file.write_bytes(msgspec.json.encode(seeds))
    command = [sys.executable, __file__, fleet.url, str(file)]
    crowd = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert crowd.stdout is not None
        assert crowd.stdout.readline()
        settings = msgspec.structs.replace(fleet.settings, direct_limit=0)
        with Connection(settings) as connection:
            for count, target in TARGETS_MS.items():
                client = RpcClient("rpcutil", connection, timeout_s=60.0)
                client.discover(nodes=identities[:count])
                times = []
                for _ in range(max(5, 2000 // count)):
                    began = time.perf_counter()
                    client.ping().require_ok()
                    times.append((time.perf_counter() - began) * 1000)
                print(row(f"one call, {count:,} simulated nodes", median(times), min(times), "ms", target))
    finally:
        crowd.communicate(b"")


def main() -> None:
    """Measure, or stand for the nodes."""
    if len(sys.argv) > 1:
        answer(*sys.argv[1:])
        return
    with nodes(0) as fleet:
        measure(fleet)


if __name__ == "__main__":
    main()
