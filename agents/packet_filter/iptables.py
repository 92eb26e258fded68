# SPDX-License-Identifier: Apache-2.0
"""Packet filters driven by iptables and ip6tables, on nf_tables or legacy: a chain of ours that INPUT asks first.

The chain is made with its first rule and goes with its last one. Every change is one transaction of
iptables-restore, so that there is no moment in which a rule or the jump to it is missing; every answer
comes from one listing of the whole table. A rule that is not ours is never touched.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from pathlib import Path

from mco_rpc.command import Completed
from mco_rpc.errors import ActionAborted

from . import Network, NoIPv6, NotReached, PacketFilterError, Run
from .settle import settle

_LOCK_WAIT = ("-w", "5")  # seconds; below an action's own deadline, so that the tool can say why
_EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}
_IPV6_ADDRESSES = Path("/proc/net/if_inet6")  # not there if the kernel was started without IPv6


@dataclass(frozen=True, slots=True)
class _Table:
    """What the filter table of one family holds of ours.

    Attributes:
        jumps: the positions in INPUT, from 0, of the plain jumps to our chain.
        is_used_elsewhere: whether a rule of somebody else leads to our chain.
    """

    has_chain: bool
    jumps: tuple[int, ...]
    networks: tuple[Network, ...]
    is_used_elsewhere: bool

    @property
    def is_reached(self) -> bool:
        return self.jumps[:1] == (0,)


class IptablesFilter:
    """Drops packets with rules in a chain of its own.

    Args:
        name: the back end's name in replies.
        suffix: what follows ``iptables`` and ``ip6tables`` in the names of the commands, such as ``-legacy``.
        has_ipv6: says whether the host speaks IPv6 at all.
    """

    def __init__(
        self,
        run: Run,
        chain: str,
        *,
        name: str,
        suffix: str = "",
        has_ipv6: Callable[[], bool] = _IPV6_ADDRESSES.exists,
    ) -> None:
        self.name = name
        self._run = run
        self._chain = chain
        self._commands = {4: f"iptables{suffix}", 6: f"ip6tables{suffix}"}
        self._has_ipv6 = has_ipv6
        self._drop = re.compile(rf"-A {re.escape(chain)}(?: -s (\S+))? -j DROP")

    def block(self, network: Network) -> None:
        """Have a rule for exactly this network, and INPUT ask our chain first."""
        version = network.version
        settle(partial(self._look, version), partial(self._to_block, network), partial(self._commit, version))

    def unblock(self, network: Network) -> None:
        """Have no rule for exactly this network; without any rule left, have no chain either."""
        version = network.version
        settle(partial(self._look, version), partial(self._to_unblock, network), partial(self._commit, version))

    def blocked(self, version: int | None = None) -> list[Network]:
        """Return what our chain drops, if INPUT asks it first."""
        if version is not None:
            return self._blocked(version)
        networks = self._blocked(4)
        with contextlib.suppress(NoIPv6):  # nobody asked for IPv6, and no packet of it can come
            networks += self._blocked(6)
        return networks

    def _blocked(self, version: int) -> list[Network]:
        table = self._look(version)
        if table.networks and not table.is_reached:
            why = "another rule stands before the jump to it" if table.jumps else "INPUT does not jump to it"
            raise NotReached(
                f"cannot say what chain {self._chain} of {self._commands[version]} drops: {why}; "
                "block again to repair that",
                table.networks,
            )
        return list(dict.fromkeys(table.networks))

    def _look(self, version: int) -> _Table:
        lines = self._listing(version)
        mine = [line for line in lines if line.startswith(f"-A {self._chain} ")]
        jump = f"-A INPUT -j {self._chain}"
        asked = [line for line in lines if line.startswith("-A INPUT ")]
        leading = re.compile(rf" -[jg] {re.escape(self._chain)}(?: |$)")
        return _Table(
            has_chain=f"-N {self._chain}" in lines,
            jumps=tuple(position for position, line in enumerate(asked) if line == jump),
            networks=tuple(self._network(line, version) for line in mine),
            is_used_elsewhere=any(line != jump and leading.search(line) for line in lines),
        )

    def _listing(self, version: int) -> list[str]:
        """Return the rules of the filter table, as arguments that would make them."""
        command = self._commands[version]
        try:
            done = self._run(command, *_LOCK_WAIT, "-S")
            if done.returncode:
                raise PacketFilterError(f"cannot say what {command} drops: {done}")
        except ActionAborted as e:
            if version == 6 and not self._has_ipv6():
                raise NoIPv6(f"IPv6 is off on this host, so its packet filter cannot be used: {e}") from e
            raise
        if done.is_truncated:
            raise PacketFilterError(
                f"cannot say what {command} drops: its listing is longer than {len(done.stdout)} characters"
            )
        lines = done.stdout.splitlines()
        if not any(line.startswith("-P INPUT ") for line in lines):
            raise PacketFilterError(
                f"cannot say what {command} drops: expected a listing with the chain INPUT, got {done.stdout[:80]!r}"
            )
        return lines

    def _network(self, line: str, version: int) -> Network:
        drops = self._drop.fullmatch(line)
        try:
            if drops:
                return ip_network(drops[1] or _EVERYTHING[version])
        except ValueError:  # a mask with holes, which no network has
            pass
        command = self._commands[version]
        raise PacketFilterError(
            f"cannot say what chain {self._chain} drops: `{command} {line}` is not one of this agent's rules; "
            f"take it out with `{command} {line.replace('-A', '-D', 1)}`, or configure another chain"
        )

    def _to_block(self, network: Network, table: _Table) -> list[str]:
        lines = [] if table.has_chain else [f"-N {self._chain}"]
        lines += self._to_reach(table)
        if network not in table.networks:
            lines.append(f"-A {self._chain} -s {network} -j DROP")
        return lines

    def _to_unblock(self, network: Network, table: _Table) -> list[str]:
        copies = table.networks.count(network)
        lines = [f"-D {self._chain} -s {network} -j DROP"] * copies
        if len(table.networks) > copies:
            return lines + self._to_reach(table)
        if copies and not table.is_used_elsewhere:
            lines += [f"-D INPUT -j {self._chain}"] * len(table.jumps) + [f"-X {self._chain}"]
        return lines

    def _to_reach(self, table: _Table) -> list[str]:
        """Return what makes the one jump to our chain the first rule of INPUT."""
        if table.is_reached:
            return []
        return [f"-D INPUT -j {self._chain}"] * len(table.jumps) + [f"-I INPUT 1 -j {self._chain}"]

    def _commit(self, version: int, lines: list[str]) -> Completed:
        script = "\n".join(["*filter", *lines, "COMMIT", ""])
        return self._run(f"{self._commands[version]}-restore", *_LOCK_WAIT, "--noflush", stdin=script.encode("ascii"))
