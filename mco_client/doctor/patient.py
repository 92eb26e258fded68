# SPDX-License-Identifier: Apache-2.0
"""Who is looked at: the settings, and once they are known the connection, the nodes and what these say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mco_client.connection import Connection
from mco_client.discovery import Discovered
from mco_client.results import Results
from mco_rpc.config import ClientSettings
from mco_rpc.filters import Filter

# A node that needs longer to say how it fares is not well.
TIMEOUT_S = 3.0


@dataclass
class Patient:
    """What is known so far; each look adds to it, and skips what needs what is missing.

    Attributes:
        connect: makes the connection.
        file: the configuration that was named, if one was.
        settings: None until the configuration could be read.
        connection: None until it could be made; whether the broker lets us in is another question.
        trusted: the identities whose keys we have.
        is_shut_out: whether no broker of the list lets us in.
        population: who is there; None until somebody looked.
        answers: what the nodes said, by the action of rpcutil that they were asked.
        asked_at: when they were, by this machine's clock.
        timeout_s: seconds to wait for the nodes' answers.
    """

    connect: Callable[[Path | None, Mapping[str, Any]], Connection]
    file: Path | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    node_filter: Filter = field(default_factory=Filter)
    timeout_s: float = TIMEOUT_S
    settings: ClientSettings | None = None
    connection: Connection | None = None
    trusted: frozenset[str] = frozenset()
    is_shut_out: bool = False
    population: Discovered | None = None
    answers: dict[str, Results] = field(default_factory=dict)
    asked_at: dict[str, float] = field(default_factory=dict)
