# SPDX-License-Identifier: Apache-2.0
"""What a command prints, told in whole lines while it prints; nothing here runs a command."""

from __future__ import annotations

import codecs

from mco_rpc.current import Tell

# A line that does not end is told in parts.
MAX_LINE_LENGTH = 4096


class Lines:
    """Tells what a command prints in whole lines, as many at a time as there are, and the rest at its end."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._begun = {"stdout": "", "stderr": ""}
        # A character may come in two parts.
        self._decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in self._begun}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        for stream, begun in self._begun.items():
            if rest := begun + self._decoders[stream].decode(b"", final=True):
                self._tell(stream, rest, {})

    def add(self, stream: str, chunk: bytes) -> None:
        """Take what came."""
        lines, mark, rest = (self._begun[stream] + self._decoders[stream].decode(chunk)).rpartition("\n")
        if len(rest) > MAX_LINE_LENGTH:
            lines, mark, rest = lines + mark + rest, "", ""
        self._begun[stream] = rest
        if lines or mark:
            self._tell(stream, lines + mark, {})
