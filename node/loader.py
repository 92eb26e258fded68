# SPDX-License-Identifier: Apache-2.0
"""Find the agents a node offers: installed ones by entry point, then files in the libdir folders.

An agent that cannot be loaded is left out and named, never silently; the others load all the same.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mco_rpc.agent import Agent, NodeView
from mco_rpc.config import NodeSettings
from mco_rpc.errors import ConfigError, McoError
from mco_rpc.ownership import why_not_trusted
from mco_rpc.suggestion import did_you_mean

_log = logging.getLogger(__name__)
ENTRY_POINTS = "mco.agents"


@dataclass
class Loaded:
    """What was found.

    Attributes:
        inactive: agents that do not apply to this node, and why.
        problems: agents that should have loaded and did not.
    """

    agents: dict[str, Agent] = field(default_factory=dict)
    inactive: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def load(settings: NodeSettings, node: NodeView) -> Loaded:
    """Return one instance of every agent that is active on this node; libdir's win over installed ones."""
    loaded = Loaded()
    known: set[str] = set()
    for where, kind in _classes(settings, loaded.problems):
        try:
            name = kind.schema().name
            known.add(name)
            _add(loaded, name, kind, settings, node, where)
        except (Exception, SystemExit) as e:
            _problem(loaded.problems, f"agent in {where} was not loaded: {_said(e)}")
    for name in settings.agents:
        if name not in known and settings.agents[name].get("enabled", True):
            _problem(
                loaded.problems, f"agents: settings for {name!r}, which is no agent here{did_you_mean(name, known)}"
            )
    return loaded


def _add(loaded: Loaded, name: str, kind: type[Agent], settings: NodeSettings, node: NodeView, where: str) -> None:
    own = dict(settings.agents.get(name, {}))
    if not own.pop("enabled", True):
        loaded.inactive[name] = "switched off in the configuration"
        return
    why_not = kind.activate_when(own)
    if why_not:
        loaded.inactive[name] = why_not
        _log.info("agent %s is not offered: %s", name, why_not)
        return
    if name in loaded.agents:
        _log.info("agent %s: the one in %s takes the place of an installed one", name, where)
    loaded.agents[name] = kind(node, own)
    loaded.inactive.pop(name, None)


def _classes(settings: NodeSettings, problems: list[str]) -> Iterator[tuple[str, type[Agent]]]:
    for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            yield entry.value, entry.load()
        except (Exception, SystemExit) as e:
            _problem(problems, f"agent {entry.name} ({entry.value}) was not loaded: {_said(e)}")
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
                _problem(problems, f"agents in {file} were not loaded: {_said(e)}")


def _classes_in(file: Path) -> list[type[Agent]]:
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
        if isinstance(kind, type) and issubclass(kind, Agent) and kind.__module__ == name
    ]
    if not made:
        raise ConfigError("it defines no subclass of mco_rpc.agent.Agent")
    return made


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, McoError) else f"{type(error).__name__}: {error}"


def _problem(problems: list[str], text: str) -> None:
    problems.append(text)
    _log.error("%s", text)
