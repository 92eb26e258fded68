# SPDX-License-Identifier: Apache-2.0
"""Calls without threads and without an event loop: generators that say what to wait for, and two ways to wait.

All that a client decides is written once, as a generator. It yields an `Operation` when it has to wait, and anything
else for whoever iterates over the call. `run` waits by blocking; `mco_client.aio` waits in an event loop.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mco_rpc.connector import Packet
from mco_rpc.errors import BrokerError

T = TypeVar("T")
# Of one sender so many bytes wait to be read; what an honest node tells of a call is less.
MAX_UNREAD_BYTES = 8 * 1024 * 1024
MAX_DROPPED, MAX_SIGNER_LENGTH = 1000, 128
# What came: its kind, when on `time.monotonic`'s clock, and the packet, or why the connection is over.
Arrival = tuple[str, float, Packet | BrokerError]


class Inbox:
    """What came for a call, put in by the connection's thread; of one who sends faster than we read, not everything.

    Attributes:
        dropped: how many messages were, by the name they came under.
    """

    def __init__(self) -> None:
        self._arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self.on_arrival: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._unread: Counter[str] = Counter()  # bytes
        self.dropped: Counter[str] = Counter()

    def put(self, arrival: Arrival) -> None:
        """Add what came, and wake who waits in an event loop."""
        what = arrival[2]
        if isinstance(what, Packet) and what.body and not self._has_room(what):
            return
        self._arrivals.put(arrival)
        wake = self.on_arrival
        if wake is not None:
            wake()

    def get(self, timeout_s: float) -> Arrival | None:
        """Return what came first, waiting for it; None if nothing did."""
        try:
            arrival = self._arrivals.get(timeout=timeout_s) if timeout_s > 0 else self._arrivals.get_nowait()
        except queue.Empty:
            return None
        if isinstance(arrival[2], Packet):
            self._read(arrival[2])
        return arrival

    def _has_room(self, packet: Packet) -> bool:
        """Count what came; say whether its sender may still have it kept: one message he always may."""
        signer = packet.signer[:MAX_SIGNER_LENGTH]
        with self._lock:
            unread = self._unread[signer]
            is_taken = not unread or unread + len(packet.body) <= MAX_UNREAD_BYTES
            if not is_taken and (signer in self.dropped or len(self.dropped) < MAX_DROPPED):
                self.dropped[signer] += 1
            elif is_taken:
                self._unread[signer] = unread + len(packet.body)
        return is_taken

    def _read(self, packet: Packet) -> None:
        signer = packet.signer[:MAX_SIGNER_LENGTH]
        with self._lock:
            left = self._unread[signer] - len(packet.body)
            if left > 0:
                self._unread[signer] = left
            else:
                del self._unread[signer]


@dataclass(frozen=True, slots=True)
class Take:
    """Wait for what comes next for a call; gives an `Arrival`, or None when the time is over."""

    inbox: Inbox
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Let time pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Do:
    """Do something that blocks for a while, to connect or to read a file; gives what it returns."""

    what: Callable[[], Any]


Operation = Take | Pause | Do
Core = Generator[Any, Any, T]


def run(core: Core[T]) -> Generator[Any, None, T]:
    """Run a core by blocking; yield what it has for us, and return what it returns."""
    with contextlib.closing(core):
        answer: Any = None
        error: BaseException | None = None
        while True:
            try:
                yielded = core.throw(error) if error is not None else core.send(answer)
            except StopIteration as e:
                value: T = e.value
                return value
            answer = error = None
            if not isinstance(yielded, Operation):
                yield yielded
                continue
            try:
                answer = _done(yielded)
            except BaseException as e:  # an interruption, too, is the core's to tell of
                error = e


def finish(core: Core[T]) -> T:
    """Run a core to its end and return what it returns."""
    outcome = Outcome(core)
    for _ in outcome:
        pass
    return outcome.value


class Outcome(Generic[T]):
    """Iterates over what a core has for us, and keeps what it returns in ``value``."""

    value: T

    def __init__(self, core: Core[T]) -> None:
        self._core = core

    def __iter__(self) -> Generator[Any, None, None]:
        self.value = yield from run(self._core)


def _done(operation: Operation) -> Any:
    match operation:
        case Take(inbox, timeout_s):
            return inbox.get(timeout_s)
        case Pause(seconds):
            return time.sleep(seconds)
        case Do(what):
            return what()


def through(core: Core[T], seen: Callable[[Any], bool]) -> Core[T]:
    """Run a core inside another one; what it has for us goes on only if ``seen`` says so."""
    with contextlib.closing(core):
        answer: Any = None
        error: BaseException | None = None
        while True:
            try:
                yielded = core.throw(error) if error is not None else core.send(answer)
            except StopIteration as e:
                value: T = e.value
                return value
            answer = error = None
            if isinstance(yielded, Operation):
                try:
                    answer = yield yielded
                except GeneratorExit:
                    raise
                except BaseException as e:
                    error = e
            elif seen(yielded):
                yield yielded


def quietly(core: Core[T]) -> Core[T]:
    """Run a core inside another one, and keep what it has for us to ourselves."""
    return through(core, lambda _: False)
