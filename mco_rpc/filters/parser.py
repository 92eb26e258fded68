# SPDX-License-Identifier: Apache-2.0
"""From the text of a compound expression to its tree.

Only who takes text from people imports this module, and the parser generator with it. What is wrong with a text is
put into words by `complaint`.
"""

from __future__ import annotations

import functools
from typing import Any

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from mco_rpc.errors import FilterError
from mco_rpc.filters.comparison import ALIASES
from mco_rpc.filters.complaint import Refused, complaint, explained
from mco_rpc.filters.terms import (
    KEYWORD,
    NAME,
    PATTERN,
    QUOTED,
    STANDS_ALONE,
    VALUE,
    WORD,
    And,
    Class,
    Data,
    Fact,
    Identity,
    Not,
    Offers,
    Or,
    Term,
    check,
    check_size,
    joined,
    unquoted,
)

MAX_EXPRESSION_LENGTH = 16 * 1024
_ARGUMENT = r"[^\s(),'\"]+"


def _literal(expression: str) -> str:
    return "/" + expression.replace("/", r"\/") + "/"


_GRAMMAR = rf"""
start: any
any: all (_OR all)*
all: _one (_AND _one)*
_one: inverse | _OPEN any _CLOSE | has_class | fact | call | data
inverse: _NOT _one
has_class: NAME | PATTERN | QUOTED
fact: (NAME | QUOTED) OPERATOR (VALUE | PATTERN | QUOTED)
call: CALLED arguments
data: CALLED arguments _DOT FIELD [OPERATOR (VALUE | PATTERN | QUOTED)]
arguments: _OPEN [(ARGUMENT | QUOTED) (_COMMA (ARGUMENT | QUOTED))*] _CLOSE

_AND.4: {_literal("and" + STANDS_ALONE)}
_OR.4: {_literal("or" + STANDS_ALONE)}
_NOT.4: {_literal("not" + STANDS_ALONE + "|!")}
CALLED.3: {_literal(f"(?!{KEYWORD}){WORD}(?=[(])")}
QUOTED.2: {_literal(QUOTED)}
PATTERN.2: {_literal(PATTERN)}
NAME: {_literal(NAME)}
VALUE: {_literal(VALUE)}
ARGUMENT: {_literal(_ARGUMENT)}
FIELD: {_literal(WORD)}
OPERATOR: /==|!=|=~|<=|>=|=<|=>|=|<|>/
_OPEN: "("
_CLOSE: ")"
_COMMA: ","
_DOT: "."
%ignore /\s+/
"""


@functools.lru_cache(maxsize=256)
def parse_expression(text: str) -> Term:
    """Return the tree of an expression.

    Raises:
        FilterError: where it cannot be understood, what was expected and what was found.
    """
    if len(text) > MAX_EXPRESSION_LENGTH:
        raise FilterError(f"an expression of {len(text)} characters; at most {MAX_EXPRESSION_LENGTH} are allowed")
    try:
        made: Term = _parser().parse(text)  # type: ignore[assignment]
    except Refused as e:
        raise complaint(text, e.at, e.why) from None
    except UnexpectedToken as e:
        at = len(text) if e.token.type == "$END" else e.token.start_pos or 0
        raise explained(text, at, e.expected, _opened(e)) from None
    except UnexpectedCharacters as e:
        raise explained(text, e.pos_in_stream or 0, e.allowed or (), _opened(e)) from None
    check_size((made,))
    return made


@functools.cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", transformer=_Trees(), maybe_placeholders=False)


def _opened(error: UnexpectedToken | UnexpectedCharacters) -> int | None:
    """Return the place of the innermost parenthesis that is open where the parser stopped."""
    stack = getattr(error.state, "value_stack", ())
    return next((each.start_pos for each in reversed(stack) if isinstance(each, Token) and each.type == "_OPEN"), None)


class _Trees(Transformer[Token, Term]):
    """Makes each part of the tree as soon as it is read; the names are those of the grammar's rules."""

    def start(self, parts: list[Term]) -> Term:
        return parts[0]

    def any(self, parts: list[Term]) -> Term:
        return joined(Or, tuple(parts))

    def all(self, parts: list[Term]) -> Term:
        return joined(And, tuple(parts))

    def inverse(self, parts: list[Term]) -> Term:
        return Not(parts[0])

    def has_class(self, parts: list[Token]) -> Term:
        return _checked(Class(_text(parts[0])), parts[0])

    def fact(self, parts: list[Token]) -> Term:
        return _checked(Fact(_text(parts[0]), *_comparison(parts[1], parts[2])), parts[2])

    def arguments(self, parts: list[Token]) -> tuple[str, ...]:
        return tuple(_text(each) for each in parts)

    def call(self, parts: list[Any]) -> Term:
        called, arguments = parts
        kind = _WITHOUT_FIELD.get(called)
        if kind is None:
            raise Refused(
                called.end_pos,
                f"{called}(...) says many things: expected one of its fields after it, as in {called}(...).field=value",
            )
        if len(arguments) != 1:
            raise Refused(called.start_pos, f"{called}(...) takes one name or /expression/; found {len(arguments)}")
        return _checked(kind(arguments[0]), called)

    def data(self, parts: list[Any]) -> Term:
        called, arguments, field, *compared = parts
        operator, value = _comparison(*compared) if compared else ("==", "true")
        return _checked(Data(str(called), arguments, str(field), operator, value), compared[-1] if compared else field)


_WITHOUT_FIELD: dict[str, type[Identity] | type[Offers] | type[Class]] = {
    "identity": Identity,
    "agent": Offers,
    "class": Class,
}


def _text(token: Token) -> str:
    return unquoted(token) if token.type == "QUOTED" else str(token)


def _comparison(operator: Token, value: Token) -> tuple[str, str]:
    """Return the operator as it is sent, and the value; an expression between slashes makes ``=`` to ``=~``."""
    sent = ALIASES.get(operator, str(operator))
    if value.type != "PATTERN":
        return sent, _text(value)
    if sent not in ("==", "=~"):
        advice = "not in front of the term, and =" if sent == "!=" else "a value"
        raise Refused(value.start_pos, f"{operator} takes no regular expression; expected {advice}")
    return "=~", str(value)[1:-1]


def _checked(term: Term, token: Token) -> Term:
    """Return a term that can be understood; what is wrong with its expression is said at its place."""
    try:
        check(term)
    except FilterError as e:
        raise Refused(token.start_pos, str(e)) from None
    return term
