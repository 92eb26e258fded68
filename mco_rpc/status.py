# SPDX-License-Identifier: Apache-2.0
"""The status codes of a reply: MCollective's 0 to 5, and ours where it is silent or lumps."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """What became of a request on one node."""

    OK = 0
    ABORTED = 1
    UNKNOWN_ACTION = 2
    MISSING_DATA = 3
    INVALID_DATA = 4
    UNKNOWN_ERROR = 5
    DENIED = 6
    TIMED_OUT = 7
    EXPIRED = 8

    @property
    def text(self) -> str:
        """Return the status in words, as tables and messages show it.

        >>> Status.TIMED_OUT.text
        'timed out'
        """
        return "ok" if self is Status.OK else self.name.lower().replace("_", " ")
