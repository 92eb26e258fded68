# SPDX-License-Identifier: Apache-2.0
"""File systems and disks: the part of the host agent that is about storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mco_host import disks
from mco_rpc.agent import Agent, Aggregate, Input, Output, action

_PATH_RULE = r"/\/[^\x00-\x1f\x7f]*/"
PATH = Input(
    "string",
    "Only the file system that holds this path",
    prompt="Path",
    optional=True,
    max_length=4096,
    validate=_PATH_RULE,
)
MOUNT = Input(
    "string", "Only what is mounted there", prompt="Mount point", optional=True, max_length=4096, validate=_PATH_RULE
)
ALL = Input(
    "boolean",
    "Also those in memory, images, and those of other machines, which may not answer",
    prompt="All",
    default=False,
)
DEVICE = Input(
    "string", "Only this one, such as sda1", prompt="Device", optional=True, max_length=128, validate="shellsafe"
)


class Storage(Agent):
    """Say how full file systems are, what is mounted, and what disks there are."""

    @action(
        "Say how full the file systems are",
        inputs={"path": PATH, "all": ALL},
        outputs={
            "disks": Output(
                "array",
                "Each with mount, device, type, size_bytes, used_bytes, available_bytes, used_percent, inodes, "
                "inodes_used, inodes_used_percent and is_readonly",
                display_as="File systems",
                default=[],
            ),
            "fullest_percent": Output("float", "used_percent of the fullest, as df counts it", display_as="Fullest %"),
            "fullest_mount": Output("string", "Where that is", display_as="Fullest"),
            "fullest_inodes_percent": Output("float", "The same of inodes", display_as="Fullest inodes %"),
            "least_available_bytes": Output("integer", "What is left on the one with the least", display_as="Least"),
            "unknown": Output("array", "Mount points that could not be looked at", display_as="Unknown", default=[]),
        },
        aggregates=[
            Aggregate("max", "fullest_percent"),
            Aggregate("max", "fullest_inodes_percent"),
            Aggregate("summary", "fullest_mount"),
        ],
    )
    def disks(self, path: str | None = None, all: bool = False) -> dict[str, Any]:
        """Ask each file system."""
        mounts = disks.shown_mounts()
        if path is not None:
            held = disks.holding(path, mounts)
            chosen = [held] if held else []
        else:
            chosen = sorted(mounts, key=lambda mount: mount.path) if all else disks.real(mounts)
        found, unknown = [], []
        for mount in chosen:
            self.check_cancelled()
            space = disks.space(mount)
            if space is None:
                unknown.append(mount.path)
            elif space["size_bytes"] or not all:  # of those that only look like files there is nothing to say
                found.append(space)
        return {"disks": found, "unknown": unknown, **_fullest(found)}

    @action(
        "List what is mounted",
        inputs={"mount": MOUNT},
        outputs={
            "mounts": Output(
                "array",
                "Each with mount, device, type, options, super_options and root",
                display_as="Mounts",
                default=[],
            ),
            "exists": Output("boolean", "Whether anything is mounted there", display_as="Mounted"),
            "count": Output("integer", "How many there are", display_as="Count"),
        },
        aggregates=[Aggregate("summary", "exists")],
    )
    def mounts(self, mount: str | None = None) -> dict[str, Any]:
        """Ask the kernel; of several mounts at one place the last counts, for it hides the others."""
        wanted = mount and (mount.rstrip("/") or "/")
        found = [disks.told(each) for each in disks.shown_mounts() if wanted in (None, each.path)]
        return {"mounts": found, "exists": bool(found), "count": len(found)}

    @action(
        "List disks and partitions",
        inputs={"device": DEVICE},
        outputs={
            "block_devices": Output(
                "array",
                "Each with name, kind (disk or partition), disk, size_bytes, sector_bytes, is_readonly, is_removable, "
                "is_rotational, model, holders and mounts",
                display_as="Devices",
                default=[],
            ),
            "exists": Output("boolean", "Whether there is any", display_as="Exists"),
        },
        aggregates=[Aggregate("summary", "exists")],
    )
    def block_devices(self, device: str | None = None) -> dict[str, Any]:
        """Ask the kernel; what has no size, such as an unused loop device, is left out unless it is named."""
        wanted = device and device.removeprefix("/dev/")
        found = [
            each for each in disks.block_devices() if (each["name"] == wanted if wanted else each["size_bytes"] > 0)
        ]
        return {"block_devices": found, "exists": bool(found)}


def _fullest(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if not found:
        return {}
    fullest = max(found, key=lambda space: space["used_percent"])
    return {
        "fullest_percent": fullest["used_percent"],
        "fullest_mount": fullest["mount"],
        "fullest_inodes_percent": max(space["inodes_used_percent"] for space in found),
        "least_available_bytes": min(space["available_bytes"] for space in found),
    }
