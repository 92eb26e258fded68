# SPDX-License-Identifier: Apache-2.0
"""What a running action tells a caller who follows: in order, numbered, bounded, and nothing after the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mco_rpc.errors import MessageError
from mco_rpc.messages import Ack, Progress, Request

# Of one request: so much is told, and more is not, whatever an action prints.
MAX_TOLD_BYTES = 4 * 1024 * 1024
MAX_TOLD = 20_000
MAX_TEXT = 32 * 1024


class Teller:
    """Tells of one request until it is answered; without a follower nothing."""

    def __init__(
        self, request: Request, sender: str, clock: Callable[[], float], send: Callable[[Request, Ack | Progress], int]
    ) -> None:
        self._request, self._sender, self._clock, self._send = request, sender, clock, send
        self._lock = threading.Lock()
        self._number = 0
        self._told_bytes = 0
        self._is_over = not request.follow

    def begin(self) -> None:
        """Say that the action begins."""
        with self._lock:
            if not self._is_over:
                self._send(self._request, Ack(**self._head()))

    def tell(self, stream: str, text: str, data: Mapping[str, Any]) -> None:
        """Say something; a long text in parts. What JSON cannot say raises `MessageError`, for the action to know."""
        for part, last in _parts(text):
            with self._lock:
                if self._is_over:
                    return
                if self._number >= MAX_TOLD or self._told_bytes >= MAX_TOLD_BYTES:
                    self._is_over = True
                    part, last = f"... no more is told: {self._told_bytes:,} bytes were", False
                    stream = "progress"
                self._number += 1
                said = Progress(
                    **self._head(), number=self._number, stream=stream, text=part, data=dict(data) if last else {}
                )
                try:
                    self._told_bytes += self._send(self._request, said)
                except MessageError:
                    self._number -= 1
                    raise

    def end(self) -> None:
        """Say nothing more: the answer comes."""
        with self._lock:
            self._is_over = True

    def _head(self) -> dict[str, Any]:
        request = self._request
        return {
            "id": request.id,
            "collective": request.collective,
            "agent": request.agent,
            "action": request.action,
            "sender": self._sender,
            "sent_at": self._clock(),
        }


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """Yield a text in parts, of whole lines where they are not longer than a part, and whether each is the last."""
    start = 0
    while len(text) - start > MAX_TEXT:
        end = text.rfind("\n", start, start + MAX_TEXT) + 1 or start + MAX_TEXT
        yield text[start:end], False
        start = end
    yield text[start:], True
