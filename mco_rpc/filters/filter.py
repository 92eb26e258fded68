# SPDX-License-Identifier: Apache-2.0
"""`Filter`: which nodes a request is for, as it goes over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mco_rpc.errors import FilterError
from mco_rpc.filters import patterns
from mco_rpc.filters.comparison import check_operator, compares
from mco_rpc.filters.evaluation import Evaluation, Patience, Subject, cheap_first, check_sources
from mco_rpc.filters.patterns import check_patterns, is_pattern, matches_name, pattern_of
from mco_rpc.filters.terms import (
    And,
    Class,
    Data,
    Fact,
    Identity,
    Offers,
    Or,
    Term,
    check,
    check_size,
    joined,
    patterns_in,
    walk,
)

MAX_TERMS = 10_000


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
        return compares(facts.get(self.fact), self.operator, self.value)


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which nodes a request is for; an empty filter is for all of them.

    Attributes:
        identities: alternatives; of every other kind, all must hold.
        compound: the trees of compound expressions.

    >>> Filter(classes=("/dev_server/",)).matches(Subject("web1", frozenset({"acme::dev_server"})))
    True
    """

    identities: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    facts: tuple[FactTerm, ...] = ()
    agents: tuple[str, ...] = ()
    compound: tuple[Term, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.identities or self.classes or self.facts or self.agents or self.compound)

    def __str__(self) -> str:
        parts = [f"identity={name}" for name in self.identities]
        parts += [f"class={name}" for name in self.classes]
        parts += [f"fact {term}" for term in self.facts]
        parts += [f"agent={name}" for name in self.agents]
        parts += [f"select {term}" for term in self.compound]
        return ", ".join(parts) or "every node"

    def to_json(self) -> dict[str, Any]:
        """Return it as data that JSON can say."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @classmethod
    def from_json(cls, plain: object) -> Filter:
        """Return the filter that came as an input, checked; raise `FilterError` if it is none."""
        try:
            made = msgspec.convert(plain, cls)
        except (msgspec.ValidationError, RecursionError) as e:
            raise FilterError(f"not a filter: {e}") from e
        return made.check()

    @property
    def needs_data(self) -> bool:
        """Whether it asks a data source, which may take a while."""
        return any(isinstance(term, Data) for term, _ in walk(*self.compound))

    def data_sources(self) -> frozenset[str]:
        """Return the names of the data sources it asks: a name that is not there fails it, asked or not."""
        return frozenset(term.source for term, _ in walk(*self.compound) if isinstance(term, Data))

    def matches(self, subject: Subject) -> bool:
        """Say whether the request is for this node.

        Raises:
            FilterError: something in it cannot be understood, or a data source cannot say what is asked.
        """
        check_size(self.compound)
        check_sources(self.compound, subject)
        patience = Patience()
        evaluation = Evaluation(subject, patience)
        return (
            (
                not self.identities
                or any(matches_name(term, (subject.identity,)) for term in patience.over(self.identities))
            )
            and all(matches_name(term, subject.classes) for term in patience.over(self.classes))
            and all(matches_name(term, subject.agents) for term in patience.over(self.agents))
            and all(term.matches(subject.facts) for term in patience.over(self.facts))
            and all(evaluation.holds(term) for term in cheap_first(self.compound))
        )

    def check(self) -> Filter:
        """Return this filter if every part of it can be understood.

        Raises:
            FilterError: what cannot, and what was expected.
        """
        self._check_size()
        for term in (*self.identities, *self.classes, *self.agents):
            pattern_of(term)
        for fact in self.facts:
            check_operator(f"fact {fact.fact!r}", fact.operator)
            if fact.operator == "=~":
                patterns.compiled(fact.value)
        for each, _ in walk(*self.compound):
            check(each)
        return self

    def _check_size(self) -> None:
        """Refuse what would take long to compile, before any of it is compiled."""
        check_size(self.compound)
        names = (*self.identities, *self.classes, *self.agents)
        if (count := len(names) + len(self.facts)) > MAX_TERMS:
            raise FilterError(f"{count} terms; at most {MAX_TERMS} are allowed")
        asked = [name for name in names if is_pattern(name)]
        asked += [fact.value for fact in self.facts if fact.operator == "=~"]
        asked += [pattern for term, _ in walk(*self.compound) for pattern in patterns_in(term)]
        check_patterns(asked)

    def merged(self, other: Filter) -> Filter:
        """Return the filter that asks for what both ask for; identities are alternatives, so they add up."""
        return Filter(
            identities=_unique(self.identities + other.identities),
            classes=_unique(self.classes + other.classes),
            facts=tuple(dict.fromkeys(self.facts + other.facts)),
            agents=_unique(self.agents + other.agents),
            compound=tuple(dict.fromkeys(self.compound + other.compound)),
        )

    def tree(self) -> Term | None:
        """Return the whole filter as one tree, None if it asks for nothing."""
        terms: list[Term] = []
        if self.identities:
            terms.append(joined(Or, tuple(Identity(name) for name in self.identities)))
        terms += [Class(name) for name in self.classes]
        terms += [Offers(name) for name in self.agents]
        terms += [Fact(fact.fact, fact.operator, fact.value) for fact in self.facts]
        for term in self.compound:
            terms += term.terms if isinstance(term, And) else (term,)
        return joined(And, tuple(terms)) if terms else None

    def as_expression(self) -> str | None:
        """Return one expression that asks for the same, None if there is none: of every node, or too large.

        >>> Filter(identities=("web1", "web2"), facts=(FactTerm("country", "==", "de"),)).as_expression()
        "(identity('web1') or identity('web2')) and country=de"
        """
        tree = self.tree()
        if tree is None:
            return None
        try:
            check_size((tree,))
        except FilterError:
            return None
        return str(tree)


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
