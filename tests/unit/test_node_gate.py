# SPDX-License-Identifier: Apache-2.0
"""The gate between connector and dispatcher, what it holds and drops; and what a replay guard tells its successor."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from mco_node import gate as gate_module
from mco_node.gate import Gate
from mco_rpc.connector import Packet
from mco_rpc.errors import Expired, SecurityError
from mco_rpc.messages import Request
from mco_rpc.replay import ReplayGuard

PACKET = Packet("x", "y", b"1", "request", "id", "alice", b"s" * 64)


def packet(body: str) -> Packet:
    return dataclasses.replace(PACKET, body=body.encode())


@pytest.fixture
def passed() -> list[str]:
    return []


@pytest.fixture
def gate(passed: list[str]) -> Gate:
    return Gate(lambda packet: passed.append(packet.body.decode()))


def test_it_passes_everything_on_twice_if_need_be(gate: Gate, passed: list[str]) -> None:
    for text in "aab":
        gate.take(packet(text))
    assert passed == ["a", "a", "b"]
    assert gate.seen() == []


def test_what_it_held_comes_in_order_but_for_what_was_seen(gate: Gate, passed: list[str]) -> None:
    # Given an old process that saw two messages, and a new one that holds three
    old = Gate(lambda _: None)
    old.remember()
    for text in "ab":
        old.take(packet(text))
    gate.hold()
    for text in "bcd":
        gate.take(packet(text))
    assert passed == []

    # When it goes on, then only what the old one did not see runs, once, whichever way it comes
    gate.open(old.seen())
    for text in "acde":
        gate.take(packet(text))
    assert passed == ["c", "d", "e"]


def test_it_forgets_after_a_while(gate: Gate, passed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(gate_module.time, "monotonic", lambda: now[0])
    gate.remember()
    gate.take(packet("a"))
    gate.forget(5.0)
    now[0] = 104.0
    gate.take(packet("a"))
    assert passed == ["a"]
    now[0] = 105.0
    gate.take(packet("a"))
    gate.take(packet("a"))
    assert passed == ["a", "a", "a"]


def test_the_signature_is_part_of_a_message(gate: Gate, passed: list[str]) -> None:
    gate.remember()
    gate.take(packet("a"))
    gate.take(dataclasses.replace(packet("a"), signature=b"t" * 64))
    assert passed == ["a", "a"]


def request(request_id: str, sent_at: float) -> Request:
    return Request(
        id=request_id,
        collective="c",
        agent="a",
        action="b",
        caller="key=alice",
        sender="host",
        sent_at=sent_at,
        ttl_s=30.0,
    )


def test_a_guard_goes_on_where_another_one_ended() -> None:
    # Given a guard that has admitted a request, of a caller whose requests take no time
    now = [1000.0]
    old = ReplayGuard(lambda: now[0], 10.0, 3600.0, monotonic=lambda: now[0])
    now[0] = 1010.0
    assert old.admit(request("1", 1010.0)) == 30.0

    # When another process takes over what it tells, over a wire
    now[0] = 1020.0
    new = ReplayGuard(lambda: now[0], 10.0, 3600.0, monotonic=lambda: now[0])
    new.adopt(msgspec.json.decode(msgspec.json.encode(old.told())))

    # Then it knows that request, when the node began, and how quick the caller is
    with pytest.raises(SecurityError, match="replayed"):
        new.admit(request("1", 1010.0))
    assert new.admit(request("2", 1012.0)) == pytest.approx(22.0)
    with pytest.raises(Expired, match="before this node started"):
        new.admit(request("3", 999.0))

    # And forgets it when it could not be accepted any more
    now[0] = 1100.0
    new.admit(request("4", 1100.0))
    assert [key for _, *key in new.told()["forget"]] == [["key=alice", "4"]]
