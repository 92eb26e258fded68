# SPDX-License-Identifier: Apache-2.0
"""``python -m mco_client.bdd FEATURE...``: behave with the bundled runner, whatever folder this is."""

from __future__ import annotations

import sys
from collections.abc import Sequence

RUNNER = "mco_client.bdd.runner:FleetRunner"


def run(arguments: Sequence[str]) -> int:
    """Run behave in this process, away from any configuration of the current folder; return its exit status."""
    from behave.__main__ import run_behave
    from behave.configuration import Configuration

    status: int = run_behave(Configuration(["--runner", RUNNER, *arguments], load_config=False))
    return status


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
