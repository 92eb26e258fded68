# SPDX-License-Identifier: Apache-2.0
"""From what people type, or what steps say, to a filter."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mco_rpc.errors import FilterError
from mco_rpc.filters.comparison import ALIASES
from mco_rpc.filters.filter import FactTerm, Filter
from mco_rpc.filters.terms import Term

_FACT = re.compile(r"\s*([^\s=!<>~]+)\s*(=>|=<|<=|>=|==|!=|=~|<|>|=)\s*(.*?)\s*\Z", re.DOTALL)


def from_options(
    *,
    identities: Iterable[str] = (),
    classes: Iterable[str] = (),
    facts: Iterable[str] = (),
    agents: Iterable[str] = (),
    mixed: Iterable[str] = (),
    compound: Iterable[str] = (),
) -> Filter:
    """Return the filter that command-line options or steps describe (``-I -C -F -A -W -S``).

    Args:
        mixed: texts of several terms separated by blanks; what reads as a fact is one, the rest are classes.
        compound: expressions with ``and``, ``or``, ``not`` and parentheses; all must hold.

    Raises:
        FilterError: which term cannot be understood, and what was expected.

    >>> str(from_options(facts=["country=de"], mixed=["/dev_server/ cores>=4"], compound=["a=1 or not web"]))
    'class=/dev_server/, fact country=de, fact cores>=4, select a=1 or not web'
    """
    all_classes, all_facts = list(classes), [parse_fact(text) for text in facts]
    for term in (word for text in mixed for word in text.split()):
        is_fact = _FACT.match(term) is not None and not term.startswith("/")
        if is_fact:
            all_facts.append(parse_fact(term))
        else:
            all_classes.append(term)
    trees = tuple(dict.fromkeys(parse(text) for text in compound))
    made = Filter(tuple(identities), tuple(all_classes), tuple(all_facts), tuple(agents), trees)
    return made.check()


def parse(text: str) -> Term:
    """Return the tree of a compound expression.

    Raises:
        FilterError: where it cannot be understood, what was expected and what was found.

    >>> parse("country=de and not /web/")
    And(terms=(Fact(fact='country', operator='==', value='de'), Not(term=Class(name='/web/'))))
    """
    from mco_rpc.filters.parser import parse_expression  # the only place that needs a parser: a node does not

    return parse_expression(text)


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
    fact, operator, value = found[1], ALIASES.get(found[2], found[2]), found[3]
    return fact_term(fact, operator, value)


def fact_term(fact: str, operator: str, value: str) -> FactTerm:
    """Return one comparison; a value between slashes makes ``=`` a regular expression.

    Raises:
        FilterError: the operator or the regular expression cannot be understood.
    """
    operator = ALIASES.get(operator, operator)
    slashed = len(value) > 2 and value.startswith("/") and value.endswith("/")
    if slashed and operator in ("==", "=~"):
        operator, value = "=~", value[1:-1]
    term = FactTerm(fact, operator, value)
    Filter(facts=(term,)).check()
    return term
