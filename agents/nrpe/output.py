# SPDX-License-Identifier: Apache-2.0
"""What a monitoring plug-in says, taken apart as the plug-ins' guidelines lay it down."""

from __future__ import annotations

import re
from typing import Any

_VALUE = re.compile(r"(?P<number>[-+]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][-+]?[0-9]+)?)(?P<unit>[^0-9;]*)")
# A label begins after a blank and nothing is tried twice: whatever a plug-in prints is read in one go.
_METRIC = re.compile(r"(?<!\S)(?:'(?P<quoted>(?:[^']|'')*+)'|(?P<plain>[^\s='][^\s=]*+))=(?P<rest>\S*+)")
MAX_METRICS = 500


def taken_apart(text: str) -> dict[str, Any]:
    r"""Return ``output``, the first line; ``long_output``, those after it; ``perfdata`` as text; ``metrics``.

    >>> made = taken_apart("OK: fine | time=0.5s;1;2;0\nmore")
    >>> made["output"], made["long_output"], made["perfdata"]
    ('OK: fine', 'more', 'time=0.5s;1;2;0')
    """
    lines = text.strip("\r\n").split("\n")
    output, _, data = lines[0].partition("|")
    said, perfdata = [], [data]
    is_data = False
    for line in lines[1:]:
        if is_data:
            perfdata.append(line)
            continue
        before, mark, after = line.partition("|")
        is_data = bool(mark)
        said.append(before.rstrip() if mark else line)
        perfdata.append(after)
    joined = " ".join(" ".join(perfdata).split())
    return {
        "output": output.strip(),
        "long_output": "\n".join(said).rstrip(),
        "perfdata": joined,
        "metrics": metrics_of(joined),
    }


def metrics_of(perfdata: str) -> list[dict[str, Any]]:
    """Return each value with its label, unit, thresholds and limits; what is none is passed over.

    >>> metrics_of("'a b'=1.5MB;~:10;20;0;100")
    [{'label': 'a b', 'value': 1.5, 'unit': 'MB', 'warn': '~:10', 'crit': '20', 'min': 0.0, 'max': 100.0}]
    """
    made: list[dict[str, Any]] = []
    for found in _METRIC.finditer(perfdata):
        if len(made) == MAX_METRICS:
            break
        first, *others = found["rest"].split(";")
        warn, crit, low, high = (*others[:4], "", "", "", "")[:4]
        value = _VALUE.fullmatch(first)
        number = _number(value["number"]) if value else None
        if number is None and first != "U":  # the plug-in's word for not known
            continue
        quoted = found["quoted"]
        made.append({
            "label": found["plain"] if quoted is None else quoted.replace("''", "'"),
            "value": number,
            "unit": value["unit"] if value else "",
            "warn": warn or None,
            "crit": crit or None,
            "min": _number(low),
            "max": _number(high),
        })  # fmt: skip
    return made


def _number(text: str) -> float | None:
    """Return a number, in whichever language the plug-in wrote it."""
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None
