# SPDX-License-Identifier: Apache-2.0
"""The pool of workers: every job that is taken is answered exactly once, whatever its work does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mco_node.workers import LOST_PER_WORKER, Busy, Job, Workers

WAIT_S = 20.0
NEVER_S = 600.0
SHORT_S = 0.02


class Answers:
    """Collects which callback of which job was called."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.given: list[tuple[str, str]] = []

    def give(self, name: str, what: str) -> None:
        with self._changed:
            self.given.append((name, what))
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[tuple[str, str]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.given) >= count, WAIT_S), self.given
            return sorted(self.given)


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging work waits for; opened at the end of every test, so that no thread stays behind."""
    event = threading.Event()
    yield event
    event.set()


def job(
    answers: Answers,
    name: str,
    work: Callable[[], Any] = lambda: None,
    *,
    timeout_s: float = NEVER_S,
    start_by: float | None = None,
) -> Job:
    def do(_: float) -> Callable[[], None]:
        work()
        return lambda: answers.give(name, "done")

    return Job(
        start_by=time.monotonic() + NEVER_S if start_by is None else start_by,
        timeout_s=timeout_s,
        work=do,
        on_timeout=lambda: answers.give(name, "timed out"),
        on_late_start=lambda: answers.give(name, "not begun"),
        on_stop=lambda is_begun: answers.give(name, "stopped" if is_begun else "stopped, not begun"),
    )


def test_every_job_is_answered_once(answers: Answers) -> None:
    # Given a pool of two threads
    workers = Workers(2, 100)

    # When many jobs are given to it
    for number in range(50):
        workers.submit(job(answers, f"{number:02}"))

    # Then each is answered once, and nothing hangs
    assert answers.wait_for(50) == [(f"{number:02}", "done") for number in range(50)]
    assert workers.lost == 0
    assert workers.drain(WAIT_S)


def test_jobs_run_at_the_same_time_up_to_the_count_and_no_further(answers: Answers, gate: threading.Event) -> None:
    # Given a pool of three threads and jobs that note how many of them run
    workers = Workers(3, 100)
    all_three, lock, seen = threading.Barrier(4), threading.Lock(), {"now": 0, "most": 0}

    def run(*, meets: bool) -> None:
        with lock:
            seen["now"] += 1
            seen["most"] = max(seen["most"], seen["now"])
        if meets:
            all_three.wait(WAIT_S)
            gate.wait(WAIT_S)
        with lock:
            seen["now"] -= 1

    # When three jobs wait for each other while more come
    for number in range(3):
        workers.submit(job(answers, f"first {number}", lambda: run(meets=True)))
    all_three.wait(WAIT_S)
    for number in range(10):
        workers.submit(job(answers, f"second {number}", lambda: run(meets=False)))
    gate.set()

    # Then the three met, and never did a fourth run
    assert len(answers.wait_for(13)) == 13
    assert seen["most"] == 3
    assert workers.drain(WAIT_S)


def test_a_job_past_its_deadline_is_answered_for_and_its_late_result_dropped(
    answers: Answers, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a pool of one thread, and a job that hangs in it
    workers = Workers(1, 10)
    thread: list[threading.Thread] = []

    def hang() -> None:
        thread.append(threading.current_thread())
        gate.wait(WAIT_S)

    workers.submit(job(answers, "hangs", hang, timeout_s=SHORT_S))

    # When its deadline passes
    assert answers.wait_for(1) == [("hangs", "timed out")]

    # Then the pool knows that a thread is lost, and serves others
    assert workers.lost == 1
    workers.submit(job(answers, "other"))
    assert answers.wait_for(2) == [("hangs", "timed out"), ("other", "done")]

    # When the work ends after all
    gate.set()
    thread[0].join(WAIT_S)

    # Then its result is dropped, with a word in the log, and its thread is gone
    assert answers.wait_for(2) == [("hangs", "timed out"), ("other", "done")]
    assert "its result is dropped" in caplog.text
    assert workers.lost == 0
    assert workers.drain(WAIT_S)


def test_jobs_that_wait_behind_hanging_ones_are_served(answers: Answers, gate: threading.Event) -> None:
    # Given a pool of two threads, and more hanging jobs than that
    workers = Workers(2, 100)
    for number in range(5):
        workers.submit(job(answers, f"hangs {number}", lambda: gate.wait(WAIT_S), timeout_s=SHORT_S))

    # When others come behind them
    for number in range(5):
        workers.submit(job(answers, f"other {number}"))

    # Then all are answered
    given = answers.wait_for(10)
    assert given == [
        *((f"hangs {number}", "timed out") for number in range(5)),
        *((f"other {number}", "done") for number in range(5)),
    ]
    assert workers.lost == 5


def test_too_many_hanging_jobs_are_an_error_that_says_what_to_do(answers: Answers, gate: threading.Event) -> None:
    # Given a pool of one thread, in which as many jobs hang as it puts up with
    workers = Workers(1, 100)
    for number in range(LOST_PER_WORKER):
        workers.submit(job(answers, f"hangs {number}", lambda: gate.wait(WAIT_S), timeout_s=SHORT_S))
    answers.wait_for(LOST_PER_WORKER)

    # When one more comes
    # Then it is refused
    with pytest.raises(Busy, match=r"^4 actions hang past their deadlines; restart mco-node$"):
        workers.submit(job(answers, "one more"))


def test_a_full_queue_refuses(answers: Answers, gate: threading.Event) -> None:
    # Given a pool of one thread that is busy, and a queue of two that is full
    workers = Workers(1, 2)
    begun = threading.Event()
    workers.submit(job(answers, "a", lambda: (begun.set(), gate.wait(WAIT_S))))
    assert begun.wait(WAIT_S)
    workers.submit(job(answers, "b"))
    workers.submit(job(answers, "c"))

    # When one more comes, it is refused
    with pytest.raises(Busy, match=r"^busy: 3 requests wait or run; try again later$"):
        workers.submit(job(answers, "d"))

    # When the first ends, the others are served, and there is room again
    gate.set()
    answers.wait_for(3)
    assert workers.drain(WAIT_S)
    assert answers.wait_for(3) == [("a", "done"), ("b", "done"), ("c", "done")]


def test_a_job_that_waited_too_long_is_not_begun(answers: Answers) -> None:
    # Given a job that should have begun before now
    workers = Workers(1, 10)

    # When it comes to a thread
    workers.submit(job(answers, "late", lambda: answers.give("late", "begun"), start_by=time.monotonic() - 1))

    # Then it is answered, and was not begun
    assert answers.wait_for(1) == [("late", "not begun")]
    assert workers.drain(WAIT_S)
    assert answers.given == [("late", "not begun")]


def test_an_answer_that_fails_costs_no_thread(answers: Answers, caplog: pytest.LogCaptureFixture) -> None:
    # Given a pool of one thread, and a job whose answer cannot be given
    workers = Workers(1, 10)

    def fail() -> None:
        raise OSError("no way")

    failing = job(answers, "fails")
    failing.work = lambda _: fail

    # When it ends
    workers.submit(failing)
    workers.submit(job(answers, "other"))

    # Then that is logged, and the next one served
    assert answers.wait_for(1) == [("other", "done")]
    assert workers.drain(WAIT_S)
    assert "answering failed" in caplog.text


def test_draining_waits_for_what_runs_and_refuses_what_comes(answers: Answers, gate: threading.Event) -> None:
    # Given a running job and one that waits behind it
    workers = Workers(1, 1_000_000)
    begun = threading.Event()
    workers.submit(job(answers, "runs", lambda: (begun.set(), gate.wait(WAIT_S))))
    workers.submit(job(answers, "waits"))
    assert begun.wait(WAIT_S)

    def submit_until_refused() -> None:
        while True:
            workers.submit(job(answers, "more"))

    # When the pool is drained
    is_done: list[bool] = []
    draining = threading.Thread(target=lambda: is_done.append(workers.drain(NEVER_S)))
    draining.start()

    # Then it takes no more jobs
    with pytest.raises(Busy, match=r"^this node is stopping$"):
        submit_until_refused()

    # And ends when those that it took have ended
    assert is_done == []
    gate.set()
    draining.join(WAIT_S)
    assert is_done == [True]
    assert [name for name, _ in answers.given][:2] == ["runs", "waits"]


def test_draining_answers_what_waits_behind_a_hanging_job(answers: Answers, gate: threading.Event) -> None:
    # Given a pool of one thread in which a job hangs, and one that waits behind it
    workers = Workers(1, 10)
    workers.submit(job(answers, "hangs", lambda: gate.wait(WAIT_S), timeout_s=SHORT_S))
    workers.submit(job(answers, "waits"))

    # When the pool is drained before the hanging one's deadline passes
    is_done = workers.drain(NEVER_S)

    # Then both are answered
    assert is_done
    assert answers.wait_for(2) == [("hangs", "timed out"), ("waits", "done")]


def test_who_still_runs_or_waits_when_draining_ends_is_told(answers: Answers, gate: threading.Event) -> None:
    # Given a pool of one thread in which a job runs on and on, and others that wait behind it
    workers = Workers(1, 10)
    begun = threading.Event()
    workers.submit(job(answers, "runs", lambda: (begun.set(), gate.wait(WAIT_S))))
    workers.submit(job(answers, "waits 1"))
    workers.submit(job(answers, "waits 2"))
    assert begun.wait(WAIT_S)

    # When the pool is drained, and they do not end in time
    is_done = workers.drain(SHORT_S)

    # Then it says so, and each of them is answered, once
    assert not is_done
    assert sorted(answers.given) == [
        ("runs", "stopped"),
        ("waits 1", "stopped, not begun"),
        ("waits 2", "stopped, not begun"),
    ]
    gate.set()
    assert workers.drain(WAIT_S)
    assert len(answers.given) == 3


def test_a_job_that_was_answered_for_meanwhile_is_not_begun(answers: Answers) -> None:
    # Given a job that a thread has just taken, when the pool stops and somebody else answers for it
    workers = Workers(1, 10)
    answered = job(answers, "x", lambda: answers.give("x", "begun"))

    # When the thread turns to it, then it leaves it alone, and goes on
    assert workers._run(answered)
    assert answers.given == []


def test_the_threads_of_a_drained_pool_end(answers: Answers, gate: threading.Event) -> None:
    # Given a pool that was used
    before = set(threading.enumerate())
    workers = Workers(4, 10)
    meet = threading.Barrier(4)
    for number in range(4):
        workers.submit(job(answers, str(number), lambda: meet.wait(WAIT_S)))
    answers.wait_for(4)
    ours = set(threading.enumerate()) - before
    assert {thread.name.split()[0] for thread in ours} == {"worker", "deadlines"}

    # When it is drained
    assert workers.drain(WAIT_S)

    # Then its threads end, the one that looks after deadlines included
    for thread in ours:
        thread.join(WAIT_S)
    assert not any(thread.is_alive() for thread in ours)


def test_ended_jobs_are_forgotten_before_their_deadlines(answers: Answers) -> None:
    # Given a pool, and jobs that could run for very long
    workers = Workers(2, 1000)

    # When many of them have ended at once
    for number in range(500):
        workers.submit(job(answers, str(number)))
    answers.wait_for(500)

    # Then the pool does not keep what they held until their deadlines
    assert not workers._deadlines
    assert workers.drain(WAIT_S)
