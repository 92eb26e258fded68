# SPDX-License-Identifier: Apache-2.0
"""The registry put together: a node that offers one agent, and hears what the other nodes say."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from mco_node.audit import Audit
from mco_node.daemon import Node
from mco_node.loader import ENTRY_POINTS, Loaded, Wanted
from mco_rpc import __version__
from mco_rpc.agent import Agent, NodeView
from mco_rpc.config import NodeSettings
from mco_rpc.connector import NodeConnector
from mco_rpc.errors import BrokerError, ConfigError
from mco_rpc.installed import entry_points
from mco_rpc.security import Security, keys

from .agent import Records, RegistryAgent
from .errors import StoreError
from .intake import Intake
from .settings import RegistrySettings, database_url
from .store import Store
from .writer import Writer

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.5
# By a broadcast it is not found: it is no host to be counted among the others.
_USUAL_AGENTS = ("discovery", "rpcutil")


class Registry:
    """Keeps what the nodes of its collectives say, and answers, until it is stopped.

    Args:
        security: signs as the registry, and knows who may ask.
        of_nodes: knows the nodes' keys.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        connector: NodeConnector,
        security: Security,
        of_nodes: Security,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        audit: Audit | None = None,
    ) -> None:
        self._settings = settings
        self.store = store
        self.writer = Writer(store, settings.max_nodes, refused=self._refused, clock=clock)
        self.intake = Intake(
            own=settings.identity,
            collectives=settings.collectives,
            security=of_nodes,
            put=self.writer.put,
            max_body_bytes=settings.max_body_bytes,
            max_node_bytes=settings.max_node_bytes,
            max_clock_skew_s=settings.max_clock_skew_s,
            clock=clock,
        )
        # What goes around a page is small; half is enough for it.
        self._records = Records(store, self.writer, self.intake, settings.max_body_bytes // 2, clock)
        self.node = Node(
            settings.node(),
            connector,
            security,
            clock=clock,
            monotonic=monotonic,
            audit=audit,
            loader=self._offered,
            events=self.intake,
        )

    def start(self) -> None:
        """Listen and answer; a database that cannot be reached now is tried again.

        Raises:
            StoreRefused: the database can never be used as it is.
        """
        try:
            self.store.open()
        except StoreError as e:
            _log.error("%s; trying again", e)
        self.writer.start()
        self.node.start()

    def stop(self) -> bool:
        """Answer what was asked, write what was heard, and leave; say whether all of it could be done in time."""
        is_done = self.node.stop()
        self.intake.close()
        lost = self.writer.stop(self._settings.drain_timeout_s)
        if lost:
            _log.error("what %d nodes said could not be written; they will say it again", lost)
        self.store.close()
        return is_done and not lost

    def _offered(
        self, _: NodeSettings, node: NodeView, before: Loaded | None = None, _wanted: Wanted | None = None, /
    ) -> Loaded:
        """Offer the registry to all, and to who asks it by name what tells him whom he asks and how."""
        if before is not None:
            return before  # what it offers comes with its package
        usual = [entry for name in _USUAL_AGENTS for entry in entry_points(ENTRY_POINTS["agent"], name)]
        agents: dict[str, Agent] = {entry.name: entry.load()(node, {}) for entry in usual}
        agents[RegistryAgent.name] = RegistryAgent(node, self._records)
        return Loaded(agents=agents, unbound=frozenset(_USUAL_AGENTS))

    def _refused(self, identity: str, why: str) -> None:
        self.intake.note(identity, f"what it says is not kept: {why}")


def make_registry(settings: RegistrySettings) -> Registry:
    """Return the registry that the settings describe, not yet started."""
    from mco_rpc.connector.rabbitmq import RabbitmqConnector
    from mco_rpc.security.ed25519 import for_node, for_registry

    if settings.connector != "rabbitmq":
        raise ConfigError(f"connector: {settings.connector!r}; a daemon of its own needs rabbitmq")
    seed = keys.read_private(Path(settings.key_file).expanduser())
    security = for_node(settings.identity, seed, Path(settings.trusted_callers).expanduser())
    of_nodes = for_registry(settings.identity, seed, Path(settings.trusted_nodes).expanduser())
    store = Store(database_url(settings.database))
    return Registry(settings, RabbitmqConnector(settings), security, of_nodes, store)


def serve(settings: RegistrySettings, ready_fd: int | None = None) -> bool:
    """Run until TERM or INT; say whether everything was answered and written.

    Raises:
        BrokerError: another registry holds our identity.
    """
    import sdnotify

    from mco_node.log import configure

    configure(settings.log_level, settings.log_format)
    registry = make_registry(settings)
    node = registry.node
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.is_over.set())
    notifier = sdnotify.SystemdNotifier()
    _log.info("registry %s, identity %s, database %s, pid %d", __version__, node.identity, registry.store, os.getpid())
    registry.start()
    is_ready = False
    while not node.is_over.wait(_LOOK_EVERY_S if is_ready else 0.05):
        if registry.writer.is_alive:  # systemd starts us again if it is not
            notifier.notify("WATCHDOG=1")
        if not is_ready and node.is_connected.is_set():
            is_ready = True
            notifier.notify("READY=1")
            _say_ready(ready_fd)
            _log.info("ready")
    notifier.notify("STOPPING=1")
    _log.info("stopping")
    is_done = registry.stop()
    if node.fatal is not None:
        fatal: BrokerError = node.fatal
        raise fatal
    return is_done


def _say_ready(fd: int | None) -> None:
    if fd is not None:
        with contextlib.suppress(OSError):  # whoever waited has gone
            os.write(fd, b"READY=1\n")
            os.close(fd)
