# SPDX-License-Identifier: Apache-2.0
"""Text from nodes on its way to people: nothing in it may reach the terminal as a command."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

# Letters to Python that a terminal shows as nothing, or as a blank.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
# More marks than any writing puts on one letter cover the lines around it.
_MAX_MARKS = 4


def safe(value: object) -> str:
    r"""Return text for a terminal: control characters and bidirectional marks made visible, tabs and line ends kept.

    >>> safe("up\x1b[2Jdown")
    'up\\x1b[2Jdown'
    """
    text = str(value)
    return text if text.isascii() and text.isprintable() else "".join(_safe(text))


def _safe(text: str) -> Iterator[str]:
    marks = 0
    for c in text:
        marks = marks + 1 if unicodedata.combining(c) else 0
        is_fine = c.isprintable() and c not in _INVISIBLE and marks <= _MAX_MARKS
        yield c if is_fine or c in "\n\t" else _escaped(c)


def one_line(value: object, limit: int = 300) -> str:
    """Return `safe` text without line ends, cut where it gets long."""
    raw = str(value)
    # To make megabytes safe, of which a line is shown, would take seconds.
    text = safe(raw[: 4 * limit]).replace("\n", "\\n").replace("\t", "\\t")
    length = len(text) + len(raw[4 * limit :])
    return text if length <= limit else f"{text[:limit]}... ({length} characters)"


def shown(value: object) -> str:
    """Return a value of a reply as a table cell: text as it is, the rest as JSON."""
    if isinstance(value, str):
        return safe(value)
    return safe(json.dumps(value, ensure_ascii=False, default=str))


def listed(nodes: Iterable[str]) -> str:
    """Return the names of nodes, sorted as people count: web2 before web10."""
    return ", ".join(sorted(nodes, key=natural))


def with_reasons(unverified: Mapping[str, str], more: int = 0) -> str:
    """Return who was not believed, and why, equal reasons together; neither names nor reasons are to be trusted."""
    told = ", ".join(f"{', '.join(nodes)} ({why})" for nodes, why in by_reason(unverified))
    return f"{told}{' and ' if told else ''}{more:,} more" if more else told


def by_reason(reasons: Mapping[str, str]) -> list[tuple[list[str], str]]:
    """Return the nodes that have the same reason, and the reason; fit to be shown.

    >>> by_reason({"web1": "offline", "web2": "silent", "web10": "offline"})
    [(['web1', 'web10'], 'offline'), (['web2'], 'silent')]
    """
    alike: dict[str, list[str]] = {}
    for node in sorted(reasons, key=natural):
        alike.setdefault(one_line(reasons[node]), []).append(one_line(node, 128))
    return [(nodes, why) for why, nodes in alike.items()]


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sorting key that takes digits for numbers, of any length: they are compared, never computed."""
    parts: list[tuple[int, int, str]] = []
    digits, text = "", ""
    for c in name:
        if c.isascii() and c.isdigit():
            if text:
                parts.append((1, 0, text))
                text = ""
            digits += c
        else:
            if digits:
                parts.append(_number(digits))
                digits = ""
            text += c
    parts.append(_number(digits) if digits else (1, 0, text))
    return parts


def _number(digits: str) -> tuple[int, int, str]:
    significant = digits.lstrip("0")
    return (0, len(significant), significant)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
