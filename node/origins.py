# SPDX-License-Identifier: Apache-2.0
"""Where agents and data sources come from: installed packages by entry point, then the files of the libdir folders.

It finds and imports classes; whether a node offers them is the loader's. A file's bytecode is never kept: a file that
is written twice within a second would be taken for the first one.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mco_rpc.agent import Agent
from mco_rpc.data import DataSource
from mco_rpc.errors import ConfigError
from mco_rpc.installed import EntryPoint, entry_points
from mco_rpc.ownership import why_not_trusted

from .external_files import external_files

ENTRY_POINTS = {"agent": "mco.agents", "data source": "mco.data"}


@dataclass(frozen=True, slots=True)
class Origin:
    """One place that classes come from.

    Attributes:
        key: names it, and nothing else.
        where: as people are told.
        called: the name of an agent that is likely to be in it.
        subject: how a sentence begins that says that nothing came of it.
        folder: the libdir folder of a file; empty for an entry point.
        stamp: differs when there is something else to load.
        module: what it puts into `sys.modules`, if it does.
        classes: imports it.
    """

    key: str
    where: str
    called: str
    subject: str
    folder: str
    stamp: object
    classes: Callable[[], list[type[Any]]]
    module: str = ""


def installed() -> Iterator[Origin]:
    """Yield what packages bring, agents first."""
    for word, group in ENTRY_POINTS.items():
        for entry in entry_points(group):
            subject = f"{word} {entry.name} ({entry.value}) was"
            key = f"{group} {entry.name} {entry.value}"
            yield Origin(key, entry.value, entry.name, subject, "", entry.value, functools.partial(_loaded, entry))


def files_in(folder: Path) -> Iterator[Origin]:
    """Yield what a libdir folder holds.

    Raises:
        ConfigError: the folder cannot be read, or not be trusted.
    """
    try:
        why_not = why_not_trusted(folder.stat(), is_owner_checked=False) if folder.is_dir() else None
        if not folder.is_dir():
            raise ConfigError(f"libdir: {folder} is not a folder")
        if why_not:
            raise ConfigError(f"libdir: nothing in {folder} was loaded: {why_not}")
        files = sorted(folder.glob("*.py"))
        external = external_files(folder)
    except OSError as e:
        raise ConfigError(f"libdir: {folder}: {e.strerror}") from e
    for file in files:
        name = f"mco_libdir_{file.stem}_{abs(hash(str(file))):x}"
        subject = f"agents and data sources in {file} were"
        classes = functools.partial(_classes_in, file, name)
        yield Origin(str(file), str(file), file.stem, subject, str(folder), stamp_of(file), classes, module=name)
    for file, *others in external:
        subject = f"external agent in {file} was"
        classes = functools.partial(_external_agent, file)
        yield Origin(str(file), str(file), file.stem, subject, str(folder), stamp_of(file, *others), classes)


def stamps(folders: tuple[str, ...]) -> dict[str, object]:
    """Return what tells that a file of the libdir folders is another one now, by origin; cheap."""
    found: dict[str, object] = {}
    for folder in folders:
        try:
            found |= {origin.key: origin.stamp for origin in files_in(Path(folder))}
        except ConfigError:
            found[folder] = "unreadable"
    return found


def stamp_of(*files: Path) -> object:
    """Return what differs when the content of files, or who may write them, does."""
    return tuple(_stamp(file) for file in files)


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except OSError as e:
        return (e.errno or 0,)
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def _external_agent(file: Path) -> list[type[Any]]:
    from .external import external_agent  # a node without one does not wait for it

    return list(external_agent(file))


def _loaded(entry: EntryPoint) -> list[type[Any]]:
    return [entry.load()]


class _Uncached(importlib.machinery.SourceFileLoader):
    """Compiles a file each time, and leaves nothing beside it."""

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.get_data(self.path), self.path)


def _classes_in(file: Path, name: str) -> list[type[Any]]:
    if why_not := why_not_trusted(file.stat(), is_owner_checked=False):
        raise ConfigError(why_not)
    spec = importlib.util.spec_from_file_location(name, file, loader=_Uncached(name, str(file)))
    if spec is None or spec.loader is None:
        raise ConfigError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    made = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Agent | DataSource) and kind.__module__ == name
    ]
    if not made:
        raise ConfigError("it defines no subclass of mco_rpc.agent.Agent or mco_rpc.data.DataSource")
    return made
