# SPDX-License-Identifier: Apache-2.0
"""Which packet filter a node uses: the agent's settings, and what the host has; nothing is changed here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mco_rpc.errors import ConfigError
from mco_rpc.on_path import on_path
from mco_rpc.suggestion import did_you_mean

from . import PacketFilter, PacketFilterError, Run
from .iptables import IptablesFilter
from .memory import MemoryFilter
from .nftables import NftablesFilter

AUTO, IPTABLES, NFT, LEGACY = "auto", "iptables", "iptables-nft", "iptables-legacy"
NFTABLES, MEMORY = "nftables", "memory"
_CHAIN, _TABLE = "MCO-BLOCK", "mco_block"
BACKENDS = (AUTO, IPTABLES, NFT, LEGACY, NFTABLES, MEMORY)
_COMMANDS = {AUTO: ("iptables", "nft"), NFTABLES: ("nft",), MEMORY: ()}
_PACKAGES = {"nft": "nftables"}  # the others come in the package iptables
_BUILT_IN = ("INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING", "ACCEPT", "DROP", "QUEUE", "RETURN")

Which = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the node's configuration says under ``agents: iptables:``.

    Attributes:
        backend: one of `BACKENDS`; ``auto`` is whatever the host's own iptables is, else nftables.
        chain: the chain of the iptables back ends.
        table: the table, of family inet, of the nftables back end.
    """

    backend: str = AUTO
    chain: str = _CHAIN
    table: str = _TABLE

    @classmethod
    def of(cls, settings: Mapping[str, object]) -> Settings:
        """Return checked settings; their keys were checked already.

        Raises:
            ConfigError: a value cannot be used.
        """
        backend = settings.get("backend", AUTO)
        if backend not in BACKENDS:
            raise ConfigError(
                f"agents: iptables: backend: {backend!r} is not a packet filter"
                f"{did_you_mean(backend, BACKENDS)}; known are: {', '.join(BACKENDS)}"
            )
        chain = _name("chain", settings.get("chain", _CHAIN), max_length=28)
        if chain in _BUILT_IN:
            raise ConfigError(
                f"agents: iptables: chain: {chain} has a meaning of its own; choose another name, such as {_CHAIN}"
            )
        return cls(str(backend), chain, _name("table", settings.get("table", _TABLE), max_length=64))


SETTING_NAMES = ("backend", "chain", "table")


def why_not(settings: Mapping[str, object], which: Which = on_path) -> str | None:
    """Return what the host lacks for these settings, None if it has all; wrong settings are not judged here."""
    backend = str(settings.get("backend", AUTO))
    commands = _COMMANDS.get(backend, (backend,))
    if backend not in BACKENDS or not commands or any(which(command) for command in commands):
        return None
    packages = dict.fromkeys(_PACKAGES.get(command, "iptables") for command in commands)
    found = f"{commands[0]} is" if len(commands) == 1 else f"none of {', '.join(commands)} is"
    missing = f"{found} not" if len(commands) == 1 else found
    return (
        f"{missing} on the PATH of this node; install the Debian package {' or '.join(packages)} "
        "(the commands are in /usr/sbin)"
    )


def choose(settings: Settings, run: Run, which: Which = on_path) -> PacketFilter:
    """Return the packet filter that the settings name, or the one the host uses.

    Raises:
        PacketFilterError: the host does not have it; the text names the Debian package.
    """
    backend = settings.backend
    lacking = why_not({"backend": backend}, which)
    if lacking:
        raise PacketFilterError(lacking)
    if backend == MEMORY:
        return MemoryFilter()
    if backend == NFTABLES or (backend == AUTO and not which("iptables")):
        return NftablesFilter(run, settings.table)
    if backend in (NFT, LEGACY):
        return IptablesFilter(run, settings.chain, name=backend, suffix=backend.removeprefix("iptables"))
    return IptablesFilter(run, settings.chain, name=_kind_of_iptables(run))


def _kind_of_iptables(run: Run) -> str:
    """Return which of the two the host's ``iptables`` is; releases before 1.8 know only one and say nothing."""
    done = run("iptables", "-V")
    if done.returncode:
        raise PacketFilterError(f"the host's iptables cannot be used: {done}")
    return NFT if "nf_tables" in done.stdout else LEGACY


def _name(key: str, value: object, max_length: int) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", value) or len(value) > max_length:
        raise ConfigError(
            f"agents: iptables: {key}: {value!r} cannot be used: a letter, then letters, digits, _ or -, "
            f"at most {max_length} characters"
        )
    return value
