# SPDX-License-Identifier: Apache-2.0
"""Hosts, groups and what is said of them: the content of inventories, in whatever form they were written.

Knows nothing of YAML. What a host has for a fact: what is said of itself, else what the most deeply nested of its
groups says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mco_rpc.errors import ConfigError
from mco_rpc.filters import Subject


@dataclass(slots=True)
class Host:
    """A host, and what is said of it alone."""

    where: str
    classes: set[str] = field(default_factory=set)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Group:
    """A group, and what is said of all in it.

    Attributes:
        groups: the groups in it, and where that stands.
    """

    where: str
    hosts: set[str] = field(default_factory=set)
    groups: dict[str, str] = field(default_factory=dict)
    classes: set[str] = field(default_factory=set)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Said:
    """What a group says of a fact; ``rival`` is one that is nested as deep, and says something else."""

    depth: int
    group: str
    value: Any
    rival: str = ""


@dataclass(frozen=True, slots=True)
class _Inherited:
    classes: frozenset[str]
    facts: Mapping[str, _Said]


class Listing:
    """All hosts and groups of an inventory.

    Args:
        may_differ: whether groups that are nested equally deep may disagree; the last one by name wins then.
        undecided: facts of which the inventory has something, but not what it is.

    Raises:
        ConfigError: a group is in itself.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host],
        groups: Mapping[str, Group],
        *,
        may_differ: bool = False,
        undecided: Iterable[str] = (),
    ) -> None:
        self.hosts, self.groups = hosts, groups
        self.undecided = frozenset(undecided)
        self._may_differ = may_differ
        self._parents: dict[str, list[str]] = {name: [] for name in groups}
        for name, group in groups.items():
            for child in group.groups:
                self._parents[child].append(name)
        self._inherited: dict[tuple[str, ...], _Inherited] = {}
        self._depths: dict[str, int] = {}
        for name in self._outer_first():
            parents = self._parents[name]
            self._depths[name] = 1 + max((self._depths[parent] for parent in parents), default=-1)
            above = self._joined(tuple(parents))
            own = {fact: _Said(self._depths[name], name, value) for fact, value in groups[name].facts.items()}
            made = _Inherited(above.classes | groups[name].classes, {**above.facts, **own})
            self._inherited[(name,)] = made

    @property
    def has_classes(self) -> bool:
        """Whether anything is said of classes."""
        return any(host.classes for host in self.hosts.values()) or any(g.classes for g in self.groups.values())

    def known_facts(self) -> frozenset[str]:
        """Return the facts that something is said of."""
        said = {fact for host in self.hosts.values() for fact in host.facts}
        return frozenset(said.union(*(group.facts for group in self.groups.values())))

    def members(self, name: str) -> set[str]:
        """Return the hosts of a group and of the groups in it."""
        found: set[str] = set()
        waiting, seen = [name], {name}
        while waiting:
            group = self.groups[waiting.pop()]
            found |= group.hosts
            waiting += group.groups.keys() - seen
            seen |= group.groups.keys()
        return found

    def subjects(self) -> Iterator[Subject]:
        """Yield every host with its classes and facts, in the order of the file.

        Raises:
            ConfigError: two groups disagree about a host.
        """
        groups_of: dict[str, list[str]] = {name: [] for name in self.hosts}
        for group_name, group in self.groups.items():
            for member in group.hosts:
                groups_of[member].append(group_name)
        for name, host in self.hosts.items():
            inherited = self._joined(tuple(groups_of[name]))
            facts = dict(host.facts)
            for fact, said in inherited.facts.items():
                if fact not in facts:
                    if said.rival and not self._may_differ:
                        raise ConfigError(self._disagreement(name, fact, said))
                    facts[fact] = said.value
            yield Subject(name, inherited.classes | host.classes, facts=facts)

    def _joined(self, groups: tuple[str, ...]) -> _Inherited:
        """Return what several groups together say; those nested deeper win."""
        if (known := self._inherited.get(groups)) is not None:
            return known
        classes: set[str] = set()
        facts: dict[str, _Said] = {}
        for name in groups:
            one = self._inherited[(name,)]
            classes |= one.classes
            for fact, said in one.facts.items():
                facts[fact] = _closer(facts[fact], said) if fact in facts else said
        made = self._inherited[groups] = _Inherited(frozenset(classes), facts)
        return made

    def _outer_first(self) -> Iterator[str]:
        """Yield every group after those that it is in; raise `ConfigError` with the way round if there is one."""
        open_parents = {name: len(parents) for name, parents in self._parents.items()}
        ready = [name for name, count in open_parents.items() if not count]
        done = 0
        while ready:
            name = ready.pop()
            done += 1
            yield name
            for child in self.groups[name].groups:
                open_parents[child] -= 1
                if not open_parents[child]:
                    ready.append(child)
        if done < len(self.groups):
            raise ConfigError(self._way_round({name for name, count in open_parents.items() if count}))

    def _way_round(self, stuck: set[str]) -> str:
        """Return the message about a group that is in itself; each of ``stuck`` is in another of them."""
        path = [min(stuck)]
        while (parent := min(set(self._parents[path[-1]]) & stuck)) not in path:
            path.append(parent)
        circle = [parent, *reversed(path[path.index(parent) :])]
        where = self.groups[circle[0]].groups[circle[1]]
        return f"{where}: group {parent} is in itself: {' -> '.join(circle)}"

    def _disagreement(self, host: str, fact: str, said: _Said) -> str:
        where = self.groups[said.group].where
        return (
            f"{where}: groups {said.rival} and {said.group} say different things of {host}'s fact {fact}, and neither "
            f"is nested deeper: say it of the host, or of one of them"
        )


def _closer(one: _Said, other: _Said) -> _Said:
    """Return what counts of two groups' words: the deeper one's or, equally deep, the later one's by name."""
    first, last = sorted((one, other), key=lambda said: (said.depth, said.group))
    if first.group == last.group or first.depth < last.depth:
        return last
    if first.value == last.value and not first.rival:
        return last
    return _Said(last.depth, last.group, last.value, last.rival or first.rival or first.group)
