# SPDX-License-Identifier: Apache-2.0
"""What is mounted where, as the kernel tells this process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNT_INFO = Path("/proc/self/mountinfo")
# Files that the kernel makes up: their size is not true, and reading one may wait or even change something.
# fmt: off
MADE_UP = frozenset((
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
    "fusectl", "mqueue", "nsfs", "proc", "pstore", "securityfs", "selinuxfs", "smackfs", "sysfs", "tracefs",
))
# fmt: on
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount: ``device`` is its number as MAJOR:MINOR, ``root`` what of the file system is mounted."""

    device: str
    root: str
    path: str
    options: tuple[str, ...]
    kind: str
    source: str
    super_options: tuple[str, ...]


def mounts() -> Iterator[Mount]:
    """Yield all mounts in the order they were made."""
    with MOUNT_INFO.open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            before, _, after = line.rstrip("\n").partition(" - ")
            _, _, device, root, path, options, *_ = before.split(" ")
            kind, source, super_options = [*after.split(" "), "", ""][:3]
            yield Mount(
                device,
                unescaped(root),
                unescaped(path),
                tuple(options.split(",")),
                kind,
                unescaped(source),
                tuple(super_options.split(",")),
            )


def kind_of(device: int) -> str:
    """Return the type of the file system with a device number; nothing if it is not told."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    return next((mount.kind for mount in mounts() if mount.device == wanted), "")


def unescaped(text: str) -> str:
    r"""Return a name as it is, of which the kernel wrote spaces and the like as octal numbers.

    >>> unescaped(r"/a\040b")
    '/a b'
    """
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)
