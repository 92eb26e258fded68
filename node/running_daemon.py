# SPDX-License-Identifier: Apache-2.0
"""One run of the daemon: its signals, and what it tells whoever started it.

HUP loads agents, facts and configuration again, USR1 agents, USR2 goes to the next log level; TERM and INT end it once
what runs has ended, and a second one at once; RTMIN has a new process take over. A handler only notes its signal; what
it means is done by threads.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mco_rpc import __version__
from mco_rpc.config import NodeSettings
from mco_rpc.errors import ConfigError, McoError, RequestError

from .exits import EXIT_IDENTITY_TAKEN, EXIT_OK, EXIT_STILL_RUNNING
from .log import configure
from .notes import Notes
from .succession import Predecessor, Succession  # now: after an upgrade it would be the new version's
from .watchdog import Watchdog

if TYPE_CHECKING:
    from .daemon import Node

_log = logging.getLogger(__name__)
_END = frozenset({signal.SIGTERM, signal.SIGINT})
_OTHERS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN)
HANDOVER_S = 60.0


class Daemon:
    """A node, the signals it gets and the supervisor it reports to.

    Args:
        read: reads the configuration again.
        make: makes the node.
        ready_fd: gets a line when requests can come.
        arguments: the command line of a process that takes over.
        predecessor: the process that this one takes over from, if there is one.
    """

    def __init__(
        self,
        settings: NodeSettings,
        read: Callable[[], NodeSettings],
        make: Callable[..., Node],
        *,
        arguments: Sequence[str],
        ready_fd: int | None,
        predecessor: Predecessor | None,
    ) -> None:
        configure(settings.log_level, settings.log_format)
        self._arguments = arguments
        self._predecessor = predecessor
        self._ready_fd = ready_fd
        self._is_ready = False
        self._noted = Notes()  # a signal's number, or None: something about the node is different
        self.node = make(settings, changed=self._noted.put, reread=read, succeed=self._succeed)
        self._watchdog = Watchdog(self.node)
        self._doing = threading.Lock()
        self._is_wanted_again: dict[str, bool] = {}

    def run(self) -> int:
        """Run until a signal, a caller or a lost identity ends it; return the exit status."""
        self._noted.heed((*_END, *_OTHERS))
        _log.info("mco-node %s, identity %s, pid %d", __version__, self.node.identity, os.getpid())
        self.node.start(is_successor=self._predecessor is not None)
        if self._predecessor is not None:
            self._take_over(self._predecessor)
        self._watchdog.start()
        while not self.node.is_over.is_set():
            self._heed(self._noted.get())
        if not self.node.handover.is_given:
            self._watchdog.stopping(self.node.drain_timeout_s)
        is_done = self._stop()
        if self.node.fatal:
            print(f"mco-node: {self.node.fatal}", file=sys.stderr)
            return EXIT_IDENTITY_TAKEN
        return EXIT_OK if is_done else EXIT_STILL_RUNNING

    def _take_over(self, predecessor: Predecessor) -> None:
        try:
            predecessor.take_over(self.node, time.monotonic() + HANDOVER_S)
        except (McoError, OSError):
            self.node.handover.is_given = True  # the node is not gone: nobody is told that it goes
            self.node.stop()
            raise

    def _succeed(self, until: float) -> dict[str, Any]:
        return Succession(self.node, self._arguments, self._succeeded)(until)

    def _succeeded(self, pid: int) -> None:
        self._watchdog.handed_over(pid)
        self.node.is_over.set()
        self._noted.put()

    def _heed(self, noted: int | None) -> None:
        control = self.node.control
        if noted is None:
            self._watchdog.changed()
            if self.node.is_connected.is_set() and not self._is_ready:
                self._is_ready = True
                self._say_ready()
                _log.info("ready")
        elif noted in _END:
            self.node.is_over.set()
        elif noted == signal.SIGHUP:
            self._do("reload", control.reload)
        elif noted == signal.SIGUSR1:
            self._do("reload agents", control.reload_agents)
        elif noted == signal.SIGUSR2:
            control.next_log_level()
        elif noted == signal.SIGRTMIN:
            self._do("restart", lambda: control.restart("signal RTMIN", time.monotonic() + HANDOVER_S))

    def _do(self, what: str, do: Callable[[], object]) -> None:
        """Do it beside everything else: an agent that hangs while it loads must not keep the daemon from ending.

        However often it is wanted while it is done, it is done once more.
        """
        with self._doing:
            is_being_done = what in self._is_wanted_again
            self._is_wanted_again[what] = is_being_done
        if not is_being_done:
            threading.Thread(target=self._do_until_done, args=(what, do), name=what, daemon=True).start()

    def _do_until_done(self, what: str, do: Callable[[], object]) -> None:
        is_wanted = True
        while is_wanted:
            with self._doing:
                self._is_wanted_again[what] = False
            try:
                do()
            except (RequestError, ConfigError) as e:
                _log.error("%s: %s", what, e)
            except Exception:
                _log.exception("%s failed", what)
            with self._doing:
                is_wanted = self._is_wanted_again[what] and not self.node.is_over.is_set()
                if not is_wanted:
                    del self._is_wanted_again[what]

    def _stop(self) -> bool:
        """Stop the node; a further signal makes it wait for nothing more."""
        _log.info("stopping")
        done: list[bool] = []
        hurried = threading.Event()

        def stop() -> None:
            try:
                # Who takes over now has to be told to end, too.
                self.node.control.await_restart(time.monotonic() + self.node.drain_timeout_s, hurried.is_set)
                done.append(self.node.stop())
            finally:
                self._noted.put()

        thread = threading.Thread(target=stop, name="stop")
        thread.start()
        while thread.is_alive() and not done:
            if self._noted.get() in _END:
                _log.warning("told twice to end: not waiting for what still runs")
                hurried.set()
                self.node.hurry()
        thread.join()
        return done == [True]

    def _say_ready(self) -> None:
        if self._ready_fd is not None:
            with contextlib.suppress(OSError):  # whoever waited has gone
                os.write(self._ready_fd, b"READY=1\n")
                os.close(self._ready_fd)
