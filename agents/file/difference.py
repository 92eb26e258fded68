# SPDX-License-Identifier: Apache-2.0
"""What a change does to the lines of a file, as `diff -u` shows it, where the old ones may be shown at all."""

from __future__ import annotations

from collections.abc import Callable

from mco_host.files import as_text
from mco_host.paths import Place

MAX_COMPARED_BYTES = 1024 * 1024
MAX_DIFFED_BYTES = 128 * 1024
MAX_DIFFED_LINES = 2000  # comparing takes time that grows with the square of them
MAX_DIFFERENCE_LENGTH = 32 * 1024


def difference(
    place: Place, old: bytes | None, new: bytes, why_not_content: Callable[[Place], str | None]
) -> dict[str, str]:
    """Return the ``difference``, or the ``difference_problem`` why it is not shown.

    Args:
        old: what is in the file, None if that is too much or there is none.
        why_not_content: says why what is in a file is not told.
    """
    if place.seen is None:
        old = b""
    elif why_not := why_not_content(place):
        return {"difference_problem": why_not}
    if old is None or max(len(old), len(new)) > MAX_DIFFED_BYTES:
        return {"difference_problem": f"it is longer than {MAX_DIFFED_BYTES} bytes"}
    try:
        before, after = old.decode(), new.decode()
    except UnicodeDecodeError:
        return {"difference_problem": "it is no text"}
    if "\0" in before or "\0" in after:
        return {"difference_problem": "it is no text"}
    lines = before.splitlines(), after.splitlines()
    if max(map(len, lines)) > MAX_DIFFED_LINES:
        return {"difference_problem": f"it has more than {MAX_DIFFED_LINES} lines"}
    import difflib

    path = as_text(place.path)
    text = "\n".join(difflib.unified_diff(*lines, path, path, lineterm=""))
    if len(text) > MAX_DIFFERENCE_LENGTH:
        return {"difference": f"{text[:MAX_DIFFERENCE_LENGTH]}\n... ({len(text)} characters)"}
    return {"difference": text}
