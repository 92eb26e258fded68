# SPDX-License-Identifier: Apache-2.0
"""Filters: which nodes a request is for, with MCollective's semantics.

Identities are alternatives; classes, facts and agents must all hold. ``/x/`` is an unanchored regular
expression. Expressions come from the network, so they run in RE2, whose time is linear in the text: no
filter can stall a node.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mco_rpc.errors import FilterError

MAX_PATTERN_LENGTH = 1024
# Of one filter: compiling is the expensive part, so what a request may ask for is counted before any of it is done.
MAX_TERMS = 10_000
MAX_PATTERNS = 64
MAX_PATTERNS_LENGTH = 8 * 1024
OPERATORS = ("==", "!=", "=~", "<=", ">=", "<", ">")
_ALIASES = {"=": "==", "=>": ">=", "=<": "<="}
_FACT = re.compile(r"\s*([^\s=!<>~]+)\s*(=>|=<|<=|>=|==|!=|=~|<|>|=)\s*(.*?)\s*\Z", re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?(e[+-]?\d{1,3})?\Z", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a filter is asked about: one node."""

    identity: str
    classes: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    facts: Mapping[str, Any] = field(default_factory=dict)


class FactTerm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One comparison of a fact with a value; a fact that is not there makes it false, even for ``!=``."""

    fact: str
    operator: str
    value: str

    def __str__(self) -> str:
        value = f"/{self.value}/" if self.operator == "=~" else self.value
        # A blank keeps the operator and a value that begins like one apart.
        blank = " " if value.startswith(("=", "~", "<", ">")) else ""
        return f"{self.fact}{'=' if self.operator in ('==', '=~') else self.operator}{blank}{value}"

    def matches(self, facts: Mapping[str, Any]) -> bool:
        """Say whether any value that the fact has compares as asked."""
        if facts.get(self.fact) is None:
            return False
        return any(self._compares(_text(seen)) for seen in _values(facts[self.fact]))

    def _compares(self, seen: str) -> bool:
        if self.operator == "=~":
            return _finds(_regex(self.value), seen)
        left: Any = seen
        right: Any = self.value
        if _NUMBER.match(seen) and _NUMBER.match(self.value):
            left, right = _number(seen), _number(self.value)
        match self.operator:
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


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which nodes a request is for; an empty filter is for all of them.

    >>> Filter(classes=("/dev_server/",)).matches(Subject("web1", frozenset({"acme::dev_server"})))
    True
    """

    identities: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    facts: tuple[FactTerm, ...] = ()
    agents: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.identities or self.classes or self.facts or self.agents)

    def __str__(self) -> str:
        parts = [f"identity={name}" for name in self.identities]
        parts += [f"class={name}" for name in self.classes]
        parts += [f"fact {term}" for term in self.facts]
        parts += [f"agent={name}" for name in self.agents]
        return ", ".join(parts) or "every node"

    def matches(self, subject: Subject) -> bool:
        """Say whether the request is for this node.

        Raises:
            FilterError: a regular expression or an operator cannot be understood.
        """
        return (
            (not self.identities or any(_matches_name(term, (subject.identity,)) for term in self.identities))
            and all(_matches_name(term, subject.classes) for term in self.classes)
            and all(_matches_name(term, subject.agents) for term in self.agents)
            and all(term.matches(subject.facts) for term in self.facts)
        )

    def check(self) -> Filter:
        """Return this filter if every part of it can be understood.

        Raises:
            FilterError: what cannot, and what was expected.
        """
        self._check_size()
        for term in (*self.identities, *self.classes, *self.agents):
            _pattern_of(term)
        for fact in self.facts:
            if fact.operator not in OPERATORS:
                raise FilterError(
                    f"operator {fact.operator!r} of fact {fact.fact!r} is not one of {' '.join(OPERATORS)}"
                )
            if fact.operator == "=~":
                _regex(fact.value)
        return self

    def _check_size(self) -> None:
        """Refuse what would take long to compile, before any of it is compiled."""
        names = (*self.identities, *self.classes, *self.agents)
        if (count := len(names) + len(self.facts)) > MAX_TERMS:
            raise FilterError(f"{count} terms; at most {MAX_TERMS} are allowed")
        patterns = [name for name in names if name.startswith("/")]
        patterns += [fact.value for fact in self.facts if fact.operator == "=~"]
        if len(patterns) > MAX_PATTERNS:
            raise FilterError(
                f"{len(patterns)} regular expressions; at most {MAX_PATTERNS} are allowed: join them with | or by name"
            )
        if (length := sum(map(len, patterns))) > MAX_PATTERNS_LENGTH:
            raise FilterError(
                f"regular expressions of {length} characters in all; at most {MAX_PATTERNS_LENGTH} are allowed"
            )

    def merged(self, other: Filter) -> Filter:
        """Return the filter that asks for what both ask for."""
        return Filter(
            identities=_unique(self.identities + other.identities),
            classes=_unique(self.classes + other.classes),
            facts=tuple(dict.fromkeys(self.facts + other.facts)),
            agents=_unique(self.agents + other.agents),
        )


def from_options(
    *,
    identities: Iterable[str] = (),
    classes: Iterable[str] = (),
    facts: Iterable[str] = (),
    agents: Iterable[str] = (),
    mixed: Iterable[str] = (),
) -> Filter:
    """Return the filter that command-line options or steps describe (``-I -C -F -A -W``).

    Args:
        mixed: texts of several terms separated by blanks; what reads as a fact is one, the rest are classes.

    Raises:
        FilterError: which term cannot be understood, and what was expected.

    >>> str(from_options(facts=["country=de"], mixed=["/dev_server/ cores>=4"]))
    'class=/dev_server/, fact country=de, fact cores>=4'
    """
    all_classes, all_facts = list(classes), [parse_fact(text) for text in facts]
    for term in (word for text in mixed for word in text.split()):
        is_fact = _FACT.match(term) is not None and not term.startswith("/")
        if is_fact:
            all_facts.append(parse_fact(term))
        else:
            all_classes.append(term)
    made = Filter(tuple(identities), tuple(all_classes), tuple(all_facts), tuple(agents))
    return made.check()


def parse_fact(text: str) -> FactTerm:
    """Return the comparison that ``text`` spells.

    Raises:
        FilterError: it spells none.

    >>> parse_fact("operatingsystem=/deb/")
    FactTerm(fact='operatingsystem', operator='=~', value='deb')
    """
    found = _FACT.match(text)
    if not found or not found[3]:
        raise FilterError(
            f"fact filter {text!r} cannot be understood: expected fact, operator, value as in country=de, "
            f"cores>=4 or kernel=/^6/; operators are = != < > <= >= =~"
        )
    fact, operator, value = found[1], _ALIASES.get(found[2], found[2]), found[3]
    return fact_term(fact, operator, value)


def fact_term(fact: str, operator: str, value: str) -> FactTerm:
    """Return one comparison; a value between slashes makes ``=`` a regular expression.

    Raises:
        FilterError: the operator or the regular expression cannot be understood.
    """
    operator = _ALIASES.get(operator, operator)
    slashed = len(value) > 2 and value.startswith("/") and value.endswith("/")
    if slashed and operator in ("==", "=~"):
        operator, value = "=~", value[1:-1]
    term = FactTerm(fact, operator, value)
    Filter(facts=(term,)).check()
    return term


def _matches_name(term: str, names: Iterable[str]) -> bool:
    pattern = _pattern_of(term)
    if pattern is None:
        return term in names
    return any(_finds(pattern, name) for name in names)


def _finds(pattern: Any, text: str) -> bool:
    try:
        return pattern.search(text) is not None
    except UnicodeEncodeError:  # half a character, which no expression can name
        return False


def _pattern_of(term: str) -> Any:
    """Return the compiled expression of a ``/x/`` term, None for a plain name."""
    if not term.startswith("/"):
        if not term:
            raise FilterError("an empty name matches nothing: give a name or /a regular expression/")
        return None
    if len(term) < 3 or not term.endswith("/"):
        raise FilterError(f"regular expression {term} is not closed: expected /expression/")
    return _regex(term[1:-1])


@functools.lru_cache(maxsize=4 * MAX_PATTERNS)  # more than one filter has: what was checked is not compiled again
def _regex(pattern: str) -> Any:
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise FilterError(f"regular expression of {len(pattern)} characters; the limit is {MAX_PATTERN_LENGTH}")
    import re2  # a node that is never asked with a regular expression does not pay for the engine

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as e:
        why = e.args[0].decode() if e.args and isinstance(e.args[0], bytes) else e
        raise FilterError(
            f"regular expression /{pattern}/ cannot be used: {why} (RE2 syntax: no look-around, no back-references)"
        ) from e


def _values(fact: object) -> Iterable[object]:
    if isinstance(fact, Mapping):
        return list(fact)
    if isinstance(fact, list | tuple | set | frozenset):
        return list(fact)
    return (fact,)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
