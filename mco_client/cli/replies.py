# SPDX-License-Identifier: Apache-2.0
"""Replies for people: a table while it fits, a block a node where it does not, and everybody who is missing."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mco_client.cli import output
from mco_client.cli.asked import Shown
from mco_client.folding import folded
from mco_client.results import Result, Results
from mco_client.text import natural, one_line, safe

if TYPE_CHECKING:
    from mco_client.cli.showing import Answered
    from mco_client.schema.aggregates import Summary
    from mco_rpc.schema import ActionSchema, Output

_MAX_LINE = 2000
# Lines of one node; one that says more shall not push away what the others say.
_MAX_LINES = 200
_MAX_UNDECLARED = 100  # outputs that no schema declares
_MAX_VALUES = 50  # of a summary
_MAX_SUMMARY = 100  # characters of one on a single line
# A table of fewer rows is read at a glance, and shows who is who.
_MANY = 10
_ALIKE = 3  # so many nodes an answer, on average, or more


def say(answered: Answered, of_application: Callable[[Answered], None] | None = None) -> None:
    """Print the results of a call as its schema or the options want them shown, and what they are together.

    Failures are always shown.

    Args:
        of_application: prints the successful answers in the place of a table.
    """
    results, schema, shown = answered.results, answered.schema, answered.shown
    display = shown.display or ("always" if shown.is_verbose or schema is None else schema.display)
    good = [result for result in in_order(results, shown) if result.is_ok]
    if good and display not in ("failed", "none"):
        if of_application is not None and not shown.fields:
            of_application(answered)
        else:
            output.say(_text(good, _labels(good, schema, shown), shown))
        output.say()
    if answered.summaries:
        output.say("\n".join(map(_summary, answered.summaries)))
        output.say()
    output.say_failures(results)
    if results.failed or results.missing:
        output.say()
    output.say_finished(results, answered.stats.blocktime)
    if shown.is_verbose:
        stats = answered.stats
        output.say(f"Discovery took {stats.discoverytime * 1000:.1f} ms; request {stats.requestid}")


def say_fields(answered: Answered, fields: Sequence[str], *, is_grouped: bool | None = None) -> None:
    """Print the successful answers as a table with only these outputs, unless the whole was asked for."""
    wanted = answered.shown
    if not wanted.is_verbose:
        is_grouped = is_grouped if wanted.is_grouped is None else wanted.is_grouped
        wanted = dataclasses.replace(wanted, fields=tuple(fields), is_grouped=is_grouped)
    good = [result for result in in_order(answered.results, answered.shown) if result.is_ok]
    output.say(_text(good, _labels(good, answered.schema, wanted), wanted))


def in_order(results: Results, shown: Shown) -> list[Result]:
    """Return the answers sorted by name, or by the output that the options name: who does not have it comes last."""
    by_name = sorted(results, key=lambda result: natural(result.sender), reverse=shown.is_reversed)
    if not shown.sort_by:
        return by_name
    keys = {result.sender: _key(result, shown.sort_by) for result in by_name}
    having = [result for result in by_name if keys[result.sender] is not None]
    having.sort(key=lambda result: keys[result.sender] or (), reverse=shown.is_reversed)
    return having + [result for result in by_name if keys[result.sender] is None]


def _key(result: Result, field: str) -> tuple[Any, ...] | None:
    """Return what an output is sorted by, numbers before texts; None if there is none."""
    seen = result.value(field) if result.is_ok else None
    if seen is None and field in ("took_s", "ran_s"):
        seen = getattr(result, field)
    if seen is None or (isinstance(seen, float) and math.isnan(seen)):
        return None
    if isinstance(seen, bool | int | float):
        return (0, seen)
    return (1, natural(output.value(seen)))


def say_senders(results: Results) -> None:
    """Print the names of those that did it, for a pipe, and on stderr how many did not."""
    for node in sorted((result.sender for result in results if result.is_ok), key=natural):
        output.say(safe(node))
    if bad := len(results.failed) + len(results.missing):
        output.warn(f"{bad} of {len(results.expected)} failed or did not answer")


def _summary(summary: Summary) -> str:
    """Return what all nodes said together, on one line where it fits."""
    title = f"{one_line(summary.title)}:"
    texts = summary.texts[:_MAX_VALUES]
    if (more := len(summary.texts) - len(texts)) > 0:
        texts.append(f"... {more:,} more values; -j prints all")
    line = f"{title} {', '.join(texts)}"
    is_one = len(line) <= min(output.width(), _MAX_SUMMARY)
    return line if is_one else "\n".join([title, *(f"    {text}" for text in texts)])


def _labels(good: list[Result], schema: ActionSchema | None, shown: Shown) -> dict[str, str]:
    """Return output -> heading: those asked for, or the schema's in its order, then what no schema declares."""
    declared: Mapping[str, Output] = schema.outputs if schema else {}
    if shown.fields:
        return {field: one_line((field in declared and declared[field].display_as) or field) for field in shown.fields}
    labels = {name: one_line(output_.display_as or name) for name, output_ in declared.items()}
    most = len(labels) + _MAX_UNDECLARED
    for result in good:
        for name in result.data:
            if len(labels) >= most:  # one node shall not fill the rows of all
                return labels
            labels.setdefault(name, one_line(name))
    return labels


def _text(good: list[Result], labels: Mapping[str, str], shown: Shown) -> str:
    """Return the answers as a table while it fits, else as blocks; equal ones once where that reads better."""
    groups = _alike(good, labels)
    if not shown.sort_by:
        groups.sort(key=len, reverse=True)
    is_grouped = shown.is_grouped
    if is_grouped is None:
        is_grouped = not shown.is_verbose and len(good) >= _MANY and len(good) >= _ALIKE * len(groups)
    if is_grouped:
        return _group_table(groups, labels) or _blocks(groups, labels, shown)
    if (text := _table(good, labels, is_verbose=shown.is_verbose)) is not None:
        return text
    is_apart = shown.is_verbose or shown.is_grouped is False
    return _blocks([[result] for result in good] if is_apart else groups, labels, shown)


def _alike(good: list[Result], labels: Mapping[str, str]) -> list[list[Result]]:
    """Return the answers by what is shown of them, in their order."""
    groups: dict[str, list[Result]] = {}
    for result in good:
        told = [result.status_text, *(_value(result, name) for name in labels), *sorted(result.data.keys() - labels)]
        groups.setdefault(json.dumps(told, default=str, sort_keys=True), []).append(result)
    return list(groups.values())


def _value(result: Result, name: str) -> Any:
    if name not in result.data and name in ("took_s", "ran_s"):
        return round(getattr(result, name), 6)
    return result.value(name)


def _group_table(groups: list[list[Result]], labels: Mapping[str, str]) -> str | None:
    rows = []
    for group in groups:
        cells = [output.value(_value(group[0], name)) for name in labels] or [group[0].status_text]
        rows.append([output.counted(len(group)), *cells, folded(result.sender for result in group)])
    return _fitting(["", *(labels.values() or ["status"]), "which"], rows)


def _fitting(headers: list[str], rows: list[list[str]]) -> str | None:
    """Return a table, None if a value or the whole is too wide."""
    if not all(output.is_short(cell) for row in rows for cell in row):
        return None
    text = output.table(headers, rows)
    return text if output.columns(text.partition("\n")[0]) <= output.width() else None


def _table(good: list[Result], labels: Mapping[str, str], *, is_verbose: bool) -> str | None:
    """Return a row a node, None if a value or the whole is too wide."""
    headers = ["node", *(labels.values() or ["status"]), *(["took"] if is_verbose else [])]
    rows = []
    for result in good:
        cells = [output.value(_value(result, name)) for name in labels] or [result.status_text]
        rows.append([safe(result.sender), *cells, *([_took(result)] if is_verbose else [])])
    return _fitting(headers, rows)


def _blocks(groups: list[list[Result]], labels: Mapping[str, str], shown: Shown) -> str:
    """Return the names of nodes that say the same with their outputs below."""
    width = max((len(label) for label in labels.values()), default=0)
    blocks = []
    for group in groups:
        result = group[0]
        if len(group) == 1:
            title = f"{safe(result.sender)}{f'  ({_took(result)})' if shown.is_verbose else ''}"
        else:
            title = f"{output.counted(len(group))}: {folded(each.sender for each in group)}"
        lines = [title]
        for name, label in labels.items():
            text = output.value(_value(result, name))
            if "\n" in text.rstrip("\n"):
                texts = text.rstrip("\n").split("\n")
                lines += [f"    {label}:", *(f"        {_cut(line)}" for line in texts)]
            else:
                lines.append(f"    {label:>{width}}: {one_line(text, _MAX_LINE)}")
        if not shown.fields and (hidden := len(result.data.keys() - labels.keys())):
            lines.append(f"    ... {hidden:,} more outputs; -j prints all")
        if (more := len(lines) - _MAX_LINES) > 0:
            lines[_MAX_LINES:] = [f"    ... {more:,} more lines; -j prints all"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _cut(line: str) -> str:
    return line if len(line) <= _MAX_LINE else f"{line[:_MAX_LINE]}... ({len(line)} characters)"


def _took(result: Result) -> str:
    return f"{result.took_s * 1000:.1f} ms"
