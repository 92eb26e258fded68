# SPDX-License-Identifier: Apache-2.0
"""What nodes say before they answer, to a caller who follows; untrusted text like every other that they send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Started:
    """The action begins on a node; ``took_s`` seconds after it was asked, here."""

    sender: str
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a running action tells.

    Attributes:
        number: counts from 1 for each node.
        stream: ``progress`` for what the agent says, ``stdout`` or ``stderr`` for what its command prints.
        took_s: seconds here from asking until this came.
    """

    sender: str
    number: int
    stream: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
    took_s: float = 0.0
