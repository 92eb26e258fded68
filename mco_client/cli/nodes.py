# SPDX-License-Identifier: Apache-2.0
"""``mco nodes``: who should be there, by the registry, and who is not; no node is asked."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mco_client.cli import exits, options, output
from mco_client.connection import Connection
from mco_client.discovery.registry import EXPECTED, SILENT, STOPPED, Registered, Registry, ask
from mco_client.discovery.source import make
from mco_client.text import listed, natural, one_line
from mco_rpc.errors import ConfigError
from mco_rpc.filters import Filter

MISSING = "missing"
_INVENTORY_SUFFIXES = (".yaml", ".yml")
_COLOURS = {SILENT: "red", MISSING: "red", EXPECTED: "yellow", STOPPED: "yellow"}
_STATES = ("present", EXPECTED, STOPPED, SILENT, MISSING)
_MAX_SECONDS = 1e11  # after this the calendar ends
_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the table."""

    node: str
    state: str
    known: Registered | None = None
    is_unknown: bool = False

    def is_bad(self, *, is_wanted: bool) -> bool:
        """Say whether it should be there and is not; one that was stopped only if it is on a list of who should be."""
        return self.state in (SILENT, MISSING) or (self.state == STOPPED and is_wanted and not self.is_unknown)


@click.command(
    epilog="""\b
Examples:
  mco nodes                                   who is there, who was, and when last
  mco nodes --silent                          only who should be there and is not
  mco nodes --expected hosts.txt              and who never registered, or is not on the list
  mco nodes -F country=de -j                  some of them, as JSON

\b
Exit status:
  0  nobody is silent or missing
  1  the registry knows no such node, or cannot be asked
  2  somebody is silent, or missing, or on the list and stopped"""
)
@options.filtered
@click.option("--silent", "is_silent", is_flag=True, help="Only nodes that should be there and are not.")
@click.option(
    "--expected",
    "expected_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Who should be there: an inventory (.yaml, .yml), or a file with one name a line.",
)
@options.as_json
@options.timeout
@options.connected(is_discovering=False)
def nodes(
    connection: Connection,
    node_filter: Filter,
    is_silent: bool,
    expected_file: Path | None,
    is_json: bool,
    timeout_s: float | None,
) -> int:
    """List the nodes that the registry knows, and say whether they are there."""
    wanted = _wanted(connection, expected_file, node_filter)
    registry = ask(connection, node_filter, timeout_s or connection.settings.timeout_s)
    rows = _rows(registry, wanted)
    bad = [row for row in rows if row.is_bad(is_wanted=wanted is not None)]
    shown = bad if is_silent else rows
    if is_json:
        output.say_json(_as_json(registry, shown, wanted is not None))
    elif shown:
        _say(registry, shown, wanted is not None)
    _warn(registry, rows, node_filter, expected_file)
    if not rows:
        return exits.ERROR
    if not is_json:
        counts = Counter(row.state for row in rows)
        output.say(", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state]))
    return exits.FAILED if bad else exits.OK


def _wanted(connection: Connection, file: Path | None, node_filter: Filter) -> frozenset[str] | None:
    """Return who should be there by a file.

    Raises:
        ConfigError: the file cannot say it for this filter.
    """
    if file is None:
        return None
    kind = "inventory" if file.suffix in _INVENTORY_SUFFIXES else "flatfile"
    known = make(kind, (str(file),), connection.settings).known(node_filter, connection.settings.timeout_s)
    if known.residual:
        raise ConfigError(
            f"--expected {file}: it does not say for whom the filter {known.residual} is; leave that out, "
            "or use an inventory with classes and facts"
        )
    return frozenset(known.nodes)


def _rows(registry: Registry, wanted: frozenset[str] | None) -> list[_Row]:
    rows = [
        _Row(node.identity, node.state, node, is_unknown=wanted is not None and node.identity not in wanted)
        for node in registry.nodes
    ]
    rows += [_Row(name, MISSING) for name in (wanted or frozenset()).difference(registry.by_node)]
    return sorted(rows, key=lambda row: natural(row.node))


def _say(registry: Registry, rows: list[_Row], is_list: bool) -> None:
    lines = [
        (
            one_line(row.node),
            output.coloured(_state(row), _COLOURS.get(row.state, "green")),
            "never" if row.known is None else f"{_age(registry.now - row.known.last_seen)} ago",
            one_line(row.known.version, 64) if row.known else "-",
            _remark(row, is_list),
        )
        for row in rows
    ]
    heads = ("Node", "State", "Last seen", "Version", "Remark")
    columns = len(heads) if any(line[-1] for line in lines) else len(heads) - 1
    output.say(output.table(heads[:columns], [line[:columns] for line in lines]))
    output.say()


def _state(row: _Row) -> str:
    if row.known is not None and row.state in (SILENT, STOPPED):
        return f"{row.state} since {_moment(row.known.last_seen)}"
    return row.state


def _remark(row: _Row, is_list: bool) -> str:
    if row.known is None:
        return "it never registered"
    remarks = ["not on the list"] if is_list and row.is_unknown else []
    if not row.known.is_sure:
        remarks.append("only the node itself can tell whether the filter is for it")
    if row.known.problem:
        remarks.append(one_line(row.known.problem))
    return "; ".join(remarks)


def _warn(registry: Registry, rows: list[_Row], node_filter: Filter, expected_file: Path | None) -> None:
    for warning in registry.warnings:
        output.warn(f"registry {registry.identity}: {one_line(warning)}")
    listening = _age(registry.now - registry.listening_since)
    unheard = sum(row.state == EXPECTED for row in rows)
    if unheard:
        output.warn(
            f"registry {registry.identity} listens again for {listening}, and has not heard of "
            f"{output.counted(unheard)} since; one that stays silent will be called so"
        )
    if strangers := [row.node for row in rows if row.is_unknown]:
        output.warn(f"not in {expected_file}: {listed(strangers)}")
    if not rows:
        output.warn(
            f"registry {registry.identity} knows no node for the filter: {node_filter}; it listens for {listening}, "
            "and a node that has just been set up registers within its registration_interval_s"
        )


def _as_json(registry: Registry, rows: list[_Row], is_list: bool) -> dict[str, Any]:
    return {
        "registry": registry.identity,
        "now": registry.now,
        "listening_since": registry.listening_since,
        "warnings": list(registry.warnings),
        "nodes": [
            {
                "identity": row.node,
                "state": row.state,
                "last_seen": row.known.last_seen if row.known else None,
                "version": row.known.version if row.known else None,
                "is_sure": row.known.is_sure if row.known else True,
                "is_on_list": not row.is_unknown if is_list else None,
                "problem": (row.known.problem or None) if row.known else None,
            }
            for row in rows
        ],
    }


def _moment(seconds: float) -> str:
    if not 0 <= seconds < _MAX_SECONDS:
        return "an unknown time"
    return dt.datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


def _age(seconds: float) -> str:
    """Return a time as people say it.

    >>> _age(0.4), _age(95), _age(200_000)
    ('0 s', '1 min', '2 d')
    """
    whole = int(max(0.0, min(seconds, _MAX_SECONDS))) if seconds == seconds else 0
    size, unit = next(((size, unit) for size, unit in _UNITS if whole >= size), (1, "s"))
    return f"{whole // size} {unit}"
