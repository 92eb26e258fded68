# SPDX-License-Identifier: Apache-2.0
"""One call of an external agent beside one of an agent in Python, in process: what starting an executable costs."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path

from _fleet import median, row

from mco_client import RpcClient
from mco_lab.memory import MemoryFleet

SCHEMA = {
    "version": "1",
    "description": "Answer.",
    "external": {"protocol": 1},
    "actions": {"ask": {"description": "Answer", "outputs": {}}},
}
SCRIPTS = {
    "sh": "#!/bin/sh\necho '{}'\n",
    "perl": "#!/usr/bin/perl\nuse JSON::PP; decode_json(join '', <STDIN>); print '{}'\n",
    "python": "#!/usr/bin/python3\nimport json, sys\njson.load(sys.stdin)\nprint('{}')\n",
    "node": "#!/usr/bin/env node\nJSON.parse(require('fs').readFileSync(0)); console.log('{}')\n",
}
TARGETS_MS = {"sh": 5, "perl": 60, "python": 60, "node": 150}


def main() -> None:
    """Measure each language whose interpreter is here."""
    with tempfile.TemporaryDirectory() as folder:
        for name, script in SCRIPTS.items():
            if shutil.which("python3" if name == "python" else name):
                (Path(folder) / f"{name}.json").write_text(json.dumps({"name": name, **SCHEMA}))
                (Path(folder) / name).write_text(script)
                (Path(folder) / name).chmod(0o755)
        with MemoryFleet({"n0": {"settings": {"libdir": [folder]}}}) as fleet:
            # Not `ping`, which needs no worker.
            in_python = _ms(fleet, "rpcutil", "collective_info")
            print(row("one call, agent in Python", median(in_python), min(in_python), "ms", 1.5))
            for name in SCRIPTS:
                if name in fleet.nodes["n0"].agents():
                    times = _ms(fleet, name, "ask")
                    ratio = median(times) / median(in_python)
                    print(
                        row(
                            f"one call, external, {name} ({ratio:.0f} times)",
                            median(times),
                            min(times),
                            "ms",
                            TARGETS_MS[name],
                        )
                    )


def _ms(fleet: MemoryFleet, agent: str, action: str) -> list[float]:
    client = RpcClient(agent, fleet.connection())
    client.discover(nodes=["n0"])
    times = []
    for _ in range(50):
        began = time.perf_counter()
        client.call(action).require_ok()
        times.append((time.perf_counter() - began) * 1000)
    return times


if __name__ == "__main__":
    main()
