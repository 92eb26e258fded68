# SPDX-License-Identifier: Apache-2.0
"""Installed packages, from the database of dpkg or of rpm. Nothing is changed here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mco_rpc.command import Completed
from mco_rpc.errors import ActionAborted
from mco_rpc.on_path import on_path

from .run import Run

MANAGERS = {"dpkg": "dpkg-query", "rpm": "rpm"}
# Nothing that a package manager reads as a pattern or an option.
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(:[a-z0-9-]+)?"
_NAME = re.compile(NAME + r"\Z")
_DPKG_FIELDS = (
    "db:Status-Want",
    "db:Status-Status",
    "Architecture",
    "Version",
    "Provides",
    "Essential",
    "Protected",
    "Package",
)
_RPM_FIELDS = ("%{EPOCHNUM}", "%{VERSION}", "%{RELEASE}", "%{ARCH}", "[%{PROVIDENAME} ]", "%{NAME}")
DPKG_FORMAT = "\\t".join(f"${{{field}}}" for field in _DPKG_FIELDS) + "\\n"
RPM_FORMAT = "\\t".join(_RPM_FIELDS) + "\\n"
# A host has thousands of packages, and some provide hundreds of names.
MAX_LIST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PackageState:
    """A package on this host.

    Attributes:
        version: as its manager writes it, with revision, and epoch if it has one; also of what only left its
            configuration; None if it is not known here.
        status: installed, not-installed, config-files, half-installed, ... in dpkg's words.
        is_held: whether it is kept at its version.
        is_essential: whether the host does not work without it.
        provides: names beside its own that it stands for.
    """

    name: str
    manager: str
    status: str = "not-installed"
    version: str | None = None
    epoch: int | None = None
    upstream: str | None = None
    revision: str | None = None
    is_held: bool = False
    is_essential: bool = False
    architectures: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()

    @property
    def is_installed(self) -> bool:
        """Whether it is there, and wholly."""
        return self.status == "installed"

    @property
    def installed_version(self) -> str | None:
        """The version that is installed wholly, None if none is."""
        return self.version if self.is_installed else None


def first_manager() -> str:
    """Return which manager is installed here, nothing if none is."""
    return next((manager for manager, command in MANAGERS.items() if on_path(command)), "")


def is_name(name: str) -> bool:
    """Say whether this can be the name of a package."""
    return _NAME.match(name) is not None


def look(manager: str, name: str, run: Run, options: Sequence[str] = ()) -> PackageState:
    """Return the state of one package.

    Args:
        options: which database, such as ``--admindir=...`` or ``--root=...``.

    Raises:
        ActionAborted: the manager did not say.
    """
    if manager == "dpkg":
        return of_dpkg(run("dpkg-query", *options, "--show", f"--showformat={DPKG_FORMAT}", "--", name), name)
    return of_rpm(run("rpm", *options, "--query", f"--queryformat={RPM_FORMAT}", "--", name), name)


def listed(manager: str, run: Run, options: Sequence[str] = ()) -> list[PackageState]:
    """Return all installed packages, by name."""
    if manager == "dpkg":
        argv: tuple[str, ...] = ("dpkg-query", *options, "--show", f"--showformat={DPKG_FORMAT}")
        split, empty = _of_dpkg_row, "no packages found"
    else:
        argv = ("rpm", *options, "--query", "--all", f"--queryformat={RPM_FORMAT}")
        split, empty = _of_rpm_row, "\0"
    done = run(*argv, max_output_bytes=MAX_LIST_BYTES)
    rows = _rows(done)
    if done.returncode and empty not in done.stderr:
        raise ActionAborted(f"{manager} did not list its packages: {done}")
    found = [split(row) for row in rows]
    return sorted((it for it in found if it.is_installed and it.name != "gpg-pubkey"), key=lambda it: it.name)


def of_dpkg(done: Completed, name: str) -> PackageState:
    """Return the state from what dpkg-query printed: a line for each architecture."""
    rows = _rows(done)
    if done.returncode and "no packages found" in done.stderr:
        return PackageState(name, "dpkg")
    if done.returncode or not rows:
        raise ActionAborted(f"dpkg-query did not answer as expected: {done}")
    rows.sort(key=lambda row: row[1] != "installed")
    installed = tuple(row[2] for row in rows if row[1] == rows[0][1])
    return _of_dpkg_row(rows[0], installed)


def of_rpm(done: Completed, name: str) -> PackageState:
    """Return the state from what rpm printed: a line for each version and architecture, the newest last."""
    rows = _rows(done)
    if done.returncode and "is not installed" in done.stdout and "error:" not in done.stderr:
        return PackageState(name, "rpm")
    if done.returncode or not rows:
        raise ActionAborted(f"rpm did not answer as expected: {done}")
    return _of_rpm_row(rows[-1], tuple(sorted({row[3] for row in rows})))


def _rows(done: Completed) -> list[list[str]]:
    """Return what was printed, split; nothing if any line is not as it should be."""
    columns = len(_DPKG_FIELDS) if done.argv[0] == "dpkg-query" else len(_RPM_FIELDS)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return rows if all(len(row) == columns for row in rows) and not done.is_truncated else []


def _of_dpkg_row(row: list[str], architectures: tuple[str, ...] | None = None) -> PackageState:
    want, status, architecture, version, provides, essential, protected, name = row
    epoch, colon, rest = version.partition(":")
    upstream, dash, revision = (rest if colon else version).rpartition("-")
    return PackageState(
        name=name,
        manager="dpkg",
        status=status,
        version=version or None,
        epoch=int(epoch) if colon and epoch.isdigit() else 0,
        upstream=(upstream if dash else revision) or None,
        revision=revision if dash else None,
        is_held=want == "hold",
        is_essential="yes" in (essential, protected),
        architectures=(architecture,) if architectures is None else architectures,
        provides=tuple(re.findall(r"(?:^|, )([^ ,]+)", provides)),
    )


def _of_rpm_row(row: list[str], architectures: tuple[str, ...] | None = None) -> PackageState:
    epoch, upstream, revision, architecture, provides, name = row
    return PackageState(
        name=name,
        manager="rpm",
        status="installed",
        version=f"{epoch}:{upstream}-{revision}" if epoch not in ("0", "") else f"{upstream}-{revision}",
        epoch=int(epoch or 0),
        upstream=upstream,
        revision=revision,
        architectures=(architecture,) if architectures is None else architectures,
        provides=tuple(word for word in dict.fromkeys(provides.split()) if word != name),
    )
