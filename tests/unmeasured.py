# SPDX-License-Identifier: Apache-2.0
"""For tests of what a program loads: what measures the tests must not load its own modules into it."""

from __future__ import annotations

import os


def environment(**more: str) -> dict[str, str]:
    """Return our variables without those by which coverage finds its way into processes."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("COV")}, **more}
