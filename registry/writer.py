# SPDX-License-Identifier: Apache-2.0
"""One thread that writes what was heard, so that whoever hears never waits for a database.

While the database cannot be used, what was heard is kept in memory, the latest of each node, and written when it can
be used again; nothing is lost but by the end of the process.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from mco_rpc.errors import McoError

from .errors import StoreRejected
from .known import PRESENCE, Heard

_log = logging.getLogger(__name__)
MAX_BATCH = 200
FIRST_RETRY_S, LAST_RETRY_S = 0.2, 10.0


class Keeper(Protocol):
    """Where it is written."""

    def keep(self, heard: Mapping[str, Sequence[Heard]], max_nodes: int) -> list[str]:
        """Write what nodes said; return the nodes for which there was no room."""


class Writer:
    """Writes in the background, in the order of the nodes' clocks.

    Args:
        refused: is told of a node of which nothing can be kept, and why.
        clock: seconds since the epoch.

    Attributes:
        failing_since: seconds since the epoch, None while all is well.
        problem: why it cannot write.
    """

    def __init__(
        self,
        store: Keeper,
        max_nodes: int,
        *,
        refused: Callable[[str, str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._max_nodes, self._refused, self._clock = store, max_nodes, refused, clock
        self._changed = threading.Condition()
        self._pending: dict[str, dict[str, Heard]] = {}
        self._in_flight: dict[str, dict[str, Heard]] = {}
        self._is_stopping = False
        self._thread: threading.Thread | None = None
        self.failing_since: float | None = None
        self.problem: str | None = None

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._run, name="registry writer", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """How many nodes' words are not written yet."""
        return len(self._pending) + len(self._in_flight)

    def put(self, heard: Heard) -> bool:
        """Take what was heard; say whether there was room, and whether it is newer than what still waits."""
        with self._changed:
            waiting = self._pending.get(heard.identity)
            if waiting is None:
                if len(self._pending) >= self._max_nodes:
                    return False
                waiting = self._pending[heard.identity] = {}
            before = waiting.get(heard.topic)
            if before is not None and before.sent_at >= heard.sent_at:
                return False
            waiting[heard.topic] = heard
            self._changed.notify_all()
            return True

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was heard is written; say whether it is."""
        with self._changed:
            self._changed.wait_for(lambda: not self.waiting or self.failing_since is not None, timeout_s)
            return not self.waiting

    def stop(self, timeout_s: float) -> int:
        """Write what waits, if that is possible in time; return of how many nodes it was not."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self.waiting

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._is_stopping)
                if not self._pending:
                    return
                first = list(itertools.islice(self._pending, MAX_BATCH))
                self._in_flight = {identity: self._pending.pop(identity) for identity in first}
            try:
                self._write(_in_order(self._in_flight))
            except McoError as e:
                self._failed(e)
                with self._changed:
                    if self._is_stopping:
                        return
                    self._changed.wait_for(lambda: self._is_stopping, retry_s)
                retry_s = min(retry_s * 2, LAST_RETRY_S)
                continue
            retry_s = FIRST_RETRY_S
            self._succeeded()

    def _write(self, batch: dict[str, list[Heard]]) -> None:
        """Write a batch; what the database will never take is dropped, and keeps nothing else from being written.

        Raises:
            McoError: the database cannot be used now.
        """
        try:
            full = self._store.keep(batch, self._max_nodes)
        except McoError as e:
            if not isinstance(e, StoreRejected):
                raise
            why = str(e)
        except Exception as e:
            _log.exception("writing failed")
            why = f"{type(e).__name__}: {e}"
        else:
            for identity in full:
                self._refused(identity, f"{self._max_nodes} nodes are kept already (max_nodes)")
            return
        if len(batch) == 1:
            self._refused(next(iter(batch)), why)
            return
        for identity, heard in batch.items():
            self._write({identity: heard})

    def _failed(self, error: McoError) -> None:
        text = str(error)
        with self._changed:
            for identity, heard in self._in_flight.items():
                newer = self._pending.get(identity, {})
                self._pending[identity] = {**heard, **newer}
            self._in_flight = {}
            if self.failing_since is None or text != self.problem:
                _log.error("%s; what %d nodes said waits in memory", text, len(self._pending))
            self.failing_since = self.failing_since or self._clock()
            self.problem = text
            self._changed.notify_all()

    def _succeeded(self) -> None:
        with self._changed:
            self._in_flight = {}
            if self.failing_since is not None:
                _log.info("the database can be written again")
            self.failing_since = self.problem = None
            self._changed.notify_all()


def _in_order(batch: Mapping[str, Mapping[str, Heard]]) -> dict[str, list[Heard]]:
    """Return what each node said in the order in which it said it; of the same moment, its presence is the later."""
    return {
        identity: sorted(heard.values(), key=lambda one: (one.sent_at, one.topic == PRESENCE))
        for identity, heard in batch.items()
    }
