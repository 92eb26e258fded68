# SPDX-License-Identifier: Apache-2.0
"""Mounts for a host's own files: the system calls, and folders covered with themselves so that changes stay in memory.

Only for the small programs that run inside a mount namespace of their own; imports as little as it can.
"""

import ctypes
import os
import re
import shutil
from pathlib import Path

BIND, REC, PRIVATE, DETACH = 0x1000, 0x4000, 0x40000, 2
TMPFS_OPTIONS = "mode=755"
# What the kernel shows, and what every host has of its own.
_NOT_FILES = ("/proc", "/sys", "/dev", "/run")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Mount a file system; the arguments are those of the system call."""
    words = (word.encode() for word in (source, target, kind))
    if _libc.mount(*words, flags, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def unmount(target: str) -> None:
    """Take a mount away, as soon as nobody uses it any more."""
    _libc.umount2(target.encode(), DETACH)


def become_private() -> None:
    """Keep what is mounted from now on to this namespace, and forget the names of network namespaces.

    While they are mounted here, the networks of other labs would not end with their labs.
    """
    mount("none", "/", "", REC | PRIVATE)
    for path, kind in _mounted():
        if kind == "nsfs":
            unmount(path)


def overlay(scratch: str, name: str, lower: str, target: str) -> None:
    """Show ``lower`` at ``target``; changes go below ``scratch``, a tmpfs, into folders that begin with ``name``.

    ``scratch`` may be relative: a long path of it would not fit beside the others.
    """
    if re.search(r"[:,\\]", lower):
        raise OSError(22, "its name has a letter that overlays give a meaning to", lower)
    upper, work = f"{scratch}/{name}.upper", f"{scratch}/{name}.work"
    Path(upper).mkdir()
    Path(work).mkdir()
    shutil.copystat(lower, upper)
    mount("overlay", target, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")


def file_systems() -> list[str]:
    """Return where file systems with files of the machine are mounted below /, the outer ones first."""
    found = dict.fromkeys(path for path, _ in _mounted())
    return [
        path
        for path in found
        if path != "/" and not path.startswith(tuple(f"{other}/" for other in _NOT_FILES)) and path not in _NOT_FILES
    ]


def write(root: Path, settings: dict) -> None:  # type: ignore[type-arg]
    """Give the host whose root this is its own files below /etc, and take away what is the machine's alone."""
    for name in settings["emptied"]:
        shutil.rmtree(root / "etc" / name, ignore_errors=True)
        (root / "etc" / name).mkdir(parents=True)
    for name, text in settings["etc"].items():
        path = root / "etc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # It may be a link to what another service of the machine keeps elsewhere.
        path.unlink(missing_ok=True)
        path.write_text(text)
    for name in settings["removed"]:
        Path(f"{root}{name}").unlink(missing_ok=True)


def _mounted() -> list[tuple[str, str]]:
    """Return path and type of every mount."""
    made = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, described = line.partition(" - ")
        path = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields.split()[4])
        made.append((path, described.split()[0]))
    return made


_libc = ctypes.CDLL(None, use_errno=True)
