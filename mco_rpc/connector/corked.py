# SPDX-License-Identifier: Apache-2.0
"""A connection of pika's that sends what belongs together in one piece, and at once.

pika gives each frame of a message to the socket alone: three system calls, three packets, and the receiver is woken
three times; and it does so only after another turn of its loop. The methods that are changed here are private;
`tests/broker/test_corked.py` notices if they are called otherwise one day.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pika


class CorkedConnection(pika.SelectConnection):  # type: ignore[misc]  # pika has no types
    """Sends the frames of one message together, and those of all messages that are published while it is corked."""

    _kept: list[bytes] | None = None

    @contextlib.contextmanager
    def corked(self) -> Iterator[None]:
        """Keep what is sent until the end, and send it then."""
        self._kept = []
        try:
            yield
        finally:
            frames, self._kept = self._kept, None
            if frames:
                self._output_marshaled_frames(frames)
                self._write_now()

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        if self._kept is not None:
            self._kept += marshaled_frames
        else:
            super()._output_marshaled_frames([b"".join(marshaled_frames)])

    def _write_now(self) -> None:
        """Do what the loop would do on its next turn; what the socket does not take now stays for then."""
        transport = getattr(self, "_transport", None)
        if transport is not None and transport.get_write_buffer_size():
            transport._on_socket_writable()  # noqa: SLF001 - pika has no public way
