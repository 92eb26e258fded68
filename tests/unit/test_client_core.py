# SPDX-License-Identifier: Apache-2.0
"""Cores are driven by blocking and by awaiting alike, and an interruption always reaches them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mco_client import aio, core
from mco_client.core import Core, Do, Inbox, Outcome, Pause, Take, finish, quietly, run, through
from mco_rpc.connector import Packet

PATIENCE_S = 60.0


class Interruption(BaseException):
    """What ends a program, and is no error."""


def steps(*yielded: Any, seen: list[Any] | None = None, returned: Any = "end") -> Core[Any]:
    """Yield one thing after the other, and note what each gave, and the end."""
    noted = seen if seen is not None else []
    try:
        for item in yielded:
            noted.append((yield item))
    except BaseException as e:
        noted.append(type(e))
        raise
    finally:
        noted.append("closed")
    return returned


def by_blocking(made: Core[Any]) -> tuple[list[Any], Any]:
    outcome = Outcome(made)
    return list(outcome), outcome.value


def by_awaiting(made: Core[Any]) -> tuple[list[Any], Any]:
    values: list[Any] = []

    def noting() -> Core[None]:
        values.append((yield from made))

    async def items() -> list[Any]:
        return [item async for item in aio._items(noting())]

    return asyncio.run(items()), values[0]


def by_awaiting_the_end(made: Core[Any]) -> tuple[list[Any], Any]:
    items: list[Any] = []

    def unseen(item: Any) -> bool:
        items.append(item)
        return len(items) % 2 == 0  # what is handed on to nobody, and what is not, is the same here

    return items, asyncio.run(aio._finish(through(made, unseen)))


both_ways = pytest.mark.parametrize("drive", [by_blocking, by_awaiting, by_awaiting_the_end])
Drive = Callable[[Core[Any]], tuple[list[Any], Any]]


def inbox(*arrivals: Any) -> Inbox:
    made = Inbox()
    for arrival in arrivals:
        made.put(came(arrival))
    return made


def came(what: Any) -> Any:
    """Return an arrival; a number or a word stands for what came."""
    return ("reply", what, None)


def taken(seen: list[Any]) -> list[Any]:
    """Return what came of what a core saw."""
    return [what[1] if isinstance(what, tuple) else what for what in seen]


@both_ways
def test_operations_are_done_and_all_else_goes_to_who_iterates(drive: Drive) -> None:
    seen: list[Any] = []
    items, value = drive(steps("a", Do(lambda: 7), Pause(0.0), Take(inbox("x"), 9.0), "b", seen=seen, returned=1))
    assert (items, value) == (["a", "b"], 1)
    assert taken(seen) == [None, 7, None, "x", None, "closed"]


@both_ways
@pytest.mark.parametrize("timeout_s", [0.0, -1.0, 0.01])
def test_an_inbox_that_stays_empty_gives_nothing_when_the_time_is_over(drive: Drive, timeout_s: float) -> None:
    seen: list[Any] = []
    drive(steps(Take(Inbox(), timeout_s), seen=seen))
    assert seen == [None, "closed"]


@both_ways
@pytest.mark.parametrize("timeout_s", [0.0, -1.0, PATIENCE_S])
def test_what_has_come_is_given_in_its_order_even_without_time(drive: Drive, timeout_s: float) -> None:
    seen: list[Any] = []
    box = inbox("first", "second")
    drive(steps(Take(box, timeout_s), Take(box, timeout_s), seen=seen))
    assert taken(seen) == ["first", "second", "closed"]


@both_ways
def test_what_comes_from_another_thread_wakes_who_waits(drive: Drive) -> None:
    # Given somebody who waits for as long as a test may take, and a thread that puts something in meanwhile
    seen: list[Any] = []
    box = Inbox()
    threads = []

    def later() -> None:
        threads.append(threading.Thread(target=box.put, args=(came("came"),)))
        threads[-1].start()

    drive(steps(Do(later), Take(box, PATIENCE_S), seen=seen))
    threads[0].join()
    assert taken(seen)[1:] == ["came", "closed"]


@both_ways
def test_a_thousand_arrivals_from_several_threads_are_all_taken(drive: Drive) -> None:
    box = Inbox()
    threads = [threading.Thread(target=lambda: [box.put(came(n)) for n in range(250)]) for _ in range(4)]  # type: ignore[arg-type,func-returns-value,misc]
    seen: list[Any] = []
    drive(steps(*(Do(thread.start) for thread in threads), *(Take(box, PATIENCE_S) for _ in range(1000)), seen=seen))
    assert sorted(taken(seen)[4:-1]) == sorted(list(range(250)) * 4)


@both_ways
def test_what_fails_is_thrown_into_the_core_which_may_go_on(drive: Drive) -> None:
    def careful() -> Core[str]:
        try:
            yield Do(lambda: 1 / 0)
        except ZeroDivisionError:
            yield "caught"
        return "went on"

    assert drive(careful()) == (["caught"], "went on")


@both_ways
@pytest.mark.parametrize("error", [OSError("x"), Interruption()])
def test_what_the_core_does_not_catch_ends_it_and_is_raised(drive: Drive, error: BaseException) -> None:
    def fail() -> None:
        raise error

    seen: list[Any] = []
    with pytest.raises(type(error)):
        drive(steps(Do(fail), "never", seen=seen))
    assert seen == [type(error), "closed"]


def test_leaving_early_closes_the_core() -> None:
    seen: list[Any] = []
    items = run(steps("a", "b", seen=seen))
    assert next(items) == "a"
    items.close()
    assert seen == [GeneratorExit, "closed"]


def test_awaiting_no_more_closes_the_core() -> None:
    seen: list[Any] = []

    async def leave() -> None:
        items = aio._items(steps("a", "b", seen=seen))
        assert await anext(items) == "a"
        await items.aclose()

    asyncio.run(leave())
    assert seen == [GeneratorExit, "closed"]


def test_a_task_that_is_cancelled_tells_its_core_and_waits_no_more() -> None:
    seen: list[Any] = []
    box = Inbox()

    async def cancel() -> None:
        task = asyncio.ensure_future(aio._finish(steps(Take(box, PATIENCE_S), seen=seen)))
        while box.on_arrival is None:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert seen == [asyncio.CancelledError, "closed"]
    assert box.on_arrival is None


def test_an_arrival_after_the_loop_was_closed_harms_nobody() -> None:
    # Given a loop that was left with somebody who waits in it
    box = Inbox()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(aio._taken(box, PATIENCE_S))
    while box.on_arrival is None:
        loop.run_until_complete(asyncio.sleep(0))
    wake = box.on_arrival
    waiting.cancel()
    loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
    loop.close()
    # When something comes, and whoever brings it still knows how to wake us
    box.on_arrival = wake
    box.put(came("late"))
    # Then it is there, and the thread that brought it lives
    assert box.get(0) == came("late")


def test_pauses_take_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(core.time, "sleep", slept.append)
    assert finish(steps(Pause(3.0), Pause(0.5))) == "end"
    assert slept == [3.0, 0.5]


@both_ways
def test_a_core_inside_another_one_hands_on_what_is_let_through(drive: Drive) -> None:
    def outer() -> Core[Any]:
        return (yield from through(steps("a", Do(lambda: 1), "bb", "c"), lambda item: len(item) == 1))

    assert drive(outer()) == (["a", "c"], "end")


@both_ways
def test_quietly_nothing_is_handed_on_but_what_it_returns(drive: Drive) -> None:
    seen: list[Any] = []
    assert drive(quietly(steps("a", Do(lambda: 1), "b", seen=seen, returned=5))) == ([], 5)
    assert seen == [None, 1, None, "closed"]


@both_ways
def test_what_fails_reaches_the_inner_core_too(drive: Drive) -> None:
    def fail() -> None:
        raise OSError

    def careful() -> Core[str]:
        try:
            yield Do(fail)
        except OSError:
            return "caught"
        return "not"

    assert drive(quietly(careful())) == ([], "caught")


def test_leaving_the_outer_core_closes_the_inner_one() -> None:
    seen: list[Any] = []
    items = run(through(steps("a", "b", seen=seen), lambda _: True))
    assert next(items) == "a"
    items.close()
    assert seen == [GeneratorExit, "closed"]


def packet(signer: str, size: int) -> Packet:
    return Packet("c.reply", "k", b"x" * size, "reply", "1", signer, b"s", "1")


def test_of_one_who_sends_faster_than_we_read_not_everything_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given room for 100 bytes of each sender
    monkeypatch.setattr(core, "MAX_UNREAD_BYTES", 100)
    inbox = core.Inbox()
    for _ in range(5):
        inbox.put(("reply", 1.0, packet("flood", 40)))
    inbox.put(("reply", 1.0, packet("calm", 90)))
    # Then what is too much is dropped and counted, and nobody else suffers
    kept = [arrival[2].signer for _ in range(10) if (arrival := inbox.get(0)) is not None]  # type: ignore[union-attr]
    assert kept == ["flood", "flood", "calm"]
    assert dict(inbox.dropped) == {"flood": 3}
    # And once it is read, there is room again, for one message of any size, too
    inbox.put(("reply", 1.0, packet("flood", 5000)))
    assert inbox.get(0) is not None
    assert inbox._unread == {}
