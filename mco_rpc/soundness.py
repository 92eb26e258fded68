# SPDX-License-Identifier: Apache-2.0
"""Whether a schema is sound: everything that is wrong with a declaration, and where.

It looks at the declaration only; data is checked by `mco_rpc.schema` itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from mco_rpc import names
from mco_rpc.errors import SchemaError
from mco_rpc.schema import (
    AGGREGATE_FUNCTIONS,
    DISPLAYS,
    ActionSchema,
    AgentSchema,
    Aggregate,
    Input,
    Matches,
    Output,
)
from mco_rpc.suggestion import did_you_mean
from mco_rpc.validation import NAMES, TYPES, VALIDATORS, is_expression, matches, regex

NUMBERS = ("integer", "float", "number", "any")
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,5}\Z")
_PLACEHOLDER = r"%%|%(?P<flags>[-+ 0]{0,3})(?P<width>[0-9]{0,2})(\.[0-9]{1,2})?(?P<kind>[sdfeg])"
_FORMAT = re.compile(f"(?:[^%]|{_PLACEHOLDER}){{0,80}}\\Z")


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        text: where, what was expected and what was seen.
        action: the action it is in; none if it is about the agent.
        field: the name of the input or output, if it is about one.
    """

    text: str
    action: str = ""
    field: str = ""


def problems(schema: AgentSchema, *, is_foreign: bool = False, matches: Matches = matches) -> Iterator[Problem]:
    """Yield all that is wrong with a declaration.

    Args:
        matches: runs expressions on defaults.
        is_foreign: a node sent it: its expressions are not compiled and its defaults not checked, for either
            could keep us busy for as long as it likes, and the node has done both.
    """
    if not names.is_name(schema.name):
        yield Problem(f"agent name {schema.name!r} cannot be used on the wire")
    if schema.requires and not _VERSION.match(schema.requires):
        yield Problem(f"{schema.name}: requires={schema.requires!r}: expected a version such as 0.1 or 1.2.3")
    if not _is_duration(schema.timeout_s):
        yield Problem(f"{schema.name}: timeout_s of {schema.timeout_s}, expected more than 0")
    if not is_foreign:
        try:
            schema.to_json()
        except SchemaError as e:
            yield Problem(f"{schema.name}: {e}")
    for name, action in schema.actions.items():
        if name != action.name:
            yield Problem(f"{schema.name}#{name}: it calls itself {action.name!r}", name)
        for field, text in _of_action(f"{schema.name}#{name}", action, None if is_foreign else matches):
            yield Problem(text, name, field)


def format_problem(aggregate: Aggregate) -> str:
    """Return what is wrong with the format of an aggregate, or nothing."""
    kinds = [found["kind"] for found in re.finditer(_PLACEHOLDER, aggregate.format) if found["kind"]]
    if not _FORMAT.match(aggregate.format):
        return f"format {aggregate.format[:80]!r} is not text with placeholders such as %s, %d or %.2f"
    if aggregate.function == "summary":
        is_right = len(kinds) == 2 and kinds[0] == "s"
        return "" if is_right else f"format {aggregate.format!r}: expected %s for a value and then %d for its count"
    return "" if len(kinds) == 1 else f"format {aggregate.format!r}: expected one placeholder such as %.2f"


def is_older(version: str, required: str) -> bool:
    """Say whether a version comes before another; what stands after the numbers does not count."""
    return _numbers(version) < _numbers(required)


def _numbers(version: str) -> list[int]:
    found = re.match(r"[0-9.]*", version)
    numbers = [int(number) for number in re.findall(r"[0-9]{1,9}", found[0] if found else "")]
    while numbers and not numbers[-1]:  # 1.0 is as old as 1
        numbers.pop()
    return numbers


def _of_action(where: str, action: ActionSchema, matches: Matches | None) -> Iterator[tuple[str, str]]:
    """Yield each problem with the name of the input or output that it is about."""
    if action.display not in DISPLAYS:
        yield "", f"{where}: display {action.display!r} is not one of {', '.join(DISPLAYS)}"
    if not _is_duration(action.timeout_s):
        yield "", f"{where}: timeout_s of {action.timeout_s}, expected more than 0"
    for name, given in action.inputs.items():
        yield from ((name, text) for text in _of_input(f"{where} input {name}", given, matches))
    for name, output in action.outputs.items():
        yield from ((name, text) for text in _of_output(f"{where} output {name}", output, matches))
    for aggregate in action.aggregates if matches else ():  # one that is wrong fails alone, when it is made
        yield from ((aggregate.output, text) for text in _of_aggregate(where, aggregate, action))


def _of_input(where: str, declared: Input, matches: Matches | None) -> Iterator[str]:
    if declared.type not in TYPES:
        yield f"{where}: {_not_a_type(declared.type)}"
        return
    validate, is_wrong = declared.validate, False
    for problem in _of_validation(declared, matches):
        is_wrong = True
        yield f"{where}: validate={validate!r} {problem}"
    if declared.type == "list" and not declared.choices:
        yield f"{where}: a list needs choices"
    if declared.choices and declared.type not in ("list", "string", "any"):
        yield f"{where}: choices are texts, and no value of type {declared.type} is one of them"
    elif declared.default is not None and matches and not is_wrong:
        try:
            declared.check(declared.default, matches)
        except ValueError as e:
            yield f"{where}: its default is not allowed: {e}"


def _of_validation(declared: Input, matches: Matches | None) -> Iterator[str]:
    validate = declared.validate
    if not validate:
        return
    if declared.type not in ("string", "list"):
        yield f"checks text, and nothing of type {declared.type}"
    elif matches is None:
        return
    elif is_expression(validate):
        try:
            regex(validate[1:-1])
        except (re.error, OverflowError, RecursionError) as e:
            yield f"is not an expression: {e}"
    elif validate not in VALIDATORS:
        yield f"is not /an expression/ or one of {', '.join(NAMES)}{did_you_mean(validate, VALIDATORS)}"


def _of_output(where: str, declared: Output, matches: Matches | None) -> Iterator[str]:
    if declared.type not in TYPES:
        yield f"{where}: {_not_a_type(declared.type)}"
    elif matches:
        try:
            declared.check(declared.default)
        except ValueError as e:
            yield f"{where}: its default is not allowed: {e}"


def _of_aggregate(where: str, aggregate: Aggregate, action: ActionSchema) -> Iterator[str]:
    function, name = aggregate.function, aggregate.output
    where = f"{where} aggregate {function}({name})"
    if function not in AGGREGATE_FUNCTIONS:
        known = ", ".join(AGGREGATE_FUNCTIONS)
        yield f"{where}: {function!r} is not one of {known}{did_you_mean(function, AGGREGATE_FUNCTIONS)}"
        return
    output = action.outputs.get(name)
    if output is None:
        yield f"{where}: there is no output {name!r}{did_you_mean(name, action.outputs)}"
    elif function != "summary" and output.type not in NUMBERS:
        yield f"{where}: it takes numbers, and the output is of type {output.type}"
    if aggregate.format and (problem := format_problem(aggregate)):
        yield f"{where}: {problem}"


def _not_a_type(name: str) -> str:
    return f"type {name!r} is not one of {', '.join(TYPES)}{did_you_mean(name, TYPES)}"


def _is_duration(seconds: float) -> bool:
    return seconds > 0 and math.isfinite(seconds)
