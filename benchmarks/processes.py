# SPDX-License-Identifier: Apache-2.0
"""Whole processes of the command line against five real nodes, beside an empty Python; and what a node costs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _fleet import Nodes, median, nodes, row

MCO = str(Path(sys.executable).with_name("mco"))
RUNS = 11


def completion(line: str, config: Path) -> dict[str, str]:
    """Return the environment in which a shell asks how a line may go on."""
    return {"MCO_CONFIG": str(config), "_MCO_COMPLETE": "bash", "_MCO_LINE": line, "_MCO_BREAKS": " \t\n\"'><=;|&(:"}


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
        "mco --help": ([MCO, "--help"], 0.2),
        "mco service --help": ([MCO, "service", "--help"], 0.12),
        "mco doctor, 5 nodes": ([MCO, "doctor"], 1.0),
        "mco ping, 5 nodes": ([MCO, "ping"], 0.6),
        "mco rpc with discovery, 5 nodes": ([MCO, "rpc", "rpcutil", "ping"], 0.6),
        "mco rpc, one named node": ([MCO, "inventory", "n0"], 0.35),
        "mco demo --memory": ([MCO, "demo", "--memory"], 2.0),
    }
    empty_s = 0.0
    for what, (command, target) in measured.items():
        times = timed(command, environment)
        empty_s = empty_s or min(times)
        print(row(what, median(times), min(times), "s", target), f" {min(times) / empty_s:.1f} x python -c pass")
    # The first key asks the fleet; what is measured is each one after it.
    with tempfile.TemporaryDirectory() as cache:
        for line in ("mco rpc rpcutil get_fact ", "mco find -I n", "mco service st"):
            environment = {**os.environ, "XDG_CACHE_HOME": cache, **completion(line, fleet.config)}
            while not list(Path(cache, "mco", "names").glob("*.json")):
                subprocess.run([MCO], check=True, capture_output=True, env=environment)
            times = timed([MCO], environment)
            what = f"completion of {line!r}"
            print(row(what, median(times), min(times), "s", 0.15), f" {min(times) / empty_s:.1f} x python -c pass")


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
