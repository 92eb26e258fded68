# SPDX-License-Identifier: Apache-2.0
"""Whom a TLS client of ours believes."""

from __future__ import annotations

import ssl

from mco_host.opening import content
from mco_rpc.errors import ActionAborted, InvalidData

MAX_CA_BYTES = 4 * 1024 * 1024


def context_for(ca: str, is_insecure: bool = False) -> ssl.SSLContext:
    """Return a client's TLS context that trusts a file of authorities, or the system's; insecure, everybody."""
    try:
        context = ssl.create_default_context(cadata=_read(ca) if ca else None)
    except (OSError, ActionAborted) as e:  # an unreadable file, or one without certificates
        raise InvalidData(f"ca {ca}: {getattr(e, 'strerror', '') or e}") from e
    if is_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _read(ca: str) -> str:
    """Return what is in a file of authorities; OpenSSL would open whatever a caller names, devices too."""
    text = content(ca, MAX_CA_BYTES).decode("ascii", "replace")
    if "-----BEGIN " not in text:  # of no text at all Python makes the system's authorities
        raise ActionAborted("it holds no certificate")
    return text
