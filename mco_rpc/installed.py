# SPDX-License-Identifier: Apache-2.0
"""What installed packages bring along under a name of ours: their entry points, read from the files that say so.

`importlib.metadata` says the same; it takes 3 MiB of every node's memory and some 15 ms of every command that looks
for plug-ins, for parsers of mail, of tables and of archives that a list of names does not need.
Source of the format: https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_METADATA = (".dist-info", ".egg-info")
_FILE = "entry_points.txt"


@dataclass(frozen=True, slots=True, order=True)
class EntryPoint:
    """A name, and where to find what it names: ``module:attribute``."""

    name: str
    value: str

    def load(self) -> Any:
        """Import it.

        Raises:
            ImportError: the module is not there, or could not be imported.
            AttributeError: it is, and has no such attribute.
        """
        module, _, path = self.value.partition(":")
        made: Any = importlib.import_module(module)
        for attribute in filter(None, path.split(".")):
            made = getattr(made, attribute)
        return made


def entry_points(group: str, name: str | None = None, path: Sequence[str] | None = None) -> tuple[EntryPoint, ...]:
    """Return what installed packages bring under a group, by name; of a package installed twice, the first one's.

    Args:
        name: only those of this name.
        path: the folders to look in; those of ``sys.path`` if None.
    """
    found = (entry for text in _texts(sys.path if path is None else path) for entry in _read(text, group))
    return tuple(sorted({entry for entry in found if name in (None, entry.name)}))


def _texts(path: Sequence[str]) -> Iterator[str]:
    """Yield the files of all packages; what cannot be read says nothing, as it is for Python itself."""
    seen = set()
    for folder in path:
        try:
            with os.scandir(folder or ".") as entries:
                there = sorted(entry.name for entry in entries if entry.name.endswith(_METADATA))
        except OSError:  # not there, or an archive
            continue
        for each in there:
            package = each.rpartition(".")[0].partition("-")[0].lower().replace("_", "-").replace(".", "-")
            if package in seen:
                continue
            seen.add(package)
            try:
                with open(f"{folder or '.'}/{each}/{_FILE}", encoding="utf-8") as file:  # noqa: PTH123 - many, at each start
                    yield file.read()
            except (OSError, UnicodeDecodeError):
                continue


def _read(text: str, group: str) -> Iterator[EntryPoint]:
    is_ours = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            is_ours = line == f"[{group}]"
        elif is_ours and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield EntryPoint(name.strip(), value.partition("[")[0].strip())
