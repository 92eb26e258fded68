# SPDX-License-Identifier: Apache-2.0
"""What a filter means, in words."""

from __future__ import annotations

from collections.abc import Iterator

from mco_rpc.filters.comparison import is_number
from mco_rpc.filters.filter import Filter
from mco_rpc.filters.patterns import is_pattern
from mco_rpc.filters.terms import And, Class, Data, Fact, Identity, Not, Offers, Or, Term, children

_JOINS = {And: "all of these hold", Or: "at least one of these holds", Not: "this does not hold"}
_ORDERS = {"<": "less than", "<=": "at most", ">": "greater than", ">=": "at least"}


def in_words(node_filter: Filter) -> list[str]:
    r"""Return what a filter means, a line a term.

    >>> from mco_rpc.filters import from_options
    >>> print(*in_words(from_options(compound=["country=de and not (web or cores<4)"])), sep="\n")
    A node matches if all of these hold:
      - its fact country is de
      - this does not hold:
        - at least one of these holds:
          - it has the class web
          - its fact cores is less than 4 (as a number)
    """
    tree = node_filter.check().tree()
    if tree is None:
        return ["Every node matches: the filter asks for nothing."]
    first, *rest = _lines(tree, 0)
    return [f"A node matches if {first}{'' if rest else '.'}", *rest]


def _lines(term: Term, depth: int) -> Iterator[str]:
    below = children(term)
    if not below:
        yield _said(term)
        return
    note = " (nodes without the fact count, too)" if isinstance(term, Not) and isinstance(below[0], Fact) else ""
    yield f"{_JOINS[type(term)]}{note}:"
    for child in below:
        first, *rest = _lines(child, depth + 1)
        yield f"{'  ' * (depth + 1)}- {first}"
        yield from rest


def _said(term: Term) -> str:
    match term:
        case Identity(name):
            return f"its identity {'matches' if is_pattern(name) else 'is'} {name}"
        case Class(name):
            return f"it has a class that matches {name}" if is_pattern(name) else f"it has the class {name}"
        case Offers(name):
            return f"it offers an agent that matches {name}" if is_pattern(name) else f"it offers the agent {name}"
        case Fact(fact, operator, value):
            return f"its fact {fact} {_compared(operator, value)}"
        case Data(field=field, operator=operator, value=value):
            return f"{term.call} says that {field} {_compared(operator, value)}"
    return str(term)


def _compared(operator: str, value: str) -> str:
    match operator:
        case "==":
            return f"is {value}"
        case "!=":
            return f"is there and is not {value}"
        case "=~":
            return f"matches /{value}/"
    how = "as a number" if is_number(value) else "in the order of the alphabet"
    return f"is {_ORDERS[operator]} {value} ({how})"
