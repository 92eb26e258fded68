# SPDX-License-Identifier: Apache-2.0
"""What a node makes of those who claim its identity: it counts, shows little, and does nothing."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest

from mco_node.rivals import LOG_EVERY_S, MAX_BODY_BYTES, MAX_TEXT, Rivals
from mco_rpc.connector import Packet, node_endpoint
from mco_rpc.messages import Event, decode_event, encode
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import for_node

NOON = 1_800_000_000.0


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rivals(clock: Clock, tmp_path: Any) -> Rivals:
    security = for_node("web1", keys.new_seed(), tmp_path)
    return Rivals("web1", ("mcollective", "second"), security, lambda: NOON, clock)


def claim(rivals: Rivals, data: dict[str, Any] | None = None, body: bytes | None = None) -> Packet:
    """Return a claim that says something else than a daemon does."""
    (made,) = rivals.claim()
    event = decode_event(made.body)
    if data is not None:
        body = encode(Event(topic="rival", collective="second", sender="web1", sent_at=NOON, data=data))
    return dataclasses.replace(made, body=encode(event) if body is None else body)


def test_a_daemon_says_who_it_is_and_is_heard_by_its_rival(rivals: Rivals) -> None:
    made = claim(rivals)
    event = decode_event(made.body)
    assert (made.exchange, made.key, event.topic) == ("mcollective.event", "rival.web1", "rival")
    assert set(event.data) == {"host", "pid", "version"}
    endpoint = rivals.endpoint(node_endpoint("web1", ("mcollective", "second"), ()))
    assert endpoint.welcome == (("mcollective.event", "rival.web1"), ("second.event", "rival.web1"))
    assert rivals.is_claim(made)
    assert rivals.is_claim(dataclasses.replace(made, exchange="second.event"))


@pytest.mark.parametrize("other", [{"exchange": "mcollective.node"}, {"key": "rival.web2"}, {"exchange": "else.event"}])
def test_what_is_no_claim_goes_its_way(rivals: Rivals, other: dict[str, str]) -> None:
    assert not rivals.is_claim(dataclasses.replace(claim(rivals), **other))  # type: ignore[arg-type]


def test_nobody_yet(rivals: Rivals) -> None:
    assert rivals.told() == {"count": 0, "last": ""}


def test_the_last_one_is_told(rivals: Rivals) -> None:
    rivals.hear(claim(rivals, {"pid": 12, "host": "first", "version": "1"}))
    rivals.hear(claim(rivals, {"pid": 13, "host": "second", "version": "1"}))
    assert rivals.told() == {"count": 2, "last": "pid 13 on host second at 2027-01-15T08:00:00+00:00"}


@pytest.mark.parametrize(
    ("made", "who"),
    [
        ({"body": b""}, "pid ? on host ?"),
        ({"body": b"\xff{"}, "pid ? on host ?"),
        ({"body": b"[" * 1000}, "pid ? on host ?"),
        ({"body": b" " * (MAX_BODY_BYTES + 1)}, "pid ? on host ?"),
        ({"data": {}}, "pid ? on host ?"),
        ({"data": {"pid": [1], "host": {"a": 1}}}, "pid ? on host ?"),
        ({"data": {"pid": "1\n2", "host": "\x1b[2J\u202eevil"}}, "pid 1?2 on host ?[2J?evil"),
        ({"data": {"pid": 10**200, "host": "h" * 500}}, f"pid {'1'.ljust(MAX_TEXT, '0')} on host {'h' * MAX_TEXT}"),
    ],
)
def test_a_claim_is_a_strangers_text(rivals: Rivals, made: dict[str, Any], who: str) -> None:
    rivals.hear(claim(rivals, **made))
    assert rivals.told() == {"count": 1, "last": f"{who} at 2027-01-15T08:00:00+00:00"}


def test_a_flood_is_one_line_a_minute(rivals: Rivals, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    packet = claim(rivals)
    for clock.now_s in (0.0, 1.0, LOG_EVERY_S - 0.1, LOG_EVERY_S, LOG_EVERY_S + 1.0):
        rivals.hear(packet)
    assert [record.getMessage().rpartition("(")[2] for record in caplog.records] == ["1 times)", "4 times)"]
