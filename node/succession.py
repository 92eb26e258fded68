# SPDX-License-Identifier: Apache-2.0
"""Two processes of one daemon talk: the old one starts the new one and hands over to it, over a socket between them.

Lines of JSON, in this order: the new one says that it is ``bound``, the old one ``gives`` what it knows, the new one
says that it has ``taken`` over. Whoever hears nothing more of the other goes back to where it was: the old one works
on, the new one ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from mco_rpc import __version__
from mco_rpc.errors import ActionAborted, McoError

if TYPE_CHECKING:
    from .daemon import Node

_log = logging.getLogger(__name__)
# To connect again, after a new process was given the queue and then failed.
_RECONNECT_S = 10.0
_END_S = 5.0
_MAX_SAID = 2000


class Peer:
    """One end of the socket."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._rest = b""

    def tell(self, **told: Any) -> None:
        """Send one line."""
        with contextlib.suppress(OSError):  # who does not hear it any more is noticed by his silence
            self._end.settimeout(_RECONNECT_S)
            self._end.sendall(msgspec.json.encode(told) + b"\n")

    def hear(self, what: str, until: float) -> dict[str, Any]:
        """Return what the other one says next, if it is that.

        Raises:
            ActionAborted: he said that he failed, ended, or said nothing until then on `time.monotonic`'s clock.
        """
        while b"\n" not in self._rest:
            try:
                self._end.settimeout(max(0.001, until - time.monotonic()))
                part = self._end.recv(1 << 16)
            except TimeoutError:
                raise ActionAborted(f"the other process was not {what} in time") from None
            except OSError as e:
                raise ActionAborted(f"the other process cannot be heard: {e}") from e
            if not part:
                raise ActionAborted(f"the other process ended before it was {what}")
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        told: dict[str, Any] = msgspec.json.decode(line)
        if told.get("state") != what:
            raise ActionAborted(str(told.get("error", f"it said {told.get('state')!r}, expected {what!r}"))[:_MAX_SAID])
        return told

    def close(self) -> None:
        """Say nothing more."""
        self._end.close()


class Succession:
    """The old process's part.

    Args:
        arguments: the command line of a process that takes over, but for the socket.
        on_success: is told the new process' number, and ends this one.
    """

    def __init__(self, node: Node, arguments: Sequence[str], on_success: Callable[[int], None]) -> None:
        self._node, self._arguments, self._on_success = node, arguments, on_success

    def __call__(self, until: float) -> dict[str, Any]:
        """Have a new process take over; end this one if it did.

        Raises:
            ActionAborted: it did not, until then on `time.monotonic`'s clock; this one works on.
        """
        if not self._node.is_connected.wait(max(0.0, until - time.monotonic())):
            raise ActionAborted("the daemon was not restarted: it has no queue, the broker is away or overloaded")
        ours, theirs = socket.socketpair()
        peer, process = Peer(ours), None
        self._node.handover.prepare()
        try:
            process = self._start(theirs)
            peer.hear("bound", until)
            self._go_on()
            peer.tell(state="given", **self._node.handover.give(until))
            taken = peer.hear("taken", until)
        except Exception as e:  # whatever it is, this process has to work on
            why = f"the daemon was not restarted, the old process works on: {self._ended(process, e)}"
            _log.error("%s", why)
            self._node.take_back(time.monotonic() + _RECONNECT_S)
            raise ActionAborted(why) from e
        finally:
            peer.close()
            theirs.close()
        _log.warning("process %d of version %s took over", taken["pid"], taken["version"])
        if self._node.is_over.is_set():
            _log.warning("it is told to end, as this one was meanwhile")
            process.terminate()
        self._on_success(taken["pid"])
        return {
            "changed": True,
            "before": {"pid": os.getpid(), "version": __version__},
            "after": {"pid": taken["pid"], "version": taken["version"]},
        }

    def _go_on(self) -> None:
        if self._node.is_over.is_set():
            raise ActionAborted("the daemon was told to end")

    def _start(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "mco_node", *self._arguments, "--handover-fd", str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL)
        theirs.close()  # only there it is open now: when that process ends, we learn of it
        return process

    def _ended(self, process: subprocess.Popen[bytes] | None, error: Exception) -> str:
        """End a new process that cannot take over, for certain; return why it could not."""
        if process is None:
            return f"the new one cannot be started: {error}"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5 if "ended" in str(error) else 0.0)
        status = process.poll()
        if status is None:
            process.kill()
            process.wait(_END_S)
            return str(error)
        return f"{error}, with status {status}; its log says why"


class Predecessor:
    """The new process's part: who is there still."""

    def __init__(self, fd: int) -> None:
        self._peer = Peer(socket.socket(fileno=fd))

    def take_over(self, node: Node, until: float) -> None:
        """Take over a node that was started as a successor.

        Raises:
            McoError: the old process does not go on; nothing was run here.
        """
        if not node.handover.is_bound.wait(max(0.0, until - time.monotonic())) or node.fatal is not None:
            raise node.fatal or ActionAborted("the broker did not answer in time")
        self._peer.tell(state="bound")
        given = self._peer.hear("given", until)
        # Said before what was held runs, and before the node's queue is ours: from now on it is the old one that ends.
        node.take_over(given, self._tell_taken)

    def _tell_taken(self) -> None:
        self._peer.tell(state="taken", pid=os.getpid(), version=__version__)
        self._peer.close()

    def fail(self, error: McoError | OSError) -> None:
        """Say why this process cannot take over."""
        self._peer.tell(state="failed", error=str(error))
        self._peer.close()
