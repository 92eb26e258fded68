# SPDX-License-Identifier: Apache-2.0
"""Read YAML that people and programs wrote: every mistake in it is a `ConfigError` that says where."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mco_rpc.errors import ConfigError

_MAX_YAML_DEPTH = 500


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

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if len(text) > _MAX_YAML_DEPTH:
            _check_depth(yaml.parse(text, loader))
        return yaml.load(text, loader)  # noqa: S506 - both are safe
    except Exception as e:  # beside YAMLError whatever the tags' constructors stumble over: KeyError, IndexError, ...
        mark = getattr(e, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        problem = getattr(e, "problem", None) or str(e)
        raise ConfigError(f"{where}:{place} not YAML: {problem}") from e


def _check_depth(events: Iterable[Any]) -> None:
    """Refuse what is nested so deep that libyaml's loader, which recurses in C, would end the process."""
    import yaml

    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_YAML_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"nested more than {_MAX_YAML_DEPTH} deep", problem_mark=event.start_mark
            )
