# SPDX-License-Identifier: Apache-2.0
"""Replies for people: a table while it fits, a block a node where it does not, and everybody who is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mco_client.cli import output
from mco_client.results import Result, Results
from mco_client.schema.aggregates import Summary
from mco_client.stats import Stats
from mco_client.text import natural, one_line, safe
from mco_rpc.schema import ActionSchema, Output

_MAX_LINE = 2000
# Lines of one node; one that says more shall not push away what the others say.
_MAX_LINES = 200
_MAX_UNDECLARED = 100  # outputs that no schema declares
_MAX_VALUES = 50  # of a summary
_MAX_SUMMARY = 100  # characters of one on a single line


def say(
    results: Results,
    schema: ActionSchema | None,
    stats: Stats,
    *,
    is_verbose: bool,
    display: str = "",
    summaries: Sequence[Summary] = (),
) -> None:
    """Print the results of a call as its schema wants them shown, or as ``display`` says, and what they are together.

    Args:
        display: one of `mco_rpc.schema.DISPLAYS`, ``all`` or ``none``, in the place of the schema's; failures are
            always shown.
    """
    display = display or ("always" if is_verbose or schema is None else schema.display)
    good = sorted((r for r in results if r.is_ok), key=lambda result: natural(result.sender))
    if good and display not in ("failed", "none"):
        labels = _labels(good, schema)
        text = _table(good, labels, is_verbose=is_verbose)
        output.say(text if text is not None else _blocks(good, labels, is_verbose=is_verbose))
        output.say()
    if summaries:
        output.say("\n".join(map(_summary, summaries)))
        output.say()
    output.say_failures(results)
    if results.failed or results.missing:
        output.say()
    output.say_finished(results, stats.blocktime)
    if is_verbose:
        output.say(f"Discovery took {stats.discoverytime * 1000:.1f} ms; request {stats.requestid}")


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


def _labels(good: list[Result], schema: ActionSchema | None) -> dict[str, str]:
    """Return output -> heading, in the schema's order, then what no schema declares."""
    declared: Mapping[str, Output] = schema.outputs if schema else {}
    labels = {name: one_line(output_.display_as or name) for name, output_ in declared.items()}
    most = len(labels) + _MAX_UNDECLARED
    for result in good:
        for name in result.data:
            if len(labels) >= most:  # one node shall not fill the rows of all
                return labels
            labels.setdefault(name, one_line(name))
    return labels


def _table(good: list[Result], labels: Mapping[str, str], *, is_verbose: bool) -> str | None:
    """Return a row a node, None if a value or the whole is too wide."""
    headers = ["node", *(labels.values() or ["status"]), *(["took"] if is_verbose else [])]
    rows = []
    for result in good:
        cells = [output.value(result.data.get(name)) for name in labels] or [result.status_text]
        if not all(output.is_short(cell) for cell in cells):
            return None
        rows.append([safe(result.sender), *cells, *([_took(result)] if is_verbose else [])])
    text = output.table(headers, rows)
    return text if text.find("\n") <= output.width() else None


def _blocks(good: list[Result], labels: Mapping[str, str], *, is_verbose: bool) -> str:
    """Return the name of each node with its outputs below."""
    width = max((len(label) for label in labels.values()), default=0)
    blocks = []
    for result in good:
        lines = [f"{safe(result.sender)}{f'  ({_took(result)})' if is_verbose else ''}"]
        for name, label in labels.items():
            text = output.value(result.data.get(name))
            if "\n" in text.rstrip("\n"):
                texts = text.rstrip("\n").split("\n")
                lines += [f"    {label}:", *(f"        {_cut(line)}" for line in texts)]
            else:
                lines.append(f"    {label:>{width}}: {one_line(text, _MAX_LINE)}")
        if hidden := len(result.data.keys() - labels.keys()):
            lines.append(f"    ... {hidden:,} more outputs; -j prints all")
        if (more := len(lines) - _MAX_LINES) > 0:
            lines[_MAX_LINES:] = [f"    ... {more:,} more lines; -j prints all"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _cut(line: str) -> str:
    return line if len(line) <= _MAX_LINE else f"{line[:_MAX_LINE]}... ({len(line)} characters)"


def _took(result: Result) -> str:
    return f"{result.took_s * 1000:.1f} ms"
