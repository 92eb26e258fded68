# SPDX-License-Identifier: Apache-2.0
"""File systems and block devices; those of other machines, which may not answer, are left alone unless asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .mounts import Mount, mounts

BLOCK_DEVICES = Path("/sys/class/block")
_SECTOR_BYTES = 512  # of the numbers in /sys, whatever the device has
_IMAGES = frozenset(("squashfs", "iso9660", "erofs", "cramfs", "romfs", "udf"))  # full from the beginning
_WITHOUT_DEVICE = frozenset(("zfs", "btrfs", "bcachefs", "overlay"))


def shown_mounts() -> list[Mount]:
    """Return what is mounted where, without what a later mount at the same place hides."""
    return list({mount.path: mount for mount in mounts()}.values())


def real(found: Iterable[Mount]) -> list[Mount]:
    """Return the file systems that keep things on this machine, each once."""
    on_devices = {line.strip() for line in Path("/proc/filesystems").read_text().splitlines() if line[:1].isspace()}
    kinds = (on_devices | _WITHOUT_DEVICE) - _IMAGES
    kept: dict[str, Mount] = {}
    for mount in found:
        # Layers below those of containers are the disks that are counted anyway.
        if mount.kind not in kinds or (mount.kind == "overlay" and mount.path != "/"):
            continue
        other = kept.get(mount.device)
        if other is None or _rank(mount) < _rank(other):
            kept[mount.device] = mount
    return sorted(kept.values(), key=lambda mount: mount.path)


def _rank(mount: Mount) -> tuple[bool, int]:
    """Return what puts the mount first that says most of a file system: the whole of it, then what is nearest to /."""
    return mount.root != "/", len(mount.path)


def holding(path: str, found: Iterable[Mount]) -> Mount | None:
    """Return the mount that a path is in."""
    whole = os.path.realpath(path)
    inside = [mount for mount in found if whole == mount.path or whole.startswith(mount.path.rstrip("/") + "/")]
    return max(inside, key=lambda mount: len(mount.path), default=None)


def space(mount: Mount) -> dict[str, Any] | None:
    """Return how full a file system is, as `df` counts: what is kept back for root is neither used nor available."""
    try:
        seen = os.statvfs(mount.path)
    except OSError:
        return None
    used, available = seen.f_blocks - seen.f_bfree, seen.f_bavail
    inodes_used = seen.f_files - seen.f_ffree
    return {
        "mount": mount.path,
        "device": mount.source,
        "type": mount.kind,
        "size_bytes": seen.f_blocks * seen.f_frsize,
        "used_bytes": used * seen.f_frsize,
        "available_bytes": available * seen.f_frsize,
        "used_percent": _percent(used, used + available),
        "inodes": seen.f_files,
        "inodes_used": inodes_used,
        "inodes_used_percent": _percent(inodes_used, seen.f_files),
        "is_readonly": bool(seen.f_flag & os.ST_RDONLY),
    }


def told(mount: Mount) -> dict[str, Any]:
    """Return the fields of a mount."""
    return {
        "mount": mount.path,
        "device": mount.source,
        "type": mount.kind,
        "options": list(mount.options),
        "super_options": list(mount.super_options),
        "root": mount.root,
    }


def block_devices() -> list[dict[str, Any]]:
    """Return the disks, their partitions and what is made of them, sorted by name."""
    places: dict[str, list[str]] = {}
    for mount in mounts():
        places.setdefault(mount.device, []).append(mount.path)
    if not BLOCK_DEVICES.is_dir():
        return []
    return [_device(folder, places) for folder in sorted(BLOCK_DEVICES.iterdir(), key=lambda folder: folder.name)]


def _device(link: Path, places: dict[str, list[str]]) -> dict[str, Any]:
    folder = link.resolve()
    is_partition = (folder / "partition").exists()
    disk = folder.parent if is_partition else folder
    number = _text(folder / "dev") or ""
    return {
        "name": folder.name,
        "kind": "partition" if is_partition else "disk",
        "disk": disk.name if is_partition else None,
        "size_bytes": int(_text(folder / "size") or 0) * _SECTOR_BYTES,
        "sector_bytes": int(_text(disk / "queue" / "logical_block_size") or 0),
        "is_readonly": _text(folder / "ro") == "1",
        "is_removable": _text(disk / "removable") == "1",
        "is_rotational": _text(disk / "queue" / "rotational") == "1",
        "model": _text(disk / "device" / "model"),
        "holders": sorted(holder.name for holder in (folder / "holders").glob("*")),
        "mounts": places.get(number, []),
    }


def _text(file: Path) -> str | None:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return None


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0
