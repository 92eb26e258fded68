# SPDX-License-Identifier: Apache-2.0
"""How the machine is asked by a command: whoever asks brings what runs it, and with it the deadline."""

from __future__ import annotations

from typing import Protocol

from mco_rpc.command import MAX_OUTPUT_BYTES, Completed


class Run(Protocol):
    """Runs a command to its end; `Agent.run` and `DataSource.run` are two."""

    def __call__(self, *argv: str, check: bool = False, max_output_bytes: int = MAX_OUTPUT_BYTES) -> Completed:
        """Return how the command ended; with ``check`` a status other than 0 raises `ActionAborted`."""
