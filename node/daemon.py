# SPDX-License-Identifier: Apache-2.0
"""A node: its agents, facts and connection put together; what it is asked is the dispatcher's work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mco_rpc import names
from mco_rpc.config import NodeSettings
from mco_rpc.connector import Endpoint, NodeConnector, Packet, node_endpoint
from mco_rpc.errors import BrokerError, IdentityTaken
from mco_rpc.replay import ReplayGuard
from mco_rpc.security import Security

from . import authorization
from .answers import Answers
from .audit import Audit, JsonLinesAudit, MemoryAudit
from .control import Control, Successor
from .dispatch import Dispatcher
from .draining import Draining
from .facts import Facts, watch_classes, watch_facts
from .gate import Gate
from .handover import Handover
from .listening import EventListener
from .loader import load
from .offer import Offer
from .registration import Registration
from .reloading import Load, Reloading
from .rivals import Rivals
from .running import Running
from .tally import Tally
from .view import View
from .workers import Workers

if TYPE_CHECKING:
    from mco_rpc.connector.movable import MovableConnector

    from .metrics import Exporter

_log = logging.getLogger(__name__)


class Node(View):
    """Answers for one identity until it is stopped; also the `mco_rpc.agent.NodeView` of its agents.

    Args:
        clock: seconds since the epoch.
        monotonic: seconds of a clock that nobody sets.
        audit: where requests are recorded; the configured file, or nowhere, if None.
        loader: finds the agents that it offers.
        events: gets what other nodes say unasked; nobody if None.
        changed: is called, from any thread, when its connection or what it offers has changed, and when it is over.
        reread: reads its configuration again.
        succeed: has another process take over.
    """

    def __init__(
        self,
        settings: NodeSettings,
        connector: NodeConnector,
        security: Security,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        audit: Audit | None = None,
        loader: Load = load,
        events: EventListener | None = None,
        changed: Callable[[], None] = lambda: None,
        reread: Callable[[], NodeSettings] | None = None,
        succeed: Successor | None = None,
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
        self._tally, self._draining, self._running = Tally(), Draining(), Running()
        self._is_started = False
        self._reloading = Reloading(settings, self, loader, self._offer_changed, clock)
        self._answers = Answers(
            collectives=settings.collectives,
            security=security,
            audit=self._audit,
            tally=self._tally,
            send=lambda packet: connector.publish((packet,)),
            max_body_bytes=settings.max_body_bytes,
            clock=clock,
        )
        self._rivals = Rivals(settings.identity, settings.collectives, security, clock, monotonic)
        guard = ReplayGuard(clock, settings.max_clock_skew_s, settings.max_ttl_s, monotonic=monotonic)
        self._dispatcher = Dispatcher(
            offer=lambda: self._reloading.offer,
            subject=self._subject,
            collectives=settings.collectives,
            security=security,
            guard=guard,
            authorization=authorization.make(settings.authorization),
            workers=self._workers,
            answers=self._answers,
            tally=self._tally,
            draining=self._draining,
            running=self._running,
            max_body_bytes=settings.max_body_bytes,
            clock=clock,
        )
        self._registration = Registration(
            settings,
            self,
            security,
            lambda packet: connector.publish((packet,)),
            clock=clock,
            monotonic=monotonic,
            drained=self._draining.told,
        )
        self._control = Control(
            settings,
            reloading=self._reloading,
            facts=self._facts,
            draining=self._draining,
            running=self._running,
            clock=clock,
            adopt=self._adopt,
            said=self._registration.again,
            over=self._end,
            reread=reread,
            succeed=succeed,
        )
        gate = Gate(self._dispatcher.receive)
        self._take = gate.take
        # Only a process of its own is handed over, and its connector can.
        exporter = _exporter(settings, self.stats)
        self.handover = Handover(cast("MovableConnector", connector), guard, gate, exporter)
        self._events = events
        self._event_exchanges = frozenset(names.exchange(c, names.EVENT) for c in settings.collectives)
        self._refused_since: float | None = None
        self._changed = changed
        self._connected_since: float | None = None
        self._connections = 0
        self.is_connected = threading.Event()
        self.is_over = threading.Event()
        self.fatal: BrokerError | None = None

    def start(self, *, is_successor: bool = False) -> None:
        """Gather facts and connect; `is_connected` is set when requests can come.

        Args:
            is_successor: whether another process of this node is at work, from which this one takes over later.
        """
        self.handover.begin(is_successor=is_successor)
        self._facts.start()
        self._registration.start()
        self._connector.open(self._endpoint(), self)
        self._is_started = True
        self._reloading.watch()

    def _endpoint(self) -> Endpoint:
        topics = self._events.topics if self._events else ()
        made = node_endpoint(self.identity, self.collectives, self._reloading.offer.bound, topics)
        return self.handover.endpoint(self._rivals.endpoint(made))

    def take_over(self, given: Mapping[str, Any], taken: Callable[[], None]) -> None:
        """Go on where the old process of this node ended; `is_connected` is set when its queue is ours.

        Args:
            taken: is called when there is no way back.
        """
        self.handover.take(given, taken)
        self.handover.move(self._endpoint(), self._is_there)

    def take_back(self, until: float) -> None:
        """Work on, as there is no new process; wait for our queue until then on `time.monotonic`'s clock."""
        if self.handover.is_given:
            self.is_connected.clear()
        self.handover.take_back(self.is_connected.set)
        self.is_connected.wait(max(0.0, until - time.monotonic()))

    def _offer_changed(self, offer: Offer) -> None:
        if self._is_started and not self.handover.is_given:
            self._connector.rebind(self._endpoint())
            self._registration.again()
            self._changed()

    def _adopt(self, settings: NodeSettings) -> None:
        self._settings = settings

    def _end(self) -> None:
        self.is_over.set()
        self._changed()

    @property
    def drain_timeout_s(self) -> float:
        """Seconds that a stop waits for running actions."""
        return self._settings.drain_timeout_s

    def pulse(self, told: Callable[[], None]) -> None:
        """Call ``told`` on the thread that takes and sends messages, unless that hangs or the workers do."""
        self._workers.told()  # waits for what every job waits for
        self._connector.soon(told)

    def hurry(self) -> None:
        """Have a `stop` that is at work wait for nothing more, from any thread."""
        self._workers.hurry()

    def stop(self) -> bool:
        """Take no more requests, let the running ones end and answer, and leave; say whether all ended in time."""
        self._reloading.stop()
        is_done = self._workers.drain(self._settings.drain_timeout_s)
        if not is_done:
            _log.error("actions still run after %g s; stopping all the same", self._settings.drain_timeout_s)
        if not self.handover.is_given:
            self._registration.stop()
        self._connector.close()
        self._facts.stop()
        self.handover.end()
        self._answers.close()
        self._audit.close()
        return is_done

    # The listener's part, on the connector's thread.

    def on_packet(self, packet: Packet) -> None:
        """Take a message up the ladder, an event to whoever wants them."""
        if self._rivals.is_claim(packet):
            self._rivals.hear(packet)
        elif self._events is not None and packet.exchange in self._event_exchanges:
            self._events.on_event(packet)
        else:
            self._take(packet)

    def on_returned(self, packet: Packet) -> None:
        """Take nothing back: a node sends nothing mandatory."""

    def on_connected(self) -> None:
        """Say that we are there."""
        if self.handover.is_held:
            self.handover.is_bound.set()
            return
        self.handover.connected()
        self._is_there()

    def _is_there(self) -> None:
        self._refused_since = None
        self._connected_since = self._clock()
        self._connections += 1
        self._registration.connected()
        if self._events is not None:
            self._events.on_listening(is_listening=True)
        self.is_connected.set()  # last: who waits for it may stop the node, and that is said after this
        self._changed()

    def on_disconnected(self, reason: BrokerError) -> None:
        """Log why; give up only on an identity that stays taken."""
        if self.handover.is_held:
            self.fatal = reason
            self.handover.is_bound.set()
            return
        self.is_connected.clear()
        self._connected_since = None
        self._registration.disconnected()
        if self._events is not None:
            self._events.on_listening(is_listening=False)
        self._changed()
        now = time.monotonic()
        self._refused_since = (self._refused_since or now) if isinstance(reason, IdentityTaken) else None
        configured = self._settings.identity_grace_s
        grace_s = self._settings.heartbeat_s * 3 + 15 if configured is None else configured
        if self._refused_since is not None and now - self._refused_since >= grace_s:
            _log.error("%s; giving up after %g s", reason, grace_s)
            self.fatal = reason
            self._end()
        else:
            _log.error("%s; trying again", reason)


def _exporter(settings: NodeSettings, stats: Callable[[], Mapping[str, Any]]) -> Exporter | None:
    """Return what tells Prometheus, None if nobody asked for it; its library is imported only then."""
    if not (settings.metrics_textfile or settings.metrics_port):
        return None
    from .metrics import Exporter

    return Exporter(settings, stats)
