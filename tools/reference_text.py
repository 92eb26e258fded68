# SPDX-License-Identifier: Apache-2.0
"""What the generated pages of docs/reference have in common: tables, and an input in words."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mco_rpc.schema import Input

MARK = "<!-- Written by tools/reference.py from the code: do not edit. -->"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [
        f"| {' | '.join(heads)} |",
        f"|{'|'.join('---' for _ in heads)}|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def cell(text: str) -> str:
    """Return a text that does not end its cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def input_name(name: str, declared: Input) -> str:
    """Return the name of an input, in brackets if it may be left out."""
    is_needed = not declared.optional and declared.default is None
    return f"`{name}`" if is_needed else f"[`{name}`]"


def input_text(declared: Input) -> str:
    """Return what an input is, and its rules."""
    parts = [declared.description]
    if declared.choices:
        parts.append("one of " + ", ".join(declared.choices))
    if declared.validate:
        parts.append(f"checked as `{declared.validate}`")
    if declared.default is not None:
        parts.append(f"default `{json.dumps(declared.default)}`")
    parts.append(f"at most {declared.max_length}" if declared.type in ("string", "array", "hash") else "")
    return "; ".join(part for part in parts if part)
