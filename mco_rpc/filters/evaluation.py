# SPDX-License-Identifier: Apache-2.0
"""Whether a tree holds on one node: lazily, what costs nothing first, each question to a data source once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mco_rpc.errors import FilterError
from mco_rpc.filters.comparison import compares, is_number
from mco_rpc.filters.patterns import matches_name
from mco_rpc.filters.terms import And, Class, Data, Fact, Identity, Not, Offers, Or, Term, walk
from mco_rpc.suggestion import did_you_mean

T = TypeVar("T")

# Of processor time for one look at one node: what is compared with what may be chosen so that it takes minutes, and
# who asks is not the only one here. No filter that somebody means takes a tenth of it.
MAX_COMPARING_S = 0.5

# The name of a source and its arguments -> its fields; raises FilterError for what it does not know.
Query = Callable[[str, tuple[str, ...]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Subject:
    """What a filter is asked about: one node.

    Attributes:
        data: answers the questions to data sources; None where there are none.
        check_sources: raises `FilterError` if one of the names is no data source there. A filter that names one fails
            as a whole, also where it would not come to ask it.
    """

    identity: str
    classes: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    facts: Mapping[str, Any] = field(default_factory=dict)
    data: Query | None = None
    check_sources: Callable[[Iterable[str]], None] | None = None


class Patience:
    """The processor time that is left for one look; what data sources take has limits of its own.

    Args:
        clock: seconds of processor time of this thread.
    """

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._until = clock() + MAX_COMPARING_S

    def check(self) -> None:
        """Raise `FilterError` if none is left."""
        if self._clock() > self._until:
            raise FilterError(
                f"it takes more than {MAX_COMPARING_S:g} s to compare with what this node has: ask with fewer or "
                "simpler terms"
            )

    def over(self, terms: Iterable[T]) -> Iterator[T]:
        """Yield terms as long as some is left."""
        for term in terms:
            self.check()
            yield term

    def asking(self, query: Query, source: str, arguments: tuple[str, ...]) -> Mapping[str, Any]:
        """Ask a data source, which is not counted."""
        began = self._clock()
        try:
            return query(source, arguments)
        finally:
            self._until += self._clock() - began


class Evaluation:
    """One look at one node; remembers which terms it looked at, and what the sources said.

    Terms are trees that `check_size` has let pass.
    """

    def __init__(self, subject: Subject, patience: Patience | None = None) -> None:
        self._subject = subject
        self._patience = patience or Patience()
        self._answers: dict[tuple[str, tuple[str, ...]], Mapping[str, Any]] = {}
        self._held: dict[int, bool] = {}

    def holds(self, term: Term) -> bool:
        """Say whether a term holds.

        Raises:
            FilterError: a source or a field that is needed is not there, or a term cannot be understood.
        """
        if id(term) not in self._held:
            self._held[id(term)] = self._holds(term)
        return self._held[id(term)]

    def known(self, term: Term) -> bool | None:
        """Return whether a term holds if it was looked at, else None."""
        return self._held.get(id(term))

    def answered(self, term: Data) -> Mapping[str, Any] | None:
        """Return what the source of a term said, None if it was not asked."""
        return self._answers.get((term.source, term.arguments))

    def _holds(self, term: Term) -> bool:
        subject = self._subject
        match term:
            case And(terms):
                return all(self.holds(each) for each in cheap_first(terms))
            case Or(terms):
                return any(self.holds(each) for each in cheap_first(terms))
            case Not(inner):
                return not self.holds(inner)
        self._patience.check()
        match term:
            case Class(name):
                return matches_name(name, subject.classes)
            case Identity(name):
                return matches_name(name, (subject.identity,))
            case Offers(agent):
                return matches_name(agent, subject.agents)
            case Fact(fact, operator, value):
                return compares(subject.facts.get(fact), operator, value)
        seen = self._seen(term)
        # MCollective's sources say 1 and 0 where ours say true and false.
        return compares(
            int(seen) if isinstance(seen, bool) and is_number(term.value) else seen, term.operator, term.value
        )

    def _seen(self, term: Data) -> object:
        key = (term.source, term.arguments)
        if key not in self._answers:
            if self._subject.data is None:
                raise FilterError(f"{term.call}.{term.field} asks a data source, and there are none here")
            self._answers[key] = self._patience.asking(self._subject.data, *key)
        fields = self._answers[key]
        if term.field not in fields:
            known = ", ".join(sorted(fields)) or "none"
            raise FilterError(
                f"data source {term.call} has no field {term.field!r}{did_you_mean(term.field, fields)}; it has {known}"
            )
        return fields[term.field]


def check_sources(roots: Iterable[Term], subject: Subject) -> None:
    """Raise `FilterError` if a tree names a data source that is not there."""
    names = {term.source for term, _ in walk(*roots) if isinstance(term, Data)}
    if names and subject.check_sources is not None:
        subject.check_sources(names)


def cheap_first(terms: Iterable[Term]) -> list[Term]:
    """Return the terms with those last that ask a data source."""
    return sorted(terms, key=needs_data)


def needs_data(term: Term) -> bool:
    """Say whether a term, or one below it, asks a data source."""
    return any(isinstance(each, Data) for each, _ in walk(term))
