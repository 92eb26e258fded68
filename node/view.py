# SPDX-License-Identifier: Apache-2.0
"""What agents may know of their node: the part of `mco_node.daemon.Node` that only answers, and changes nothing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from mco_rpc import __version__
from mco_rpc.agent import Agent, time_left_s
from mco_rpc.config import NodeSettings, redacted
from mco_rpc.data import SourceSchema
from mco_rpc.filters import Subject
from mco_rpc.schema import AgentSchema

from .data.sources import Ask
from .log import level
from .offer import Offer
from .vitals import vitals

if TYPE_CHECKING:
    from mco_rpc.connector import NodeConnector

    from .audit import Audit
    from .control import Control
    from .dispatch import Dispatcher
    from .draining import Draining
    from .facts import Facts, Watched
    from .registration import Registration
    from .reloading import Reloading
    from .rivals import Rivals
    from .tally import Tally
    from .workers import Workers

# For whoever asks a data source outside of a request.
_DATA_TIMEOUT_S = 10.0


class View:
    """The `mco_rpc.agent.NodeView` of a node's agents; `Node` makes the parts that it looks at."""

    is_connected: threading.Event
    _settings: NodeSettings
    _connector: NodeConnector
    _clock: Callable[[], float]
    _started: float
    _facts: Facts
    _classes: Watched
    _audit: Audit
    _workers: Workers
    _tally: Tally
    _draining: Draining
    _reloading: Reloading
    _rivals: Rivals
    _dispatcher: Dispatcher
    _registration: Registration
    _control: Control
    _connected_since: float | None
    _connections: int

    @property
    def identity(self) -> str:
        """The node's name in the collective."""
        return self._settings.identity

    @property
    def collectives(self) -> tuple[str, ...]:
        """The collectives it answers in."""
        return self._settings.collectives

    def facts(self) -> Mapping[str, Any]:
        """Return its facts as they are now."""
        return self._facts.current()

    def classes(self) -> frozenset[str]:
        """Return the configuration management classes it has."""
        classes: frozenset[str] = self._classes.current()
        return classes

    def subject(self, until: float | None = None) -> Subject:
        """Return what filters are asked about; with a deadline on `time.monotonic`'s clock, data sources too."""
        return self._subject(self._reloading.offer, until)

    def _subject(self, offer: Offer, until: float | None) -> Subject:
        data = None if until is None else offer.sources.session(until)
        check = None if until is None else offer.sources.check_names
        return Subject(self.identity, self.classes(), frozenset(offer.schemas), self.facts(), data, check)

    def agents(self) -> Mapping[str, AgentSchema]:
        """Return the schemas of the agents it offers."""
        return self._reloading.offer.schemas

    def data(self, source: str, arguments: tuple[str, ...]) -> Mapping[str, Any]:
        """Ask a data source in the time that is left; raise `FilterError` if it does not answer as it should."""
        return self._reloading.offer.sources.query(source, arguments, time.monotonic() + time_left_s(_DATA_TIMEOUT_S))

    def data_sources(self) -> Mapping[str, SourceSchema]:
        """Return the schemas of the data sources it has."""
        return self._reloading.offer.sources.schemas()

    def inactive_data_sources(self) -> Mapping[str, str]:
        """Return the data sources that do not apply to it, and why."""
        return self._reloading.offer.sources.inactive

    def data_session(self, until: float) -> Ask:
        """Return the function by which one request asks data sources, until then on `time.monotonic`'s clock."""
        return self._reloading.offer.sources.session(until)

    def agent(self, name: str) -> Agent:
        """Return an agent of this node, for tests and for whoever embeds one."""
        return self._reloading.offer.agents[name]

    def problems(self) -> list[str]:
        """Return what is wrong with it: facts that cannot be read or registered, agents that did not load."""
        self.facts(), self.classes()
        kept = (self._classes.problem, self._registration.problem, self._control.problem)
        others = [problem for problem in kept if problem]
        return [*self._reloading.offer.problems, *self._facts.problems(), *others]

    def stats(self) -> dict[str, Any]:
        """Return its counters and how it fares."""
        now = self._clock()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started_at": self._started,
            "uptime_s": round(now - self._started, 3),
            "clock": now,
            "threads": threading.active_count(),
            "hanging_actions": self._workers.lost,
            "inactive_agents": dict(self._reloading.offer.inactive),
            **self._tally.told(),
            "audit_failures": self._audit.failures,
            "workers": self._workers.told(),
            "connection": {
                "is_connected": self.is_connected.is_set(),
                "since": self._connected_since,
                "reconnects": max(self._connections - 1, 0),
            },
            "process": vitals(),
            "rivals": self._rivals.told(),
            "drained": self._draining.told(),
            "last_reload": self._reloading.last,
            "log_level": level(),
        }

    @property
    def control(self) -> Control:
        """What the daemon can be told to do."""
        return self._control

    def cancel(self, request_id: str) -> str:
        """Cancel a request of the caller whom this thread works for; return what became of it."""
        return self._dispatcher.cancel(request_id)

    def settings(self) -> Mapping[str, Any]:
        """Return its configuration, secrets left out."""
        plain: dict[str, Any] = msgspec.to_builtins(self._settings)
        plain["brokers"] = [redacted(url) for url in self._settings.brokers]
        return plain

    def broker_addresses(self) -> list[str]:
        """Return the addresses of the broker it is connected to or may connect to."""
        return self._connector.addresses()
