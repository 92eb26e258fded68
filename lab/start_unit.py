# SPDX-License-Identifier: Apache-2.0
"""Enable and start a unit and say when it runs: a program for a systemd host, with little imported."""

import os
import subprocess
import sys

_JOURNAL_LINES = "60"


def main() -> None:
    """Start the unit that is named, for whoever waits at the descriptor that is given; fail with its journal."""
    unit, ready_fd = sys.argv[1], int(sys.argv[2])
    subprocess.run(["systemctl", "--quiet", "enable", unit], check=True, stderr=subprocess.DEVNULL)
    if subprocess.run(["systemctl", "start", unit], check=False).returncode:
        journal = ["journalctl", "--unit", unit, "--lines", _JOURNAL_LINES, "--output=cat", "--no-pager", "--quiet"]
        subprocess.run(journal, check=False)
        sys.exit(1)
    os.write(ready_fd, b"READY\n")
