# SPDX-License-Identifier: Apache-2.0
"""Messages survive the wire unchanged, and bytes that are no message are refused, whatever they are."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mco_rpc.errors import MessageError
from mco_rpc.filters import FactTerm, Filter
from mco_rpc.messages import (
    Event,
    Reply,
    Request,
    decode_event,
    decode_reply,
    decode_request,
    encode,
    new_id,
)

REQUEST = Request(
    id="5f0c",
    collective="mcollective",
    agent="iptables",
    action="block",
    caller="key=alice",
    sender="desk",
    sent_at=1000.0,
    ttl_s=10.0,
    data={"ipaddr": "10.0.0.1"},
    filter=Filter(classes=("/dev/",), facts=(FactTerm("country", "==", "de"),)),
    targets=("web1",),
    reply_to="alice.1",
    noop=True,
    follow=True,
)
BODY = encode(REQUEST)
PLAIN = json.loads(BODY)
DECODERS = [decode_request, decode_reply, decode_event]

TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
).filter(lambda value: value not in (float("inf"), float("-inf")))
DATA = st.dictionaries(
    TEXT, st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), TEXT, st.lists(TEXT))
)
SECONDS = st.floats(allow_nan=False, allow_infinity=False)
REQUESTS = st.builds(
    Request,
    id=TEXT,
    collective=TEXT,
    agent=TEXT,
    action=TEXT,
    caller=TEXT,
    sender=TEXT,
    sent_at=SECONDS,
    ttl_s=SECONDS,
    data=DATA,
    filter=st.builds(
        Filter,
        identities=st.lists(TEXT, max_size=2).map(tuple),
        classes=st.lists(TEXT, max_size=2).map(tuple),
        facts=st.lists(st.builds(FactTerm, TEXT, TEXT, TEXT), max_size=2).map(tuple),
        agents=st.lists(TEXT, max_size=2).map(tuple),
    ),
    targets=st.one_of(st.none(), st.lists(TEXT, max_size=3).map(tuple)),
    reply_to=st.one_of(st.none(), TEXT),
    noop=st.booleans(),
)


@given(REQUESTS)
def test_a_request_survives_the_wire(request: Request) -> None:
    assert decode_request(encode(request)) == request


@given(st.builds(Reply, id=TEXT, status=st.integers(0, 99), message=TEXT, data=DATA, sent_at=SECONDS, ran_s=SECONDS))
def test_a_reply_survives_the_wire(reply: Reply) -> None:
    assert decode_reply(encode(reply)) == reply


@given(st.builds(Event, topic=TEXT, sender=TEXT, data=DATA, sent_at=SECONDS))
def test_an_event_survives_the_wire(event: Event) -> None:
    assert decode_event(encode(event)) == event


def test_every_field_that_changes_what_happens_is_in_the_body() -> None:
    assert set(PLAIN) == {
        "kind",
        "id",
        "collective",
        "agent",
        "action",
        "caller",
        "sender",
        "sent_at",
        "ttl_s",
        "data",
        "filter",
        "targets",
        "reply_to",
        "noop",
        "follow",
    }


def test_a_request_with_an_unknown_field_is_refused_because_it_may_be_a_restriction() -> None:
    for where in (PLAIN, PLAIN["filter"]):
        where["only_if_idle"] = True
        try:
            with pytest.raises(MessageError, match="unknown field `only_if_idle`"):
                decode_request(json.dumps(PLAIN).encode())
        finally:
            del where["only_if_idle"]
    assert decode_request(json.dumps(PLAIN).encode()) == REQUEST


def test_a_reply_with_an_unknown_field_is_read_because_it_only_tells_more() -> None:
    plain = {"kind": "reply", "id": "1", "collective": "c", "agent": "a", "action": "x", "sender": "s", "sent_at": 1}
    assert decode_reply(json.dumps({**plain, "mood": "good", "status": 77}).encode()).status == 77


@pytest.mark.parametrize(
    "field", [name for name in PLAIN if name not in ("kind", "data", "filter", "targets", "noop", "follow")]
)
def test_a_request_without_a_field_it_needs_is_refused(field: str) -> None:
    if field == "reply_to":
        return
    with pytest.raises(MessageError, match=f"missing required field `{field}`"):
        decode_request(json.dumps({name: value for name, value in PLAIN.items() if name != field}).encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "reply"),
        ("kind", 1),
        ("id", 1),
        ("id", "x" * 129),
        ("sent_at", "now"),
        ("ttl_s", None),
        ("data", []),
        ("data", None),
        ("filter", "country=de"),
        ("filter", {"facts": ["country=de"]}),
        ("filter", {"facts": [["country", "=="]]}),
        ("filter", {"facts": [["country", "==", "de", "extra"]]}),
        ("filter", {"facts": [["cores", ">=", 4]]}),
        ("filter", {"classes": "web"}),
        ("targets", "web1"),
        ("targets", [1]),
        ("reply_to", 1),
        ("noop", "true"),
        ("noop", None),
    ],
)
def test_a_field_of_the_wrong_type_is_refused(field: str, value: object) -> None:
    with pytest.raises(MessageError, match="bytes that are not a request"):
        decode_request(json.dumps({**PLAIN, field: value}).encode())


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{",
        b"\x00" * 100,
        b"\xff\xfe",
        b"not json",
        b"[" * 100_000,
        b'{"data":' * 100_000,
        BODY[:-1],
        BODY + b"x",
        BODY.replace(b'"data":{', b'"data":{"n":' + b"[" * 100_000 + b"]" * 100_000 + b","),
        BODY.replace(b'"5f0c"', b'"\xff"'),
        BODY.replace(b'"ipaddr"', b'"\xff"'),
        BODY.replace(b"10.0.0.1", b"\xed\xa0\x80"),
        BODY.replace(b"5f0c", b"\\ud800"),
        BODY.replace(b"1000.0", b"1e999"),
        BODY.replace(b"1000.0", b"NaN"),
        BODY.replace(b"1000.0", b"Infinity"),
        BODY.replace(b"1000.0", b"9" * 400),
        BODY.replace(b'"10.0.0.1"', b"1e999"),
        BODY.replace(b'"10.0.0.1"', b"-Infinity"),
        BODY.replace(b'"10.0.0.1"', b"9" * 5000),
        BODY.replace(b'"kind":"request"', b'"kind":"request","kind":"event"'),
    ],
    ids=range(25),
)
def test_bytes_that_are_no_message_are_refused(decode: Any, body: bytes) -> None:
    assert body != BODY
    with pytest.raises(MessageError, match=f"^{len(body)} bytes that are not a"):
        decode(body)


def test_of_two_fields_with_one_name_the_last_counts_for_everybody() -> None:
    assert decode_request(BODY.replace(b'"5f0c"', b'"1","id":"2"')).id == "2"


@pytest.mark.parametrize("decode", DECODERS)
@given(body=st.binary(max_size=200))
@example(b'{"kind":"request"}')
def test_any_bytes_are_refused_with_an_error_of_ours(decode: Any, body: bytes) -> None:
    with pytest.raises(MessageError):
        decode(body)


@given(st.integers(0, len(BODY) - 1), st.integers(0, 255))
def test_a_request_with_any_byte_changed_is_a_request_or_an_error_of_ours(at: int, byte: int) -> None:
    try:
        decode_request(BODY[:at] + bytes([byte]) + BODY[at + 1 :])
    except MessageError:
        return


@given(st.dictionaries(st.sampled_from(sorted(PLAIN)), JSON))
def test_a_request_with_any_values_is_a_request_or_an_error_of_ours(values: dict[str, Any]) -> None:
    try:
        decode_request(json.dumps({**PLAIN, **values}).encode())
    except MessageError:
        return


def cyclic() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


@pytest.mark.parametrize("value", [object(), cyclic(), "\ud800", {object(): 1}, 1j])
def test_what_json_cannot_say_is_not_sent(value: object) -> None:
    with pytest.raises(MessageError, match="request cannot be written as JSON"):
        encode(msgspec.structs.replace(REQUEST, data={"x": value}))


def test_ids_are_long_and_never_the_same() -> None:
    made = {new_id() for _ in range(1000)}
    assert len(made) == 1000
    assert {len(each) for each in made} == {32}
