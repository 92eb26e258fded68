# SPDX-License-Identifier: Apache-2.0
"""Control groups of hosts: one for each that is booted by systemd, and one for each that is short of CPU time.

A group has the name of the host's network namespace, in whatever hierarchies it is. Starts and ends nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .errors import LabError, NotPossibleHere
from .process import ProcessId, parent_of

_MOUNTS = Path("/proc/self/mountinfo")
_REMOVAL_TIMEOUT_S = 2.0
_PERIOD_US = 100_000
_LEAST_QUOTA_US = 1_000


def hierarchies() -> list[Path]:
    """Return the roots of the hierarchies that systemd needs: that of version 2, and the named one of version 1."""
    return [root for root, kind, options in _mounted() if kind == "cgroup2" or "name=systemd" in options]


def require() -> None:
    """Make sure that there are control groups that we may add to.

    Raises:
        NotPossibleHere: there are not.
    """
    roots = hierarchies()
    if not roots:
        raise NotPossibleHere(
            "a systemd host needs control groups, and none is mounted; mount cgroup2 at /sys/fs/cgroup"
        )
    if locked := [str(root) for root in roots if not os.access(root, os.W_OK)]:
        raise NotPossibleHere(f"a systemd host needs a control group of its own, and may not write {', '.join(locked)}")


def create(name: str) -> list[Path]:
    """Make a group at the top of every hierarchy; return them.

    Raises:
        LabError: there is no hierarchy, or it cannot be written to.
    """
    require()
    folders = [root / name for root in hierarchies()]
    for folder in folders:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as e:
            raise LabError(f"a systemd host needs a control group of its own: {folder}: {e.strerror}") from e
    return folders


def named(prefix: str) -> list[str]:
    """Return the names of groups at the top that begin with ``prefix``."""
    return sorted({path.name for root, _, _ in _mounted() for path in root.glob(f"{prefix}*") if path.is_dir()})


def members(names: Iterable[str]) -> list[ProcessId]:
    """Return every process in one of the groups, or in a group below one."""
    files = [file for folder in folders(names) for file in folder.rglob("cgroup.procs")]
    return [process for pid in _pids(files) if (process := ProcessId.of(pid))]


def main_process(name: str, unit: str, init: ProcessId) -> ProcessId | None:
    """Return the main process of a unit of the host whose first process is ``init``."""
    files = [folder / "payload/system.slice" / unit / "cgroup.procs" for folder in folders([name])]
    found = [process for pid in _pids(files) if (process := ProcessId.of(pid))]
    children = [process for process in found if process.is_running and parent_of(process) == init]
    return min(children, key=lambda process: process.start_ticks, default=None)


def limit_cpu(name: str, members_of: Callable[[], Iterable[ProcessId]], share: float) -> None:
    """Let all processes of a host together use no more than this share of one processor.

    Args:
        members_of: returns these processes; asked again until none is outside.

    Raises:
        LabError: no hierarchy here can limit CPU time.
    """
    folder = _cpu_root() / name
    try:
        folder.mkdir(exist_ok=True)
        quota_us = max(_LEAST_QUOTA_US, round(share * _PERIOD_US))
        if (file := folder / "cpu.max").exists():
            file.write_text(f"{quota_us} {_PERIOD_US}")
        else:
            (folder / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (folder / "cpu.cfs_quota_us").write_text(str(quota_us))
        inside: set[ProcessId] = set(members([name]) if file.exists() else ())
        while outside := {process for process in members_of() if process.is_running} - inside:
            for process in outside:
                with contextlib.suppress(ProcessLookupError):
                    (folder / "cgroup.procs").write_text(str(process.pid))
            inside |= outside
    except OSError as e:
        raise LabError(f"CPU time cannot be limited here: {folder}: {e.strerror}") from e


def unlimit_cpu(name: str) -> bool:
    """Take a limit back; say whether there was one."""
    was_limited = has_cpu_limit(name)
    for file, unlimited in ((file, text) for folder in folders([name]) for file, text in _limits(folder)):
        file.write_text(unlimited)
    return was_limited


def has_cpu_limit(name: str) -> bool:
    """Say whether the processes of a host may use only a part of a processor."""
    limits = [(file, unlimited) for folder in folders([name]) for file, unlimited in _limits(folder)]
    return any(file.read_text("utf-8").split()[0] != unlimited.split()[0] for file, unlimited in limits)


def _limits(folder: Path) -> list[tuple[Path, str]]:
    """Return the files of a group that limit CPU time, and what stands in each if nothing is limited."""
    files = [(folder / "cpu.max", f"max {_PERIOD_US}"), (folder / "cpu.cfs_quota_us", "-1")]
    return [(file, unlimited) for file, unlimited in files if file.exists()]


def _cpu_root() -> Path:
    """Return the hierarchy that limits CPU time."""
    for root, kind, options in _mounted():
        if kind == "cgroup" and "cpu" in options:
            return root
        if kind == "cgroup2" and "cpu" in (root / "cgroup.controllers").read_text("utf-8").split():
            with contextlib.suppress(OSError):
                (root / "cgroup.subtree_control").write_text("+cpu")
                return root
    raise LabError("no control group here can limit CPU time; `--rate` limits the network instead")


def remove(names: Iterable[str]) -> None:
    """Remove groups whose processes have ended, with all below them."""
    deadline = time.monotonic() + _REMOVAL_TIMEOUT_S
    for folder in folders(names):
        # A group is busy until the kernel is done with the last process that was in it.
        while not _remove(folder) and time.monotonic() < deadline:
            time.sleep(0.01)


def _remove(folder: Path) -> bool:
    for path in sorted((folder, *_below(folder)), key=lambda path: len(path.parts), reverse=True):
        with contextlib.suppress(FileNotFoundError):
            try:
                path.rmdir()
            except OSError:
                return False
    return True


def _below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_dir()]


def folders(names: Iterable[str]) -> list[Path]:
    """Return the groups of hosts, in all hierarchies."""
    roots = dict.fromkeys(root for root, _, _ in _mounted())
    return [root / name for name in names for root in roots if (root / name).is_dir()]


def _mounted() -> list[tuple[Path, str, list[str]]]:
    """Return root, version and options of every hierarchy."""
    found = []
    for line in _MOUNTS.read_text("utf-8").splitlines():
        fields, _, described = line.partition(" - ")
        kind, _, options = described.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            found.append((Path(fields.split()[4]), kind, options.split(",")))
    return found


def _pids(files: Iterable[Path]) -> set[int]:
    found: set[int] = set()
    for file in files:
        with contextlib.suppress(OSError):
            found.update(int(line) for line in file.read_text("utf-8").split())
    return found
