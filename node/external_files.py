# SPDX-License-Identifier: Apache-2.0
"""Where the files of external agents are: nothing here reads or runs one, and the node's start waits for nothing else.

``NAME.json`` and the executable ``NAME`` (or ``NAME.sh``, ``NAME.pl`` ...) lie in a libdir folder, or in a folder
``NAME`` of it.
"""

from __future__ import annotations

import os
from pathlib import Path

# What an editor or a package manager leaves beside the file it changed.
_LEFT_OVER = (".json", ".bak", ".orig", ".swp", ".rpmsave", ".rpmnew", ".rpmorig")


def external_files(folder: Path) -> list[tuple[Path, ...]]:
    """Return the files of each thing in a folder that could be an external agent: its JSON file, what is asked."""
    inner = (each / f"{each.name}.json" for each in folder.iterdir() if each.is_dir())
    return [(file, *executables(file)) for file in sorted([*folder.glob("*.json"), *filter(_is_file, inner)])]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that is closed to us
        return False


def executables(file: Path) -> list[Path]:
    """Return what beside a JSON file could be asked: a ``.py`` in the libdir itself is an agent of another kind."""
    try:
        beside = list(file.parent.iterdir())
    except OSError:  # closed to us, or gone since
        return []
    return sorted(
        each
        for each in beside
        if each.stem == file.stem
        and not each.name.endswith((*_LEFT_OVER, "~"))
        and not each.suffix.startswith(".dpkg-")
        and (each.suffix != ".py" or file.parent.name == file.stem)
        and _is_file(each)
        and os.access(each, os.X_OK)
    )
