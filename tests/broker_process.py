# SPDX-License-Identifier: Apache-2.0
"""Keep one private RabbitMQ for a whole test run; a program that outlives the worker which started it.

Ends, and leaves nothing behind, when it is told to or when the run it belongs to has ended, however that ended.
Must not be imported by tests: they use the fixtures of conftest.py.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
from pathlib import Path

from mco_lab.broker import Broker, free_port
from mco_rpc.errors import McoError

VHOSTS = 24


def main(folder: Path, run_pid: int) -> None:
    """Start a broker in ``folder``, print how it is reached, and keep it until process ``run_pid`` is gone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        port, dist_port, epmd_port = free_port(), free_port(), free_port()
        with Broker(folder / "rabbitmq", vhosts=VHOSTS, port=port, dist_port=dist_port, epmd_port=epmd_port) as broker:
            ports = {"port": port, "dist_port": dist_port, "epmd_port": epmd_port}
            reached = {"folder": str(broker.folder), **ports, "password": broker.passwords[broker.user]}
            _say(json.dumps(reached))
            _await_end_of(run_pid)
    except McoError as e:
        _say(json.dumps({"error": str(e)}))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _say(text: str) -> None:
    """Print the one line that the worker waits for, and let go of its pipe."""
    print(text, flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _await_end_of(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
