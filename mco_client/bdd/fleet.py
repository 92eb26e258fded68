# SPDX-License-Identifier: Apache-2.0
"""What the steps of one scenario share, as ``context.fleet``: targets, devices, clients, and what to undo."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Iterable

from mco_client.bdd.session import Session
from mco_client.core import finish
from mco_client.discovery import Discovered, Query
from mco_client.discovery.choice import configured
from mco_client.results import Results
from mco_client.rpc import RpcClient
from mco_client.text import listed, one_line, with_reasons
from mco_rpc.errors import ConfigError, DiscoveryError, ExpectationFailed, McoError
from mco_rpc.filters import Filter
from mco_rpc.suggestion import did_you_mean


class Fleet:
    """The fleet as one scenario sees it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.devices: dict[str, str] = {}
        self.filter = Filter()
        self.last: Results | None = None
        self.is_changed = self.is_undoing = False
        self._found: Discovered | None = None
        self._clients: dict[str, RpcClient] = {}
        self.touched: dict[str, set[str]] = {}
        self._undo: dict[tuple[str, tuple[str, ...]], Callable[[], str]] = {}

    # Devices.

    def add_device(self, name: str, address: str) -> None:
        """Know a device by name; raise `ConfigError` if its address is none."""
        try:
            self.devices[name] = str(ipaddress.ip_address(address))
        except ValueError as e:
            raise ConfigError(f"the {name}: {address!r} is not an IP address") from e

    def address_of(self, device: str) -> str:
        """Return a device's address.

        Raises:
            ExpectationFailed: nobody said which device that is.
        """
        if device not in self.devices:
            known = listed(self.devices) or "none"
            raise ExpectationFailed(
                f"unknown device {device!r}{did_you_mean(device, self.devices)}; known are: {known}. "
                f"Say first: Given the {device} has ip address 192.0.2.1"
            )
        return self.devices[device]

    # Targets.

    def narrow(self, more: Filter) -> None:
        """Manage only nodes that this filter matches as well."""
        self.filter = self.filter.merged(more)
        self._found = None
        self._clients.clear()

    def discover(self) -> tuple[str, ...]:
        """Find the nodes to manage, whatever agents they offer: one that lacks an agent fails, and is not passed over.

        Raises:
            DiscoveryError: there is none, or one answered that cannot be believed.
        """
        options = self.session.options
        query = Query(self.filter, timeout_s=options.discovery_timeout_s, is_kept_open=True)
        found = finish(configured(self.session.connection).core(query))
        if found.unverified or found.unverified_more:
            disbelieved = with_reasons(found.unverified, found.unverified_more)
            raise DiscoveryError(f"answers to the discovery were not believed: {disbelieved}")
        if found.warnings:
            raise DiscoveryError(f"who should be there is not surely known: {'; '.join(map(one_line, found.warnings))}")
        if found.absent:
            raise DiscoveryError(f"expected, and not found: {with_reasons(found.absent)}")
        if not found.nodes:
            raise DiscoveryError(
                f"did not find any nodes to manage: 0 answered within {options.discovery_timeout_s:g} s "
                f"for the filter: {self.filter}"
            )
        self._found = found
        self._clients.clear()
        return found.nodes

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes to manage, found now if need be."""
        return self._found.nodes if self._found else self.discover()

    def client(self, agent: str) -> RpcClient:
        """Return the client of an agent for the nodes to manage."""
        if agent not in self._clients:
            made = RpcClient(agent, self.session.connection, timeout_s=self.session.options.timeout_s)
            made.discover(nodes=self.nodes)
            self._clients[agent] = made
        return self._clients[agent]

    def call(self, agent: str, action: str, /, **inputs: object) -> Results:
        """Ask the nodes to manage; `last` remembers the results."""
        results = self.client(agent).call(action, **inputs)
        late = self._found.late() if self._found else {}
        self.last = dataclasses.replace(results, late={n: s for n, s in late.items() if n not in results.expected})
        return self.last

    def require_last(self) -> Results:
        """Return the results of the last call; raise `ExpectationFailed` if there was none in this scenario."""
        if self.last is None:
            raise ExpectationFailed("nothing was asked or changed in this scenario before this step")
        return self.last

    def require_nodes(self, names: Iterable[str]) -> None:
        """Be content if the nodes to manage are exactly these; raise `ExpectationFailed` naming the difference."""
        wanted, found = set(names), set(self.nodes)
        parts = []
        if wanted - found:
            parts.append(f"not discovered, {len(wanted - found)} of {len(wanted)}: {listed(wanted - found)}")
        if found - wanted:
            parts.append(f"discovered, and not in the list: {listed(found - wanted)}")
        if parts:
            raise ExpectationFailed("; ".join(parts))

    # Undo.

    def undo_at_the_end(self) -> None:
        """Take back at the end of the scenario what is changed from now on.

        Raises:
            ExpectationFailed: something was changed before, and nobody noted how it was.
        """
        if self.is_changed and not self.is_undoing:
            raise ExpectationFailed(
                "this scenario has changed something already, and nobody noted how it was; "
                "say this before the first change"
            )
        self.is_undoing = True

    def is_undone_later(self, what: str) -> bool:
        """Say whether somebody saw to it already that ``what`` is put back on the nodes to manage."""
        return (what, self.nodes) in self._undo

    def when_undone(self, what: str, undo: Callable[[], str]) -> None:
        """Put something back at the end of the scenario, what was changed last first.

        Args:
            what: what is put back on the nodes to manage; the first to say how, before any change there, counts.
            undo: puts it back, and returns what that took, nothing if it was so.
        """
        self._undo.setdefault((what, self.nodes), undo)

    def undo(self) -> list[str]:
        """Take back what was changed; return what was done.

        Raises:
            ExpectationFailed: something could not be taken back; everything else was.
        """
        done, failed = [], []
        while self._undo:
            (what, _), undo = self._undo.popitem()
            try:
                done.append(undo())
            except Exception as e:  # whatever it is, the rest is put back all the same
                failed.append(f"{what}: {e if isinstance(e, McoError) else repr(e)}")
        if failed:
            raise ExpectationFailed(f"could not undo: {'; '.join(failed)}")
        return [text for text in done if text]
