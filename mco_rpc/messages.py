# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire: requests, replies and events, as typed JSON.

Every field that changes what happens is in the body, and the body's bytes are what is signed. A request
with a field this version does not know is refused: it may hold a restriction that would be ignored.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, TypeVar

import msgspec

from mco_rpc.errors import MessageError
from mco_rpc.filters import Filter

MAX_ID_LENGTH = 128  # every node remembers the ids of a while


class Request(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="request",
    tag_field="kind",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """Ask nodes to do one action of one agent.

    Attributes:
        targets: the identities it is for, or None for everybody whom the filter matches.
        sender: the host it was asked from; a hint for people, vouched for by nobody.
        sent_at: seconds since the epoch, by the caller's clock.
        ttl_s: seconds after which no node may begin to act on it.
        reply_to: routing key of the caller's reply queue; None means that nobody waits.
        noop: say what would be changed, and change nothing.
        follow: say when the action begins, and what it tells while it runs.
    """

    id: Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH)]
    collective: str
    agent: str
    action: str
    caller: str
    sender: str
    sent_at: float
    ttl_s: float
    data: dict[str, Any] = {}
    filter: Filter = Filter()
    targets: tuple[str, ...] | None = None
    reply_to: str | None = None
    noop: bool = False
    follow: bool = False


class Ack(msgspec.Struct, frozen=True, kw_only=True, tag="ack", tag_field="kind"):
    """The action begins on this node: it was let through, and a worker took it."""

    id: str
    collective: str
    agent: str
    action: str
    sender: str
    sent_at: float


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress", tag_field="kind", omit_defaults=True):
    """What a running action tells.

    Attributes:
        number: counts from 1 for each request and node, so that a gap shows.
        stream: ``progress`` for what the agent says, ``stdout`` or ``stderr`` for what its command prints.
        data: what the agent says as data, a percentage for instance.
    """

    id: str
    collective: str
    agent: str
    action: str
    sender: str
    sent_at: float
    number: int
    stream: str = "progress"
    text: str = ""
    data: dict[str, Any] = {}


class Reply(msgspec.Struct, frozen=True, kw_only=True, tag="reply", tag_field="kind", omit_defaults=True):
    """What became of a request on one node.

    Attributes:
        id: the request's.
        status: a `mco_rpc.status.Status`; a number this version does not know is kept as it is.
        data: the action's outputs; empty unless it ran.
        ran_s: seconds from the request's arrival to this reply, on the node.
        schema: digest of the agent's schema on this node; empty if it does not offer the agent.
    """

    id: str
    collective: str
    agent: str
    action: str
    sender: str
    sent_at: float
    status: int = 0
    message: str = ""
    data: dict[str, Any] = {}
    ran_s: float = 0.0
    schema: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag="event", tag_field="kind"):
    """Something a node says unasked: that it is there, that it goes.

    Attributes:
        topic: what it is about (``presence``), the first word of its routing key.
    """

    topic: str
    collective: str
    sender: str
    sent_at: float
    data: dict[str, Any] = {}


Answer = Reply | Progress | Ack
_Message = TypeVar("_Message")
_encoder = msgspec.json.Encoder()
_request = msgspec.json.Decoder(Request)
_reply = msgspec.json.Decoder(Reply)
_answer: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_event = msgspec.json.Decoder(Event)


def new_id() -> str:
    """Return 128 random bits in hexadecimal: the id of a request."""
    return os.urandom(16).hex()


def encode(message: Request | Reply | Ack | Progress | Event) -> bytes:
    """Return the body that is signed and sent.

    Raises:
        MessageError: the data holds something that JSON cannot say.
    """
    try:
        return _encoder.encode(message)
    except (TypeError, ValueError, RecursionError) as e:
        raise MessageError(f"{type(message).__name__.lower()} cannot be written as JSON: {e}") from e


def decode_request(body: bytes) -> Request:
    """Return the request in ``body``; raise `MessageError` if there is none."""
    return _decode(_request, body, "request")


def decode_reply(body: bytes) -> Reply:
    """Return the reply in ``body``; raise `MessageError` if there is none."""
    return _decode(_reply, body, "reply")


def decode_answer(body: bytes) -> Answer:
    """Return what a node says to a request; raise `MessageError` if ``body`` holds nothing of the kind."""
    return _decode(_answer, body, "reply")


def decode_event(body: bytes) -> Event:
    """Return the event in ``body``; raise `MessageError` if there is none."""
    return _decode(_event, body, "event")


def _decode(decoder: msgspec.json.Decoder[_Message], body: bytes, kind: str) -> _Message:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise MessageError(f"{len(body)} bytes that are not a {kind}: {e}") from e
