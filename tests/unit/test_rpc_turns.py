# SPDX-License-Identifier: Apache-2.0
"""One change at a time: who waits, for how long, and who is sent away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from mco_rpc import turns as module
from mco_rpc.agent import deadline
from mco_rpc.current import Cancellation, Current, working_for
from mco_rpc.errors import ActionAborted, Cancelled
from mco_rpc.turns import MAX_WAITING, Turns

PATIENCE_S = 60.0


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made


def change(turns: Turns, timeout_s: float = 2 * PATIENCE_S) -> str:
    with turns.one("service#start web", timeout_s):
        return "done"


def await_waiting(turns: Turns, count: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while turns._waiting._value != MAX_WAITING - count:  # type: ignore[attr-defined]
        assert time.monotonic() < until
        time.sleep(0.005)


def test_one_after_the_other(turns: Turns, pool: ThreadPoolExecutor) -> None:
    inside, most = 0, 0
    looked = threading.Lock()

    def alone() -> None:
        nonlocal inside, most
        with turns.one("x#y", PATIENCE_S):
            with looked:
                inside += 1
                most = max(most, inside)
            time.sleep(0.001)
            with looked:
                inside -= 1

    for made in [pool.submit(alone) for _ in range(40)]:
        made.result(PATIENCE_S)
    assert most == 1


def test_few_wait_for_long_and_others_are_sent_away(
    turns: Turns, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHORT_S", 0.0)
    waiting: list[Future[str]] = []
    with turns.one("the slow one", PATIENCE_S):
        for number in range(1, MAX_WAITING + 1):
            waiting.append(pool.submit(change, turns))
            await_waiting(turns, number)
        with pytest.raises(
            ActionAborted, match=r"service#start web: another change .* 2 wait for it; nothing was done"
        ):
            change(turns)
    assert [each.result(PATIENCE_S) for each in waiting] == ["done", "done"]
    assert change(turns) == "done"


def test_nobody_waits_longer_than_half_of_the_time(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    for short_s in (0.0, 60.0):
        monkeypatch.setattr(module, "SHORT_S", short_s)
        token = deadline.set(time.monotonic() + 0.2)
        try:
            with (
                turns.one("a", 1),
                pytest.raises(ActionAborted, match="still at work; nothing was done: try again later"),
            ):
                change(turns)
        finally:
            deadline.reset(token)
    assert change(turns) == "done"


def test_who_cancels_waits_no_longer(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHORT_S", 0.0)
    wish = Cancellation()
    wish.cancel("enough")
    with turns.one("a", PATIENCE_S), working_for(Current(cancellation=wish)), pytest.raises(Cancelled):
        change(turns)
    assert change(turns) == "done"


def test_a_change_that_fails_makes_room(turns: Turns) -> None:
    with pytest.raises(ZeroDivisionError), turns.one("a", PATIENCE_S):
        1 / 0  # noqa: B018 - it is to fail
    assert change(turns) == "done"
