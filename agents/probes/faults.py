# SPDX-License-Identifier: Apache-2.0
"""Why a connection was not made, as a word that can be compared and a text."""

from __future__ import annotations

import errno
import socket
from typing import Any

_WORDS = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "timed_out",
    errno.ENETUNREACH: "no_route",
    errno.EHOSTUNREACH: "no_route",
    errno.EADDRNOTAVAIL: "no_route",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.EPERM: "denied",
    errno.EACCES: "denied",
}


def fault_of(error: OSError) -> dict[str, Any]:
    """Return the ``fault`` and the ``reason`` of a failed connection.

    >>> fault_of(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))
    {'fault': 'refused', 'reason': 'Connection refused'}
    """
    reason = str(getattr(error, "verify_message", "") or error.strerror or error)
    return {"fault": _word(error), "reason": reason}


def _word(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "timed_out"
    if isinstance(error, socket.gaierror):
        return "unresolvable"
    if isinstance(error, ConnectionResetError) and error.errno is None:  # how Python says that no answer came
        return "closed"
    if type(error).__module__ == "ssl":  # nobody pays for TLS to learn that it was not used
        return "tls"
    return _WORDS.get(error.errno or 0, "failed")
