# SPDX-License-Identifier: Apache-2.0
"""The packet filter driven by nft: a table of ours, asked before the usual filter chains.

One rule a network, not a set: a set with intervals would merge 10.0.0.1 into 10.0.0.0/8 and forget that
it was asked for. Every change is one transaction of ``nft -f``. The table stays when its last rule goes:
nft deletes a table with whatever was added to it in the meantime.
"""

from __future__ import annotations

from functools import partial
from ipaddress import ip_network
from typing import Any

import msgspec

from mco_rpc.command import Completed

from . import Network, PacketFilterError, Run
from .settle import settle

_CHAIN = "input"
# What drops in one chain is dropped, whatever other chains accept; so any priority works, and an early
# one spares the others the packet.
_HOOK = {"type": "filter", "hook": "input", "prio": -10, "policy": "accept"}
_PROTOCOL = {4: "ip", 6: "ip6"}

_Entry = tuple[str, dict[str, Any]]  # what it is, and its fields
_Rules = tuple[tuple[int, Network], ...]  # each with the handle to delete it by


class NftablesFilter:
    """Drops packets with rules in a table of its own, of family inet: IPv4 and IPv6."""

    name = "nftables"

    def __init__(self, run: Run, table: str) -> None:
        self._run = run
        self._table = table

    def block(self, network: Network) -> None:
        """Have a rule for exactly this network."""
        settle(self._look, partial(self._to_block, network), self._commit)

    def unblock(self, network: Network) -> None:
        """Have no rule for exactly this network."""
        settle(self._look, partial(self._to_unblock, network), self._commit)

    def blocked(self, version: int | None = None) -> list[Network]:
        """Return what our table drops."""
        networks = list(dict.fromkeys(network for _, network in self._look()))
        versions = (4, 6) if version is None else (version,)
        return [network for wanted in versions for network in networks if network.version == wanted]

    def _look(self) -> _Rules:
        rules = []
        for kind, found in self._listing():
            if kind == "rule":
                rules.append((int(found.get("handle", 0)), self._network(found)))
            elif kind == "chain":
                if found.get("name") != _CHAIN or any(found.get(key) != _HOOK[key] for key in _HOOK):
                    raise self._edited(f"chain {found.get('name')} is not as this agent makes it")
            elif kind == "table":
                if "flags" in found:  # what they are differs with the release; one of them is dormant
                    raise self._edited("the table has flags, so it may be switched off")
            elif kind != "metainfo":
                raise self._edited(f"there is a {kind} in it")
        return tuple(rules)

    def _listing(self) -> list[_Entry]:
        """Return the entries of our table, nothing if there is none."""
        done = self._list("table", "inet", self._table)
        if done.returncode:
            tables = self._list("tables", "inet")
            if tables.returncode:
                raise PacketFilterError(f"cannot say what nftables drops: {tables}")
            if self._table not in [found.get("name") for _, found in self._entries(tables)]:
                return []
            done = self._list("table", "inet", self._table)  # somebody may just have made it
        if done.returncode:
            raise PacketFilterError(f"cannot say what nftables drops: {done}")
        return self._entries(done)

    def _list(self, *what: str) -> Completed:
        return self._run("nft", "-j", "list", *what)

    def _entries(self, done: Completed) -> list[_Entry]:
        if done.is_truncated:
            raise PacketFilterError(
                f"cannot say what nftables drops: its listing is longer than {len(done.stdout)} characters"
            )
        try:
            return [
                (kind, dict(found))
                for entry in msgspec.json.decode(done.stdout)["nftables"]
                for kind, found in entry.items()
            ]
        except (msgspec.DecodeError, ValueError, KeyError, TypeError, AttributeError) as e:
            raise PacketFilterError(
                f"cannot say what nftables drops: `{' '.join(done.argv)}` gave something unexpected ({e!r}): "
                f"{done.stdout[:80]!r}"
            ) from e

    def _network(self, rule: dict[str, Any]) -> Network:
        """Return the network a rule drops; a rule that does more, less or something else is not ours."""
        expressions = rule.get("expr")
        network = source = None
        try:
            source = rule["expr"][0]["match"]["right"]
            if isinstance(source, dict):
                prefix = source["prefix"]
                network = ip_network(f"{prefix['addr']}/{prefix['len']}")
            else:
                network = ip_network(str(source))
        except (KeyError, IndexError, TypeError, ValueError):
            pass  # another kind of rule
        if network is None or expressions != _expressions(network, source):
            raise self._edited(
                f"{msgspec.json.encode(expressions).decode()} (handle {rule.get('handle')}) is not one of its rules"
            )
        return network

    def _edited(self, what: str) -> PacketFilterError:
        return PacketFilterError(
            f"cannot say what table inet {self._table} drops: {what}; repair it, take it away with "
            f"`nft delete table inet {self._table}`, or configure another table"
        )

    def _to_block(self, network: Network, rules: _Rules) -> list[str]:
        if network in [blocked for _, blocked in rules]:
            return []
        chain = f"inet {self._table} {_CHAIN}"
        return [
            f"add table inet {self._table}",
            f"add chain {chain} {{ type filter hook input priority -10; policy accept; }}",
            f"add rule {chain} {_PROTOCOL[network.version]} saddr {network} drop",
        ]

    def _to_unblock(self, network: Network, rules: _Rules) -> list[str]:
        return [
            f"delete rule inet {self._table} {_CHAIN} handle {handle}"
            for handle, blocked in rules
            if blocked == network
        ]

    def _commit(self, lines: list[str]) -> Completed:
        return self._run("nft", "-f", "-", stdin="\n".join([*lines, ""]).encode("ascii"))


def _expressions(network: Network, source: object) -> list[dict[str, Any]]:
    """Return the expressions of the one kind of rule we make, in nft's JSON."""
    left = {"payload": {"protocol": _PROTOCOL[network.version], "field": "saddr"}}
    return [{"match": {"op": "==", "left": left, "right": source}}, {"drop": None}]
