# SPDX-License-Identifier: Apache-2.0
"""Nodes in a text that somebody wrote or a program printed: one identity or range a line, or JSON.

Which of the forms it is, the text itself tells. Whatever in it is not the name of a node is an error with its place.
Of the answers to a call, those that failed name nobody: who goes on with them goes on with what was done.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from mco_client.discovery.ranges import expand
from mco_client.discovery.source import MAX_NODES, Known, absent_of, identity, near, split
from mco_client.text import one_line
from mco_rpc.errors import ConfigError, DiscoveryError
from mco_rpc.filters import Filter, Subject

SERVES = frozenset({"identities"})
# Where an object has the name of its node: answers of ours and of MCollective's, inventories, the Puppet database.
_NAME_KEYS = ("sender", "identity", "certname")
# Where an object has many of them: `mco rpc -j`, answers that Choria prints, an external source's reply.
_LIST_KEYS = ("results", "replies", "nodes")
# What stands on a line of its own beside the answers to a call.
_NO_NODE = frozenset({"statistics", "summary"})
# What such a line of `mco rpc --jsonl` calls itself.
_NO_ANSWER = frozenset({"statistics", "started", "told"})
_BYTE = re.compile(r" \(byte (\d+)\)\Z")
_EXPECTED = f"expected names, objects with {', '.join(_NAME_KEYS)}, or a list of these in {', '.join(_LIST_KEYS)}"


@dataclass(frozen=True, slots=True)
class Listing:
    """What a text lists: nodes, each once, and those whose answer in it says that they failed."""

    names: tuple[str, ...]
    failed: tuple[str, ...] = ()


def chosen(listed: Iterable[str], node_filter: Filter, source: str) -> Known:
    """Return of the listed nodes those whose identity a filter asks for; nothing else of it is decided."""
    served, residual = split(node_filter, SERVES)
    unique = dict.fromkeys(listed)
    nodes = tuple(name for name in unique if served.matches(Subject(name))) if served else tuple(unique)
    absent = absent_of(node_filter, nodes, f"{source} does not name it")
    return Known(nodes, residual, {name: f"{why}{near(name, unique)}" for name, why in absent.items()})


def names_in(text: str, where: str) -> tuple[str, ...]:
    """Return the nodes that a text lists, each once; see `listing`."""
    return listing(text, where).names


def listing(text: str, where: str) -> Listing:
    """Return what a text lists.

    Raises:
        ConfigError: something in it is not the name of a node; with the line or the key.
        DiscoveryError: it lists none.
    """
    failed: list[str] = []
    is_json = text.lstrip()[:1] in ("{", "[", '"')
    found = tuple(dict.fromkeys(_in_json(text, where, failed) if is_json else _in_lines(text, where)))
    if not found:
        why = f"that succeeded; {len(failed):,} failed" if failed else "; expected one identity a line, or JSON"
        raise DiscoveryError(f"{where}: it names no node{' ' if failed else ''}{why}")
    if len(found) > MAX_NODES:
        raise ConfigError(f"{where}: {len(found):,} nodes; at most {MAX_NODES:,} are read")
    return Listing(found, tuple(dict.fromkeys(failed)))


def _in_lines(text: str, where: str) -> Iterator[str]:
    # Only at line feeds: other characters that end a line for Python have no place in a name.
    for number, line in enumerate(text.split("\n"), 1):
        if name := line.partition("#")[0].strip(" \t\r"):
            place = f"{where}, line {number}"
            for each in expand(name, place):
                yield identity(each, place)


def _in_json(text: str, where: str, failed: list[str]) -> Iterator[str]:
    """Yield the nodes in one JSON value, or in one a line."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if len(lines) == 1 or not _is_json(lines[0][1]):
        yield from _in_value(_decoded(text, where), where, failed)
        return
    for number, line in lines:
        place = f"{where}, line {number}"
        value = _decoded(line, place, is_line=True)
        if not (isinstance(value, dict) and _is_beside(value)):
            yield from _in_value(value, place, failed)


def _is_beside(value: dict[str, Any]) -> bool:
    """Say whether a line stands beside the answers and names no node of its own."""
    kind = value.get("kind")
    return bool(_NO_NODE.intersection(value) and len(value) == 1) or (isinstance(kind, str) and kind in _NO_ANSWER)


def _in_value(value: Any, where: str, failed: list[str]) -> Iterator[str]:
    """Yield the nodes in a list, in an object that has one, or the one that a value stands for."""
    key = ""
    if isinstance(value, dict) and not any(name in value for name in _NAME_KEYS):
        key = next((name for name in _LIST_KEYS if isinstance(value.get(name), list)), "")
        value = value[key] if key else value
    is_list = isinstance(value, list)
    for number, item in enumerate(value if is_list else [value]):
        name = _node(item, f"{where}: {key}[{number}]" if is_list else where)
        if _is_failure(item):
            failed.append(name)
        else:
            yield name


def _is_failure(item: Any) -> bool:
    """Say whether something is an answer of ours, or of MCollective's, that is not a success."""
    status = item.get("status", item.get("statuscode", 0)) if isinstance(item, dict) else 0
    return isinstance(status, int) and status != 0


def _node(item: Any, where: str) -> str:
    """Return the node that a name, or an object with one, stands for."""
    name = next((item[key] for key in _NAME_KEYS if key in item), None) if isinstance(item, dict) else item
    if isinstance(name, str):
        return identity(name, where)
    seen = f"an object with {', '.join(map(str, item)) or 'nothing'}" if isinstance(item, dict) else f"{item!r:.100}"
    raise ConfigError(f"{where}: {_EXPECTED}; found {one_line(seen)}")


def _is_json(text: str) -> bool:
    try:
        _decoded(text, "")
    except ConfigError:
        return False
    return True


def _decoded(text: str, where: str, *, is_line: bool = False) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as e:
        problem = str(e)
        if (at := _BYTE.search(problem)) and not is_line:
            line = text.encode()[: int(at[1])].count(b"\n") + 1
            where, problem = f"{where}, line {line}", problem[: at.start()]
        raise ConfigError(f"{where}: not JSON: {problem}") from e
    except RecursionError as e:
        raise ConfigError(f"{where}: not a list of nodes: nested too deep") from e
