# SPDX-License-Identifier: Apache-2.0
"""Hand over from one process of a node to the next: no request is lost, and none runs twice.

The new process binds a queue of its own and holds what comes. The old one has nothing more routed into the node's
queue, takes what is left in it, and tells what it has seen and remembers. Then the new one goes on, and takes the
node's queue in the place of its own. How the two talk is not known here.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mco_rpc import names
from mco_rpc.connector import Endpoint
from mco_rpc.errors import ActionAborted, ConfigError
from mco_rpc.replay import ReplayGuard

from .gate import Gate

if TYPE_CHECKING:
    from mco_rpc.connector.movable import MovableConnector

    from .metrics import Exporter

_log = logging.getLogger(__name__)
# After the old queue is gone, the other copy of a message may be on its way for so long.
_LATE_COPIES_S = 5.0


class Handover:
    """One node's part in it, be it the old process or the new one.

    Args:
        exporter: what only one process at a time can serve, beside the queue.

    Attributes:
        is_held: whether this is a new process that has not taken over yet.
        is_given: whether this is an old process that has been taken over from.
        is_bound: is set when the queue of a new process is there.
    """

    def __init__(
        self, connector: MovableConnector, guard: ReplayGuard, gate: Gate, exporter: Exporter | None = None
    ) -> None:
        self._connector, self._guard, self._gate, self._exporter = connector, guard, gate, exporter
        self.is_held = self.is_given = self._is_prepared = False
        self.is_bound = threading.Event()

    def begin(self, *, is_successor: bool) -> None:
        """Begin as the node's process, or as one that takes over later and holds until then what comes."""
        if is_successor:
            self.is_held = True
            self._gate.hold()
        elif self._exporter is not None:
            self._exporter.start()

    def end(self) -> None:
        """End; what has been handed over is the other process's."""
        if self._exporter is not None and not self.is_given:
            self._exporter.stop()

    def endpoint(self, ordinary: Endpoint) -> Endpoint:
        """Return where this process listens now."""
        if not self.is_held:
            return ordinary
        # Who has that queue is no stranger, but a process of this node that was started before.
        return dataclasses.replace(ordinary, queue=names.handover_queue(ordinary.queue), claim=None)

    def prepare(self) -> None:
        """Remember what comes, before there is a new process."""
        self._is_prepared = True
        self._gate.remember()

    def give(self, until: float) -> dict[str, Any]:
        """Give up the node's queue; return all that the new process has to know.

        Raises:
            ActionAborted: the broker did not let go of it in time, on `time.monotonic`'s clock.
        """
        released = threading.Event()
        self.is_given = True
        self._connector.release(released.set)
        if not released.wait(max(0.0, until - time.monotonic())):
            raise ActionAborted("the queue could not be given up in time")
        if self._exporter is not None:
            self._exporter.stop()
        return {"guard": self._guard.told(), "seen": self._gate.seen()}

    def take_back(self, done: Callable[[], None]) -> None:
        """Go on as before: there is no new process; ``done`` is called when the node's queue is ours."""
        self._is_prepared = False
        self._gate.forget(_LATE_COPIES_S)
        if not self.is_given:
            done()
            return
        self.is_given = False
        self._connector.reclaim(done)
        self._export()

    def take(self, told: Mapping[str, Any], taken: Callable[[], None]) -> None:
        """Go on where the old process ended, with what was held first; ``taken`` is called before that."""
        self._guard.adopt(told["guard"])
        self.is_held = False
        taken()
        self._gate.open(told["seen"])
        self._export()

    def move(self, endpoint: Endpoint, done: Callable[[], None]) -> None:
        """Take the node's queue; ``done`` is called on the connector's thread when it is ours."""

        def moved() -> None:
            # Of what came by the old queue the other copy may be far behind in the new one.
            self._connector.when_empty(lambda: self._gate.forget(_LATE_COPIES_S))
            done()

        self._connector.move(endpoint, moved)

    def connected(self) -> None:
        """Expect no second copy of anything: the queues of an earlier connection are gone, and all in them."""
        if not self._is_prepared:
            self._gate.forget()

    def _export(self) -> None:
        if self._exporter is not None:
            try:
                self._exporter.start()
            except ConfigError as e:  # not worth to lose the node for
                _log.error("%s", e)
