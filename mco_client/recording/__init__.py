# SPDX-License-Identifier: Apache-2.0
"""A recording: what was asked of a fleet and what came back, as JSON lines. Reads it; `recording_file` writes it.

The first line is the header. Then comes one line for each connection (`Session`), each question (`Asked`) and each
thing that became of it (`Came`, `Returned`, `Lost`), written when it happens: whoever is killed leaves a recording of
what had happened by then. No password, private key or signature is in it; questions and answers are.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec

from mco_client.text import one_line
from mco_rpc import __version__, names
from mco_rpc.errors import RecordingError

VERSION = 1
# What makes two questions the same is everything else.
VOLATILE = frozenset({"kind", "id", "caller", "sender", "sent_at", "ttl_s", "reply_to", "follow"})
BLANK = "(redacted)"
EARLIER = "(an earlier request)"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_MAX_LINE_BYTES = 2 * MAX_MESSAGE_BYTES
_MAX_SECONDS = 1e12
MAX_HEADER_BYTES = 64 * 1024

_Time = Annotated[float, msgspec.Meta(ge=0, le=_MAX_SECONDS)]


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="recording", tag_field="kind", forbid_unknown_fields=True):
    """The first line; ``redacted`` are patterns of fields whose values are blanked, by whoever adds to the file."""

    version: int
    at: _Time
    mco: str
    redacted: tuple[str, ...] = ()


class Session(msgspec.Struct, frozen=True, kw_only=True, tag="session", tag_field="kind", forbid_unknown_fields=True):
    """Somebody connected, to ask."""

    at: _Time
    collective: str
    caller: str


class Asked(msgspec.Struct, frozen=True, kw_only=True, tag="asked", tag_field="kind", forbid_unknown_fields=True):
    """A request was sent.

    Attributes:
        question: its body without what is new each time.
        ttl_s: seconds for which answers were awaited.
        window_s: seconds without a new answer that ended the wait of a question to everybody.
    """

    id: str
    at: _Time
    question: dict[str, Any]
    ttl_s: _Time
    window_s: _Time


class _Event(
    msgspec.Struct, frozen=True, kw_only=True, tag=str.lower, tag_field="kind", forbid_unknown_fields=True,
    omit_defaults=True,
):  # fmt: skip
    """Something that became of a request.

    Attributes:
        id: the request's.
        after_s: seconds since it was sent.
    """

    id: str
    after_s: _Time


class Came(_Event, frozen=True, kw_only=True):
    """A message came for the request.

    Attributes:
        principal: who had signed it; nobody if it was not believed.
        doubt: why it was not believed; such a message is not kept.
        message: its body.
        raw: its body if that is no JSON.
    """

    signer: str
    principal: str | None = None
    doubt: str = ""
    message: msgspec.Raw = msgspec.Raw()
    raw: bytes = b""


class Returned(_Event, frozen=True, kw_only=True):
    """The broker gave a packet back because nobody was there for its key."""

    key: str
    type: str


class Lost(_Event, frozen=True, kw_only=True):
    """The connection was lost before the request was over."""

    why: str


Event = Came | Returned | Lost
Entry = Header | Session | Asked | Came | Returned | Lost


@dataclass(frozen=True)
class RecordedCall:
    """A question and, in their order, the events that followed it."""

    asked: Asked
    events: list[Event] = field(default_factory=list)

    def over_after_s(self) -> float:
        """Return when nobody waited any more; what came later was late."""
        over_s = self.asked.ttl_s
        if isinstance(self.asked.question.get("targets"), list):
            return over_s
        until_s = over_s
        for at_s in sorted(event.after_s for event in self.events if isinstance(event, Came)):
            if at_s > until_s:
                break
            until_s = min(over_s, at_s + self.asked.window_s)
        return until_s


@dataclass(frozen=True)
class Recording:
    """What a file holds; ``is_cut`` says that its last line is not whole."""

    path: Path
    header: Header
    sessions: Sequence[Session]
    calls: Sequence[RecordedCall]
    is_cut: bool = False

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Read a recording.

        Raises:
            RecordingError: it cannot be read, or is none; with the line.
        """
        try:
            with open(path, "rb", opener=open_at_once) as file:
                require_regular(path, file.fileno())
                return cls._of(path, file)
        except OSError as e:
            raise RecordingError(f"recording {path}: {e.strerror}") from e

    @classmethod
    def _of(cls, path: Path, file: IO[bytes]) -> Recording:
        header = header_in(path, file.readline(MAX_HEADER_BYTES))
        sessions: list[Session] = []
        calls: dict[str, RecordedCall] = {}
        is_cut = False
        for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), 2):
            try:
                entry = _decode(line)
                _take(entry, sessions, calls)
            except ValueError as e:
                if not line.endswith(b"\n") and len(line) < _MAX_LINE_BYTES:
                    is_cut = True
                    break
                raise RecordingError(f"recording {path}, line {number}: {one_line(e)}") from e
        return cls(path, header, sessions, list(calls.values()), is_cut)


def question_of(body: bytes, earlier: Container[str]) -> dict[str, Any]:
    """Return what a request asks: its body without what is new each time, the ids of earlier requests among it."""
    asked: dict[str, Any] = msgspec.json.decode(body)
    question = {name: value for name, value in asked.items() if name not in VOLATILE}
    return {**question, "data": _without_ids(question["data"], earlier)} if "data" in question else question


def _without_ids(value: Any, ids: Container[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without_ids(each, ids) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_ids(each, ids) for each in value]
    return EARLIER if isinstance(value, str) and value in ids else value


def redact(message: dict[str, Any], patterns: Sequence[str]) -> dict[str, Any]:
    """Return a message in which every field of its data, or its text, whose name matches a pattern is blank."""
    if not patterns:
        return message
    blanked = {name: BLANK for name in ("message", "text") if message.get(name) and _is_named(name, patterns)}
    return {**message, **blanked, **({"data": _blanked(message["data"], patterns)} if "data" in message else {})}


def _blanked(value: Any, patterns: Sequence[str]) -> Any:
    if isinstance(value, dict):
        return {k: BLANK if _is_named(k, patterns) else _blanked(v, patterns) for k, v in value.items()}
    return [_blanked(each, patterns) for each in value] if isinstance(value, list) else value


def _is_named(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name.casefold(), pattern.casefold()) for pattern in patterns)


_head = msgspec.json.Decoder(dict[str, Any])
_entry: msgspec.json.Decoder[Session | Asked | Event] = msgspec.json.Decoder(Session | Asked | Event)


def _decode(line: bytes) -> Session | Asked | Event:
    """Return what a line holds; raise `ValueError` if that is nothing of a recording."""
    try:
        line.decode()
        return _entry.decode(line)
    except RecursionError as e:
        raise ValueError("nested too deeply") from e


def _take(entry: Session | Asked | Event, sessions: list[Session], calls: dict[str, RecordedCall]) -> None:
    """Add an entry to what was read; raise `ValueError` if it does not belong there."""
    match entry:
        case Session():
            if not (names.is_name(names.bare_caller(entry.caller)) and names.is_name(entry.collective)):
                raise ValueError(f"not a caller and a collective: {entry.caller!r}, {entry.collective!r}")
            sessions.append(entry)
        case Asked():
            if entry.id in calls:
                raise ValueError(f"request {entry.id!r} is there twice")
            calls[entry.id] = RecordedCall(entry)
        case _:
            # A sender is as trustworthy as a key's file name, and is printed as it is.
            if isinstance(entry, Came) and entry.principal is not None and not names.is_name(entry.principal):
                raise ValueError(f"{entry.principal!r} cannot be the name of a node")
            if entry.id not in calls:
                raise ValueError(f"it belongs to request {entry.id!r}, and there was none before")
            calls[entry.id].events.append(entry)


def header_in(path: Path, line: bytes) -> Header:
    """Return the header that a file begins with; raise `RecordingError` if it is none that we read."""
    version = require_kind(path, line)
    if version != VERSION:
        raise RecordingError(
            f"recording {path} has version {one_line(repr(version), 40)}; mco {__version__} reads version {VERSION}: "
            "record anew, or use the mco that made it"
        )
    try:
        return msgspec.json.decode(line, type=Header)
    except (ValueError, RecursionError) as e:
        raise RecordingError(f"recording {path}, line 1: {one_line(e)}") from e


def require_kind(path: Path, line: bytes) -> object:
    """Return the version of a recording by its first line; raise `RecordingError` if that is none of one."""
    try:
        head = _head.decode(line)
    except (ValueError, RecursionError):
        head = {}
    if head.get("kind") != "recording":
        what = "is no recording" if line else "is empty"
        raise RecordingError(f"{path} {what}: expected the header that `mco record` writes as its first line")
    return head.get("version")


def require_regular(path: Path, fd: int) -> None:
    """Raise `RecordingError` if an open file is a folder, a pipe or the like."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise RecordingError(f"recording {path}: not a regular file")


def open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting, whatever it is; for `open`."""
    return os.open(path, flags | os.O_NONBLOCK)  # to open a pipe would wait for its writer
