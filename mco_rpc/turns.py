# SPDX-License-Identifier: Apache-2.0
"""One change of an agent at a time, so that what it says was before and is after belongs to it.

Who waits for its turn holds a worker of the node: few may wait, and not for long, so that a slow change starves nobody.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from mco_rpc.agent import time_left_s
from mco_rpc.current import current
from mco_rpc.errors import ActionAborted

MAX_WAITING = 2
SHORT_S = 2.0  # so long anybody may wait
_LOOK_EVERY_S = 0.25


class Turns:
    """Lets one in, and keeps a few waiting.

    >>> with Turns().one("example#change", 10.0):
    ...     print("alone")
    alone
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)

    @contextlib.contextmanager
    def one(self, what: str, timeout_s: float) -> Iterator[None]:
        """Wait for the turn, for half of what is left to the call: the other half is for the change.

        Args:
            what: how messages call the change.
            timeout_s: seconds that are left, outside of a call of a node.

        Raises:
            ActionAborted: another change is still at work; nothing was done.
            Cancelled: the caller wishes no longer to wait.
        """
        left_s = max(0.0, time_left_s(timeout_s) / 2)
        until = time.monotonic() + left_s
        if not self._lock.acquire(timeout=min(SHORT_S, left_s)):
            self._wait(what, until)
        try:
            yield
        finally:
            self._lock.release()

    def _wait(self, what: str, until: float) -> None:
        if not self._waiting.acquire(blocking=False):
            raise ActionAborted(
                f"{what}: another change of this agent is at work, and {MAX_WAITING} wait for it; nothing was done: "
                "try again later"
            )
        try:
            while not self._lock.acquire(timeout=max(0.0, min(_LOOK_EVERY_S, until - time.monotonic()))):
                current().cancellation.check()
                if time.monotonic() >= until:
                    raise ActionAborted(
                        f"{what}: another change of this agent is still at work; nothing was done: try again later"
                    )
        finally:
            self._waiting.release()
