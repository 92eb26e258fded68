# SPDX-License-Identifier: Apache-2.0
"""What an agent, or a data source, may know of the node it runs on; the node itself implements it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mco_rpc.data import SourceSchema
    from mco_rpc.filters import Subject
    from mco_rpc.schema import AgentSchema


class NodeControl(Protocol):
    """What an agent may have the daemon do; each answer is plain data, and what fails raises `RequestError`."""

    def reload_agent(self, name: str) -> dict[str, Any]:
        """Load one agent again, and say what became of it."""

    def reload_agents(self) -> dict[str, Any]:
        """Load all agents and data sources again, and say what became of them."""

    def reload_facts(self) -> dict[str, Any]:
        """Gather facts now, and say which are different."""

    def log_level(self, level: str, *, is_noop: bool = False) -> dict[str, Any]:
        """Log from this level on, and say from which one before."""

    def drain(self, by: str, reason: str, *, is_noop: bool = False) -> dict[str, Any]:
        """Take no more work."""

    def still_running(self, until: float | None, go_on: Callable[[], None]) -> list[dict[str, Any]]:
        """Return what waits or runs, once nothing does or it is ``until`` on `time.monotonic`'s clock.

        Args:
            until: None not to wait.
            go_on: is called now and then; raises if nobody wants to wait any longer.
        """

    def resume(self, by: str, *, is_noop: bool = False) -> dict[str, Any]:
        """Take work again."""

    def exit(self, by: str) -> dict[str, Any]:
        """End the daemon once what runs has ended."""

    def restart(self, by: str, until: float) -> dict[str, Any]:
        """Have a new process take over, and say whether it did, until then on `time.monotonic`'s clock."""


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

    @property
    def control(self) -> NodeControl:
        """What the daemon can be told to do."""

    def settings(self) -> Mapping[str, Any]:
        """Return its configuration, secrets left out."""

    def broker_addresses(self) -> list[str]:
        """Return the addresses of the broker it is connected to or may connect to."""
