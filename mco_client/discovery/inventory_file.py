# SPDX-License-Identifier: Apache-2.0
"""The forms in which an inventory is written: ours, and Ansible's YAML.

Reads what is written there and nothing else: no variable files beside it, no plug-ins, no templates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mco_client.discovery import marked_yaml
from mco_client.discovery.inventory_model import Group, Host, Listing
from mco_client.discovery.marked_yaml import Part
from mco_client.discovery.ranges import expand
from mco_client.discovery.source import MAX_NODES, group_name, identity, near
from mco_client.text import one_line
from mco_rpc.errors import ConfigError
from mco_rpc.suggestion import did_you_mean

_OURS = ("hosts", "groups")
_OF_HOST = ("classes", "facts")
_OF_GROUP = ("hosts", "groups", "classes", "facts")
_OF_ANSIBLE = ("hosts", "children", "vars")
# How to reach a host is no fact of it.
_ANSIBLES_OWN = "ansible_"
_TEMPLATES = ("{{", "{%", "{#")
_PLAIN_TAG = "tag:yaml.org,2002:"


def read(file: Path) -> Listing:
    """Return what an inventory says.

    Raises:
        ConfigError: what is wrong, with file, line and key.
    """
    whole = marked_yaml.read(file)
    parts = whole.items() if whole else {}
    if whole is None or not parts:
        raise ConfigError(f"{file}: it names no host; expected `hosts:`, `groups:` or an Ansible inventory")
    if parts.keys() & set(_OURS):
        whole.items(_OURS)
        listing = _Ours(parts).listing()
    elif "all" in parts or any(_is_ansible_group(part) for part in parts.values()):
        listing = _Ansible(parts).listing()
    else:
        key, part = next(iter(parts.items()))
        hint = did_you_mean(key, _OURS) or ": expected hosts, groups, or the groups of an Ansible inventory"
        raise part.error(f"unknown key{hint}")
    if not listing.hosts:
        raise ConfigError(f"{file}: it names no host")
    return listing


class _Hosts:
    """The hosts that were read so far."""

    def __init__(self) -> None:
        self.known: dict[str, Host] = {}

    def add(self, name: str, part: Part) -> Host:
        if len(self.known) >= MAX_NODES:
            raise part.error(f"more than {MAX_NODES:,} hosts")
        made = self.known[name] = Host(part.where)
        return made


class _Ours:
    """An inventory with ``hosts`` and ``groups``."""

    def __init__(self, parts: dict[str, Part]) -> None:
        self._hosts = _Hosts()
        self._groups: dict[str, Group] = {}
        # With a list of hosts, a name in a group that is not in it is a typing error.
        self._has_hosts = "hosts" in parts
        if self._has_hosts:
            self._read_hosts(parts["hosts"])
        group_parts = parts["groups"].items() if "groups" in parts else {}
        for name, part in group_parts.items():
            self._groups[group_name(name, part.where)] = Group(part.where)
        for name, part in group_parts.items():
            self._read_group(self._groups[name], part.items(_OF_GROUP))

    def listing(self) -> Listing:
        return Listing(self._hosts.known, self._groups)

    def _read_hosts(self, part: Part) -> None:
        entries = part.items().items() if part.is_mapping else [(entry.text(), entry) for entry in part.elements()]
        for text, entry in entries:
            said = entry.items(_OF_HOST) if part.is_mapping else {}
            classes, facts = _classes(said), _facts(said)
            for name in _names(text, entry):
                if name in self._hosts.known:
                    raise entry.error(f"host {name} is given twice: see {self._hosts.known[name].where}")
                host = self._hosts.add(name, entry)
                host.classes, host.facts = classes, facts

    def _read_group(self, group: Group, said: dict[str, Part]) -> None:
        for entry in said["hosts"].elements() if "hosts" in said else ():
            for name in _names(entry.text(), entry):
                if name in group.hosts:
                    raise entry.error(f"host {name} is given twice")
                if name not in self._hosts.known:
                    if self._has_hosts:
                        hint = near(name, self._hosts.known)
                        raise entry.error(f"host {name} is not among the `hosts:` of this file{hint}")
                    self._hosts.add(name, entry)
                group.hosts.add(name)
        for entry in said["groups"].elements() if "groups" in said else ():
            name = entry.text()
            if name not in self._groups:
                raise entry.error(f"there is no group {one_line(repr(name), 100)}{near(name, self._groups)}")
            group.groups[name] = entry.where
        group.classes, group.facts = _classes(said), _facts(said)


class _Ansible:
    """An Ansible inventory in YAML: groups with hosts, children and vars; all hosts are in the group ``all``."""

    def __init__(self, parts: dict[str, Part]) -> None:
        self._hosts = _Hosts()
        self._groups: dict[str, Group] = {"all": Group("")}
        self._undecided: set[str] = set()
        for name, part in parts.items():
            self._read_group(name, part, "all" if name != "all" else "", ())

    def listing(self) -> Listing:
        return Listing(self._hosts.known, self._groups, may_differ=True, undecided=self._undecided)

    def _read_group(self, name: str, part: Part, parent: str, within: tuple[int, ...]) -> None:
        if id(part.node) in within:  # which an alias can do
            raise part.error("the group is in itself")
        group = self._groups.setdefault(group_name(name, part.where), Group(part.where))
        if parent:
            self._groups[parent].groups.setdefault(name, part.where)
        said = part.items(_OF_ANSIBLE)
        for text, entry in _ansible_hosts(said):
            variables = dict(self._variables(entry.items())) if not entry.is_text else {}
            for host_name in _names(text, entry):
                host = self._hosts.known.get(host_name) or self._hosts.add(host_name, entry)
                host.facts = {**host.facts, **variables} if variables else host.facts
                group.hosts.add(host_name)
        if "vars" in said:
            group.facts |= dict(self._variables(said["vars"].items()))
        for child, entry in (said["children"].items() if "children" in said else {}).items():
            self._read_group(child, entry, name, (*within, id(part.node)))

    def _variables(self, parts: dict[str, Part]) -> Iterator[tuple[str, Any]]:
        """Yield the variables that are facts; one whose value is made elsewhere is left to the nodes to say."""
        for name, part in parts.items():
            if name.startswith(_ANSIBLES_OWN):
                continue
            if _is_made_elsewhere(part):
                self._undecided.add(name)
            else:
                yield name, part.value()


def _ansible_hosts(said: dict[str, Part]) -> Iterable[tuple[str, Part]]:
    """Return the hosts of a group; one alone may stand there without a colon."""
    part = said.get("hosts")
    if part is None:
        return ()
    return ((part.text(), part),) if part.is_text else part.items().items()


def _names(text: str, part: Part) -> Iterator[str]:
    for name in expand(text, part.where):
        yield identity(name, part.where)


def _classes(said: dict[str, Part]) -> set[str]:
    return {part.text() for part in said["classes"].elements()} if "classes" in said else set()


def _facts(said: dict[str, Part]) -> dict[str, Any]:
    return {name: part.value() for name, part in said["facts"].items().items()} if "facts" in said else {}


def _is_made_elsewhere(part: Part) -> bool:
    """Say whether a value has a template, or a tag of Ansible's such as ``!vault``, somewhere in it."""
    return any(
        not str(node.tag).startswith(_PLAIN_TAG) or any(mark in node.value for mark in _TEMPLATES)
        for node in part.scalars()
    )


def _is_ansible_group(part: Part) -> bool:
    return part.is_mapping and bool(part.items().keys() & set(_OF_ANSIBLE))
