# SPDX-License-Identifier: Apache-2.0
"""A bounded pool of threads in which a job that passes its deadline is answered for, and replaced.

A thread cannot be killed. One that hangs past its job's deadline is written off: its result, should it
ever come, is dropped, and a new thread takes its place. Too many of those, and the pool takes no more jobs.
"""

from __future__ import annotations

import itertools
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_log = logging.getLogger(__name__)

LOST_PER_WORKER = 4
# While there is work the watchdog looks up so often by itself: waking it for every job costs more than the job.
_LOOK_EVERY_S = 2.0


class Busy(Exception):
    """The pool takes no more jobs now."""


@dataclass(slots=True, eq=False)
class Job:
    """One piece of work and who is told of its end; exactly one of its answers is given.

    Attributes:
        start_by: on `time.monotonic`'s clock; a job that waited longer for a thread is not begun.
        timeout_s: seconds it may run.
        work: gets its deadline and returns the answer; must not raise.
        on_stop: gets whether it was begun, if the pool ends before the job.
    """

    start_by: float
    timeout_s: float
    work: Callable[[float], Callable[[], None]]
    on_timeout: Callable[[], None]
    on_late_start: Callable[[], None]
    on_stop: Callable[[bool], None]


class Workers:
    """Run jobs in up to ``count`` threads, started as they are needed."""

    def __init__(self, count: int, queue_limit: int) -> None:
        self._count = count
        self._queue_limit = queue_limit
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._unclaimed: set[Job] = set()  # who takes a job out of here answers for it
        self._deadlines: dict[Job, float] = {}
        self._lost: set[Job] = set()
        self._pending = 0
        self._threads = 0
        self._idle = 0
        self._numbers = itertools.count()
        self._is_stopping = self._is_hurried = False
        self._watchdog: threading.Thread | None = None
        self._watchdog_wakes = 0.0
        self._taken = self._seen = 0

    @property
    def lost(self) -> int:
        """The threads that hang in an action past its deadline."""
        return len(self._lost)

    def told(self) -> dict[str, int]:
        """Return how many threads there may be, and what is done and waited for."""
        with self._changed:
            running = len(self._deadlines)
            return {
                "count": self._count,
                "running": running,
                "waiting": max(self._pending - running, 0),
                "hanging": len(self._lost),
                "queue_limit": self._queue_limit,
            }

    @property
    def is_stopping(self) -> bool:
        """Whether no more work is begun."""
        return self._is_stopping

    def submit(self, job: Job) -> None:
        """Take a job.

        Raises:
            Busy: the queue is full, too many actions hang, or the pool is stopping; the text says which.
        """
        with self._changed:
            if self._is_stopping:
                raise Busy("this node is stopping")
            if self.lost >= self._count * LOST_PER_WORKER:
                raise Busy(f"{self.lost} actions hang past their deadlines; restart mco-node")
            if self._pending >= self._count + self._queue_limit:
                raise Busy(f"busy: {self._pending} requests wait or run; try again later")
            self._pending += 1
            self._taken += 1
            self._unclaimed.add(job)
            if self._watchdog is None:
                self._watchdog = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                self._watchdog.start()
            if self._idle < self._pending and self._threads < self._count:
                self._start_thread()
            self._jobs.put(job)

    def hurry(self) -> None:
        """Have a `drain` wait no longer, from any thread."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Take no more jobs, wait for those that were taken, and answer for the rest; say whether all ended in time."""
        with self._changed:
            self._is_stopping = True
            self._changed.wait_for(lambda: self._pending == 0 or self._is_hurried, timeout_s)
            is_done = self._pending == 0
            left = [(job, job in self._deadlines) for job in self._unclaimed]
        for job, is_begun in left:
            self._end(job, lambda job=job, is_begun=is_begun: job.on_stop(is_begun))  # type: ignore[misc]  # bound now
        with self._changed:
            self._changed.notify_all()
            for _ in range(self._threads):
                self._jobs.put(None)
        return is_done

    def _start_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name=f"worker {next(self._numbers)}", daemon=True).start()

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
            self._end(job, job.on_late_start)
            return True
        deadline = now + job.timeout_s
        with self._changed:
            if job not in self._unclaimed:  # it was answered for when the pool stopped
                return True
            self._deadlines[job] = deadline
            if deadline < self._watchdog_wakes:
                self._changed.notify_all()
        answer = job.work(deadline)
        if self._end(job, answer):
            return True
        _log.warning("an action ended after it had been answered for; its result is dropped")
        with self._changed:
            self._lost.discard(job)
        return False

    def _end(self, job: Job, answer: Callable[[], None]) -> bool:
        """Give an answer unless another one was given; say which."""
        with self._changed:
            if job not in self._unclaimed:
                return False
            self._claim(job)
        self._answer(answer)
        return True

    def _claim(self, job: Job) -> None:
        self._unclaimed.remove(job)
        self._deadlines.pop(job, None)

    def _answer(self, answer: Callable[[], None]) -> None:
        try:
            answer()
        except Exception:
            _log.exception("answering failed")
        with self._changed:
            self._pending -= 1
            if self._is_stopping:
                self._changed.notify_all()

    def _watch(self) -> None:
        """Answer for jobs that pass their deadline, and put a new thread in the place of each."""
        while True:
            with self._changed:
                late = self._await_late()
                if late is None:
                    return
                self._claim(late)
                self._lost.add(late)
                self._threads -= 1
                if self._idle < self._pending - 1:
                    self._start_thread()
            self._answer(late.on_timeout)

    def _await_late(self) -> Job | None:
        """Return a job past its deadline, None when the pool has stopped."""
        while True:
            job = min(self._deadlines, key=self._deadlines.__getitem__, default=None)
            now = time.monotonic()
            if job is not None and self._deadlines[job] <= now:
                return job
            if self._is_stopping and self._pending == 0:
                return None
            is_idle, self._seen = self._taken == self._seen, self._taken
            if job is not None:
                self._watchdog_wakes = self._deadlines[job]
            else:
                self._watchdog_wakes = math.inf if is_idle else now + _LOOK_EVERY_S
            self._changed.wait(None if self._watchdog_wakes == math.inf else self._watchdog_wakes - now)
