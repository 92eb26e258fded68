# SPDX-License-Identifier: Apache-2.0
"""Whole processes of the command line against five real nodes, beside an empty Python; and what a node costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from _fleet import Nodes, median, nodes, row

MCO = str(Path(sys.executable).with_name("mco"))
RUNS = 11


def timed(command: list[str], environment: dict[str, str]) -> list[float]:
    """Return the seconds that each of some runs took; a run that fails ends the benchmark."""
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment)
        times.append(time.perf_counter() - began)
    return times[1:]


def memory(pid: int) -> dict[str, float]:
    """Return a process's memory in MiB by kind."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.endswith("kB")}


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def commands(fleet: Nodes) -> None:
    """Measure the command line."""
    environment = {**os.environ, "MCO_CONFIG": str(fleet.config)}
    measured = {
        "python -c pass": ([sys.executable, "-c", "pass"], 0.02),
        "mco --version": ([MCO, "--version"], 0.08),
        "mco ping, 5 nodes": ([MCO, "ping"], 0.6),
        "mco rpc with discovery, 5 nodes": ([MCO, "rpc", "rpcutil", "ping"], 0.6),
        "mco rpc, one named node": ([MCO, "inventory", "n0"], 0.35),
        "mco demo --memory": ([MCO, "demo", "--memory"], 2.0),
    }
    for what, (command, target) in measured.items():
        times = timed(command, environment)
        print(row(what, median(times), min(times), "s", target))


def cost(fleet: Nodes) -> None:
    """Measure the nodes, first as they are and then while nothing happens."""
    before = [cpu_s(process.pid) for process in fleet.processes]
    began = time.perf_counter()
    time.sleep(20)
    spent = sum(cpu_s(p.pid) for p in fleet.processes) - sum(before)
    idle = spent / len(before) / (time.perf_counter() - began) * 100
    pss = [memory(process.pid)["Pss"] for process in fleet.processes]
    rss = [memory(process.pid)["Rss"] for process in fleet.processes]
    print(row("a node: PSS", median(pss), min(pss), "MiB", 20))
    print(row("a node: RSS", median(rss), min(rss), "MiB", 34))
    print(row("a node: start-up until ready", median(fleet.start_up_s), min(fleet.start_up_s), "s", 0.3))
    print(row("a node: idle CPU", idle, idle, "%", 0.1))


if __name__ == "__main__":
    with nodes(5) as five:
        commands(five)
        cost(five)
