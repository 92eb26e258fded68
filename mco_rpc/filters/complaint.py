# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the text of a compound expression, in people's words, with a caret below the place."""

from __future__ import annotations

import re
from collections.abc import Collection

from mco_rpc.errors import FilterError
from mco_rpc.filters.terms import KEYWORD, QUOTED

_SHOWN = 100
_FOUND = 30
_TERM = "a fact (country=de), a class (web, /web/), a data source (fstat('/etc/hosts').size>0), not or ("
_ALL_OPERATORS = "= == != =~ < <= > >="
_INSTEAD = {"&&": "and", "||": "or", "&": "and", "|": "or", "AND": "and", "OR": "or", "NOT": "not", ",": "and"}
_CLOSED_QUOTE = re.compile(QUOTED)
_WORD = re.compile(r"&&?|\|\|?|[=!<>~]+|[(),]|[^\s()=!<>~&|,]+")
_FLAGS = re.compile(r"/([^/\s]+)/([a-z]{1,3})(?=[\s)]|\Z)")


class Refused(Exception):
    """A part that the grammar allows and the language does not.

    Args:
        at: its place in the text, from 0.
    """

    def __init__(self, at: int | None, why: str) -> None:
        super().__init__(why)
        self.at, self.why = at or 0, why


def complaint(text: str, at: int, why: str) -> FilterError:
    """Return the error that says what is wrong at a place."""
    start = max(0, min(at - _SHOWN // 2, len(text) - _SHOWN))
    end = start + _SHOWN
    before, after = "..." if start else "", "..." if len(text) > end else ""
    line = "".join(c if c.isprintable() else " " for c in text[start:end])
    caret = " " * (len(before) + at - start) + "^"
    return FilterError(f"expression, column {at + 1}: {why}\n  {before}{line}{after}\n  {caret}")


def explained(text: str, at: int, expected: Collection[str], opened: int | None) -> FilterError:
    """Return the error for a place where the grammar cannot go on.

    Args:
        expected: the terminals that could stand there.
        opened: the place of the innermost parenthesis that is open there.
    """
    rest = text[at:]
    if rest[:1] in ("'", '"') and not _CLOSED_QUOTE.match(rest):
        return complaint(text, at, f"this quote is never closed: expected another {rest[0]}")
    if "ARGUMENT" in expected or "_COMMA" in expected:
        return complaint(text, at, f"expected , or ) after an argument, found {_found(rest)}")
    if "FIELD" in expected:
        return complaint(text, at, f"expected the name of a field after the dot, found {_found(rest)}")
    if "VALUE" in expected:
        operator = (re.findall(r"[=!<>~]+(?=\s*\Z)", text[:at]) or ["="])[-1]
        if found := re.match(r"[=!<>~]+", rest):
            at -= len(operator)
            return complaint(text, at, f"unknown operator {operator}{found[0]}; operators are {_ALL_OPERATORS}")
        return complaint(text, at, _no_value(operator, rest))
    if rest.startswith("/") and "PATTERN" in expected:
        return complaint(text, at, _not_closed(rest))
    if "NAME" in expected:
        return complaint(text, at, _no_term(text, at))
    if not rest and opened is not None:
        return complaint(text, opened, "this ( is never closed: expected ) before the end")
    return complaint(text, at, _no_join(text, at, expected, is_open=opened is not None))


def _no_value(operator: str, rest: str) -> str:
    if rest.startswith("/"):
        return _not_closed(rest)
    if found := re.match(KEYWORD, rest):
        return f"expected a value after {operator}, found {found[0]}; the word itself is put into quotes: '{found[0]}'"
    return f"expected a value after {operator}, found {_found(rest)}; what is no plain word is put into quotes"


def _not_closed(rest: str) -> str:
    if found := _FLAGS.match(rest):
        return f"{found[2]!r} follows the regular expression; its flags stand in front of it: /(?{found[2]}){found[1]}/"
    if re.match(r"/[^/\s]+/\s*[=!<>~]", rest):
        return "a regular expression stands for classes; a fact is called by its name: expected country=/de/, or /web/"
    word = rest.split()[0].rstrip(")")
    return (
        f"this regular expression is never closed: expected / before a blank, ) or the end; "
        f"a path is put into quotes: '{word[:_FOUND]}'"
    )


def _no_term(text: str, at: int) -> str:
    rest, before = text[at:], text[:at].split()
    after = f" after {before[-1][-_FOUND:]}" if before else ""
    if not text.strip():
        return f"the expression is empty: expected {_TERM}"
    if found := re.match(r"[=!<>~]+", rest):
        return f"expected the name of a fact before {found[0]}{after}"
    if rest.startswith(")") and after.endswith("("):
        return f"nothing stands between ( and ): expected {_TERM}"
    word = _WORD.match(rest)
    if word and word[0] in _INSTEAD:
        return f"expected {_TERM}{after}, found {word[0]}, which is written `{_INSTEAD[word[0]]}`"
    return f"expected {_TERM}{after}, found {_found(rest)}"


def _no_join(text: str, at: int, expected: Collection[str], *, is_open: bool) -> str:
    rest = text[at:]
    word = _WORD.match(rest)
    if word and word[0] in _INSTEAD:
        return f"{word[0]} is written `{_INSTEAD[word[0]]}`"
    if rest.startswith(")"):
        return "this ) closes nothing: there is no ( before it"
    if word and word[0][0] in "=!<>~":
        if "OPERATOR" in expected:
            return f"unknown operator {word[0]}; operators are {_ALL_OPERATORS}"
        return f"expected `and` or `or`, found {word[0]}: what is compared is a fact, or a field of a data source"
    ends = "`or` or )" if is_open else "`or` or the end"
    hint = "terms are joined with `and` or `or`, and a value with blanks is put into quotes"
    if rest.startswith("("):
        hint = "terms are joined with `and` or `or`; a source and its ( stand together: fstat('/etc/hosts').size>0"
    elif rest.startswith("/"):
        hint = "terms are joined with `and` or `or`, and what has a / in it is put into quotes"
    return f"expected `and`, {ends}, found {_found(rest)}; {hint}"


def _found(rest: str) -> str:
    word = _WORD.match(rest.lstrip())
    if not word:
        return rest.lstrip()[:1] or "the end"
    return word[0] if len(word[0]) <= _FOUND else f"{word[0][:_FOUND]}..."
