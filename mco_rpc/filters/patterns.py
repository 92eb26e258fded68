# SPDX-License-Identifier: Apache-2.0
"""Regular expressions and names in filters.

Expressions come from the network, so they run in RE2, whose time is linear in the text; what may be compiled is
limited in length and number.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from mco_rpc.errors import FilterError

MAX_PATTERN_LENGTH = 1024
# Of one filter: compiling is the expensive part, so what a request may ask for is counted before any of it is done.
MAX_PATTERNS = 64
MAX_PATTERNS_LENGTH = 8 * 1024
# Of one compiled expression: what gets larger takes up to a hundredth of a second to compile, on the thread that reads.
MAX_PROGRAM_BYTES = 256 * 1024


def check_patterns(patterns: list[str]) -> None:
    """Refuse what would take long to compile, before any of it is compiled.

    Raises:
        FilterError: they are too many, or too long.
    """
    if len(patterns) > MAX_PATTERNS:
        raise FilterError(
            f"{len(patterns)} regular expressions; at most {MAX_PATTERNS} are allowed: join them with | or by name"
        )
    if (length := sum(map(len, patterns))) > MAX_PATTERNS_LENGTH:
        raise FilterError(
            f"regular expressions of {length} characters in all; at most {MAX_PATTERNS_LENGTH} are allowed"
        )


def is_pattern(name: str) -> bool:
    """Say whether a class, an agent or an identity is asked for by an expression."""
    return name.startswith("/")


def matches_name(term: str, names: Iterable[str]) -> bool:
    """Say whether one of the names is the one asked for, or ``/x/`` finds something in one."""
    pattern = pattern_of(term)
    if pattern is None:
        return term in names
    return any(finds(pattern, name) for name in names)


def bare(text: str) -> str:
    """Return an expression without the slashes that filters write it between, and that inputs may leave out.

    >>> bare("/^mco/"), bare("^mco"), bare("/")
    ('^mco', '^mco', '/')
    """
    is_delimited = len(text) > len("//") and text.startswith("/") and text.endswith("/")
    return text[1:-1] if is_delimited else text


def finds(pattern: Any, text: str) -> bool:
    """Say whether a compiled expression finds something."""
    try:
        return pattern.search(text) is not None
    except UnicodeEncodeError:  # half a character, which no expression can name
        return False


def pattern_of(term: str) -> Any:
    """Return the compiled expression of a ``/x/`` term, None for a plain name.

    Raises:
        FilterError: it is neither.
    """
    if not is_pattern(term):
        if not term:
            raise FilterError("an empty name matches nothing: give a name or /a regular expression/")
        return None
    if len(term) < 3 or not term.endswith("/"):
        raise FilterError(f"regular expression {term} is not closed: expected /expression/")
    return compiled(term[1:-1])


@functools.lru_cache(maxsize=4 * MAX_PATTERNS)  # more than one filter has: what was checked is not compiled again
def compiled(pattern: str) -> Any:
    """Return the compiled expression.

    Raises:
        FilterError: it is too long, or cannot be understood.
    """
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise FilterError(f"regular expression of {len(pattern)} characters; the limit is {MAX_PATTERN_LENGTH}")
    import re2  # a node that is never asked with a regular expression does not pay for the engine

    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PROGRAM_BYTES
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as e:
        why = e.args[0].decode() if e.args and isinstance(e.args[0], bytes) else e
        raise FilterError(
            f"regular expression /{pattern}/ cannot be used: {why} (RE2 syntax: no look-around, no back-references)"
        ) from e
