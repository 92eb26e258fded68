# SPDX-License-Identifier: Apache-2.0
"""The data source about packages, from the database of dpkg or of rpm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mco_host import packages
from mco_host.packages import MANAGERS, PackageState
from mco_rpc.data import DataSource, Input, Output
from mco_rpc.errors import ConfigError, FilterError
from mco_rpc.validation import shown

ARGUMENTS = {"name": Input("string", "Name of a package", max_length=255)}
FIELDS = {
    "installed": Output("boolean", "Whether it is installed, and wholly"),
    "version": Output("string", "Its version as the package manager writes it: with revision, and epoch if it has one"),
    "epoch": Output("integer", "The epoch of its version, 0 if it has none"),
    "upstream": Output("string", "Its version without epoch and revision"),
    "revision": Output("string", "What the distribution made of that version"),
    "status": Output("string", "installed, not-installed, config-files, half-installed, ..."),
    "held": Output("boolean", "Whether it is kept at its version"),
    "architectures": Output("array", "For which architectures it is there"),
    "provides": Output("array", "Names beside its own that it stands for"),
    "manager": Output("string", "What manages it: dpkg or rpm"),
}


class Package(DataSource):
    """Say whether a package is installed, and which version."""

    arguments = ARGUMENTS
    fields = FIELDS
    timeout_s = 10.0
    setting_names = ("manager",)

    @staticmethod
    def activate_when(settings: Mapping[str, object]) -> str | None:
        """Ask for a package manager that is known here."""
        if settings.get("manager") or packages.first_manager():
            return None
        return f"none of {', '.join(MANAGERS.values())} is installed"

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._manager = self.setting("manager", packages.first_manager())
        if self._manager not in MANAGERS:
            raise ConfigError(f"data: package: manager: {self._manager!r} is not one of {', '.join(MANAGERS)}")

    def query(self, name: str) -> dict[str, Any]:
        """Ask the package manager."""
        if not packages.is_name(name):
            raise FilterError(f"expected the name of a package such as openssl or libc6:amd64, got {shown(name)}")
        return of_state(packages.look(self._manager, name, self.run))


def of_state(seen: PackageState) -> dict[str, Any]:
    """Return the fields."""
    if seen.version is None and seen.status == "not-installed" and not seen.architectures:
        return {"installed": False, "status": seen.status, "manager": seen.manager}
    return {
        "installed": seen.is_installed,
        "version": seen.version,
        "epoch": seen.epoch,
        "upstream": seen.upstream,
        "revision": seen.revision,
        "status": seen.status,
        "held": seen.is_held if seen.manager == "dpkg" else None,
        "architectures": list(seen.architectures),
        "provides": list(seen.provides),
        "manager": seen.manager,
    }
