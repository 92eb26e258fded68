# SPDX-License-Identifier: Apache-2.0
"""A Debian of its own in a folder: packages made for a test, a repository of them, and a root to install them in."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

CONTROL = """\
Package: {name}
Version: {version}
Architecture: all
Maintainer: Nobody <nobody@example.net>
{more}Description: nothing of use
"""
# Maintainer scripts run here, not in the root, which has no shell; nothing is fetched as another user.
OPTIONS = [
    "-o",
    "DPkg::Options::=--force-script-chrootless",
    "-o",
    "DPkg::Options::=--force-unsafe-io",
    "-o",
    "DPkg::Options::=--log=/dev/null",
    "-o",
    "APT::Sandbox::User=root",
]


class Repository:
    """A flat repository of packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "repository"
        self.folder.mkdir(parents=True)
        self._work = folder / "work"
        self._index: list[str] = []

    def add(self, name: str, version: str = "1.0", *, postinst: str = "", conffile: str = "", **more: str) -> Path:
        """Make a package and offer it."""
        tree = self._work / f"{name}-{version}"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "usr" / "share" / name).mkdir(parents=True)
        (tree / "usr" / "share" / name / "version").write_text(version)
        fields = "".join(f"{key.replace('_', '-')}: {value}\n" for key, value in more.items())
        control = CONTROL.format(name=name, version=version, more=fields)
        (tree / "DEBIAN" / "control").write_text(control)
        if conffile:
            (tree / "etc").mkdir()
            (tree / "etc" / f"{name}.conf").write_text(conffile)
            (tree / "DEBIAN" / "conffiles").write_text(f"/etc/{name}.conf\n")
        if postinst:
            (tree / "DEBIAN" / "postinst").write_text(f"#!/bin/sh\n{postinst}\n")
            (tree / "DEBIAN" / "postinst").chmod(0o755)
        deb = self.folder / f"{name}_{version}_all.deb"
        command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(deb)]
        subprocess.run(command, check=True, capture_output=True)
        size, digest = deb.stat().st_size, hashlib.sha256(deb.read_bytes()).hexdigest()
        self._index.append(f"{control}Filename: ./{deb.name}\nSize: {size}\nSHA256: {digest}\n")
        (self.folder / "Packages").write_text("\n".join(self._index))
        return deb


def make_root(folder: Path, repository: Repository) -> Path:
    """Make a root with nothing installed that knows the repository by name, and has yet no lists of it."""
    root = folder / "root"
    for name in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/log/apt"):
        (root / name).mkdir(parents=True)
    for name in (
        "var/lib/dpkg/updates",
        "var/lib/dpkg/info",
        "var/lib/dpkg/triggers",
        "var/cache/apt/archives/partial",
    ):
        (root / name).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "var/lib/dpkg/available").touch()
    (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{repository.folder} ./\n")
    return root


def settings(root: Path, **more: Any) -> dict[str, Any]:
    """Return the settings of an agent that looks after a root."""
    return {"manager": "apt", "root": str(root), "options": OPTIONS} | more
