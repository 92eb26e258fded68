# SPDX-License-Identifier: Apache-2.0
"""Units of systemd, as `systemctl` prints them. Nothing is changed here."""

from __future__ import annotations

import time
from pathlib import Path

from mco_rpc.errors import ActionAborted
from mco_rpc.validation import shown

from .init_scripts import has_start_link
from .run import Run
from .service_state import ServiceState

MANAGER = "systemd"
RUNNING_HERE = Path("/run/systemd/system")
# A host of many units has more to say than other commands may.
MAX_LIST_BYTES = 8 * 1024 * 1024
PROPERTIES = (
    "Id,LoadState,LoadError,ActiveState,SubState,UnitFileState,Result,ExecMainStatus,MainPID,Type,Description,"
    "CanReload,InvocationID,NRestarts,StateChangeTimestampMonotonic,TriggeredBy"
)
_LISTED = "Id,LoadState,ActiveState,SubState,UnitFileState,Result,MainPID,Description"
_STATUS = {
    "active": "running",
    "reloading": "running",
    "refreshing": "running",
    "activating": "starting",
    "deactivating": "stopping",
    "failed": "failed",
}


def runs_here() -> bool:
    """Say whether systemd runs this host."""
    return RUNNING_HERE.is_dir()


def look(name: str, run: Run) -> ServiceState:
    """Return the state of a unit; without a suffix it is a service."""
    printed = run("systemctl", "show", f"--property={PROPERTIES}", "--", name, check=True).stdout
    return of_unit(printed, name)


def listed(run: Run) -> list[ServiceState]:
    """Return the state of all services, also of those that were never needed."""
    printed = run(
        "systemctl", "show", f"--property={_LISTED}", "--", "*.service", check=True, max_output_bytes=MAX_LIST_BYTES
    ).stdout
    found = {unit.name: unit for unit in (of_unit(block, "") for block in printed.split("\n\n") if block.strip())}
    for name, enabled in _files(run, "--type=service").items():
        if name not in found and "@." not in name:
            found[name] = ServiceState(name, MANAGER, "stopped", _enabled(name, enabled), state="inactive")
    return sorted((unit for unit in found.values() if unit.is_present), key=lambda unit: unit.name)


def names(run: Run) -> list[str]:
    """Return the names of all units that have a file, services without their suffix."""
    return [name.removesuffix(".service") for name in _files(run)]


def of_unit(printed: str, name: str) -> ServiceState:
    """Return what ``systemctl show`` printed about one unit.

    Raises:
        ActionAborted: it said nothing of the kind.
    """
    seen = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    if not {"LoadState", "ActiveState"} <= seen.keys():
        raise ActionAborted(f"systemctl did not say the state of {name or 'units'}, but {shown(printed)}")
    is_present, state = seen["LoadState"] != "not-found", seen["ActiveState"]
    unit = seen.get("Id") or name
    began_us = _number(seen.get("StateChangeTimestampMonotonic"))
    return ServiceState(
        name=unit,
        manager=MANAGER,
        status=_STATUS.get(state, "stopped" if is_present else "missing"),
        enabled=_enabled(unit, seen.get("UnitFileState", "")),
        state=state,
        substate=seen.get("SubState", ""),
        result=seen.get("Result", ""),
        exit_status=_number(seen.get("ExecMainStatus")),
        kind=seen.get("Type", ""),
        description=seen.get("Description", "") if is_present else "",
        pid=_number(seen.get("MainPID")) or None,
        can_reload=seen.get("CanReload", "yes") == "yes",
        invocation=seen.get("InvocationID", ""),
        restarts=_number(seen.get("NRestarts")) or 0,
        since=time.time() - time.monotonic() + began_us / 1e6 if began_us else None,
        triggered_by=tuple(seen.get("TriggeredBy", "").split()),
        load_error=seen.get("LoadError", "") if seen["LoadState"] in ("error", "bad-setting") else "",
        is_present=is_present,
    )


def _enabled(unit: str, said: str) -> str:
    """Return whether it is enabled; systemd says of the units it makes of init scripts only that it made them."""
    if said != "generated":
        return said
    return "enabled" if has_start_link(unit.removesuffix(".service")) else "disabled"


def _files(run: Run, *options: str) -> dict[str, str]:
    """Return the state of all unit files, by name."""
    printed = run(
        "systemctl",
        "list-unit-files",
        "--no-legend",
        "--no-pager",
        "--full",
        *options,
        check=True,
        max_output_bytes=MAX_LIST_BYTES,
    ).stdout
    return {words[0]: words[1] for words in map(str.split, printed.splitlines()) if len(words) > 1}


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
