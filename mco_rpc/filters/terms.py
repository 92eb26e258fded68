# SPDX-License-Identifier: Apache-2.0
"""The tree of a compound expression: what it is made of, how it is written, and how large it may be.

The tree is what goes over the wire, so a node needs no parser and trusts no text. One from the network may be nested
as deep as its decoder allows: nothing here recurses into a tree before `check` has measured it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec

from mco_rpc.errors import FilterError
from mco_rpc.filters import patterns
from mco_rpc.filters.comparison import check_operator

MAX_DEPTH = 50
# Of one filter. Each data term may start a command on the node.
MAX_TREE_TERMS = 2_000
MAX_DATA_TERMS = 64
MAX_ARGUMENTS = 16
MAX_ARGUMENT_LENGTH = 4096

WORD = r"[A-Za-z_][A-Za-z0-9_]*"
# `and`, `or` and `not` are words of the language where they stand alone; `and_more` is a name.
STANDS_ALONE = r"(?![^\s()'\"/!])"
KEYWORD = rf"(?:and|or|not){STANDS_ALONE}"
NAME = rf"(?!{KEYWORD})[^\s()'\"=!<>~/,&|][^\s()'\"=!<>~/,&|]*"
VALUE = rf"(?!{KEYWORD})(?!&&|\|\|)[^\s()'\"=!<>~/](?:(?!&&|\|\|)[^\s()'\"])*"
QUOTED = r"'(?:\\[\s\S]|[^'\\])*'|\"(?:\\[\s\S]|[^\"\\])*\""
# It ends at the first slash before a blank, a parenthesis or the end. A blank in it does not stand before `and` or
# `or`: of two paths that were not put into quotes, no expression is made.
PATTERN = r"/(?:\\.|[^\\\s]|\s(?!(?:and|or)\b))+?/(?=[\s)]|\Z)"
_WORD, _NAME, _VALUE, _PATTERN = map(re.compile, (WORD, NAME, VALUE, PATTERN))


class _Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="is", tag=str.lower):
    def __str__(self) -> str:
        depth = max(depth for _, depth in walk(self))  # type: ignore[arg-type]
        return _written(self) if depth <= MAX_DEPTH else f"an expression nested {depth} deep"  # type: ignore[arg-type]


class And(_Base, frozen=True):
    """All of the terms hold."""

    terms: Annotated[tuple[Term, ...], msgspec.Meta(min_length=2)]


class Or(_Base, frozen=True):
    """At least one of the terms holds."""

    terms: Annotated[tuple[Term, ...], msgspec.Meta(min_length=2)]


class Not(_Base, frozen=True):
    """The term does not hold."""

    term: Term


class Class(_Base, frozen=True):
    """The node has a class; ``/x/`` is a regular expression."""

    name: str


class Identity(_Base, frozen=True):
    """The node is called so; ``/x/`` is a regular expression."""

    name: str


class Offers(_Base, frozen=True, tag="agent"):
    """The node offers an agent; ``/x/`` is a regular expression."""

    agent: str


class Fact(_Base, frozen=True):
    """A fact compares with a value; a fact that is not there makes it false, even for ``!=``."""

    fact: str
    operator: str
    value: str


class Data(_Base, frozen=True):
    """A field of what a data source says compares with a value."""

    source: str
    arguments: tuple[str, ...]
    field: str
    operator: str
    value: str

    @property
    def call(self) -> str:
        """The question to the source, as it is written."""
        return f"{self.source}({', '.join(map(quoted, self.arguments))})"


Term = And | Or | Not | Class | Identity | Offers | Fact | Data


def children(term: Term) -> tuple[Term, ...]:
    """Return the terms that a term joins."""
    if isinstance(term, And | Or):
        return term.terms
    return (term.term,) if isinstance(term, Not) else ()


def walk(*roots: Term) -> Iterator[tuple[Term, int]]:
    """Yield every term with its depth, from 1, in the order in which they are written."""
    stack = [(term, 1) for term in reversed(roots)]
    while stack:
        term, depth = stack.pop()
        yield term, depth
        stack += [(child, depth + 1) for child in reversed(children(term))]


def check_size(roots: Iterable[Term]) -> None:
    """Refuse trees that are too deep or too large, before anything in them is compiled.

    Raises:
        FilterError: what is too much, and how much is allowed.
    """
    data = 0
    for number, (term, depth) in enumerate(walk(*roots), start=1):
        data += isinstance(term, Data)
        if depth > MAX_DEPTH:
            raise FilterError(f"a compound expression nested more than {MAX_DEPTH} deep")
        if number > MAX_TREE_TERMS:
            raise FilterError(f"compound expressions of more than {MAX_TREE_TERMS} terms")
        if data > MAX_DATA_TERMS:
            raise FilterError(f"more than {MAX_DATA_TERMS} questions to data sources")
        if isinstance(term, Data) and (
            len(term.arguments) > MAX_ARGUMENTS or any(len(text) > MAX_ARGUMENT_LENGTH for text in term.arguments)
        ):
            raise FilterError(
                f"data source {term.source[:64]!r} is given more than {MAX_ARGUMENTS} arguments, "
                f"or one of more than {MAX_ARGUMENT_LENGTH} characters"
            )


def check(term: Term) -> None:
    """Raise `FilterError` if a term, those below it left out, cannot be understood."""
    match term:
        case Class(name) | Identity(name) | Offers(name):
            patterns.pattern_of(name)
        case Fact(fact, operator, value):
            if not fact:
                raise FilterError("a fact without a name")
            check_operator(f"fact {fact!r}", operator)
        case Data(source, _, field, operator, value):
            for what, name in (("data source", source), ("field", field)):
                if not _is_all(_WORD, name):
                    raise FilterError(f"{what} {name!r}: expected a word of letters, digits and _")
            check_operator(f"{source}(...).{field}", operator)
        case _:
            return
    if isinstance(term, Fact | Data) and term.operator == "=~":
        patterns.compiled(value)


def patterns_in(term: Term) -> list[str]:
    """Return the regular expressions of a term, those below it left out."""
    match term:
        case Class(name) | Identity(name) | Offers(name):
            return [name] if patterns.is_pattern(name) else []
        case Fact(operator="=~", value=value) | Data(operator="=~", value=value):
            return [value]
    return []


def joined(kind: type[And] | type[Or], terms: tuple[Term, ...]) -> Term:
    """Return the terms joined; one alone is itself."""
    return terms[0] if len(terms) == 1 else kind(terms)


def quoted(text: str) -> str:
    r"""Return a text in quotes; a backslash keeps a quote or a backslash in it.

    >>> print(quoted("it's"))
    'it\'s'
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def unquoted(text: str) -> str:
    r"""Return what stands between quotes; a backslash before anything else is itself, as in ``'C:\Temp'``."""
    return re.sub(r"\\([\\'\"])", r"\1", text[1:-1])


def _written(term: Term) -> str:
    match term:
        case And(terms):
            return " and ".join(_in_parentheses(each, And | Or) for each in terms)
        case Or(terms):
            return " or ".join(_in_parentheses(each, Or) for each in terms)
        case Not(inner):
            return f"not {_in_parentheses(inner, And | Or)}"
        case Class(name):
            return name if _is_all(_NAME, name) or _is_all(_PATTERN, name) else quoted(name)
        case Identity(name):
            return f"identity({quoted(name)})"
        case Offers(name):
            return f"agent({quoted(name)})"
        case Fact(fact, operator, value):
            return f"{fact if _is_all(_NAME, fact) else quoted(fact)}{_compared(operator, value)}"
    return f"{term.call}.{term.field}{_compared(term.operator, term.value)}"


def _in_parentheses(term: Term, kinds: object) -> str:
    text = _written(term)
    return f"({text})" if isinstance(term, kinds) else text  # type: ignore[arg-type]


def _is_all(what: re.Pattern[str], text: str) -> bool:
    """Say whether the first match, which is the one that the parser takes, is the whole text."""
    found = what.match(text)
    return found is not None and found.end() == len(text)


def _compared(operator: str, value: str) -> str:
    if operator == "=~":
        return f"=/{value}/" if _is_all(_PATTERN, f"/{value}/") else f"=~{quoted(value)}"
    return f"{'=' if operator == '==' else operator}{value if _is_all(_VALUE, value) else quoted(value)}"
