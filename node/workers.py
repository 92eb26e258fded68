# SPDX-License-Identifier: Apache-2.0
"""A bounded pool of threads in which a job that passes its deadline is answered for, and replaced.

A thread cannot be killed. One that hangs past its job's deadline is written off: its result, should it
ever come, is dropped, and a new thread takes its place. Too many of those, and the pool takes no more jobs.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_log = logging.getLogger(__name__)

LOST_PER_WORKER = 4


class Busy(Exception):
    """The pool takes no more jobs now."""


@dataclass(slots=True)
class Job:
    """One piece of work and who is told of its end; exactly one of the three callbacks is called.

    Attributes:
        start_by: on `time.monotonic`'s clock; a job that waited longer for a thread is not begun.
        timeout_s: seconds it may run.
        work: gets its deadline; whatever it raises is its own business.
    """

    start_by: float
    timeout_s: float
    work: Callable[[float], Callable[[], None]]
    on_timeout: Callable[[], None]
    on_late_start: Callable[[], None]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_claimed: bool = False

    def claim(self) -> bool:
        """Return True to the first who asks: that one answers."""
        with self._lock:
            is_first, self._is_claimed = not self._is_claimed, True
            return is_first


class Workers:
    """Run jobs in up to ``count`` threads, started as they are needed."""

    def __init__(self, count: int, queue_limit: int) -> None:
        self._count = count
        self._queue_limit = queue_limit
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._deadlines: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self._threads = 0
        self._idle = 0
        self._pending = 0
        self._lost = 0
        self._is_stopping = False
        self._watchdog: threading.Thread | None = None

    @property
    def lost(self) -> int:
        """The threads that hang in an action past its deadline."""
        return self._lost

    def submit(self, job: Job) -> None:
        """Take a job.

        Raises:
            Busy: the queue is full, too many actions hang, or the pool is stopping; the text says which.
        """
        with self._changed:
            if self._is_stopping:
                raise Busy("this node is stopping")
            if self._lost >= self._count * LOST_PER_WORKER:
                raise Busy(f"{self._lost} actions hang past their deadlines; restart mco-node")
            if self._pending >= self._count + self._queue_limit:
                raise Busy(f"busy: {self._pending} requests wait or run; try again later")
            self._pending += 1
            if self._watchdog is None:
                self._watchdog = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                self._watchdog.start()
            if self._idle < self._pending and self._threads < self._count:
                self._start_thread()
        self._jobs.put(job)

    def drain(self, timeout_s: float) -> bool:
        """Take no more jobs and wait for those that run; say whether all ended in time."""
        with self._changed:
            self._is_stopping = True
            is_done = self._changed.wait_for(lambda: self._pending == 0, timeout_s)
            threads = self._threads
            self._changed.notify_all()
        for _ in range(threads):
            self._jobs.put(None)
        return is_done

    def _start_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name=f"worker {next(self._order)}", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
            job = self._jobs.get()
            with self._changed:
                self._idle -= 1
            if job is None or not self._run(job):
                return

    def _run(self, job: Job) -> bool:
        """Do one job; say whether this thread is still wanted."""
        now = time.monotonic()
        if now > job.start_by:
            job.claim()
            self._answer(job.on_late_start)
            self._finished()
            return True
        deadline = now + job.timeout_s
        with self._changed:
            heapq.heappush(self._deadlines, (deadline, next(self._order), job))
            self._changed.notify_all()
        answer = job.work(deadline)
        if job.claim():
            self._answer(answer)
            self._finished()
            return True
        _log.warning("an action ended %.1f s after its deadline; its result is dropped", time.monotonic() - deadline)
        with self._changed:
            self._lost -= 1
        return False

    def _answer(self, answer: Callable[[], None]) -> None:
        try:
            answer()
        except Exception:
            _log.exception("answering failed")

    def _finished(self) -> None:
        with self._changed:
            self._pending -= 1
            self._changed.notify_all()

    def _watch(self) -> None:
        """Answer for jobs that pass their deadline, and put a new thread in the place of each."""
        while True:
            with self._changed:
                while not self._deadlines or self._deadlines[0][0] > time.monotonic():
                    if self._is_stopping and self._pending == 0:
                        return
                    wait_s = self._deadlines[0][0] - time.monotonic() if self._deadlines else None
                    self._changed.wait(wait_s)
                job = heapq.heappop(self._deadlines)[2]
            if job.claim():
                with self._changed:
                    self._lost += 1
                    self._threads -= 1
                    if not self._is_stopping and self._idle < self._pending - 1:
                        self._start_thread()
                self._answer(job.on_timeout)
                self._finished()
