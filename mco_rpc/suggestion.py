# SPDX-License-Identifier: Apache-2.0
"""The nearest known name to one that was mistyped."""

from __future__ import annotations

from collections.abc import Iterable

_MAX_COMPARED = 128  # characters: the name may come from the network, and the comparison takes its time


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return ``, did you mean x?`` for the nearest known name, or nothing.

    >>> did_you_mean("isblockd", ["block", "isblocked"])
    ', did you mean isblocked?'
    """
    import difflib  # only for a message about a mistake

    near = difflib.get_close_matches(str(name)[:_MAX_COMPARED], list(known), n=1)
    return f", did you mean {near[0]}?" if near else ""
