# SPDX-License-Identifier: Apache-2.0
"""Why a filter matches a node or does not: every term, what was seen on the node, and which terms decided.

A verdict is made where the node is and read where somebody asked, so it is plain data, short, and checked on arrival.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from mco_rpc.errors import FilterError
from mco_rpc.filters.evaluation import Evaluation, Subject, check_sources, needs_data
from mco_rpc.filters.filter import Filter
from mco_rpc.filters.patterns import matches_name
from mco_rpc.filters.terms import And, Class, Data, Fact, Identity, Not, Offers, Or, Term, children, walk
from mco_rpc.suggestion import did_you_mean

MAX_FINDINGS = 1_000
_MAX_TEXT = 200
_MAX_SUGGESTIONS = 10  # each compares a name with all facts
_JOINS = {And: "all of", Or: "at least one of", Not: "not"}


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One term of a filter, as it was found on a node.

    Attributes:
        depth: how deep it stands in the tree, from 0.
        kind: and, or, not, class, identity, agent, fact, data.
        text: how it is written; of a term that joins others, how it joins them.
        held: None if the verdict was reached without asking.
        decided: the verdict can only become another if this changes, or one that decided beside it.
        seen: what the node has there, shortened; of what could not be asked, why.
    """

    depth: int
    kind: str
    text: str
    held: bool | None = None
    decided: bool = False
    seen: str = ""


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a filter comes to on one node.

    Attributes:
        error: why there is no answer to the filter; a node that cannot say does not match.
        omitted: how many terms are left out of a long list.
    """

    matches: bool
    findings: tuple[Finding, ...] = ()
    error: str = ""
    omitted: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it as data that JSON can say."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @classmethod
    def from_json(cls, plain: object) -> Verdict:
        """Return the verdict that a node sent; raise `FilterError` if it is none."""
        try:
            made = msgspec.convert(plain, cls)
        except (msgspec.ValidationError, RecursionError) as e:
            raise FilterError(f"not a verdict on a filter: {e}") from e
        depths = [finding.depth for finding in made.findings]
        if len(depths) > MAX_FINDINGS or any(not 0 <= depth < MAX_FINDINGS for depth in depths):
            raise FilterError(f"not a verdict on a filter: more than {MAX_FINDINGS} terms, or nested deeper")
        return made


def explain(node_filter: Filter, subject: Subject) -> Verdict:
    """Return what a filter comes to on a node, and why; it comes to what `Filter.matches` says.

    Raises:
        FilterError: the filter itself cannot be understood. What a data source cannot say is in the verdict.

    >>> from mco_rpc.filters import from_options
    >>> made = explain(from_options(compound=["country=de and not web"]), Subject("db1", facts={"country": "fr"}))
    >>> [(finding.text, finding.held, finding.seen) for finding in made.findings if finding.decided]
    [('all of', False, ''), ('country=de', False, '"fr"')]
    """
    tree = node_filter.check().tree()
    if tree is None:
        return Verdict(matches=True)
    look = _Look(subject)
    error = ""
    try:
        check_sources((tree,), subject)
        is_match = look.holds(tree)
    except FilterError as e:
        is_match, error = False, str(e)
    kept = tuple(itertools.islice(look.findings(tree, depth=0, decided=not error), MAX_FINDINGS))
    omitted = sum(1 for _ in walk(tree)) - len(kept)
    return Verdict(is_match, kept, _short(error, 4 * _MAX_TEXT), omitted)


class _Look(Evaluation):
    """An evaluation of which every step is told."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self._failures: dict[int, str] = {}
        self._facts: dict[str, str] = {}  # as they are shown, for a long fact may be in many terms
        self._suggestions = _MAX_SUGGESTIONS

    def _holds(self, term: Term) -> bool:
        try:
            return super()._holds(term)
        except FilterError as e:
            if not children(term):
                self._failures[id(term)] = str(e)
            raise

    def findings(self, term: Term, *, depth: int, decided: bool) -> Iterator[Finding]:
        """Yield what was found of a term and of those below it."""
        held = self._concluded(term)
        text = _JOINS.get(type(term)) or str(term)
        failure = self._failures.get(id(term))
        yield Finding(
            depth=depth,
            kind=str(term.__struct_config__.tag),
            text=_short(text),
            held=held,
            decided=decided or failure is not None,
            seen=_short(failure or self._seen_of(term)),
        )
        for child in children(term):
            counts = isinstance(term, Not) or self._concluded(child) is held
            yield from self.findings(child, depth=depth + 1, decided=decided and counts)

    def _concluded(self, term: Term) -> bool | None:
        """Return whether a term holds, as far as that can be said without asking a data source more."""
        if (known := self.known(term)) is not None:
            return known
        if not children(term):
            return None if needs_data(term) else self.holds(term)
        held = [self._concluded(child) for child in children(term)]
        if isinstance(term, Not):
            return None if held[0] is None else not held[0]
        ending = isinstance(term, Or)  # the value of one term that settles all
        if ending in held:
            return ending
        return None if None in held else not ending

    def _seen_of(self, term: Term) -> str:
        subject = self._subject
        match term:
            case Fact(fact):
                if fact not in self._facts:
                    self._facts[fact] = self._shown_fact(fact)
                return self._facts[fact]
            case Class(name):
                return _names(name, subject.classes, "class", "classes")
            case Offers(name):
                return _names(name, subject.agents, "agent", "agents")
            case Identity():
                return subject.identity
            case Data(field=field):
                fields = self.answered(term)
                return "not asked" if fields is None else _json(fields.get(field))
        return ""

    def _shown_fact(self, fact: str) -> str:
        facts = self._subject.facts
        if facts.get(fact) is not None:
            return _short(_json(facts[fact]))
        if fact in facts:
            return "null, which counts as no such fact"
        self._suggestions -= 1
        return f"no such fact{did_you_mean(fact, facts) if self._suggestions >= 0 else ''}"


def _names(term: str, names: Collection[str], one: str, several: str) -> str:
    """Return the names that match, or all there are."""
    matching = sorted(name for name in names if matches_name(term, (name,)))
    if matching:
        return ", ".join(matching)
    return f"{several}: {', '.join(sorted(names))}" if names else f"it has no {one}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _short(text: str, limit: int = _MAX_TEXT) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."
