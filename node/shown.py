# SPDX-License-Identifier: Apache-2.0
"""How text from elsewhere is shown and recorded; it decides nothing about it."""

from __future__ import annotations

# Characters of a name from the network.
SHOWN = 128


def said(error: BaseException) -> str:
    """Return the text of an error, whatever it is."""
    try:
        return str(error)
    except Exception:
        return "it cannot even say why"
