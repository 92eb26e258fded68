# SPDX-License-Identifier: Apache-2.0
"""A node: its agents, facts and connection put together; what it is asked is the dispatcher's work."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mco_rpc import __version__, names
from mco_rpc.agent import Agent
from mco_rpc.config import NodeSettings, redacted
from mco_rpc.connector import Connector, Packet, node_endpoint
from mco_rpc.errors import BrokerError, IdentityTaken
from mco_rpc.filters import Subject
from mco_rpc.messages import Event, encode, new_id
from mco_rpc.replay import ReplayGuard
from mco_rpc.schema import AgentSchema
from mco_rpc.security import Security

from . import authorization
from .answers import Answers
from .audit import Audit, JsonLinesAudit, MemoryAudit
from .dispatch import Dispatcher
from .facts import Facts, watch_classes, watch_facts
from .loader import load
from .workers import Workers

_log = logging.getLogger(__name__)


class Node:
    """Answers for one identity until it is stopped; also the `mco_rpc.agent.NodeView` of its agents.

    Args:
        clock: seconds since the epoch.
        monotonic: seconds of a clock that nobody sets.
        audit: where requests are recorded; the configured file, or nowhere, if None.
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
        self._loaded = load(settings, self)
        self._schemas = {name: agent.schema() for name, agent in self._loaded.agents.items()}
        self._answers = Answers(
            collectives=settings.collectives,
            security=security,
            audit=self._audit,
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
        )
        self._refused_since: float | None = None
        self.is_connected = threading.Event()
        self.is_over = threading.Event()
        self.fatal: BrokerError | None = None

    def start(self) -> None:
        """Gather facts and connect; `is_connected` is set when requests can come."""
        self._facts.start()
        self._connector.open(
            node_endpoint(self.identity, self.collectives, tuple(self._loaded.agents)),
            self,
        )

    def stop(self) -> bool:
        """Take no more requests, let the running ones end and answer, and leave; say whether all ended in time."""
        is_done = self._workers.drain(self._settings.drain_timeout_s)
        if not is_done:
            _log.error("actions still run after %g s; stopping all the same", self._settings.drain_timeout_s)
        self._publish_presence("stop")
        self._connector.close()
        self._facts.stop()
        self._answers.close()
        self._audit.close()
        return is_done

    # The listener's part, on the connector's thread.

    def on_packet(self, packet: Packet) -> None:
        """Take a message up the ladder."""
        self._dispatcher.receive(packet)

    def on_returned(self, packet: Packet) -> None:
        """Take nothing back: a node sends nothing mandatory."""

    def on_connected(self) -> None:
        """Say that we are there."""
        self._refused_since = None
        self._publish_presence("start")
        self.is_connected.set()  # last: who waits for it may stop the node, and that is said after this

    def on_disconnected(self, reason: BrokerError) -> None:
        """Log why; give up only on an identity that stays taken."""
        self.is_connected.clear()
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

    def _publish_presence(self, state: str) -> None:
        for collective in self.collectives:
            event = Event(
                topic="presence",
                collective=collective,
                sender=self.identity,
                sent_at=self._clock(),
                data={"state": state, "version": __version__, "agents": sorted(self._loaded.agents)},
            )
            body = encode(event)
            packet = Packet(
                exchange=names.exchange(collective, names.EVENT),
                key=names.event_key("presence", self.identity),
                body=body,
                type="event",
                message_id=new_id(),
                signer=self._security.signer,
                signature=self._security.sign(body),
            )
            self._connector.publish((packet,))

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

    def subject(self) -> Subject:
        """Return what filters are asked about."""
        return Subject(self.identity, self.classes(), frozenset(self._schemas), self.facts())

    def agents(self) -> Mapping[str, AgentSchema]:
        """Return the schemas of the agents it offers."""
        return self._schemas

    def agent(self, name: str) -> Agent:
        """Return an agent of this node, for tests and for whoever embeds one."""
        return self._loaded.agents[name]

    def problems(self) -> list[str]:
        """Return what is wrong with it: facts that cannot be read, agents that did not load."""
        self.facts(), self.classes()
        classes = [self._classes.problem] if self._classes.problem else []
        return [*self._loaded.problems, *self._facts.problems(), *classes]

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

    def settings(self) -> Mapping[str, Any]:
        """Return its configuration, secrets left out."""
        plain: dict[str, Any] = msgspec.to_builtins(self._settings)
        plain["brokers"] = [redacted(url) for url in self._settings.brokers]
        return plain

    def broker_addresses(self) -> list[str]:
        """Return the addresses of the broker it is connected to or may connect to."""
        return self._connector.addresses()
