# SPDX-License-Identifier: Apache-2.0
"""What a look at something found; presenting it is the command's work."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any


class Grade(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ILL = "ill"
    SKIPPED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: what was looked at: configuration, key, broker, ...
        text: what was seen.
        code: which illness it is, of `mco_client.doctor.illnesses`; empty if it is none.
        nodes: the nodes that have it.
        facts: what the advice is filled in with.
    """

    area: str
    grade: Grade
    text: str
    code: str = ""
    nodes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def advice(self) -> str:
        """What to do about it; empty if there is nothing to be done."""
        from mco_client.doctor.illnesses import ILLNESSES

        return ILLNESSES[self.code].advice.format_map(_Filled(self.facts)) if self.code else ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "area": self.area,
            "grade": self.grade.value,
            "text": self.text,
            "code": self.code,
            "nodes": list(self.nodes),
            "advice": self.advice,
        }


class _Filled(dict[str, Any]):
    """Gives the name of what is not known, as in a command's usage."""

    def __missing__(self, key: str) -> str:
        return key.upper()


def fine(area: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(area, Grade.OK, text)


def skipped(area: str, why: str) -> Finding:
    """Return that it could not be looked at, and why."""
    return Finding(area, Grade.SKIPPED, why)


def found(code: str, text: str, *, nodes: tuple[str, ...] = (), **facts: Any) -> Finding:
    """Return an illness."""
    from mco_client.doctor.illnesses import ILLNESSES

    illness = ILLNESSES[code]
    return Finding(illness.area, Grade.WARNING if illness.is_warning else Grade.ILL, text, code, nodes, facts)
