# SPDX-License-Identifier: Apache-2.0
"""Find the lines of an open file that an expression is found in, in time linear in the file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from mco_rpc.errors import FilterError
from mco_rpc.filters import patterns

from .contents import MAX_KEPT_BYTES, MAX_LINE_BYTES, as_line

_CHUNK_BYTES = 32 * 1024
# What means something else in the midst of many lines than in one, or would change what is put around it.
_OF_ONE_LINE = re.compile(r"\\[AzCQ]|\(\?[a-zA-Z]*-")


def found(fd: int, pattern: str, keep: int, check: Callable[[], None]) -> tuple[int, list[dict[str, Any]], int]:
    """Return in how many lines something is found, the first of them with their numbers, and the number of all.

    Args:
        check: called now and then; what it raises ends the reading.

    Raises:
        FilterError: the pattern cannot be used.
    """
    pattern = patterns.bare(pattern)
    expression, of_many = patterns.compiled(pattern), _of_many(pattern)
    count, number, room_bytes = 0, 0, MAX_KEPT_BYTES
    kept: list[dict[str, Any]] = []
    for lines, text in _parts(fd):
        check()
        # To ask each line costs a hundred times more than to ask all of them at once, and mostly the answer is no.
        if text is not None and of_many is not None and of_many.search(text) is None:
            number += len(lines)
            continue
        for line in lines:
            number += 1
            if expression.search(line[:MAX_LINE_BYTES]) is not None:
                count += 1
                room_bytes -= len(line[:MAX_LINE_BYTES])
                if len(kept) < keep and room_bytes > 0:
                    kept.append({"number": number, "line": as_line(line)})
    return count, kept, number


def _of_many(pattern: str) -> Any:
    """Return an expression that is found in lines if ``pattern`` is found in one of them; None if there is none."""
    if _OF_ONE_LINE.search(pattern):
        return None
    try:
        return patterns.compiled(f"(?m:{pattern})")
    except FilterError:  # too large with that
        return None


def _parts(fd: int) -> Iterator[tuple[list[bytes], bytes | None]]:
    """Yield the lines of a file to the size that it has now, some at a time, and their text if that is all of them."""
    rest, at, size_bytes = b"", 0, os.fstat(fd).st_size
    while at < size_bytes and (chunk := os.pread(fd, min(_CHUNK_BYTES, size_bytes - at), at)):
        at += len(chunk)
        first, mark, others = chunk.partition(b"\n")
        rest = (rest + first)[: MAX_LINE_BYTES + 1]
        if mark:
            text, mark, begun = others.rpartition(b"\n")
            yield [rest], None
            if mark:
                lines = text.split(b"\n")
                yield lines, text if max(map(len, lines)) <= MAX_LINE_BYTES else None
            rest = begun[: MAX_LINE_BYTES + 1]
        else:
            yield [], None
    if rest:
        yield [rest], None
