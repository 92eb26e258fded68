# SPDX-License-Identifier: Apache-2.0
"""Write down what goes through a connector, and change nothing about it.

It verifies what comes for the record only; whether to believe it, the call decides as ever.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mco_client.outgoing import PROBE
from mco_client.recording import (
    MAX_MESSAGE_BYTES,
    Asked,
    Came,
    Entry,
    Lost,
    Returned,
    Session,
    question_of,
    redact,
)
from mco_client.recording.file import RecordingFile
from mco_client.text import one_line
from mco_rpc import names
from mco_rpc.config import ClientSettings
from mco_rpc.connector import Connector, Endpoint, Listener, Packet
from mco_rpc.errors import BrokerError, RecordingError, SecurityError
from mco_rpc.security import Security

_MAX_SIGNER_LENGTH = 256
_log = logging.getLogger(__name__)


@dataclass
class _Open:
    """A request under way.

    Attributes:
        waiting: the nodes that may still answer, None if nobody knows them.
        everybody: the key that reaches all of them.
    """

    began: float
    ttl_s: float
    waiting: set[str] | None
    everybody: str


class RecordingConnector:
    """Another connector and its listener, with a recording between them.

    Args:
        security: says which answers are believed, and who asks.
    """

    def __init__(self, inner: Connector, file: Path, settings: ClientSettings, security: Security) -> None:
        self._inner, self._path = inner, file
        self._settings, self._security = settings, security
        self._open: dict[str, _Open] = {}
        self._failure: RecordingError | None = None

    def open(self, endpoint: Endpoint, listener: Listener) -> None:
        """Begin to record, and to connect.

        Raises:
            RecordingError: the recording cannot be written.
        """
        self._listener = listener
        self._file = RecordingFile(self._path)
        session = Session(at=time.time(), collective=self._settings.collective, caller=self._security.principal)
        try:
            self._file.write(session)
        except RecordingError:
            self._file.close()
            raise
        self._inner.open(endpoint, self)

    def publish(self, packets: Sequence[Packet]) -> None:
        """Write down what is asked, then ask it.

        Raises:
            RecordingError: it, or what came before, could not be written down; nothing was sent.
        """
        if self._failure is not None:
            raise self._failure
        for packet in packets:
            if packet.type != PROBE and packet.message_id not in self._open:
                self._begin(packet)
        self._inner.publish(packets)

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back on the inner connector's thread."""
        self._inner.soon(callback)

    def addresses(self) -> list[str]:
        """Return the addresses of the broker."""
        return self._inner.addresses()

    def close(self) -> None:
        """Leave, and end the recording."""
        self._inner.close()
        if hasattr(self, "_file"):
            self._file.close()

    # What follows runs on the inner connector's thread.

    def on_connected(self) -> None:
        """Pass it on."""
        self._listener.on_connected()

    def on_packet(self, packet: Packet) -> None:
        """Write down what came for a request, and pass it on."""
        asked = self._open.get(packet.correlation_id)
        if asked is not None:
            self._note(self._came(packet, asked))
        self._listener.on_packet(packet)

    def on_returned(self, packet: Packet) -> None:
        """Write down who is not there, and pass it on."""
        asked = self._open.get(packet.message_id)
        if asked is not None:
            if asked.waiting is not None:
                asked.waiting -= asked.waiting if packet.key == asked.everybody else {packet.key}
            after_s = _since(asked.began)
            self._note(Returned(id=packet.message_id, after_s=after_s, key=packet.key, type=packet.type))
        self._listener.on_returned(packet)

    def on_disconnected(self, reason: BrokerError) -> None:
        """Write down which requests had no end yet, and pass it on.

        When the answers of an unknown population are complete, only the call knows: the last question counts as
        open, for as long as it may.
        """
        now = time.monotonic()
        for number, (request_id, asked) in enumerate(self._open.items(), 1):
            is_last = number == len(self._open)
            is_open = is_last if asked.waiting is None else bool(asked.waiting)
            if is_open and now - asked.began < asked.ttl_s:
                self._note(Lost(id=request_id, after_s=_since(asked.began), why=one_line(reason)))
        self._listener.on_disconnected(reason)

    def _begin(self, packet: Packet) -> None:
        request: dict[str, Any] = msgspec.json.decode(packet.body)
        question = redact(question_of(packet.body, self._open), self._file.header.redacted)
        ttl_s, window_s = request["ttl_s"], self._settings.discovery_window_s
        self._file.write(Asked(id=packet.message_id, at=time.time(), question=question, ttl_s=ttl_s, window_s=window_s))
        targets = request.get("targets")
        waiting = None if targets is None else set(targets)
        self._open[packet.message_id] = _Open(time.monotonic(), ttl_s, waiting, names.agent_key(request["agent"]))

    def _came(self, packet: Packet, asked: _Open) -> Came:
        after_s = _since(asked.began)
        signer = packet.signer[:_MAX_SIGNER_LENGTH]
        size_bytes = len(packet.body)
        if size_bytes > MAX_MESSAGE_BYTES:
            doubt = f"a message of {size_bytes} bytes was not recorded; at most {MAX_MESSAGE_BYTES} are"
            return Came(id=packet.correlation_id, after_s=after_s, signer=signer, doubt=doubt)
        try:
            principal = self._security.verify(packet.body, packet.signer, packet.signature)
        except SecurityError as e:
            return Came(id=packet.correlation_id, after_s=after_s, signer=signer, doubt=one_line(e))
        try:
            message = msgspec.json.decode(packet.body)
            if isinstance(message, dict):
                if asked.waiting and message.get("kind") == "reply":
                    asked.waiting.discard(principal)
                message = redact(message, self._file.header.redacted)
            # As text of one line, that it is JSON again is sure; numbers may lose digits that nobody could read.
            body = msgspec.Raw(msgspec.json.encode(message))
        except (ValueError, TypeError, OverflowError, RecursionError):
            raw = b"" if self._file.header.redacted else packet.body
            return Came(id=packet.correlation_id, after_s=after_s, signer=signer, principal=principal, raw=raw)
        return Came(id=packet.correlation_id, after_s=after_s, signer=signer, principal=principal, message=body)

    def _note(self, entry: Entry) -> None:
        """Write an entry; what cannot be written keeps nobody from its answer, but from asking more.

        The first failure is the last attempt: it may have taken seconds, and each answer would wait as long.
        """
        if self._failure is not None:
            return
        try:
            self._file.write(entry)
        except RecordingError as e:
            self._failure = e
            _log.error("the recording is not complete: %s", one_line(e))


def _since(began: float) -> float:
    return round(time.monotonic() - began, 6)
