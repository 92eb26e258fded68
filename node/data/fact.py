# SPDX-License-Identifier: Apache-2.0
"""The data source that looks into facts which are structures, by a path such as ``disks.sda.partitions.0``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mco_rpc.data import DataSource, Input, Output
from mco_rpc.errors import FilterError

ARGUMENTS = {"path": Input("string", "Names of keys and places in lists, with dots between them", max_length=1024)}
FIELDS = {
    "exists": Output("boolean", "Whether there is anything, if only an empty value"),
    "value": Output("any", "What is there"),
    "count": Output("integer", "How many elements it has, if it is a list or a mapping"),
}
_PART = re.compile(r'(?:"([^"]+)"|([^."]+))(\.|\Z)')


class Fact(DataSource):
    """Look into a fact."""

    keep_s = 0.0
    arguments = ARGUMENTS
    fields = FIELDS

    def query(self, path: str) -> dict[str, Any]:
        """Walk the path; a fact whose whole name is the path comes first."""
        if not path:
            raise FilterError("expected the path of a fact such as os.release.major, got nothing")
        at: Any = self.node.facts()
        for key in [path] if path in at else parts(path):
            if isinstance(at, Mapping) and key in at:
                at = at[key]
            elif isinstance(at, list) and key.isascii() and key.isdigit() and int(key[:10]) < len(at):
                at = at[int(key)]
            else:
                return {"exists": False}
        return {"exists": True, "value": at, "count": len(at) if isinstance(at, list | Mapping) else None}


def parts(path: str) -> list[str]:
    """Return the keys of a path; one with dots in it is in double quotes.

    Raises:
        FilterError: a key is empty, or a quote is not closed.

    >>> parts('interfaces."eth0.12".addresses.0')
    ['interfaces', 'eth0.12', 'addresses', '0']
    """
    found, at = [], 0
    while at < len(path):
        part = _PART.match(path, at)
        if not part or (part.end() == len(path) and part[3]):
            raise FilterError(
                f"the path cannot be understood at character {at + 1}: expected a key, or one in double quotes if "
                "it has dots, and dots between keys"
            )
        found.append(part[1] or part[2])
        at = part.end()
    return found
