# SPDX-License-Identifier: Apache-2.0
"""A node: its agents, facts and connection put together; what it is asked is the dispatcher's work."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from mco_rpc import __version__, names
from mco_rpc.agent import Agent, NodeView, time_left_s
from mco_rpc.config import NodeSettings, redacted
from mco_rpc.connector import Connector, Packet, node_endpoint
from mco_rpc.data import SourceSchema
from mco_rpc.errors import BrokerError, IdentityTaken
from mco_rpc.filters import Subject
from mco_rpc.replay import ReplayGuard
from mco_rpc.schema import AgentSchema
from mco_rpc.security import Security

from . import authorization
from .answers import Answers
from .audit import Audit, JsonLinesAudit, MemoryAudit
from .data.sources import Ask, Sources
from .dispatch import Dispatcher
from .facts import Facts, watch_classes, watch_facts
from .loader import Loaded, load
from .registration import Registration
from .workers import Workers

_log = logging.getLogger(__name__)
# For whoever asks a data source outside of a request.
_DATA_TIMEOUT_S = 10.0


class EventListener(Protocol):
    """Who is told what other nodes say; its methods are called on the connector's thread and must not block."""

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that are listened to."""

    def on_event(self, packet: Packet) -> None:
        """Take an event, of whom nobody has looked at the signature yet."""

    def on_listening(self, *, is_listening: bool) -> None:
        """Learn that events come in from now on, or do not."""


class Node:
    """Answers for one identity until it is stopped; also the `mco_rpc.agent.NodeView` of its agents.

    Args:
        clock: seconds since the epoch.
        monotonic: seconds of a clock that nobody sets.
        audit: where requests are recorded; the configured file, or nowhere, if None.
        loader: finds the agents that it offers.
        events: gets what other nodes say unasked; nobody if None.
    """

    def __init__(
        self,
        settings: NodeSettings,
        connector: Connector,
        security: Security,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        audit: Audit | None = None,
        loader: Callable[[NodeSettings, NodeView], Loaded] = load,
        events: EventListener | None = None,
    ) -> None:
        self._settings, self._connector, self._security, self._clock = settings, connector, security, clock
        self._started = clock()
        default = NodeSettings()
        self._facts = Facts(
            watch_facts(Path(settings.facts_file), is_optional=settings.facts_file == default.facts_file),
            Path(settings.facts_dir),
            settings.facts_interval_s,
        )
        self._classes = watch_classes(
            Path(settings.classes_file), is_optional=settings.classes_file == default.classes_file
        )
        self._audit = audit or (JsonLinesAudit(Path(settings.audit_file)) if settings.audit_file else MemoryAudit(0))
        self._workers = Workers(settings.workers, settings.queue_limit)
        self._loaded = loader(settings, self)
        self._schemas = {name: agent.schema() for name, agent in self._loaded.agents.items()}
        self._sources = Sources(self._loaded.sources, self._loaded.inactive_sources)
        self._answers = Answers(
            collectives=settings.collectives,
            security=security,
            audit=self._audit,
            digests={name: schema.digest for name, schema in self._schemas.items()},
            send=lambda packet: connector.publish((packet,)),
            max_body_bytes=settings.max_body_bytes,
            clock=clock,
        )
        self._dispatcher = Dispatcher(
            subject=self.subject,
            agents=self._loaded.agents,
            collectives=settings.collectives,
            security=security,
            guard=ReplayGuard(clock, settings.max_clock_skew_s, settings.max_ttl_s, monotonic=monotonic),
            authorization=authorization.make(settings.authorization),
            workers=self._workers,
            answers=self._answers,
            max_body_bytes=settings.max_body_bytes,
            clock=clock,
        )
        self._registration = Registration(
            settings, self, security, lambda packet: connector.publish((packet,)), clock=clock, monotonic=monotonic
        )
        self._events = events
        self._event_exchanges = frozenset(names.exchange(c, names.EVENT) for c in settings.collectives)
        self._refused_since: float | None = None
        self.is_connected = threading.Event()
        self.is_over = threading.Event()
        self.fatal: BrokerError | None = None

    def start(self) -> None:
        """Gather facts and connect; `is_connected` is set when requests can come."""
        self._facts.start()
        self._registration.start()
        topics = self._events.topics if self._events else ()
        agents = [name for name in self._loaded.agents if name not in self._loaded.unbound]
        self._connector.open(node_endpoint(self.identity, self.collectives, agents, topics), self)

    def stop(self) -> bool:
        """Take no more requests, let the running ones end and answer, and leave; say whether all ended in time."""
        is_done = self._workers.drain(self._settings.drain_timeout_s)
        if not is_done:
            _log.error("actions still run after %g s; stopping all the same", self._settings.drain_timeout_s)
        self._registration.stop()
        self._connector.close()
        self._facts.stop()
        self._answers.close()
        self._audit.close()
        return is_done

    # The listener's part, on the connector's thread.

    def on_packet(self, packet: Packet) -> None:
        """Take a message up the ladder; an event to whoever wants them."""
        if self._events is not None and packet.exchange in self._event_exchanges:
            self._events.on_event(packet)
        else:
            self._dispatcher.receive(packet)

    def on_returned(self, packet: Packet) -> None:
        """Take nothing back: a node sends nothing mandatory."""

    def on_connected(self) -> None:
        """Say that we are there."""
        self._refused_since = None
        self._registration.connected()
        if self._events is not None:
            self._events.on_listening(is_listening=True)
        self.is_connected.set()  # last: who waits for it may stop the node, and that is said after this

    def on_disconnected(self, reason: BrokerError) -> None:
        """Log why; give up only on an identity that stays taken."""
        self.is_connected.clear()
        self._registration.disconnected()
        if self._events is not None:
            self._events.on_listening(is_listening=False)
        now = time.monotonic()
        self._refused_since = (self._refused_since or now) if isinstance(reason, IdentityTaken) else None
        configured = self._settings.identity_grace_s
        grace_s = self._settings.heartbeat_s * 3 + 15 if configured is None else configured
        if self._refused_since is not None and now - self._refused_since >= grace_s:
            _log.error("%s; giving up after %g s", reason, grace_s)
            self.fatal = reason
            self.is_over.set()
        else:
            _log.error("%s; trying again", reason)

    # What agents may know.

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
        data = None if until is None else self.data_session(until)
        check = None if until is None else self._sources.check_names
        return Subject(self.identity, self.classes(), frozenset(self._schemas), self.facts(), data, check)

    def agents(self) -> Mapping[str, AgentSchema]:
        """Return the schemas of the agents it offers."""
        return self._schemas

    def data(self, source: str, arguments: tuple[str, ...]) -> Mapping[str, Any]:
        """Ask a data source in the time that is left; raise `FilterError` if it does not answer as it should."""
        return self._sources.query(source, arguments, time.monotonic() + time_left_s(_DATA_TIMEOUT_S))

    def data_sources(self) -> Mapping[str, SourceSchema]:
        """Return the schemas of the data sources it has."""
        return self._sources.schemas()

    def inactive_data_sources(self) -> Mapping[str, str]:
        """Return the data sources that do not apply to it, and why."""
        return self._sources.inactive

    def data_session(self, until: float) -> Ask:
        """Return the function by which one request asks data sources, until then on `time.monotonic`'s clock."""
        return self._sources.session(until)

    def agent(self, name: str) -> Agent:
        """Return an agent of this node, for tests and for whoever embeds one."""
        return self._loaded.agents[name]

    def problems(self) -> list[str]:
        """Return what is wrong with it: facts that cannot be read or registered, agents that did not load."""
        self.facts(), self.classes()
        others = [problem for problem in (self._classes.problem, self._registration.problem) if problem]
        return [*self._loaded.problems, *self._facts.problems(), *others]

    def stats(self) -> dict[str, Any]:
        """Return its counters."""
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started_at": self._started,
            "uptime_s": round(self._clock() - self._started, 3),
            "threads": threading.active_count(),
            "hanging_actions": self._workers.lost,
            "inactive_agents": dict(self._loaded.inactive),
            "counters": self._answers.counters(),
        }

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
