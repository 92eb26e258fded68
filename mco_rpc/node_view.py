# SPDX-License-Identifier: Apache-2.0
"""What an agent, or a data source, may know of the node it runs on; the node itself implements it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mco_rpc.data import SourceSchema
    from mco_rpc.filters import Subject
    from mco_rpc.schema import AgentSchema


class NodeView(Protocol):
    """What an agent may know of the node it runs on."""

    @property
    def identity(self) -> str:
        """The node's name in the collective."""

    @property
    def collectives(self) -> tuple[str, ...]:
        """The collectives it answers in."""

    def facts(self) -> Mapping[str, Any]:
        """Return its facts as they are now."""

    def classes(self) -> frozenset[str]:
        """Return the configuration management classes it has."""

    def agents(self) -> Mapping[str, AgentSchema]:
        """Return the schemas of the agents it offers."""

    def subject(self, until: float | None = None) -> Subject:
        """Return what filters are asked about; with a deadline on `time.monotonic`'s clock, data sources too."""

    def data(self, source: str, arguments: tuple[str, ...]) -> Mapping[str, Any]:
        """Ask a data source in the time that is left; raise `FilterError` if it does not answer as it should."""

    def data_sources(self) -> Mapping[str, SourceSchema]:
        """Return the schemas of the data sources it has."""

    def inactive_data_sources(self) -> Mapping[str, str]:
        """Return the data sources that do not apply to it, and why."""

    def problems(self) -> list[str]:
        """Return what is wrong with it: facts that cannot be read, agents that did not load."""

    def stats(self) -> dict[str, Any]:
        """Return its counters."""

    def cancel(self, request_id: str) -> str:
        """Cancel a request of the caller whom this thread works for; return what became of it."""

    def settings(self) -> Mapping[str, Any]:
        """Return its configuration, secrets left out."""

    def broker_addresses(self) -> list[str]:
        """Return the addresses of the broker it is connected to or may connect to."""
