# SPDX-License-Identifier: Apache-2.0
"""Real nodes on a private RabbitMQ without namespaces, so that nothing but the project itself is measured."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mco_lab.broker import Broker
from mco_rpc.config import ClientSettings
from mco_rpc.security import keys


@dataclass
class Nodes:
    """N processes of mco-node, ready."""

    folder: Path
    url: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    start_up_s: list[float] = field(default_factory=list)

    @property
    def settings(self) -> ClientSettings:
        """The settings of the one caller."""
        return ClientSettings(
            brokers=(self.url,),
            caller="operator",
            key_file=str(self.folder / "operator.key"),
            trusted_nodes=str(self.folder / "nodes"),
        )

    @property
    def config(self) -> Path:
        """The same as a file, for the command line."""
        file = self.folder / "client.yaml"
        file.write_text(
            f"caller: operator\nbrokers: ['{self.url}']\nkey_file: {self.folder}/operator.key\n"
            f"trusted_nodes: {self.folder}/nodes\n"
        )
        return file

    def start(self, count: int) -> None:
        """Start more nodes, one after the other, and wait for each."""
        for number in range(len(self.processes), len(self.processes) + count):
            self._start(f"n{number}")

    def _start(self, name: str) -> None:
        folder = self.folder
        keys.generate(folder / f"{name}.key", folder / "nodes" / f"{name}.pub")
        (folder / f"{name}.facts.yaml").write_text("country: de\n")
        (folder / f"{name}.yaml").write_text(
            f"identity: {name}\nbrokers: ['{self.url}']\nkey_file: {folder}/{name}.key\n"
            f"trusted_callers: {folder}/callers\nfacts_file: {folder}/{name}.facts.yaml\n"
            f"audit_file: {folder}/{name}.audit.jsonl\nagents: {{iptables: {{backend: memory}}}}\n"
        )
        read_end, write_end = os.pipe()
        began = time.perf_counter()
        command = [str(Path(sys.executable).with_name("mco-node")), "run", "--config", f"{folder}/{name}.yaml"]
        with (folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                [*command, "--ready-fd", str(write_end)], pass_fds=(write_end,), stdout=log, stderr=log
            )
        os.close(write_end)
        self.processes.append(process)
        is_ready = os.read(read_end, 16)
        self.start_up_s.append(time.perf_counter() - began)
        os.close(read_end)
        if not is_ready:
            raise SystemExit(f"node {name} ended:\n{(folder / f'{name}.log').read_text()}")

    def stop(self) -> None:
        """End all of them."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()


@contextlib.contextmanager
def nodes(count: int) -> Iterator[Nodes]:
    """Yield ``count`` nodes and their broker."""
    with Broker() as broker, tempfile.TemporaryDirectory(prefix="mco-bench-") as name:
        folder = Path(name)
        keys.generate(folder / "operator.key", folder / "callers" / "operator.pub")
        fleet = Nodes(folder, broker.url)
        try:
            fleet.start(count)
            yield fleet
        finally:
            fleet.stop()


def row(what: str, median: float, best: float, unit: str, target: float) -> str:
    """Return a line of a table: median, minimum, target."""
    return f"{what:<44} {median:>9.2f} {best:>9.2f} {unit:<4} target {target:g}"


def median(values: list[float]) -> float:
    """Return the middle one."""
    return sorted(values)[len(values) // 2]
