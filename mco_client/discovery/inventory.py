# SPDX-License-Identifier: Apache-2.0
"""Nodes from inventories: hosts and groups, and what is said there of their classes and facts.

What the inventory does not know is left to the nodes to say: it decides classes only if it gives some, and a fact
only if it gives that fact to somebody.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from mco_client.discovery import inventory_file
from mco_client.discovery.inventory_model import Listing
from mco_client.discovery.source import GROUP, Known, absent_of, near, split
from mco_rpc.errors import ConfigError, DiscoveryError
from mco_rpc.filters import Filter, Subject


class Inventory:
    """Files with hosts and groups; read anew each time they are asked."""

    serves = frozenset({"identities", "classes", "facts"})

    def __init__(self, files: tuple[Path, ...]) -> None:
        self._files = files
        self.name = f"inventory {', '.join(map(str, files))}"

    def known(self, node_filter: Filter, timeout_s: float) -> Known:
        """Return the hosts that the part of the filter matches of which the inventories know something.

        ``-I group:web`` stands for the hosts of a group.
        """
        listings = [inventory_file.read(file) for file in self._files]
        self._check_unique(listings)
        served, residual = self._split(node_filter, listings)
        members = self._members(served, listings)
        named = Filter(tuple(name for name in served.identities if not name.startswith(GROUP)))
        rest = msgspec.structs.replace(served, identities=())

        def is_asked_for(subject: Subject) -> bool:
            if not served.identities or subject.identity in members:
                return True
            return bool(named) and named.matches(subject)

        nodes = []
        for listing in listings:
            subjects = listing.subjects() if rest else map(Subject, listing.hosts)
            nodes += [subject.identity for subject in subjects if is_asked_for(subject) and rest.matches(subject)]
        return Known(tuple(nodes), residual, self._absent(node_filter, nodes, listings))

    def _split(self, node_filter: Filter, listings: Sequence[Listing]) -> tuple[Filter, Filter]:
        has_classes = any(listing.has_classes for listing in listings)
        served, residual = split(node_filter, self.serves if has_classes else self.serves - {"classes"})
        undecided = frozenset[str]().union(*(listing.undecided for listing in listings))
        facts = frozenset[str]().union(*(listing.known_facts() for listing in listings)) - undecided
        decided = tuple(term for term in node_filter.facts if term.fact in facts)
        left = tuple(term for term in node_filter.facts if term.fact not in facts)
        return msgspec.structs.replace(served, facts=decided), msgspec.structs.replace(residual, facts=left)

    def _members(self, served: Filter, listings: Sequence[Listing]) -> set[str]:
        members: set[str] = set()
        for name in served.identities:
            if not name.startswith(GROUP):
                continue
            group = name.removeprefix(GROUP)
            having = [listing for listing in listings if group in listing.groups]
            if not having:
                groups = [known for listing in listings for known in listing.groups]
                raise DiscoveryError(f"{self.name}: there is no group {group!r}{near(group, groups)}")
            members.update(*(listing.members(group) for listing in having))
        return members

    def _absent(self, node_filter: Filter, nodes: Sequence[str], listings: Sequence[Listing]) -> dict[str, str]:
        hosts = {name: None for listing in listings for name in listing.hosts}
        absent = absent_of(node_filter, nodes, "", has_groups=True)
        return {
            name: f"{self.name} says that the rest of the filter does not match it"
            if name in hosts
            else f"{self.name} does not name it{near(name, hosts)}"
            for name in absent
        }

    def _check_unique(self, listings: Sequence[Listing]) -> None:
        seen: dict[str, str] = {}
        for listing in listings:
            for name, host in listing.hosts.items():
                if name in seen:
                    raise ConfigError(f"{host.where}: host {name} is given twice: see {seen[name]}")
            seen |= {name: host.where for name, host in listing.hosts.items()}
