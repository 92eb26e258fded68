# SPDX-License-Identifier: Apache-2.0
"""The data source about services: units of systemd where that runs the host, init scripts elsewhere."""

from __future__ import annotations

from typing import Any

from mco_host import init_scripts, services
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


class Service(DataSource):
    """Say whether a service runs, and whether it starts with the host."""

    arguments = ARGUMENTS
    fields = FIELDS
    activate_when = staticmethod(services.why_none)

    def query(self, name: str) -> dict[str, Any]:
        """Ask whatever manages services here."""
        if not services.is_name(name):
            raise FilterError(f"expected the name of a service such as cron or getty@tty1, got {shown(name)}")
        return of_state(services.look(name, self.run))


def of_state(seen: services.ServiceState) -> dict[str, Any]:
    """Return the fields."""
    if seen.status == "unknown":
        raise ActionAborted(f"its script {init_scripts.SCRIPTS / seen.name} has no word for its status")
    return {
        "present": seen.is_present,
        "status": "stopped" if seen.status == "failed" else seen.status,
        "failed": seen.status == "failed",
        "enabled": seen.is_enabled,
        "state": seen.state or None,
        "manager": seen.manager,
    }
