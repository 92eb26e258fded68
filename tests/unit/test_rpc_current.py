# SPDX-License-Identifier: Apache-2.0
"""An action knows whom it works for, and hears the wish that it ends once, wherever it comes from."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from mco_rpc.agent import Agent
from mco_rpc.current import Cancellation, Current, current, working_for
from mco_rpc.errors import Cancelled
from mco_rpc.lines import MAX_LINE_LENGTH, Lines


class Worker(Agent):
    """Do nothing."""


def test_outside_of_a_request_an_action_works_for_nobody() -> None:
    request = current()
    assert (request.caller, request.is_noop, request.is_followed, request.cancellation.is_wanted) == ("",) + (
        False,
    ) * 3
    agent = Worker()
    assert agent.is_noop is False
    agent.tell("heard by nobody", percent=3)
    agent.check_cancelled()


def test_a_request_is_known_while_it_is_worked_for_and_only_to_its_thread() -> None:
    one, two = Current("key=one", is_noop=True), Current("key=two")
    seen: list[str] = []
    with working_for(one):
        assert Worker().is_noop
        with working_for(two):
            assert current() is two
        assert current() is one
        thread = threading.Thread(target=lambda: seen.append(current().caller))
        thread.start()
        thread.join()
    assert (seen, current().caller) == ([""], "")


def test_it_is_forgotten_after_a_failure_too() -> None:
    with pytest.raises(ZeroDivisionError), working_for(Current("key=one")):
        raise ZeroDivisionError
    assert current().caller == ""


def test_what_an_agent_tells_goes_to_the_request_it_works_for() -> None:
    told: list[tuple[str, str, Mapping[str, Any]]] = []
    with working_for(Current(tell=lambda *said: told.append(said))):
        Worker().tell("half", percent=50)
        Worker().tell(done=1)
    assert told == [("progress", "half", {"percent": 50}), ("progress", "", {"done": 1})]


def test_a_wish_is_heard_where_the_action_tells_or_looks() -> None:
    request = Current()
    with working_for(request):
        Worker().check_cancelled()
        request.cancellation.cancel("cancelled by me")
        for ends in (Worker().check_cancelled, lambda: Worker().tell("x"), lambda: Worker().run("true")):
            with pytest.raises(Cancelled, match=r"^cancelled by me$"):
                ends()


def test_only_the_first_wish_counts_and_wakes() -> None:
    wish, woken = Cancellation(), []
    with wish.waking(lambda: woken.append(1)):
        wish.cancel("first")
        wish.cancel("second")
    assert woken == [1]
    with pytest.raises(Cancelled, match="first"):
        wish.check()


def test_an_empty_reason_is_a_wish() -> None:
    wish = Cancellation()
    wish.cancel("")
    assert wish.is_wanted
    with pytest.raises(Cancelled):
        wish.check()


def test_who_comes_after_the_wish_is_woken_at_once_and_who_left_before_it_never() -> None:
    wish, woken = Cancellation(), []
    with wish.waking(lambda: woken.append("before")):
        pass
    wish.cancel("x")
    with wish.waking(lambda: woken.append("after")):
        assert woken == ["after"]
    assert woken == ["after"]


def test_several_who_wait_are_all_woken() -> None:
    wish, woken = Cancellation(), []
    with wish.waking(lambda: woken.append(1)), wish.waking(lambda: woken.append(2)):
        wish.cancel("x")
    assert woken == [1, 2]


def test_a_wish_that_races_with_the_end_never_calls_who_has_left() -> None:
    for _ in range(200):
        wish, is_there, late = Cancellation(), threading.Event(), []
        barrier = threading.Barrier(2)

        def cancel(wish: Cancellation = wish, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            wish.cancel("x")

        thread = threading.Thread(target=cancel)
        thread.start()
        is_there.set()
        barrier.wait()
        with wish.waking(lambda is_there=is_there, late=late: late.append(1) if not is_there.is_set() else None):  # type: ignore[misc]
            pass
        is_there.clear()
        thread.join()
        assert late == []


# What a command prints, in lines.


def told_of(*chunks: tuple[str, bytes]) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    with Lines(lambda stream, text, _: told.append((stream, text))) as lines:
        for chunk in chunks:
            lines.add(*chunk)
    return told


def test_lines_are_told_whole_as_many_at_a_time_as_there_are() -> None:
    assert told_of(("stdout", b"one\ntwo\nth"), ("stdout", b"ree\n")) == [
        ("stdout", "one\ntwo\n"),
        ("stdout", "three\n"),
    ]


def test_what_has_no_line_end_is_told_at_the_end() -> None:
    assert told_of(("stdout", b"one"), ("stdout", b" more")) == [("stdout", "one more")]
    assert told_of() == []


def test_both_streams_are_kept_apart() -> None:
    chunks = (("stdout", b"o"), ("stderr", b"e"), ("stdout", b"ut\n"), ("stderr", b"rr\n"))
    assert told_of(*chunks) == [("stdout", "out\n"), ("stderr", "err\n")]


def test_a_line_that_does_not_end_is_told_in_parts_and_nothing_is_lost() -> None:
    chunks = [("stdout", b"x" * 1000)] * 10
    told = told_of(*chunks, ("stdout", b"\nend"))
    assert len(told) > 2
    assert "".join(text for _, text in told) == "x" * 10_000 + "\nend"
    assert all(len(text) <= MAX_LINE_LENGTH + 1000 for _, text in told)


def test_a_character_that_comes_in_two_parts_is_one() -> None:
    for size in (1, 2, 3, 4097, 4099):
        text = "ä€𝄞" * 4000
        data = text.encode()
        told = told_of(*(("stdout", data[start : start + size]) for start in range(0, len(data), size)))
        assert "".join(part for _, part in told) == text


@pytest.mark.parametrize(
    ("data", "text"), [(b"a\xffb\n", "a\ufffdb\n"), (b"a\xc3", "a\ufffd"), (b"\xc3\n", "\ufffd\n"), (b"\0\n", "\0\n")]
)
def test_bytes_that_are_no_text_are_shown_all_the_same(data: bytes, text: str) -> None:
    assert told_of(("stdout", data)) == [("stdout", text)]
    assert "".join(part for _, part in told_of(*(("stdout", bytes([byte])) for byte in data))) == text


def test_what_came_before_a_failure_is_told_too() -> None:
    told: list[str] = []

    def fail() -> None:
        with Lines(lambda _stream, text, _data: told.append(text)) as lines:
            lines.add("stdout", b"last words")
            raise Cancelled("x")

    with pytest.raises(Cancelled):
        fail()
    assert told == ["last words"]
