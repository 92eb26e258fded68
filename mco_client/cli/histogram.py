# SPDX-License-Identifier: Apache-2.0
"""How times are distributed, as bars of text."""

from __future__ import annotations

from collections.abc import Sequence

_BARS = 10
_EIGHTHS = " ▏▎▍▌▋▊▉"
_FULL = "█"
_LABEL = len("12345.6 ms  ")
_COUNT = len(" 123456")
_LONGEST = 50
_SHORTEST_S = 0.0001  # what the labels can tell apart


def histogram(times_s: Sequence[float], columns: int, *, encoding: str) -> list[str]:
    """Return a bar for each of ten equal ranges of time from the shortest to the longest, as long as many are in it.

    Args:
        columns: how wide the lines may be.
        encoding: of where they go; block elements are for one that has them.

    >>> for line in histogram([0.001, 0.0012, 0.005], 30, encoding="ascii")[:2]:
    ...     print(line.strip())
    1.4 ms  ########### 2
    1.8 ms
    """
    if not times_s:
        return []
    first_s = min(times_s)
    step_s = max((max(times_s) - first_s) / _BARS, _SHORTEST_S)
    counts = [0] * _BARS
    for time_s in times_s:
        counts[min(int((time_s - first_s) / step_s), _BARS - 1)] += 1
    while not counts[-1]:
        counts.pop()
    longest = max(1, min(columns - _LABEL - _COUNT, _LONGEST))
    draw = _blocks if _has_blocks(encoding) else _hashes
    return [
        f"{(first_s + number * step_s) * 1000:7.1f} ms  {draw(count / max(counts) * longest)} {count or ''}".rstrip()
        for number, count in enumerate(counts, 1)
    ]


def _has_blocks(encoding: str) -> bool:
    try:
        (_EIGHTHS + _FULL).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _blocks(length: float) -> str:
    eighths = round(length * 8)
    if length and not eighths:
        eighths = 1
    return (_FULL * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _hashes(length: float) -> str:
    return "#" * (max(1, round(length)) if length else 0)
