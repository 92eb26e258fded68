# SPDX-License-Identifier: Apache-2.0
"""What a fleet can be asked by name: nodes, agents, facts, classes; kept for some minutes for whoever completes a line.

Whoever reads it gets what is there, at once or after a short wait; a process of its own asks the fleet meanwhile.
Nothing here ever raises, prints or asks the user for anything: without an answer, there are no names.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mco_client import cached

FRESH_S = 300.0
# Where the fleet gave nothing, it is not asked at each press of the key.
RETRY_S = 30.0
# Who presses the key waits so long at most, and only if nothing at all is known.
WAIT_S = 0.5
MAX_BYTES = 4 * 1024 * 1024
# Says no where nobody but its user may cause traffic.
SWITCH = "MCO_COMPLETE_LIVE"


class AgentName(msgspec.Struct, frozen=True, omit_defaults=True):
    """An agent: the digest of its schema, and what that says it is for; empty if nobody gave it."""

    digest: str = ""
    about: str = ""


class Names(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was seen.

    Attributes:
        seen_at: seconds since the epoch; 0 for never.
        facts: name -> some of its values, as a filter takes them.
    """

    seen_at: float = 0.0
    nodes: tuple[str, ...] = ()
    agents: dict[str, AgentName] = {}
    facts: dict[str, tuple[str, ...]] = {}
    classes: tuple[str, ...] = ()
    collectives: tuple[str, ...] = ()


def names(config: Path | None, collective: str | None) -> Names:
    """Return what is known of the fleet that these options lead to; have it asked if that is old, or nothing."""
    file = file_of(config, collective)
    if file is None:
        return Names()
    known = read(file)
    if time.time() - known.seen_at > FRESH_S and _is_allowed(os.environ) and _take_turn(file):
        asking = _ask(config, collective, file)
        if asking is not None and not known.seen_at:
            _await(asking)
            known = read(file)
    return known


def read(file: Path) -> Names:
    """Return what a file holds; nothing if it cannot be read."""
    with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(cached.read(file, MAX_BYTES), type=Names)
    return Names()


def write(file: Path, seen: Names) -> None:
    """Keep what was seen; what cannot be kept is seen again."""
    with contextlib.suppress(OSError):
        cached.make(file.parent)
        cached.write(file, msgspec.json.encode(seen))


def file_of(config: Path | None, collective: str | None) -> Path | None:
    """Return where the names of a fleet are kept; None without a home."""
    environment = {name: text for name, text in os.environ.items() if name != "MCO_RECORD"}
    folder = cached.folder_of("names", environment)
    if folder is None:
        return None
    settings = sorted((name, text) for name, text in environment.items() if name.startswith("MCO_") and name != SWITCH)
    where = repr((str(config and config.absolute()), collective, settings))
    return folder / f"{hashlib.sha256(where.encode('utf-8', 'replace')).hexdigest()[:32]}.json"


def _is_allowed(environment: Mapping[str, str]) -> bool:
    is_recorded = bool(environment.get("MCO_REPLAY")) or environment.get("MCO_CONNECTOR") == "replay"
    return not is_recorded and environment.get(SWITCH, "").lower() not in ("0", "no", "false", "off")


def _take_turn(file: Path) -> bool:
    """Say whether it is ours to ask: nobody did just now."""
    mark = file.with_suffix(".asked")
    with contextlib.suppress(OSError):
        cached.make(file.parent)
        if not mark.exists() or time.time() - mark.lstat().st_mtime > RETRY_S:
            cached.write(mark, b"")
            return True
    return False


def _ask(config: Path | None, collective: str | None, file: Path) -> int | None:
    """Start the process that asks, and leave it alone; without a terminal, nothing in it can ask for a password."""
    environment = {name: text for name, text in os.environ.items() if name not in ("MCO_RECORD", "_MCO_COMPLETE")}
    command = [sys.executable, "-P", "-m", "mco_client.cli.ask_names", str(file), str(config or ""), collective or ""]
    nothing = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in range(3)]
    with contextlib.suppress(OSError):
        return os.posix_spawn(sys.executable, command, environment, file_actions=nothing, setsid=True)
    return None


def _await(pid: int) -> None:
    """Wait for a process for a moment; it may live on."""
    with contextlib.suppress(OSError):
        process = os.pidfd_open(pid)
        try:
            select.select([process], [], [], WAIT_S)
        finally:
            os.close(process)
