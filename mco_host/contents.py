# SPDX-License-Identifier: Apache-2.0
"""The last lines of an open file, and lines as text that can be sent."""

from __future__ import annotations

import os

from mco_rpc.errors import ActionAborted

MAX_LINE_BYTES = 16 * 1024
# As JSON six times as much in the worst case, which still fits into a reply.
MAX_KEPT_BYTES = 128 * 1024
_CHUNK_BYTES = 256 * 1024


def last_lines(fd: int, count: int) -> tuple[list[str], int, bool]:
    """Return the last lines, the place in the file after them, and whether fewer were read than were asked for.

    Raises:
        ActionAborted: it became shorter meanwhile.
    """
    end = os.fstat(fd).st_size
    begin, parts, breaks = end, [b""], 0
    while begin > 0 and end - begin < MAX_KEPT_BYTES and breaks <= count:
        size = min(_CHUNK_BYTES, begin, MAX_KEPT_BYTES - (end - begin))
        part = os.pread(fd, size, begin - size)
        if len(part) < size:
            raise ActionAborted("it became shorter while it was read; ask again")
        begin -= size
        breaks += part.count(b"\n")
        parts.append(part)
    data = b"".join(reversed(parts))
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    is_cut = begin > 0 and len(lines) <= count
    kept = lines[-count:] if count else []
    return [as_line(line) for line in kept], end, is_cut


def as_line(line: bytes) -> str:
    """Return a line as text that can be sent; bytes that are no characters are written as such."""
    text = line[:MAX_LINE_BYTES].decode("utf-8", "backslashreplace").rstrip("\r")
    return f"{text}..." if len(line) > MAX_LINE_BYTES else text
