# SPDX-License-Identifier: Apache-2.0
"""What a machine is and how it fares: load, memory, clock, system, pressure."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from mco_rpc.errors import ActionAborted, InvalidData
from mco_rpc.validation import shown

from .mounts import mounts

PROC = Path("/proc")
RESOURCES = ("cpu", "memory", "io")
_ZONE = Path("/etc/localtime")
_UNSYNCHRONISED, _IN_NANOSECONDS = 0x0040, 0x2000  # flags of the kernel's clock
_TIME_ERROR = 5


def load() -> dict[str, Any]:
    """Return how many processes wanted to run, and on how many processors."""
    one, five, fifteen = os.getloadavg()
    running, _, total = (PROC / "loadavg").read_text().split()[3].partition("/")
    cpus = os.cpu_count() or 1
    return {
        "load1": round(one, 2),
        "load5": round(five, 2),
        "load15": round(fifteen, 2),
        "cpus": cpus,
        "per_cpu": round(one / cpus, 3),
        "running": int(running),
        "threads": int(total),
    }


def memory() -> dict[str, Any]:
    """Return how much memory and swap there is, and how much of it is left."""
    import psutil

    seen, swap = psutil.virtual_memory(), psutil.swap_memory()
    return {
        "total_bytes": seen.total,
        "available_bytes": seen.available,
        "used_bytes": seen.total - seen.available,
        "free_bytes": seen.free,
        "buffers_bytes": seen.buffers,
        "cached_bytes": seen.cached,
        "shared_bytes": seen.shared,
        "used_percent": _percent(seen.total - seen.available, seen.total),
        "swap_total_bytes": swap.total,
        "swap_used_bytes": swap.used,
        "swap_used_percent": _percent(swap.used, swap.total),
    }


def uptime() -> dict[str, Any]:
    """Return since when the machine runs."""
    up_s = float((PROC / "uptime").read_text().split()[0])
    return {"uptime_s": up_s, "booted_at": round(time.time() - up_s, 2)}


def system() -> dict[str, Any]:
    """Return the distribution and the machine it runs on, as far as files tell."""
    import platform

    try:
        told = platform.freedesktop_os_release()
    except OSError:
        told = {}
    seen = os.uname()
    return {
        "id": told.get("ID"),
        "name": told.get("PRETTY_NAME") or told.get("NAME"),
        "version": told.get("VERSION_ID"),
        "codename": told.get("VERSION_CODENAME"),
        "like": told.get("ID_LIKE", "").split(),
        "architecture": seen.machine,
        "hostname": seen.nodename,
    }


def clock() -> dict[str, Any]:
    """Return the time, the zone, and whether the kernel believes that its clock is right."""
    import calendar

    now = time.time()
    local = time.localtime(now)
    return {
        "time": now,
        "utc_offset_s": calendar.timegm(local) - int(now),
        "timezone": _zone() or local.tm_zone,
        **_kernel_clock(),
    }


def pressure(cgroup: str | None = None) -> dict[str, Any]:
    """Return how much time was lost to waiting, of the whole machine or of one cgroup.

    Args:
        cgroup: its path below the hierarchy of cgroups; ``self`` is the one of this process.

    Raises:
        ActionAborted: the kernel does not tell.
    """
    folder = None if cgroup is None else _cgroup_folder(cgroup)
    told = {
        resource: _pressures(folder / f"{resource}.pressure" if folder else PROC / "pressure" / resource)
        for resource in RESOURCES
    }
    if not any(told.values()):
        raise ActionAborted(
            f"the kernel tells no pressure in {folder or PROC / 'pressure'}; it needs CONFIG_PSI, and psi=1 on its "
            "command line where the distribution switches it off"
        )
    return {**told, "cpu_stat": _numbers(folder / "cpu.stat") if folder else {}, "cgroup": _below(folder)}


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 1) if whole else 0.0


def _zone() -> str | None:
    """Return the name of the zone, if the distribution tells it."""
    try:
        _, found, name = str(_ZONE.readlink()).partition("/zoneinfo/")
    except OSError:
        return None
    return name if found else None


def _kernel_clock() -> dict[str, Any]:
    """Return what the kernel says of its own clock; nothing where it cannot be asked."""
    import ctypes

    class Timex(ctypes.Structure):
        """The kernel's struct timex, as far as it is asked."""

        _fields_ = (
            ("modes", ctypes.c_uint),
            ("offset", ctypes.c_long),
            ("freq", ctypes.c_long),
            ("maxerror", ctypes.c_long),
            ("esterror", ctypes.c_long),
            ("status", ctypes.c_int),
            ("rest", ctypes.c_long * 32),
        )

    told = Timex()  # of modes 0: it is only read
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(told))
    if state < 0:
        return {"is_synchronised": None, "offset_s": None, "max_error_s": None}
    is_right = state != _TIME_ERROR and not told.status & _UNSYNCHRONISED
    unit_s = 1e-9 if told.status & _IN_NANOSECONDS else 1e-6
    return {
        "is_synchronised": is_right,
        # What nobody disciplines is not known to be right because it says 0.
        "offset_s": told.offset * unit_s if is_right else None,
        "max_error_s": told.maxerror * 1e-6 if is_right else None,
    }


def _cgroup_folder(cgroup: str) -> Path:
    root = next((Path(mount.path) for mount in mounts() if mount.kind == "cgroup2"), None)
    if root is None:
        raise ActionAborted("no hierarchy of cgroups (version 2) is mounted on this host")
    if cgroup == "self":
        lines = (PROC / "self" / "cgroup").read_text().splitlines()
        cgroup = next((line[3:] for line in lines if line.startswith("0::")), "/")
    if ".." in cgroup.split("/"):
        raise InvalidData(f"input cgroup: expected a path without .., got {shown(cgroup)}")
    folder = root / cgroup.strip("/")
    if not folder.is_dir():
        raise ActionAborted(f"there is no cgroup {shown(cgroup)} below {root}")
    return folder


def _below(folder: Path | None) -> str | None:
    return None if folder is None else str(folder)


def _pressures(file: Path) -> dict[str, float]:
    """Return from ``some avg10=0.12 ... total=34`` what is told as ``some_avg10`` and so on; nothing if it is not."""
    try:
        text = file.read_text()
    except OSError:
        return {}
    told: dict[str, float] = {}
    for line in text.splitlines():
        who, *pairs = line.split()
        for name, _, number in (pair.partition("=") for pair in pairs):
            told[f"{who}_{'total_us' if name == 'total' else name}"] = float(number)
    return told


def _numbers(file: Path) -> dict[str, int]:
    try:
        return {name: int(number) for name, number in map(str.split, file.read_text().splitlines())}
    except OSError:
        return {}
