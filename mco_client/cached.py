# SPDX-License-Identifier: Apache-2.0
"""Files in the user's cache folder: read whatever is there without harm, and written whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path


def folder_of(kind: str, environment: Mapping[str, str]) -> Path | None:
    """Return the user's folder for one kind of files; None if he has no home."""
    for base in (Path(environment.get("XDG_CACHE_HOME", "")), Path(environment.get("HOME", "")) / ".cache"):
        if base.is_absolute():
            return base / "mco" / kind
    return None


def read(file: Path, max_bytes: int) -> bytes:
    """Read a file that may be anything: never wait, never follow, never read more than was asked for.

    Raises:
        OSError: it cannot be read, or is not a plain file of at most that size.
    """
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
        found = os.fstat(opened.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > max_bytes:
            raise OSError(f"{file} is not a file of at most {max_bytes} bytes")
        return opened.read(max_bytes)


def make(folder: Path) -> None:
    """Make a folder that only its user can read; its parent, too."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def write(file: Path, body: bytes) -> None:
    """Write a file whole or not at all."""
    import tempfile  # and with it a third of what reading one takes to start

    descriptor, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(body)
        os.replace(name, file)  # noqa: PTH105 - a file that is there is replaced
    except BaseException:
        os.unlink(name)  # noqa: PTH108 - the name is a text
        raise
