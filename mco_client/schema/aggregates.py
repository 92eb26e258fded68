# SPDX-License-Identifier: Apache-2.0
"""What the replies of all nodes say together: how often each value, the average, the sum, the extremes.

Pure functions over results. One aggregate that fails is reported and keeps nothing from the others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mco_client.results import Result
from mco_client.text import listed, one_line, shown
from mco_rpc.schema import AGGREGATE_FUNCTIONS, ActionSchema, Aggregate, Output
from mco_rpc.soundness import format_problem
from mco_rpc.suggestion import did_you_mean

_TITLES = {"summary": "Summary", "average": "Average", "sum": "Sum", "min": "Minimum", "max": "Maximum"}
_NAMED = 5  # nodes that are named as the cause of a failure
_PRECISION = 6  # significant digits of a number without a format


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of one aggregate.

    Attributes:
        counts: for ``summary``: each value with how often it was given, the most frequent first.
        value: for the others: the number.
        responses: nodes whose value is in it.
    """

    function: str
    output: str
    title: str
    responses: int
    format: str = ""
    value: int | float | None = None
    counts: tuple[tuple[Any, int], ...] = ()

    @property
    def texts(self) -> list[str]:
        """What is shown below or behind the title: ``true = 4``, or the number."""
        if self.function != "summary":
            return [self.format % self.value if self.format else _number(self.value)]
        if self.format:
            return [one_line(self.format % (one_line(_word(value)), count)) for value, count in self.counts]
        return [f"{one_line(_word(value))} = {count}" for value, count in self.counts]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as ``-j`` prints it."""
        plain: dict[str, Any] = {"function": self.function, "output": self.output, "title": self.title}
        if self.function == "summary":
            plain["counts"] = [{"value": value, "count": count} for value, count in self.counts]
        else:
            plain["value"] = self.value
        return {**plain, "responses": self.responses}


@dataclass(frozen=True, slots=True)
class Failure:
    """An aggregate that could not be made, and why.

    Attributes:
        is_of_nothing: whether every node said that it has no value, which nothing is wrong with.
    """

    function: str
    output: str
    reason: str
    is_of_nothing: bool = False

    def to_dict(self) -> dict[str, str]:
        """Return plain data, as ``-j`` prints it."""
        return {"function": self.function, "output": self.output, "reason": self.reason}


def aggregates(schema: ActionSchema, results: Iterable[Result]) -> tuple[list[Summary], list[Failure]]:
    """Return what the aggregates that an action declares make of the successful results, and which failed.

    >>> blocked = ActionSchema("isblocked", "x", outputs={"blocked": Output("boolean", "x", display_as="Blocked")},
    ...                        aggregates=(Aggregate("summary", "blocked"), Aggregate("average", "load")))
    >>> answers = [Result("a", 0, data={"blocked": True}), Result("b", 0, data={"blocked": True})]
    >>> summaries, failures = aggregates(blocked, answers)
    >>> summaries[0].title, summaries[0].texts
    ('Summary of Blocked', ['true = 2'])
    >>> failures[0].reason
    'no node gave a value of load'
    """
    good = [result for result in results if result.is_ok]
    summaries: list[Summary] = []
    failures: list[Failure] = []
    for declared in schema.aggregates if good else ():
        try:
            summaries.append(aggregate(declared, good, schema.outputs))
        except ValueError as e:
            is_of_nothing = all(result.data.get(declared.output, "") is None for result in good)
            failures.append(Failure(declared.function, declared.output, str(e), is_of_nothing))
    return summaries, failures


def aggregate(declared: Aggregate, results: Iterable[Result], outputs: Mapping[str, Output] | None = None) -> Summary:
    """Return one aggregate of the successful results.

    Args:
        outputs: those that the action declares, for the title.

    Raises:
        ValueError: why it cannot be made: the function is unknown, there is nothing to count, a value is no number.
    """
    function, name = declared.function, declared.output
    if function not in AGGREGATE_FUNCTIONS:
        raise ValueError(f"there is no aggregate {function!r}{did_you_mean(function, AGGREGATE_FUNCTIONS)}")
    if declared.format and (problem := format_problem(declared)):
        raise ValueError(problem)
    given = [(result.sender, result.data[name]) for result in results if result.is_ok and name in result.data]
    if function != "summary":
        given = [(sender, value) for sender, value in given if value is not None]
    if not given:
        raise ValueError(f"no node gave a value of {name}")
    output = (outputs or {}).get(name)
    title = f"{_TITLES[function]} of {(output.display_as if output else '') or name}"
    made = Summary(function, name, title, len(given), declared.format)
    return _counted(made, [value for _, value in given]) if function == "summary" else _computed(made, given)


def _counted(made: Summary, values: Iterable[Any]) -> Summary:
    """Count equal values; of a list each element counts."""
    counts: dict[str, tuple[Any, int]] = {}
    for value in values:
        for each in value if isinstance(value, list) else [value]:
            key = json.dumps(each, sort_keys=True, default=str)  # for Python, 1 and True are the same
            counts[key] = (each, counts.get(key, (each, 0))[1] + 1)
    # As often as another: in the order of the text, so that two runs look the same.
    ordered = sorted(counts.items(), key=lambda item: (-item[1][1], item[0]))
    return Summary(
        made.function, made.output, made.title, made.responses, made.format, counts=tuple(pair for _, pair in ordered)
    )


def _computed(made: Summary, given: Sequence[tuple[str, Any]]) -> Summary:
    """Compute a number; raise `ValueError` that names the nodes whose value is none."""
    wrong = [sender for sender, value in given if isinstance(value, bool) or not isinstance(value, int | float)]
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise ValueError(
            f"{made.output} is not a number on {len(wrong)} of {len(given)}: {listed(wrong[:_NAMED])}{more}"
        )
    try:
        value = _FUNCTIONS[made.function]([value for _, value in given])
        is_finite = math.isfinite(value)
        if is_finite and made.format:
            _ = made.format % value
    except OverflowError as e:
        raise ValueError(f"the numbers of {made.output} are too large") from e
    if not is_finite:
        raise ValueError(f"the {made.function} of {made.output} is {value}")
    return Summary(made.function, made.output, made.title, made.responses, made.format, value)


def _sum(values: Sequence[int | float]) -> int | float:
    return sum(values) if all(isinstance(value, int) for value in values) else math.fsum(values)


def _average(values: Sequence[int | float]) -> float:
    return _sum(values) / len(values)


_FUNCTIONS: Mapping[str, Callable[[Sequence[int | float]], int | float]] = {
    "average": _average,
    "sum": _sum,
    "min": min,
    "max": max,
}


def _number(value: int | float | None) -> str:
    return str(value) if isinstance(value, int) else f"{value:.{_PRECISION}g}"


def _word(value: object) -> str:
    return "-" if value is None else shown(value)
