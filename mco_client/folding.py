# SPDX-License-Identifier: Apache-2.0
"""Many names of nodes in few words: ``web[01:17]``, in the notation that `mco_client.discovery.ranges` reads."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from mco_client.text import natural, safe

_DIGITS = re.compile(r"([0-9]+)")
_MAX_DIGITS = 9
# Fewer are read faster one by one.
_FEW = 3
_SHORTEST = 3


def folded(nodes: Iterable[str]) -> str:
    """Return the names for people: each by its name while they are few, else as ranges; safe for a terminal.

    >>> folded(f"web{number:02}" for number in range(1, 18))
    'web[01:17]'
    >>> folded(["db1", "web2", "web1"])
    'db1, web1, web2'
    """
    unique = sorted({safe(node) for node in nodes}, key=natural)
    return ", ".join(unique if len(unique) <= _FEW else fold(unique))


def fold(names: Iterable[str]) -> list[str]:
    """Return the fewest texts with one range each that stand for these names, sorted as people count."""
    left = sorted(set(names), key=natural)
    most = max((len(_DIGITS.findall(name)) for name in left), default=0)
    by_place = [_at(left, place) for place in range(most)]
    best = min(by_place, key=len, default=left)
    return sorted(best if len(best) < len(left) else left, key=natural)


def _at(names: list[str], place: int) -> list[str]:
    """Return the names with runs of the number at one place folded."""
    texts = []
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        parts = _DIGITS.split(name)
        at = 2 * place + 1
        if at < len(parts) and len(parts[at]) <= _MAX_DIGITS and not {"[", "]"} & set(name):
            alike["".join(parts[:at]), "".join(parts[at + 1 :])].append(parts[at])
        else:
            texts.append(name)
    for (before, after), numbers in alike.items():
        for run in _runs(numbers):
            if len(run) < _SHORTEST:
                texts += [f"{before}{number}{after}" for number in run]
            else:
                texts.append(f"{before}[{run[0]}:{run[-1]}]{after}")
    return texts


def _runs(numbers: list[str]) -> list[list[str]]:
    """Return the numbers as runs that a range, which pads as its first number does, writes out again."""
    runs: list[list[str]] = []
    for number in sorted(numbers, key=lambda number: (int(number), number)):
        if runs and number == _next(runs[-1]):
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _next(run: list[str]) -> str:
    width = len(run[0]) if run[0].startswith("0") and len(run[0]) > 1 else 0
    following = f"{int(run[-1]) + 1:0{width}d}"
    return following if not width or len(following) == width else ""
