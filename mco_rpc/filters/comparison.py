# SPDX-License-Identifier: Apache-2.0
"""How a value on a node compares with the text in a filter: the same for facts and for the fields of data sources."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mco_rpc.errors import FilterError
from mco_rpc.filters import patterns

OPERATORS = ("==", "!=", "=~", "<=", ">=", "<", ">")
ALIASES = {"=": "==", "=>": ">=", "=<": "<="}
_NUMBER = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?(e[+-]?\d{1,3})?\Z", re.ASCII | re.IGNORECASE)


def check_operator(of: str, operator: str) -> None:
    """Raise `FilterError` for an operator that there is not.

    Args:
        of: what is compared, for the message: ``fact 'country'``.
    """
    if operator not in OPERATORS:
        raise FilterError(f"operator {operator!r} of {of} is not one of {' '.join(OPERATORS)}")


def compares(seen: object, operator: str, value: str) -> bool:
    """Say whether what was seen compares as asked: a list by any element, a mapping by any key, None never."""
    if seen is None:
        return False
    return any(_compares(as_text(each), operator, value) for each in _values(seen))


def as_text(value: object) -> str:
    """Return a value as filters write it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def is_number(text: str) -> bool:
    """Say whether a text compares as a number with numbers."""
    return _NUMBER.match(text) is not None


def _compares(seen: str, operator: str, value: str) -> bool:
    if operator == "=~":
        return patterns.finds(patterns.compiled(value), seen)
    left: Any = seen
    right: Any = value
    if is_number(seen) and is_number(value):
        left, right = _number(seen), _number(value)
    match operator:
        case "==":
            return bool(left == right)
        case "!=":
            return bool(left != right)
        case "<=":
            return bool(left <= right)
        case ">=":
            return bool(left >= right)
        case "<":
            return bool(left < right)
        case _:
            return bool(left > right)


def _values(seen: object) -> Iterable[object]:
    if isinstance(seen, Mapping):
        return list(seen)
    if isinstance(seen, list | tuple | set | frozenset):
        return list(seen)
    return (seen,)


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("+-").isdigit() else float(text)
