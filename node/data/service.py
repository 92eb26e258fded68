# SPDX-License-Identifier: Apache-2.0
"""The data source about services: units of systemd where that runs the host, init scripts elsewhere."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mco_rpc.data import DataSource, Input, Output
from mco_rpc.errors import ActionAborted, FilterError
from mco_rpc.validation import shown

ARGUMENTS = {"name": Input("string", "Name of a service or of another unit", max_length=255)}
FIELDS = {
    "present": Output("boolean", "Whether there is such a service"),
    "status": Output("string", "running, starting, stopping, stopped or missing"),
    "failed": Output("boolean", "Whether it stopped because it failed"),
    "enabled": Output("boolean", "Whether it starts with the host"),
    "state": Output("string", "The same in the words of what manages it, such as active or exit status 3"),
    "manager": Output("string", "What manages it: systemd or init"),
}
# No "/", for it names a script below a folder; nothing that systemctl reads as a pattern or an option.
_NAME = re.compile(r"[A-Za-z0-9_:@][A-Za-z0-9_.:@\\+-]*\Z")
SYSTEMD = Path("/run/systemd/system")
SCRIPTS = Path("/etc/init.d")
RUN_LEVELS = Path("/etc")
_STATUS = {
    "active": "running",
    "reloading": "running",
    "refreshing": "running",
    "activating": "starting",
    "deactivating": "stopping",
}
_ENABLED = ("enabled", "enabled-runtime", "alias")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SAYS_STATUS = re.compile(rb"status|init-d-script")
# The exit status of an init script that is asked for its status, as the Linux Standard Base has it.
_RUNS, _DEAD, _DEAD_LOCKED, _STOPPED = range(4)


class Service(DataSource):
    """Say whether a service runs, and whether it starts with the host."""

    arguments = ARGUMENTS
    fields = FIELDS

    @staticmethod
    def activate_when(settings: object) -> str | None:
        """Ask for something that manages services."""
        if SYSTEMD.is_dir() or (SCRIPTS.is_dir() and any(SCRIPTS.iterdir())):
            return None
        return f"neither systemd runs here nor are there init scripts in {SCRIPTS}"

    def query(self, name: str) -> dict[str, Any]:
        """Ask whatever manages services here."""
        if not _NAME.match(name):
            raise FilterError(f"expected the name of a service such as cron or getty@tty1, got {shown(name)}")
        return self._unit(name) if SYSTEMD.is_dir() else self._script(name)

    def _unit(self, name: str) -> dict[str, Any]:
        properties = "LoadState,ActiveState,UnitFileState"
        return of_unit(self.run("systemctl", "show", f"--property={properties}", "--", name, check=True).stdout, name)

    def _script(self, name: str) -> dict[str, Any]:
        script = SCRIPTS / name
        if not (script.is_file() and os.access(script, os.X_OK)):
            return {"present": False, "status": "missing", "failed": False, "enabled": False, "manager": "init"}
        if not _SAYS_STATUS.search(script.read_bytes()):
            raise ActionAborted(f"its script {script} has no word for its status")
        # As at the start of the host: what the daemon has in its environment is not for the script.
        done = self.run("env", "-i", f"PATH={_PATH}", str(script), "status")
        if done.returncode not in (_RUNS, _DEAD, _DEAD_LOCKED, _STOPPED):
            raise ActionAborted(f"it cannot say its status: {done}")
        return {
            "present": True,
            "status": "running" if done.returncode == _RUNS else "stopped",
            "failed": done.returncode in (_DEAD, _DEAD_LOCKED),
            "enabled": has_start_link(name),
            "state": f"exit status {done.returncode}",
            "manager": "init",
        }


def of_unit(shown_properties: str, name: str) -> dict[str, Any]:
    """Return the fields from what ``systemctl show`` printed."""
    seen = dict(line.split("=", 1) for line in shown_properties.splitlines() if "=" in line)
    if not {"LoadState", "ActiveState"} <= seen.keys():
        raise ActionAborted(f"systemctl did not say its state, but {shown(shown_properties)}")
    is_present, state = seen["LoadState"] != "not-found", seen["ActiveState"]
    enabled = seen.get("UnitFileState", "")
    return {
        "present": is_present,
        "status": _STATUS.get(state, "stopped" if is_present else "missing"),
        "failed": state == "failed",
        "enabled": has_start_link(name.removesuffix(".service")) if enabled == "generated" else enabled in _ENABLED,
        "state": state,
        "manager": "systemd",
    }


def has_start_link(name: str) -> bool:
    """Say whether an init script is started in any of the run levels with users."""
    return any(RUN_LEVELS.glob(f"rc[2-5].d/S[0-9][0-9]{name}"))
