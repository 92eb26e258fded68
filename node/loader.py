# SPDX-License-Identifier: Apache-2.0
"""Make the agents and data sources that a node offers, at its start and again while it runs.

What cannot be loaded is left out and named, never silently; the others load all the same. Of what was loaded before
and does not load any more the old one stays: a file is taken as a whole or not at all.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mco_rpc.agent import Agent, NodeView
from mco_rpc.config import NodeSettings
from mco_rpc.data import DataSource
from mco_rpc.errors import ConfigError, McoError
from mco_rpc.schema import AgentSchema
from mco_rpc.suggestion import did_you_mean

from .origins import ENTRY_POINTS, Origin, files_in, installed, stamps

__all__ = ["ENTRY_POINTS", "Loaded", "Part", "Plugin", "Wanted", "load"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plugin:
    """An agent or a data source, or why there is none.

    Attributes:
        settings: with which it was made.
        why_not: why this node does not offer it; empty if it does, or would and could not.
    """

    kind: type[Agent] | type[DataSource]
    name: str
    made: Agent | DataSource | None
    settings: Mapping[str, Any]
    why_not: str = ""

    @property
    def word(self) -> str:
        """What it is, in words."""
        return _word(self.kind)


@dataclass(frozen=True, slots=True)
class Part:
    """What came of one origin.

    Attributes:
        names: kind and name of all that it declares, offered or not.
    """

    origin: Origin
    plugins: tuple[Plugin, ...] = ()
    names: frozenset[tuple[str, str]] = frozenset()
    problems: tuple[str, ...] = ()


# Whether an origin shall be loaded again: the one that is there, None if it is gone; and what came of it before.
Wanted = Callable[[Origin | None, Part | None], bool]


@dataclass
class Loaded:
    """What was found.

    Attributes:
        inactive: agents that do not apply to this node, and why.
        problems: what should have loaded and did not.
        inactive_sources: data sources that do not apply to this node, and why.
        unbound: agents that answer only who asks this node by its name.
        parts: what came of each origin, in order.
        stamps: of the libdir folders' files, taken before they were read.
    """

    agents: dict[str, Agent] = field(default_factory=dict)
    inactive: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    sources: dict[str, DataSource] = field(default_factory=dict)
    inactive_sources: dict[str, str] = field(default_factory=dict)
    unbound: frozenset[str] = frozenset()
    parts: dict[str, Part] = field(default_factory=dict)
    stamps: dict[str, object] = field(default_factory=dict)


def load(settings: NodeSettings, node: NodeView, before: Loaded | None = None, wanted: Wanted | None = None) -> Loaded:
    """Return one instance of all that is active on this node; libdir's win over installed ones.

    Args:
        before: what the node has now; of what does not load again that stays.
        wanted: what is loaded again; everything if None.
    """
    old = before.parts if before else {}
    loaded = Loaded(unbound=before.unbound if before else frozenset(), stamps=stamps(settings.libdir))
    origins, unread = _origins(settings, loaded.problems)
    for origin in origins:
        was = old.get(origin.key)
        if wanted is None or wanted(origin, was):
            loaded.parts[origin.key] = _part(origin, was, settings, node)
        elif was is not None:
            loaded.parts[origin.key] = was
    for key, was in old.items():
        if key in loaded.parts:
            continue
        if was.origin.folder in unread or not (wanted is None or wanted(None, was)):
            loaded.parts[key] = was
        else:
            sys.modules.pop(was.origin.module, None)
    _put_together(loaded, settings, before)
    for problem in loaded.problems:
        if before is None or problem not in before.problems:
            _log.error("%s", problem)
    return loaded


def _origins(settings: NodeSettings, problems: list[str]) -> tuple[list[Origin], set[str]]:
    """Return all there is now, and the folders that cannot be read: what was loaded from there stays."""
    found, unread = list(installed()), set()
    for folder in settings.libdir:
        try:
            found += files_in(Path(folder))
        except ConfigError as e:
            problems.append(str(e))
            unread.add(folder)
    return found, unread


def _part(origin: Origin, was: Part | None, settings: NodeSettings, node: NodeView) -> Part:
    """Load an origin again, or for the first time."""
    if was is not None and was.plugins and not origin.folder:  # what a package brings is imported once
        part = _made(origin, [plugin.kind for plugin in was.plugins], was, settings, node)
    else:
        before = sys.modules.get(origin.module)
        try:
            part = _made(origin, origin.classes(), was, settings, node)
        except (Exception, SystemExit) as e:
            part = Part(origin, problems=(f"{origin.subject} not loaded: {_said(e, origin.where)}",))
        is_refused = not part.plugins or (part.problems and was is not None and was.plugins)
        if origin.module and is_refused:
            _restore(origin.module, before)
    if part.problems and was is not None and was.plugins:
        problems = tuple(f"{problem}; the one that was loaded before is kept" for problem in part.problems)
        return Part(origin, was.plugins, was.names | part.names, problems)
    return part


def _made(origin: Origin, kinds: list[type[Any]], was: Part | None, settings: NodeSettings, node: NodeView) -> Part:
    plugins, names, problems = [], set(), []
    for kind in kinds:
        try:
            schema = kind.schema()
            name = schema.name
            names.add((_word(kind), name))
            if isinstance(schema, AgentSchema):
                schema.digest  # noqa: B018 - raises if JSON cannot say it
            plugins.append(_plugin(kind, name, was, settings, node))
        except (Exception, SystemExit) as e:
            problems.append(f"{_word(kind)} in {origin.where} was not loaded: {_said(e, origin.where)}")
    return Part(origin, tuple(plugins), frozenset(names), tuple(problems))


def _plugin(kind: type[Any], name: str, was: Part | None, settings: NodeSettings, node: NodeView) -> Plugin:
    by_name = settings.data if issubclass(kind, DataSource) else settings.agents
    own = dict(by_name.get(name, {}))
    why_off = "" if "enabled" in own else getattr(kind, "why_off", "")
    if why_off or not own.pop("enabled", True):
        return Plugin(kind, name, None, own, why_off or "switched off in the configuration")
    why_not = kind.activate_when(own)
    if why_not:
        _log.info("%s %s is not offered: %s", _word(kind), name, why_not)
        return Plugin(kind, name, None, own, why_not)
    for plugin in was.plugins if was else ():
        if plugin.kind is kind and plugin.made is not None and plugin.settings == own:
            return plugin
    return Plugin(kind, name, kind(node, own), own)


def _put_together(loaded: Loaded, settings: NodeSettings, before: Loaded | None) -> None:
    """Say of each name who has it, and name the settings that are for nobody."""
    for part in loaded.parts.values():
        loaded.problems += part.problems
        for plugin in part.plugins:
            _put(loaded, plugin, part.origin.where, before)
    declared = [name for part in loaded.parts.values() for name in part.names]
    for word, key, given in (("agent", "agents", settings.agents), ("data source", "data", settings.data)):
        known = {name for its_word, name in declared if its_word == word}
        for name in given:
            if name not in known and given[name].get("enabled", True):
                text = f"{key}: settings for {name!r}, which is no {word} here{did_you_mean(name, known)}"
                loaded.problems.append(text)


def _put(loaded: Loaded, plugin: Plugin, where: str, before: Loaded | None) -> None:
    is_agent = plugin.word == "agent"
    active: dict[str, Any] = loaded.agents if is_agent else loaded.sources
    inactive = loaded.inactive if is_agent else loaded.inactive_sources
    if plugin.made is None:
        if plugin.name not in active:
            inactive[plugin.name] = plugin.why_not
        return
    if plugin.name in active and plugin.made not in (
        (*before.agents.values(), *before.sources.values()) if before else ()
    ):
        _log.info("%s %s: the one in %s takes the place of an installed one", plugin.word, plugin.name, where)
    active[plugin.name] = plugin.made
    inactive.pop(plugin.name, None)


def _restore(module: str, before: Any) -> None:
    if before is None:
        sys.modules.pop(module, None)
    else:
        sys.modules[module] = before


def _word(kind: Any) -> str:
    return "data source" if isinstance(kind, type) and issubclass(kind, DataSource) else "agent"


def _said(error: BaseException, file: str) -> str:
    """Return what went wrong, and on which line of the file if it was there."""
    if isinstance(error, McoError):
        return str(error)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{type(error).__name__}: {error}{f' (line {lines[-1]})' if lines else ''}"
