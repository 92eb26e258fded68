# SPDX-License-Identifier: Apache-2.0
"""Find the agents and data sources a node offers: installed ones by entry point, then files in the libdir folders.

What cannot be loaded is left out and named, never silently; the others load all the same.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from mco_rpc.agent import Agent, NodeView
from mco_rpc.config import NodeSettings
from mco_rpc.data import DataSource
from mco_rpc.errors import ConfigError, McoError
from mco_rpc.ownership import why_not_trusted
from mco_rpc.suggestion import did_you_mean

_log = logging.getLogger(__name__)
ENTRY_POINTS = {"agent": "mco.agents", "data source": "mco.data"}
_Plugin = Agent | DataSource
_P = TypeVar("_P", bound=_Plugin)


@dataclass
class Loaded:
    """What was found.

    Attributes:
        inactive: agents that do not apply to this node, and why.
        problems: what should have loaded and did not.
        inactive_sources: data sources that do not apply to this node, and why.
        unbound: agents that answer only who asks this node by its name.
    """

    agents: dict[str, Agent] = field(default_factory=dict)
    inactive: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    sources: dict[str, DataSource] = field(default_factory=dict)
    inactive_sources: dict[str, str] = field(default_factory=dict)
    unbound: frozenset[str] = frozenset()


def load(settings: NodeSettings, node: NodeView) -> Loaded:
    """Return one instance of all that is active on this node; libdir's win over installed ones."""
    loaded = Loaded()
    agents = _Shelf("agent", settings.agents, loaded.agents, loaded.inactive, loaded.problems)
    sources = _Shelf("data source", settings.data, loaded.sources, loaded.inactive_sources, loaded.problems)
    for where, kind in _classes(settings, loaded.problems):
        if isinstance(kind, type) and issubclass(kind, DataSource):
            sources.add(kind, node, where)
        else:
            agents.add(kind, node, where)
    agents.check_settings("agents")
    sources.check_settings("data")
    return loaded


@dataclass
class _Shelf(Generic[_P]):
    """The plug-ins of one kind: settings, what is active and what is not, by name."""

    word: str
    settings: Mapping[str, Mapping[str, Any]]
    active: dict[str, _P]
    inactive: dict[str, str]
    problems: list[str]
    known: set[str] = field(default_factory=set)

    def add(self, kind: type[_P], node: NodeView, where: str) -> None:
        """Make one if it applies to this node."""
        try:
            name = kind.schema().name
            self.known.add(name)
            self._add(name, kind, node, where)
        except (Exception, SystemExit) as e:
            _problem(self.problems, f"{self.word} in {where} was not loaded: {_said(e)}")

    def _add(self, name: str, kind: type[_P], node: NodeView, where: str) -> None:
        own = dict(self.settings.get(name, {}))
        if not own.pop("enabled", True):
            self.inactive[name] = "switched off in the configuration"
            return
        why_not = kind.activate_when(own)
        if why_not:
            self.inactive[name] = why_not
            _log.info("%s %s is not offered: %s", self.word, name, why_not)
            return
        if name in self.active:
            _log.info("%s %s: the one in %s takes the place of an installed one", self.word, name, where)
        self.active[name] = kind(node, own)
        self.inactive.pop(name, None)

    def check_settings(self, key: str) -> None:
        """Name the settings that are for nobody."""
        for name in self.settings:
            if name not in self.known and self.settings[name].get("enabled", True):
                text = f"{key}: settings for {name!r}, which is no {self.word} here{did_you_mean(name, self.known)}"
                _problem(self.problems, text)


def _classes(settings: NodeSettings, problems: list[str]) -> Iterator[tuple[str, type[Any]]]:
    for word, group in ENTRY_POINTS.items():
        for entry in sorted(importlib.metadata.entry_points(group=group), key=lambda entry: entry.name):
            try:
                yield entry.value, entry.load()
            except (Exception, SystemExit) as e:
                _problem(problems, f"{word} {entry.name} ({entry.value}) was not loaded: {_said(e)}")
    for folder in (Path(name) for name in settings.libdir):
        if not folder.is_dir():
            _problem(problems, f"libdir: {folder} is not a folder")
            continue
        if why_not := why_not_trusted(folder.stat(), is_owner_checked=False):
            _problem(problems, f"libdir: nothing in {folder} was loaded: {why_not}")
            continue
        for file in sorted(folder.glob("*.py")):
            try:
                yield from ((str(file), kind) for kind in _classes_in(file))
            except (Exception, SystemExit) as e:
                _problem(problems, f"agents and data sources in {file} were not loaded: {_said(e)}")


def _classes_in(file: Path) -> list[type[_Plugin]]:
    if why_not := why_not_trusted(file.stat(), is_owner_checked=False):
        raise ConfigError(why_not)
    name = f"mco_libdir_{file.stem}_{abs(hash(str(file))):x}"
    spec = importlib.util.spec_from_file_location(name, file)
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


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, McoError) else f"{type(error).__name__}: {error}"


def _problem(problems: list[str], text: str) -> None:
    problems.append(text)
    _log.error("%s", text)
