# SPDX-License-Identifier: Apache-2.0
"""The certificates in a file of this node; it never waits for anybody, and never returns a key."""

from __future__ import annotations

from typing import Any

from mco_host.opening import content
from mco_rpc.errors import ActionAborted

from .certificates import read, told

MAX_BYTES = 4 * 1024 * 1024


def probe(path: str, timeout_s: float) -> dict[str, Any]:
    """Read the file, and say what its certificates say."""
    try:
        data = content(path, MAX_BYTES)
    except FileNotFoundError:
        return {"exists": False}
    except OSError as e:
        raise ActionAborted(f"{path} cannot be read: {e.strerror}") from e
    found = [told(certificate) for certificate in read(data, path)]
    first_to_end = min(found, key=lambda certificate: certificate["days_left"])
    return {
        **found[0],
        "exists": True,
        "certificates": found,
        "count": len(found),
        "days_left": first_to_end["days_left"],
        "not_after": first_to_end["not_after"],
        "is_expired": first_to_end["is_expired"],
    }
