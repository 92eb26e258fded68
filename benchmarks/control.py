# SPDX-License-Identifier: Apache-2.0
"""What a daemon's end and its replacement cost: seconds to stop, and the longest time in which nobody was answered."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

from _fleet import Nodes, median, nodes, row

from mco_client.connection import Connection
from mco_client.rpc import RpcClient

RUNS = 10
QUIET_S = 2.0


def stop(fleet: Nodes) -> None:
    """Measure from TERM to the end of the process."""
    times = []
    for process in fleet.processes[1:]:
        began = time.perf_counter()
        process.terminate()
        process.wait()
        times.append(time.perf_counter() - began)
    print(row("stop of an idle node", median(times), min(times), "s", 0.3))


class Asking:
    """Asks one node again and again, as fast as it answers, and notes when."""

    def __init__(self, connection: Connection) -> None:
        self._client = RpcClient("rpcutil", connection, timeout_s=30.0)
        self._client.discover(nodes=["n0"])
        self._is_over = threading.Event()
        self.answered_at: list[float] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Ask no more."""
        self._is_over.set()
        self._thread.join()

    def gap_s(self, since: float) -> float:
        """Return the longest time without an answer since a moment."""
        moments = [since, *(moment for moment in list(self.answered_at) if moment > since)]
        return max(after - before for before, after in itertools.pairwise(moments))

    def _run(self) -> None:
        while not self._is_over.is_set():
            self._client.ping().require_ok()
            self.answered_at.append(time.perf_counter())


def restart(fleet: Nodes) -> None:
    """Measure restarts, and the longest gap between two answers while they happen, beside one without them."""
    with Connection(fleet.settings) as connection:
        controller = RpcClient("controller", connection)
        controller.discover(nodes=["n0"])
        asking = Asking(connection)
        took_s, gaps_s, pid = [], [], 0
        time.sleep(QUIET_S)  # the first question asks for the schema, too
        began = time.perf_counter()
        time.sleep(QUIET_S)
        quiet_s = asking.gap_s(began)
        for _ in range(RUNS):
            began = time.perf_counter()
            (result,) = controller.restart().require_ok()
            pid = result.data["after"]["pid"]
            took_s.append(time.perf_counter() - began)
            time.sleep(0.5)
            gaps_s.append(asking.gap_s(began))
        asking.end()
        controller.exit().require_ok()
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.01)
    print(row("restart, until it is said", median(took_s), min(took_s), "s", 1.0))
    print(row("longest gap between answers, no restart", quiet_s, quiet_s, "s", 0.05))
    print(row("longest gap between answers, restart", median(gaps_s), min(gaps_s), "s", 0.2))


if __name__ == "__main__":
    with nodes(6) as six:
        stop(six)
        restart(six)
