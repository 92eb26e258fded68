# SPDX-License-Identifier: Apache-2.0
"""YAML whose every part knows its file, its line and its key, for messages about what people wrote.

Knows nothing of what is written; an inventory is made of it elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mco_client.discovery.source import read_text
from mco_client.text import one_line
from mco_rpc.errors import ConfigError
from mco_rpc.suggestion import did_you_mean
from mco_rpc.yaml_text import compose_yaml

# Every byte of YAML takes about a hundred in memory.
_MAX_BYTES = 8 * 1024 * 1024
_MAX_KEY = 100
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Part:
    """A value of a YAML file, and where it stands.

    Attributes:
        key: the keys that lead to it, joined by dots; empty for the whole.
        key_line: the line of its key, if it has one.
    """

    file: Path
    key: str
    node: Any
    key_line: int = 0

    @property
    def line(self) -> int:
        """The line of its key or, without one, on which it begins."""
        return self.key_line or int(self.node.start_mark.line) + 1

    @property
    def where(self) -> str:
        """File, line and key, as a message begins."""
        return f"{self.file}, line {self.line}{f': {self.key}' if self.key else ''}"

    @property
    def is_empty(self) -> bool:
        """Whether nothing is written there."""
        return bool(self.node.tag == _NULL)

    @property
    def is_mapping(self) -> bool:
        """Whether it is `key: value` lines."""
        return type(self.node).__name__ == "MappingNode"

    @property
    def is_text(self) -> bool:
        """Whether one text or number is written there."""
        return type(self.node).__name__ == "ScalarNode" and not self.is_empty

    def items(self, known: Iterable[str] = ()) -> dict[str, Part]:
        """Return the values of a mapping by key, what it merges (``<<``) included; of nothing, none.

        Raises:
            ConfigError: it is no mapping, a key stands there twice or, where some are given, is not known.
        """
        found = _items(self)
        for key, part in found.items():
            if known and key not in known:
                hint = did_you_mean(key, known) or f": expected {', '.join(known)}"
                raise part.error(f"unknown key{hint}")
        return found

    def key_of(self, name: str) -> str:
        """Return the keys that lead to a value in it."""
        return f"{self.key}.{name}" if self.key else name

    def elements(self) -> list[Part]:
        """Return the values of a list; of nothing, none; raise `ConfigError` if it is no list."""
        import yaml

        if self.is_empty:
            return []
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error(f"expected a list, found {self.kind}")
        return [Part(self.file, f"{self.key}[{number}]", value) for number, value in enumerate(self.node.value)]

    def text(self) -> str:
        """Return a text as it is written, whatever YAML takes it for; raise `ConfigError` if it is none."""
        import yaml

        if not isinstance(self.node, yaml.ScalarNode):
            raise self.error(f"expected a name, found {self.kind}")
        return str(self.node.value)

    def value(self) -> Any:
        """Return what it is in Python; raise `ConfigError` if YAML does not say, because of a tag for instance."""
        import yaml

        try:
            return yaml.constructor.SafeConstructor().construct_document(self.node)
        except Exception as e:  # beside YAMLError whatever the tags' constructors stumble over
            problem = getattr(e, "problem", None) or e
            raise self.error(f"its value cannot be read: {one_line(problem)}") from e

    def scalars(self) -> Iterator[Any]:
        """Yield the nodes of all texts and numbers in it, each once, however often aliases lead to it."""
        import yaml

        waiting, seen = [self.node], set()
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, yaml.ScalarNode):
                yield node
            elif isinstance(node, yaml.MappingNode):
                waiting += [part for pair in node.value for part in pair]
            else:
                waiting += node.value

    @property
    def kind(self) -> str:
        """What it is, for people."""
        kinds = {"MappingNode": "`key: value` lines", "SequenceNode": "a list"}
        return kinds.get(type(self.node).__name__) or (f"{_short(self.node)!r}" if not self.is_empty else "nothing")

    def error(self, text: str) -> ConfigError:
        """Return the error that says what is wrong here."""
        return ConfigError(f"{self.where}: {text}")


def read(file: Path) -> Part | None:
    """Return what a YAML file holds; nothing for an empty one.

    Raises:
        ConfigError: it cannot be read or is not YAML, with line and column.
    """
    node = compose_yaml(read_text(file, _MAX_BYTES), str(file))
    return None if node is None else Part(file, "", node)


def _items(part: Part, within: tuple[int, ...] = ()) -> dict[str, Part]:
    import yaml

    if part.is_empty:
        return {}
    if not isinstance(part.node, yaml.MappingNode):
        raise part.error(f"expected `key: value` lines, found {part.kind}")
    if id(part.node) in within:
        raise part.error("it merges itself")
    found: dict[str, Part] = {}
    merged: dict[str, Part] = {}
    for key, value in part.node.value:
        if key.tag == _MERGE:
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                for name, other in _items(Part(part.file, part.key, source), (*within, id(part.node))).items():
                    merged.setdefault(name, other)
            continue
        if not isinstance(key, yaml.ScalarNode):
            raise part.error(f"expected a name as key, found {Part(part.file, '', key).kind}")
        at = Part(part.file, part.key_of(_short(key)), value, key.start_mark.line + 1)
        if key.value in found:
            raise at.error(f"it stands there twice, in line {found[key.value].line} as well")
        found[key.value] = at
    return {**merged, **found}


def _short(node: Any) -> str:
    return one_line(node.value, _MAX_KEY) if isinstance(node.value, str) else "?"
