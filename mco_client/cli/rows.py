# SPDX-License-Identifier: Apache-2.0
"""Answers that hold lists, such as processes or disks, as one table over all nodes; for applications."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mco_client.text import one_line, safe

if TYPE_CHECKING:
    from mco_client.cli.asked import Shown
    from mco_client.cli.showing import Answered
    from mco_client.results import Result

# So many rows are read; more are for programs.
MAX_ROWS = 500
MAX_LINE = 2000
_MAX_LAST = 300
_MIN_LAST = 20
_MAX_WHO = 40
_MANY = 10
_UNITS = ("B", "K", "M", "G", "T", "P")
_STEP = 1024
_DAY_S, _HOUR_S, _MINUTE_S = 86_400, 3600, 60


@dataclass(frozen=True)
class Column:
    """One column: which field of a row, under which heading, and how its value reads.

    Attributes:
        is_last: whether it is as wide as the terminal leaves it; who reads a pipe gets more.
        then: further fields, that follow in the same cell.
        colours: text -> colour.
    """

    of: str
    heading: str = ""
    reads: Callable[[Any], str] | None = None
    is_last: bool = False
    then: tuple[str, ...] = ()
    colours: Mapping[str, str] = field(default_factory=dict)

    def text(self, row: Mapping[str, Any]) -> str:
        """Return the cell of a row; what cannot be read as expected is shown as it is."""
        from mco_client.cli import output

        seen = row.get(self.of)
        if self.then:
            seen = " ".join(output.value(row[name]) for name in (self.of, *self.then) if row.get(name) is not None)
        if isinstance(seen, list) and not any(isinstance(each, list | Mapping) for each in seen):
            seen = ", ".join(map(output.value, seen))
        try:
            text = self.reads(seen) if self.reads and seen is not None else output.value(seen)
        except (TypeError, ValueError, OverflowError, LookupError, AttributeError):
            text = output.value(seen)
        return one_line(text, _MAX_LAST if self.is_last else output.MAX_CELL)


@dataclass(frozen=True)
class Table:
    """Prints a row for each element of a list, or of a mapping by name, that the answers hold.

    Attributes:
        held_in: the output with the list, or a path into it; empty if an answer is itself a row.
        first_by: the field that orders the rows of all nodes, the largest first; by node and as told if empty.
        nothing: what is said where there are none.
    """

    held_in: str
    columns: tuple[Column, ...]
    first_by: str = ""
    nothing: str = "nothing to list"

    def __call__(self, answered: Answered) -> None:
        """Print it; answers without that output, of another agent than the one that we know, are shown as they are."""
        from mco_client.cli import output, replies
        from mco_client.folding import folded

        good = [result for result in replies.in_order(answered.results, answered.shown) if result.is_ok]
        if all(self._held(result) is None for result in good):
            replies.say_fields(answered, ())
            return
        rows = [(result, row) for result in good for row in elements(self._held(result))]
        if self.first_by and not answered.shown.sort_by:
            rows.sort(key=lambda item: _size(item[1].get(self.first_by)), reverse=not answered.shown.is_reversed)
        if rows:
            say_rows(self.columns, rows, answered.shown, least_rows=0 if self.held_in else _MANY)
        without = [result.sender for result in good if not elements(self._held(result))]
        if without:
            output.say(("\n" if rows else "") + f"{self.nothing} on {output.counted(len(without))}: {folded(without)}")

    def _held(self, result: Result) -> Any:
        return result.value(self.held_in) if self.held_in else [result.data]


def table(held_in: str, *columns: Column | str, first_by: str = "", nothing: str = "nothing to list") -> Table:
    """Return what prints a table; a column of which nothing is to be said is the name of its field."""
    made = tuple(each if isinstance(each, Column) else Column(each) for each in columns)
    return Table(held_in, made, first_by, nothing)


@dataclass(frozen=True)
class Lines:
    """Prints the lines that the answers hold, each with its node in front, as `grep` does with files."""

    held_in: str

    def __call__(self, answered: Answered) -> None:
        """Print them."""
        from mco_client.cli import output, replies

        good = [result for result in replies.in_order(answered.results, answered.shown) if result.is_ok]
        width = max((len(safe(result.sender)) for result in good), default=0)
        for result in good:
            for text in _texts(result.value(self.held_in)):
                output.say(f"{safe(result.sender):<{width}} | {one_line(text, MAX_LINE)}")


def _texts(held: object) -> Iterator[str]:
    from mco_client.cli import output

    for row in elements(held) if not isinstance(held, str) else [{"value": held}]:
        text = output.value(row.get("line", row.get("value")))
        yield f"{row['number']}: {text}" if isinstance(row.get("number"), int) else text


def say_rows(
    columns: Sequence[Column], rows: Iterable[tuple[Result, Mapping[str, Any]]], shown: Shown, *, least_rows: int = 0
) -> None:
    """Print rows with the node of each; what several nodes say alike is one row, where that leaves fewer than half.

    Args:
        least_rows: fewer are not drawn together: they are read at a glance.
    """
    from mco_client.cli import output

    cells = [(result.sender, tuple(column.text(row) for column in columns)) for result, row in rows]
    alike: dict[tuple[str, ...], list[str]] = {}
    for sender, row in cells:
        alike.setdefault(row, []).append(sender)
    is_grouped = shown.is_grouped
    if is_grouped is None:
        is_grouped = not shown.is_verbose and len(cells) >= max(2 * len(alike), least_rows)
    who = (
        [(_who(nodes), row) for row, nodes in alike.items()]
        if is_grouped
        else [(safe(node), row) for node, row in cells]
    )
    kept = [[node, *row] for node, row in who[:MAX_ROWS]]
    headings = ["node", *(column.heading or column.of for column in columns)]
    if columns[-1].is_last and output.is_width_known():
        used = sum(max(len(line[at]) for line in [headings, *kept]) + 2 for at in range(len(headings) - 1))
        left = max(output.width() - used, _MIN_LAST)
        for line in kept:
            line[-1] = line[-1] if len(line[-1]) <= left else f"{line[-1][: left - 3]}..."
    for line in kept:
        for at, column in enumerate(columns, 1):
            if line[at] in column.colours:
                line[at] = output.coloured(line[at], column.colours[line[at]])
    output.say(output.table(headings, kept))
    if more := len(who) - len(kept):
        output.say(f"... {more:,} more rows; -j prints all")


def _who(nodes: Sequence[str]) -> str:
    """Return nodes in the width of a column."""
    from mco_client.cli import output
    from mco_client.folding import folded

    unique = list(dict.fromkeys(nodes))
    names = folded(unique)
    return names if len(names) <= _MAX_WHO else output.counted(len(unique))


def elements(held: object) -> list[Mapping[str, Any]]:
    """Return the rows that an output holds: a list of mappings, or mappings by name; anything else is a value."""
    return list(_elements(held))


def _elements(held: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(held, Mapping):
        for name, each in held.items():
            yield {"name": name, **each} if isinstance(each, Mapping) else {"name": name, "value": each}
    elif isinstance(held, Iterable) and not isinstance(held, str):
        for each in held:
            yield each if isinstance(each, Mapping) else {"value": each}


def _size(value: object) -> float:
    return float(value) if isinstance(value, int | float) and value == value else float("-inf")


def as_bytes(value: Any) -> str:
    """Return a number of bytes as people read it: ``1.5G``."""
    size, unit = float(value), 0
    while abs(size) >= _STEP and unit < len(_UNITS) - 1:
        size, unit = size / _STEP, unit + 1
    return f"{size:.0f}{_UNITS[unit]}" if unit == 0 or abs(size) >= 100 else f"{size:.1f}{_UNITS[unit]}"


def as_age(value: Any) -> str:
    """Return seconds as people read them: ``3d04h``, ``1h07m``, ``12m05s``, ``7s``."""
    seconds = int(float(value))
    days, rest = divmod(seconds, _DAY_S)
    hours, rest = divmod(rest, _HOUR_S)
    minutes, rest = divmod(rest, _MINUTE_S)
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def as_percent(value: Any) -> str:
    """Return a share: ``12.3%``."""
    return f"{float(value):.1f}%"
