# SPDX-License-Identifier: Apache-2.0
"""Answer from a recording, in the place of a fleet: no broker, no nodes, no keys.

What the recording vouches for passes the same checks as a live answer; what was not believed then is not believed now.
It signs nothing, and believes nothing but its own: over a real broker it can neither ask nor be told anything.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import heapq
import hmac
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from mco_client.outgoing import OVER, PROBE
from mco_client.recording import Came, Event, Recording, Returned, question_of
from mco_client.recording.answers import RecordedAnswers
from mco_client.text import listed, one_line
from mco_rpc import names
from mco_rpc.config import ClientSettings
from mco_rpc.connector import Endpoint, Listener, Packet
from mco_rpc.errors import BrokerUnreachable, ConfigError, SecurityError

CONNECTOR = "replay"
_SEAL_BYTES = 16
_DOUBTED, _VOUCHED = b"-", b"+"
_MAX_WAIT_S = 3600.0
_log = logging.getLogger(__name__)


class Replay:
    """A recording as a `Security`, and as what makes connectors; they share how far it was played."""

    def __init__(self, recording: Recording, *, speed: float = 0.0, is_strict: bool = False) -> None:
        self.recording, self.speed = recording, speed
        self.answers = RecordedAnswers(recording, is_strict=is_strict)
        self._secret = os.urandom(_SEAL_BYTES)

    @property
    def principal(self) -> str:
        """Who asked when it was recorded."""
        return self.recording.sessions[0].caller if self.recording.sessions else "key=nobody"

    @property
    def signer(self) -> str:
        """The name of the key that signed then; nothing is signed now."""
        return names.bare_caller(self.principal)

    @property
    def notice(self) -> str:
        """What everybody who reads the results must know."""
        recording = self.recording
        at = min((session.at for session in recording.sessions), default=recording.header.at)
        callers = listed({session.caller for session in recording.sessions}) or "nobody"
        collectives = listed({session.collective for session in recording.sessions}) or "-"
        parts = [f"answers recorded {_when(at)} from collective {collectives} by {callers}; nothing was asked now"]
        if recording.is_cut:
            parts.append("the last line of the recording is cut off")
        if recording.header.redacted:
            parts.append(f"redacted: {one_line(', '.join(recording.header.redacted))}")
        return "; ".join(parts)

    def sign(self, _body: bytes) -> bytes:
        """Return no signature: no node shall believe that this was asked."""
        return b""

    def sealed(self, came: Came, body: bytes) -> bytes:
        """Return what `verify` knows a recorded message by, and whether it was believed."""
        mark = _DOUBTED if came.principal is None else _VOUCHED
        says = mark + (came.doubt if came.principal is None else came.principal).encode()
        return self._seal(says, came.signer, body) + says

    def verify(self, body: bytes, signer: str, signature: bytes) -> str:
        """Return who had signed a recorded message; raise `SecurityError` if it was not believed, or is none."""
        seal, says = signature[:_SEAL_BYTES], signature[_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal(says, signer, body)):
            raise SecurityError("not from the recording: this is a replay, and believes nobody else")
        if says[:1] != _VOUCHED:
            raise SecurityError(says[1:].decode())
        return says[1:].decode()

    def _seal(self, says: bytes, signer: str, body: bytes) -> bytes:
        sealed = hashlib.blake2b(key=self._secret, digest_size=_SEAL_BYTES)
        for part in (says, signer.encode("utf-8", "surrogateescape"), body):
            sealed.update(len(part).to_bytes(8, "big") + part)
        return sealed.digest()


class ReplayConnector:
    """A connection to nobody: each question is followed by what followed it when it was recorded."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._seen: set[str] = set()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def open(self, endpoint: Endpoint, listener: Listener) -> None:
        """Let the listener know that messages flow."""
        self._listener = listener
        self._reply_key = endpoint.bindings[0][1] if endpoint.bindings else ""
        self._thread = threading.Thread(target=self._run, name=f"replay {endpoint.queue}", daemon=True)
        self._thread.start()
        self._at(0.0, listener.on_connected)

    def publish(self, packets: Sequence[Packet]) -> None:
        """Find the answers to requests, and begin to give them.

        Raises:
            NotRecorded: there are none; what differs from what was recorded.
        """
        questions = {packet.message_id: packet for packet in packets if packet.type != PROBE}
        new = [packet for name, packet in questions.items() if name not in self._seen]
        found = [(packet, *self._replay.answers.take(question_of(packet.body, self._seen))) for packet in new]
        self._seen.update(packet.message_id for packet in new)
        now = time.monotonic()
        self._tell(now, [(packet, event) for packet, on_time, _ in found for event in on_time])
        if new:
            last_s = max((event.after_s for _, on_time, _ in found for event in on_time), default=0.0)
            over = _packet("", OVER, new[-1])
            self._at(self._when(now, last_s), functools.partial(self._listener.on_returned, over))
        self._tell(now, [(packet, event) for packet, _, late in found for event in late])

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back on the thread that answers."""
        self._at(time.monotonic(), callback)

    def addresses(self) -> list[str]:
        """Return nothing: there is no network."""
        return []

    def close(self) -> None:
        """Give no more answers."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _when(self, asked_at: float, after_s: float) -> float:
        """Return when something is due: at once, or as long after the question as it was, by the replay's speed."""
        return asked_at + after_s / self._replay.speed if self._replay.speed else 0.0

    def _at(self, due: float, callback: Callable[[], None]) -> None:
        with self._changed:
            heapq.heappush(self._due, (due, next(self._numbers), callback))
            self._changed.notify_all()

    def _tell(self, now: float, events: Iterable[tuple[Packet, Event]]) -> None:
        """Let the listener know of events, each when it is due."""
        for asked, event in events:
            callback: Callable[[], None]
            match event:
                case Came():
                    callback = functools.partial(self._give, event, asked)
                case Returned():
                    callback = functools.partial(self._listener.on_returned, _packet(event.key, event.type, asked))
                case _:
                    callback = functools.partial(self._lose, event.why)
            self._at(self._when(now, event.after_s), callback)

    def _give(self, came: Came, asked: Packet) -> None:
        body = came.raw or bytes(came.message)
        # The id is a random one; wherever it stands in a message, it means the request.
        body = body.replace(f'"{came.id}"'.encode(), f'"{asked.message_id}"'.encode()) if came.id else body
        self._listener.on_packet(
            Packet(
                exchange=asked.exchange,
                key=self._reply_key,
                body=body,
                type="reply",
                message_id=asked.message_id,
                correlation_id=asked.message_id,
                signer=came.signer,
                signature=self._replay.sealed(came, body),
            )
        )

    def _lose(self, why: str) -> None:
        with self._changed:
            self._is_closed = True
        self._listener.on_disconnected(BrokerUnreachable(one_line(why)))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_closed and (wait_s := self._wait_s()) != 0:
                    self._changed.wait(wait_s)
                if self._is_closed:
                    return
                callback = heapq.heappop(self._due)[2]
            try:
                callback()
            except Exception:  # a listener's mistake must not end this thread, here as for real
                _log.exception("a callback failed")

    def _wait_s(self) -> float | None:
        """Return how long nothing is due, None for until somebody asks."""
        return min(_MAX_WAIT_S, max(0.0, self._due[0][0] - time.monotonic())) if self._due else None


def replay_of(settings: ClientSettings) -> Replay:
    """Return the replay that the settings describe.

    Raises:
        ConfigError: they name no recording.
        RecordingError: it cannot be read.
    """
    if not settings.replay:
        raise ConfigError("connector: replay needs `replay`, the recording to answer from (MCO_REPLAY=FILE)")
    recording = Recording.read(Path(settings.replay).expanduser())
    return Replay(recording, speed=settings.replay_speed, is_strict=settings.replay_strict)


def connector_of(security: object) -> ReplayConnector:
    """Return a connector that answers from the recording which vouches for the answers.

    Raises:
        ConfigError: something else would have to vouch for them.
    """
    if not isinstance(security, Replay):
        raise ConfigError("connector: replay has a security of its own; no other one can be used with it")
    return ReplayConnector(security)


def _packet(key: str, kind: str, asked: Packet) -> Packet:
    """Return a packet that comes back for a request."""
    return dataclasses.replace(asked, key=key, type=kind, body=b"")


def _when(at: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return "at an impossible time"
