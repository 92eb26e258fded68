# SPDX-License-Identifier: Apache-2.0
"""What an action tells is numbered, bounded, and over with the answer; who does not follow hears nothing."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from mco_node import telling
from mco_node.telling import MAX_TEXT, Teller
from mco_rpc.errors import MessageError
from mco_rpc.messages import Ack, Progress, Request, encode


class Wire:
    """Keeps what is sent; refuses what JSON cannot say, as the real one does."""

    def __init__(self) -> None:
        self.sent: list[Ack | Progress] = []

    def __call__(self, request: Request, message: Ack | Progress) -> int:
        size_bytes = len(encode(message))
        self.sent.append(message)
        return size_bytes

    @property
    def told(self) -> list[Progress]:
        return [said for said in self.sent if isinstance(said, Progress)]

    @property
    def numbers(self) -> list[int]:
        return [said.number for said in self.told]


def teller(wire: Wire, *, follow: bool = True) -> Teller:
    values: Any = {"collective": "c", "agent": "a", "action": "x", "sender": "s", "sent_at": 1.0, "ttl_s": 1.0}
    return Teller(Request(id="1", caller="key=alice", follow=follow, **values), "web1", lambda: 7.0, wire)


def test_it_says_that_it_begins_and_then_counts_from_one() -> None:
    wire = Wire()
    tell = teller(wire)
    tell.begin()
    tell.tell("progress", "half", {"percent": 50})
    tell.tell("stdout", "line\n", {})
    head: Any = {"id": "1", "collective": "c", "agent": "a", "action": "x", "sender": "web1", "sent_at": 7.0}
    assert wire.sent == [
        Ack(**head),
        Progress(**head, number=1, text="half", data={"percent": 50}),
        Progress(**head, number=2, stream="stdout", text="line\n"),
    ]


def test_who_does_not_follow_hears_nothing() -> None:
    wire = Wire()
    tell = teller(wire, follow=False)
    tell.begin()
    tell.tell("progress", "x", {})
    assert wire.sent == []


def test_after_the_answer_nothing_is_told() -> None:
    wire = Wire()
    tell = teller(wire)
    tell.tell("progress", "before", {})
    tell.end()
    tell.tell("progress", "after", {})
    tell.begin()
    tell.end()
    assert [said.text for said in wire.told] == ["before"]


def test_a_long_text_is_told_in_parts_with_its_data_once_at_the_end() -> None:
    wire = Wire()
    teller(wire).tell("stdout", "x" * (2 * MAX_TEXT + 1), {"a": 1})
    assert [len(said.text) for said in wire.told] == [MAX_TEXT, MAX_TEXT, 1]
    assert [said.data for said in wire.told] == [{}, {}, {"a": 1}]
    assert wire.numbers == [1, 2, 3]


def test_parts_end_where_lines_end() -> None:
    # Given many lines, one of them longer than a part
    wire = Wire()
    lines = [f"line {number} {'y' * 70}\n" for number in range(1500)] + ["z" * (MAX_TEXT + 10) + "\n", "end"]
    teller(wire).tell("stdout", "".join(lines), {})
    parts = [said.text for said in wire.told]
    # Then nothing is lost, no part is too long, and only the long line is cut
    assert "".join(parts) == "".join(lines)
    assert all(len(part) <= MAX_TEXT for part in parts)
    assert [part[-1] for part in parts if not part.endswith("\n")] == ["z", "d"]


@pytest.mark.parametrize("length", [0, 1, MAX_TEXT])
def test_a_text_that_fits_is_one_part(length: int) -> None:
    wire = Wire()
    teller(wire).tell("progress", "\n" * length, {"a": 1})
    assert [(len(said.text), said.data) for said in wire.told] == [(length, {"a": 1})]


@pytest.mark.parametrize(
    ("limit", "value", "told"), [("MAX_TOLD", 3, 3), ("MAX_TOLD_BYTES", 300, 2)], ids=["count", "bytes"]
)
def test_so_much_is_told_then_a_note_and_nothing_more(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int, told: int
) -> None:
    monkeypatch.setattr(telling, limit, value)
    wire = Wire()
    tell = teller(wire)
    for number in range(10):
        tell.tell("stdout", f"line {number}\n", {"n": number})
    *lines, note = wire.told
    assert len(lines) == told
    assert (note.stream, note.data) == ("progress", {})
    assert note.text.startswith("... no more is told: ")
    assert wire.numbers == list(range(1, told + 2))


def test_one_text_of_many_parts_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "MAX_TOLD_BYTES", 3 * MAX_TEXT)
    wire = Wire()
    teller(wire).tell("stdout", "x" * (100 * MAX_TEXT), {"a": 1})
    assert [said.text[:3] for said in wire.told] == ["xxx", "xxx", "xxx", "..."]


@pytest.mark.parametrize(("text", "data"), [("\ud800", {}), ("x", {"o": object()}), ("x", {"k": {(1, 2): 3}})])
def test_what_json_cannot_say_is_an_error_of_the_action_and_leaves_no_gap(text: str, data: dict[str, Any]) -> None:
    wire = Wire()
    tell = teller(wire)
    tell.tell("progress", "before", {})
    with pytest.raises(MessageError):
        tell.tell("progress", text, data)
    tell.tell("progress", "after", {})
    assert wire.numbers == [1, 2]


def test_several_threads_of_an_action_leave_no_gaps_and_nothing_comes_after_the_end() -> None:
    wire = Wire()
    tell = teller(wire)
    barrier = threading.Barrier(5)
    after: list[int] = []

    def talk() -> None:
        barrier.wait()
        for _ in range(500):
            tell.tell("progress", "x", {})

    threads = [threading.Thread(target=talk) for _ in range(4)]
    for thread in threads:
        thread.start()
    barrier.wait()
    tell.end()
    after.append(len(wire.sent))
    for thread in threads:
        thread.join()
    assert len(wire.sent) == after[0]
    assert wire.numbers == list(range(1, len(wire.sent) + 1))
