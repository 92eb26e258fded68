# SPDX-License-Identifier: Apache-2.0
"""Whether a TCP port takes a connection; nothing is sent."""

from __future__ import annotations

import time
from typing import Any

from .connecting import connected


def probe(host: str, port: int, source: str, family: str, timeout_s: float) -> dict[str, Any]:
    """Connect and leave."""
    began = time.perf_counter()
    with connected(host, port, timeout_s, source, family) as made:
        took_s = time.perf_counter() - began
        return {
            "connected": True,
            "took_s": round(took_s, 6),
            "address": made.getpeername()[0],
            "source": made.getsockname()[0],
        }
