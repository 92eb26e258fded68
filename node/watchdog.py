# SPDX-License-Identifier: Apache-2.0
"""Tell systemd how the node fares: ready, its status in a line, and that it lives, as long as it does.

Does nothing where nobody listens (no NOTIFY_SOCKET). Must not say that a node lives whose threads hang: systemd then
ends it and starts it again.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .daemon import Node

_log = logging.getLogger(__name__)

# A boot does not wait for a broker that is away; the node goes on trying.
PATIENCE_S = 10.0
_BEATS_PER_LIMIT = 3
# A stop that takes longer than the unit allows says so; this much more than what the actions may take.
_STOP_MARGIN_S = 5.0
_MICROSECONDS = 1_000_000


class Watchdog:
    """Speaks for a node to systemd, from a thread of its own.

    Args:
        notify: sends a message to systemd; by itself if None.
        environment: says whether systemd listens, and how often it wants to hear that the node lives.
    """

    def __init__(
        self,
        node: Node,
        *,
        notify: Callable[[str], object] | None = None,
        environment: Mapping[str, str] = os.environ,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._node, self._send, self._patience_s = node, notify, patience_s
        self._is_wanted = bool(environment.get("NOTIFY_SOCKET"))
        limit = environment.get("WATCHDOG_USEC", "")
        self._beat_s = int(limit) / _MICROSECONDS / _BEATS_PER_LIMIT if limit.isdecimal() and int(limit) else None
        self._condition = threading.Condition()
        self._has_news, self._is_over = False, False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to speak, if anybody listens."""
        if not self._is_wanted:
            return
        if self._send is None:
            import sdnotify

            self._send = sdnotify.SystemdNotifier().notify
        self._thread = threading.Thread(target=self._run, args=(self._send,), name="watchdog", daemon=True)
        self._thread.start()

    def changed(self) -> None:
        """Look at the node again: it has connected, or lost its connection, or offers something else."""
        with self._condition:
            self._has_news = True
            self._condition.notify_all()

    def stopping(self, timeout_s: float) -> None:
        """Say that the node ends, which may take so long; nothing is said after that."""
        with self._condition:
            self._is_over = True
            self._condition.notify_all()
        if self._thread is not None and self._send is not None:
            more_us = round((timeout_s + _STOP_MARGIN_S) * _MICROSECONDS)
            self._send(f"STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC={more_us}")

    def handed_over(self, pid: int) -> None:
        """Say that another process is the node now, and nothing more."""
        with self._condition:
            self._is_over = True
            self._condition.notify_all()
        if self._send is not None and self._is_wanted:
            self._send(f"MAINPID={pid}")

    def _run(self, send: Callable[[str], object]) -> None:
        ready_by: float | None = time.monotonic() + self._patience_s
        said = ""
        while not self._is_over:
            if ready_by is not None and (self._node.is_connected.is_set() or time.monotonic() >= ready_by):
                send("READY=1")
                ready_by = None
            if (status := self._status()) != said:
                send(f"STATUS={status}")
                said = status
            if self._beat_s is not None:
                if not self._is_alive(self._beat_s):
                    continue  # once it moves again that is said at once: another wait may be one too many
                send("WATCHDOG=1")
            left_s = None if ready_by is None else max(0.0, ready_by - time.monotonic())
            waits = [wait_s for wait_s in (left_s, self._beat_s) if wait_s is not None]
            with self._condition:
                self._condition.wait_for(lambda: self._has_news or self._is_over, min(waits, default=None))
                self._has_news = False

    def _is_alive(self, patience_s: float) -> bool:
        """Say whether the threads that every request needs do what they are asked."""
        beat = threading.Event()
        self._node.pulse(beat.set)
        if beat.wait(patience_s):
            return True
        _log.error("the connection's thread has not moved for %.3g s", patience_s)
        return False

    def _status(self) -> str:
        brokers = self._node.settings()["brokers"]
        where = brokers[0] if len(brokers) == 1 else f"one of {len(brokers)} brokers"
        agents = len(self._node.agents())
        offers = f"{agents} agent{'' if agents == 1 else 's'}"
        if self._node.is_connected.is_set():
            return f"connected to {where} as {self._node.identity}, {offers}"
        return f"not connected to {where}, trying again; {offers}"
