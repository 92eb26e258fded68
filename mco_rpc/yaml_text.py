# SPDX-License-Identifier: Apache-2.0
"""Read YAML that people and programs wrote: every mistake in it is a `ConfigError` that says where."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mco_rpc.errors import ConfigError

_MAX_YAML_DEPTH = 500
_MAX_ALIASED_NODES = 100_000


def read_yaml_mapping(file: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, an empty one if the file is empty.

    Raises:
        ConfigError: the file cannot be read, is not YAML or is not a mapping; with line and column.
    """
    made = read_yaml(file)
    if made is None:
        return {}
    if not isinstance(made, dict) or not all(isinstance(key, str) for key in made):
        raise ConfigError(f"{file}: expected `key: value` lines, found {type(made).__name__}")
    return made


def read_yaml(file: Path) -> Any:
    """Return what a YAML file holds; raise `ConfigError` with line and column if it cannot be read."""
    try:
        return parse_yaml(file.read_text("utf-8"), str(file))
    except OSError as e:
        raise ConfigError(f"{file}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise ConfigError(f"{file}: byte {e.start} is not UTF-8") from e


def parse_yaml(text: str, where: str) -> Any:
    """Return what a YAML text holds; raise `ConfigError` with ``where``, line and column if it is not YAML."""
    import yaml

    return _taken(yaml.load, text, where)


def compose_yaml(text: str, where: str) -> Any:
    """Return the node tree of a YAML text, None for an empty one, for whoever has to name lines; else as `parse_yaml`.

    Aliases share nodes, and may lead back to a node that holds them.
    """
    import yaml

    return _taken(yaml.compose, text, where)


def _taken(take: Callable[[str, Any], Any], text: str, where: str) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # both are safe
    try:
        # An alias needs its star; without one, a short text can neither be nested too deep nor grow.
        if len(text) > _MAX_YAML_DEPTH or "*" in text:
            _check_size(yaml.parse(text, loader))
        return take(text, loader)
    except Exception as e:  # beside YAMLError whatever the tags' constructors stumble over: KeyError, IndexError, ...
        mark = getattr(e, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        problem = getattr(e, "problem", None) or str(e)
        raise ConfigError(f"{where}:{place} not YAML: {problem}") from e


def _check_size(events: Iterable[Any]) -> None:
    """Refuse what would end the process or fill its memory.

    That is nesting so deep that libyaml's loader recurses in C beyond its stack, and aliases of aliases: they cost
    nothing to load, and everything to whoever writes them out.
    """
    import yaml

    sizes = [0]  # of the collections that are open, in nodes with their aliases followed
    anchors: list[str | None] = []
    size_of: dict[str | None, int] = {}
    aliased = 0
    for event in events:
        mark, alias = event.start_mark, getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionStartEvent):
            sizes.append(1)
            anchors.append(event.anchor)
            if len(anchors) > _MAX_YAML_DEPTH:
                raise yaml.MarkedYAMLError(problem=f"nested more than {_MAX_YAML_DEPTH} deep", problem_mark=mark)
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            size, anchor = sizes.pop(), anchors.pop()
        elif isinstance(event, yaml.ScalarEvent):
            size, anchor = 1, event.anchor
        elif isinstance(event, yaml.AliasEvent):
            size, anchor = size_of.get(alias, 1), None
            aliased += size
            if aliased > _MAX_ALIASED_NODES:
                raise yaml.MarkedYAMLError(
                    problem=f"its aliases stand for more than {_MAX_ALIASED_NODES} values",
                    problem_mark=mark,
                )
        else:
            continue
        sizes[-1] += size
        if anchor:
            size_of[anchor] = size
