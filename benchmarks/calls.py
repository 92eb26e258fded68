# SPDX-License-Identifier: Apache-2.0
"""One call in process, nodes known, signed and verified both ways: how long until the last reply."""

from __future__ import annotations

import time

from _fleet import median, nodes, row

from mco_client import Connection, RpcClient

TARGETS_MS = {1: 1.5, 10: 8.0, 50: 40.0}


def main() -> None:
    """Measure 1, 10 and 50 real nodes, and a named node that is offline."""
    with nodes(1) as fleet, Connection(fleet.settings) as connection:
        for count, target in TARGETS_MS.items():
            fleet.start(count - len(fleet.processes))
            client = RpcClient("rpcutil", connection)
            client.discover(nodes=[f"n{number}" for number in range(count)])
            times = []
            for _ in range(20 + 1000 // count):
                began = time.perf_counter()
                client.ping().require_ok()
                times.append((time.perf_counter() - began) * 1000)
            print(row(f"one call, {count} real nodes", median(times), min(times), "ms", target))
        client.discover(nodes=["not-there"])
        times = []
        for _ in range(50):
            began = time.perf_counter()
            assert client.ping().offline == ("not-there",)
            times.append((time.perf_counter() - began) * 1000)
        print(row("a named node is offline", median(times), min(times), "ms", 50))


if __name__ == "__main__":
    main()
