# SPDX-License-Identifier: Apache-2.0
"""The data source about packages, from the database of dpkg or of rpm."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from typing import Any

from mco_rpc.command import Completed
from mco_rpc.data import DataSource, Input, Output
from mco_rpc.errors import ActionAborted, ConfigError, FilterError
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
MANAGERS = {"dpkg": "dpkg-query", "rpm": "rpm"}
# Nothing that dpkg-query or rpm reads as a pattern or an option.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(:[a-z0-9-]+)?\Z")
_DPKG = "\\t".join(("${db:Status-Want}", "${db:Status-Status}", "${Architecture}", "${Version}", "${Provides}")) + "\\n"
_RPM = "\\t".join(("%{EPOCHNUM}", "%{VERSION}", "%{RELEASE}", "%{ARCH}", "[%{PROVIDENAME} ]")) + "\\n"


class Package(DataSource):
    """Say whether a package is installed, and which version."""

    arguments = ARGUMENTS
    fields = FIELDS
    timeout_s = 10.0
    setting_names = ("manager",)

    @staticmethod
    def activate_when(settings: Mapping[str, object]) -> str | None:
        """Ask for a package manager that is known here."""
        if settings.get("manager") or _first_manager():
            return None
        return f"none of {', '.join(MANAGERS.values())} is installed"

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._manager = self.setting("manager", _first_manager())
        if self._manager not in MANAGERS:
            raise ConfigError(f"data: package: manager: {self._manager!r} is not one of {', '.join(MANAGERS)}")

    def query(self, name: str) -> dict[str, Any]:
        """Ask the package manager."""
        if not _NAME.match(name):
            raise FilterError(f"expected the name of a package such as openssl or libc6:amd64, got {shown(name)}")
        if self._manager == "dpkg":
            return of_dpkg(self.run("dpkg-query", "--show", f"--showformat={_DPKG}", "--", name))
        return of_rpm(self.run("rpm", "--query", f"--queryformat={_RPM}", "--", name), name)


def _first_manager() -> str:
    return next((manager for manager, command in MANAGERS.items() if shutil.which(command)), "")


def of_dpkg(done: Completed) -> dict[str, Any]:
    """Return the fields from what dpkg-query printed: a line for each architecture."""
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    if done.returncode and "no packages found" in done.stderr:
        return _missing("dpkg")
    if done.returncode or not all(len(row) == 5 for row in rows) or not rows:
        raise ActionAborted(f"dpkg-query did not answer as expected: {done}")
    rows.sort(key=lambda row: row[1] != "installed")
    want, status, _, version, provides = rows[0]
    epoch, colon, rest = version.partition(":")
    upstream, dash, revision = (rest if colon else version).rpartition("-")
    return {
        "installed": status == "installed",
        "version": version or None,
        "epoch": int(epoch) if colon and epoch.isdigit() else 0,
        "upstream": (upstream if dash else revision) or None,
        "revision": revision if dash else None,
        "status": status,
        "held": want == "hold",
        "architectures": [row[2] for row in rows if row[1] == status],
        "provides": re.findall(r"(?:^|, )([^ ,]+)", provides),
        "manager": "dpkg",
    }


def of_rpm(done: Completed, name: str) -> dict[str, Any]:
    """Return the fields from what rpm printed: a line for each version and architecture, the newest last."""
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    if done.returncode and "is not installed" in done.stdout and "error:" not in done.stderr:
        return _missing("rpm")
    if done.returncode or not all(len(row) == 5 for row in rows) or not rows:
        raise ActionAborted(f"rpm did not answer as expected: {done}")
    epoch, upstream, revision, _, provides = rows[-1]
    return {
        "installed": True,
        "version": f"{epoch}:{upstream}-{revision}" if epoch not in ("0", "") else f"{upstream}-{revision}",
        "epoch": int(epoch or 0),
        "upstream": upstream,
        "revision": revision,
        "status": "installed",
        "architectures": sorted({row[3] for row in rows}),
        "provides": [word for word in dict.fromkeys(provides.split()) if word != name],
        "manager": "rpm",
    }


def _missing(manager: str) -> dict[str, Any]:
    return {"installed": False, "status": "not-installed", "manager": manager}
