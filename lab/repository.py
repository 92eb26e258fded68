# SPDX-License-Identifier: Apache-2.0
"""A private package repository for the hosts of a lab: real .deb files with next to nothing in them, and their index.

Writes below the lab's own folder only, with dpkg-deb; what is installed from it stays in the overlays of a host.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import LabError
from .package_files import files_of
from .process import system_environment
from .spec import PackageSpec

# Where a host sees the repository.
MOUNTED = "/var/local/packages"
# Of the machine's apt: other sources, what prefers one of them, and what else is run by it.
EMPTIED = ("apt/sources.list.d", "apt/preferences.d", "apt/apt.conf.d")
# It would keep packages from starting their services.
REMOVED = ("/usr/sbin/policy-rc.d",)
ETC = {
    "apt/sources.list": f"deb [trusted=yes] file:{MOUNTED} ./\n",
    # What a host installs is gone with it: nothing has to survive a failure of the disk.
    "apt/apt.conf.d/99lab": 'DPkg::Options { "--force-unsafe-io"; };\nAcquire::Languages "none";\n',
}
_UPDATE = ("apt-get", "-q", "update")
_INSTALL = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "--no-install-recommends", "install")
Start = Callable[[str, Sequence[str]], "subprocess.Popen[Any]"]
_EXECUTABLE = 0o755


def folder_of(lab: Path) -> Path:
    """Return the repository of the lab whose folder this is."""
    return lab / "repository"


def build(folder: Path, packages: Iterable[PackageSpec]) -> None:
    """Add packages to the repository in a folder, which is made if it is not there, and write its index.

    Raises:
        LabError: dpkg-deb refused one.
    """
    folder.mkdir(mode=0o755, exist_ok=True)
    for package in packages:
        _build(folder, package)
    index = folder / "Packages"
    draft = folder / ".Packages"
    draft.write_text("\n".join(_entry(deb) for deb in sorted(folder.glob("*.deb"))), "utf-8")
    draft.rename(index)


def install(wanted: Mapping[str, Sequence[str]], start: Start) -> None:
    """Let hosts know the repository, and install the packages that each is to have, on all at the same time.

    Args:
        wanted: the packages by the name of the host.
        start: starts a command on a host, with its output in one pipe.

    Raises:
        LabError: a host could not; the text has what was said on each.
    """
    installs = {host: (*_INSTALL, *packages) for host, packages in wanted.items() if packages}
    for commands in (dict.fromkeys(wanted, _UPDATE), installs):
        started = {host: start(host, argv) for host, argv in commands.items()}
        said = {host: process.communicate()[0] for host, process in started.items()}
        failed = [host for host, process in started.items() if process.returncode]
        if failed:
            reports = "\n".join(f"host {host}: {said[host].strip()}" for host in failed)
            raise LabError(f"packages were not installed on {len(failed)} of {len(wanted)} hosts:\n{reports}")


def _build(folder: Path, package: PackageSpec) -> None:
    tree = folder / f".{package.name}_{package.version}"
    try:
        for name, text in files_of(package).items():
            path = tree / name
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            path.chmod(_EXECUTABLE if text.startswith("#!") else 0o644)
        for path in (tree, *tree.rglob("*/")):
            if path.is_dir():
                path.chmod(_EXECUTABLE)
        deb = folder / f"{package.name}_{package.version}_all.deb"
        # Uncompressed: there is nothing in it, and it is quicker.
        argv = ("dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(deb))
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=system_environment())
        if done.returncode:
            raise LabError(f"package {package.name} {package.version} cannot be built: {done.stderr.strip()}")
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def _entry(deb: Path) -> str:
    argv = ("dpkg-deb", "--field", str(deb))
    fields = subprocess.run(argv, capture_output=True, text=True, check=True, env=system_environment()).stdout
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    return f"{fields.strip()}\nFilename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"
