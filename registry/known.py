# SPDX-License-Identifier: Apache-2.0
"""What is known of a node, and what becomes of it by what the node says; pure, without clock and database."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Annotated, Any

import msgspec

from mco_rpc.errors import MessageError
from mco_rpc.settings import MAX_REGISTRATION_INTERVAL_S, MIN_REGISTRATION_INTERVAL_S

PRESENCE, REGISTRATION = "presence", "registration"
PRESENT, EXPECTED, SILENT, STOPPED = "present", "expected", "silent", "stopped"
STATES = (PRESENT, EXPECTED, SILENT, STOPPED)
# In the order in which they are left out of what is too large.
PARTS = ("facts", "classes", "agents")
DEFAULT_INTERVAL_S = 300.0
MAX_CLASS_LENGTH = 256
# Whoever reads it again may be deeper in calls of his own, and Python's decoder counts both.
MAX_DEPTH = 50
_MIN_PATIENCE_S = 5.0

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CLASS_LENGTH)]
_Version = Annotated[str, msgspec.Meta(max_length=64)]


class Offered(msgspec.Struct, frozen=True):
    """An agent that a node offers; ``schema`` is the digest of its schema."""

    version: _Version = ""
    schema: _Version = ""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a registration says; what a newer node says beside it is not kept.

    Attributes:
        incomplete: the `PARTS` of which the node has more than it says.
    """

    version: _Version = ""
    interval_s: float = DEFAULT_INTERVAL_S
    collectives: tuple[_Name, ...] = ()
    agents: dict[_Name, Offered] = {}
    classes: tuple[_Name, ...] = ()
    facts: dict[str, Any] = {}
    incomplete: tuple[str, ...] = ()

    def body(self) -> bytes:
        """Return it as it is kept."""
        return msgspec.json.encode(self)

    def fitted(self, max_bytes: int) -> Content:
        """Return as much of it as fits, the facts being the first to go.

        Raises:
            MessageError: nothing would be left.
        """
        fitting = self
        for part in PARTS:
            if len(fitting.body()) <= max_bytes:
                return fitting
            empty: Any = () if part == "classes" else {}
            missing = tuple(sorted({*fitting.incomplete, part}))
            fitting = msgspec.structs.replace(fitting, **{part: empty, "incomplete": missing})
        if len(fitting.body()) <= max_bytes:
            return fitting
        raise MessageError(f"a registration of {len(self.body())} bytes; at most {max_bytes} are kept")


NOTHING_SAID = Content(incomplete=tuple(sorted(PARTS)))
_body = msgspec.json.Decoder(Content)


def content_of(data: dict[str, Any]) -> Content:
    """Return what a registration's data says; raise `MessageError` if that is none."""
    try:
        content = msgspec.convert(data, Content)
        content.body()
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError) as e:
        raise MessageError(f"not a registration: {e}") from e
    if _is_deeper(content.facts, MAX_DEPTH):
        raise MessageError(f"not a registration: its facts are nested more than {MAX_DEPTH} deep")
    # A database's text cannot hold it, and no class or agent is called so.
    if any("\0" in name for name in (*content.classes, *content.agents, content.version)):
        raise MessageError("not a registration: a name has a NUL character in it")
    unknown = [part for part in content.incomplete if part not in PARTS]
    if unknown:
        raise MessageError(
            f"not a registration: incomplete is {unknown[0][:60]!r}, expected some of {', '.join(PARTS)}"
        )
    return msgspec.structs.replace(content, interval_s=interval_of(content.interval_s))


def _is_deeper(value: object, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        values = (child for each in level for child in (each.values() if isinstance(each, dict) else each))  # type: ignore[attr-defined]  # a list
        level = [child for child in values if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def content_from(body: bytes | str | None) -> Content:
    """Return what was kept as ``body``; `NOTHING_SAID` of a node that did not register yet."""
    return NOTHING_SAID if body is None else _body.decode(body)


def interval_of(seconds: object) -> float:
    """Return how often a node says that it registers, if that can be."""
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    can_be = is_number and MIN_REGISTRATION_INTERVAL_S <= seconds <= MAX_REGISTRATION_INTERVAL_S  # type: ignore[operator]
    return float(seconds) if can_be else DEFAULT_INTERVAL_S  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Heard:
    """One event whose sender is certain.

    Attributes:
        sent_at: seconds since the epoch, by the node's clock.
        heard_at: the same by ours.
        is_stopping: of a presence: whether the node goes.
        content: of a registration.
    """

    identity: str
    topic: str
    sent_at: float
    heard_at: float
    interval_s: float
    version: str = ""
    is_stopping: bool = False
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """All that is kept of a node.

    Attributes:
        first_seen, last_seen: seconds since the epoch by our clock.
        presence_at, registered_at: when its last presence and registration were sent, by its own clock.
        interval_s: how often it says that it registers.
        body: its registration; None while there is none, and where it was not asked for.
    """

    identity: str
    version: str = ""
    is_stopped: bool = False
    first_seen: float = 0.0
    last_seen: float = 0.0
    presence_at: float = 0.0
    registered_at: float = 0.0
    interval_s: float = DEFAULT_INTERVAL_S
    digest: str = ""
    incomplete: str = ",".join(NOTHING_SAID.incomplete)
    body: str | None = None

    def after(self, heard: Heard) -> Known:
        """Return what is known when that was heard, too: the same if it is older than what was heard before.

        Nobody can bring a node back to life, or stop it, with a recording of what it said once.
        """
        if heard.topic == PRESENCE:
            if heard.sent_at <= self.presence_at or heard.sent_at < self.registered_at:
                return self
            return replace(
                self._seen(heard), is_stopped=heard.is_stopping, presence_at=heard.sent_at, version=heard.version
            )
        if heard.sent_at <= self.registered_at or heard.sent_at < self.presence_at or heard.content is None:
            return self
        body = heard.content.body().decode()
        return replace(
            self._seen(heard),
            is_stopped=False,
            registered_at=heard.sent_at,
            version=heard.content.version,
            incomplete=",".join(heard.content.incomplete),
            body=body,
            digest=hashlib.sha256(body.encode()).hexdigest(),
        )

    def _seen(self, heard: Heard) -> Known:
        first = self.first_seen or heard.heard_at
        return replace(self, first_seen=first, last_seen=heard.heard_at, interval_s=heard.interval_s)

    def state(self, judged_at: float, listening_since: float) -> str:
        """Return whether the node is there, as far as it can be known.

        Nobody is called silent for a time in which nobody listened: such a node is `EXPECTED` until it is overdue.

        Args:
            judged_at: until when everything that was said was heard, by our clock.
            listening_since: since when.
        """
        if self.is_stopped:
            return STOPPED
        patience_s = self.interval_s + max(_MIN_PATIENCE_S, self.interval_s / 2)
        if judged_at - max(self.last_seen, listening_since) > patience_s:
            return SILENT
        return PRESENT if judged_at - self.last_seen <= patience_s else EXPECTED
