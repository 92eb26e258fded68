# SPDX-License-Identifier: Apache-2.0
"""Services of System V init: scripts in one folder, and links to them in the folders of the run levels."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from mco_rpc.command import Completed
from mco_rpc.errors import ActionAborted

from .run import Run
from .service_state import ServiceState

MANAGER = "init"
SCRIPTS = Path("/etc/init.d")
RUN_LEVELS = Path("/etc")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SAYS_STATUS = re.compile(rb"status|init-d-script")
# The exit status of an init script that is asked for its status, as the Linux Standard Base has it.
_RUNS, _DEAD, _DEAD_LOCKED, _STOPPED = range(4)
_STATUS = {_RUNS: "running", _DEAD: "failed", _DEAD_LOCKED: "failed", _STOPPED: "stopped"}


def any_here() -> bool:
    """Say whether there are init scripts."""
    return SCRIPTS.is_dir() and any(SCRIPTS.iterdir())


def names() -> list[str]:
    """Return the names of all scripts that can be run."""
    return sorted(path.name for path in SCRIPTS.iterdir() if _is_script(path))


def look(name: str, run: Run) -> ServiceState:
    """Return the state of a service as its script says it.

    Raises:
        ActionAborted: the script fails at that.
    """
    script = SCRIPTS / name
    if not _is_script(script):
        return ServiceState(name, MANAGER, "missing", "", is_present=False)
    enabled = "enabled" if has_start_link(name) else "disabled"
    if not _SAYS_STATUS.search(script.read_bytes()):
        return ServiceState(name, MANAGER, "unknown", enabled)
    done = call(name, "status", run)
    if done.returncode not in _STATUS:
        raise ActionAborted(f"it cannot say its status: {done}")
    return ServiceState(name, MANAGER, _STATUS[done.returncode], enabled, state=f"exit status {done.returncode}")


def listed(run: Run) -> list[ServiceState]:
    """Return the state of all services; one whose script cannot say it hides no other."""
    found = []
    for name in names():
        try:
            found.append(look(name, run))
        except ActionAborted:
            found.append(ServiceState(name, MANAGER, "unknown", "enabled" if has_start_link(name) else "disabled"))
    return found


def call(name: str, word: str, run: Run) -> Completed:
    """Run a script as at the start of the host: what the daemon has in its environment is not for it."""
    return run("env", "-i", f"PATH={_PATH}", str(SCRIPTS / name), word)


def has_start_link(name: str) -> bool:
    """Say whether an init script is started in any of the run levels with users."""
    return any(RUN_LEVELS.glob(f"rc[2-5].d/S[0-9][0-9]{glob.escape(name)}"))


def _is_script(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK) and path.name != "README"
