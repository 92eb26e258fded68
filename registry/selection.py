# SPDX-License-Identifier: Apache-2.0
"""Which of the known nodes a filter is for; of whom it cannot be said, that is said instead of leaving them out.

Whatever a node did not tell, and whatever only a data source on the node can tell, is neither true nor false here.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from mco_rpc.filters import And, Class, Data, Fact, Filter, Not, Offers, Or, Subject, Term

from .known import Content, Known, content_from
from .store import Narrowed


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter as the registry serves it.

    Attributes:
        residual: the part that only the nodes themselves can decide: what data sources say.
        narrowed: the part that the database decides.
        is_whole: whether the rest needs what the nodes registered.
    """

    node_filter: Filter
    residual: Filter
    narrowed: Narrowed
    is_whole: bool


def selection_of(node_filter: Filter) -> Selection:
    """Return how a filter is served; raise `FilterError` if it cannot be understood."""
    node_filter.check()
    residual = tuple(term for term in node_filter.compound if Filter(compound=(term,)).needs_data)
    names = node_filter.identities
    narrowed = Narrowed(
        identities=names if names and not any(map(_is_pattern, names)) else None,
        classes=tuple(name for name in node_filter.classes if not _is_pattern(name)),
        agents=tuple(name for name in node_filter.agents if not _is_pattern(name)),
    )
    is_whole = bool(msgspec.structs.replace(node_filter, identities=()))
    return Selection(node_filter, Filter(compound=residual), narrowed, is_whole)


def verdict(node_filter: Filter, known: Known) -> bool | None:
    """Say whether a filter is for a node, None if what the node said of itself does not decide that."""
    if not Filter(identities=node_filter.identities).matches(Subject(known.identity)):
        return False
    rest = msgspec.structs.replace(node_filter, identities=())
    tree = rest.tree()
    if tree is None:
        return True
    content = content_from(known.body)
    subject = Subject(known.identity, frozenset(content.classes), frozenset(content.agents), content.facts)
    if not content.incomplete and not rest.needs_data:
        return rest.matches(subject)
    return _holds(tree, subject, content)


def _holds(term: Term, subject: Subject, content: Content) -> bool | None:
    match term:
        case And(terms):
            seen = [_holds(each, subject, content) for each in terms]
            return False if False in seen else (None if None in seen else True)
        case Or(terms):
            seen = [_holds(each, subject, content) for each in terms]
            return True if True in seen else (None if None in seen else False)
        case Not(inner):
            holds = _holds(inner, subject, content)
            return None if holds is None else not holds
        case Data():
            return None
    holds = Filter(compound=(term,)).matches(subject)
    match term:
        # A class or an agent that was told is there, whatever else is.
        case Class():
            return holds if holds or "classes" not in content.incomplete else None
        case Offers():
            return holds if holds or "agents" not in content.incomplete else None
        case Fact(fact):
            return holds if fact in content.facts or "facts" not in content.incomplete else None
    return holds


def _is_pattern(name: str) -> bool:
    return name.startswith("/")
