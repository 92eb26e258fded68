# SPDX-License-Identifier: Apache-2.0
"""The certificate that a TLS server shows: one connection that believes everybody, one that asks OpenSSL whether to."""

from __future__ import annotations

import ssl
import time
from typing import Any

from cryptography import x509

from .certificates import is_for, told
from .connecting import connected
from .faults import fault_of
from .starttls import NotOffered, begin
from .tls import context_for


def probe(host: str, port: int, server_name: str, starttls: str, ca: str, timeout_s: float) -> dict[str, Any]:
    """Connect twice, and say what was shown."""
    until = time.monotonic() + timeout_s
    name = server_name or host
    trusting, doubting = context_for(ca, is_insecure=True), context_for(ca)
    doubting.check_hostname = False  # said apart from whether the chain is believed
    try:
        with _handshake(trusting, host, port, name, starttls, until) as shown:
            chain = _chain(shown)
            cipher = shown.cipher()
            made = {
                "connected": True,
                "address": shown.getpeername()[0],
                "protocol": shown.version(),
                "cipher": cipher[0] if cipher else None,
                **told(chain[0]),
                "chain": [told(certificate) for certificate in chain],
                "hostname_matches": is_for(chain[0], name),
            }
    except NotOffered as e:
        return {"fault": "tls", "reason": str(e)}
    except OSError as e:
        return fault_of(e)
    try:
        with _handshake(doubting, host, port, name, starttls, until):
            return made | {"verified": True}
    except ssl.SSLCertVerificationError as e:
        return made | {"verified": False, "verify_error": e.verify_message}
    except OSError as e:  # it ended meanwhile
        return made | fault_of(e)


def _handshake(context: ssl.SSLContext, host: str, port: int, name: str, starttls: str, until: float) -> ssl.SSLSocket:
    connection = connected(host, port, max(0.01, until - time.monotonic()))
    try:
        if starttls:
            begin(starttls, connection)
        return context.wrap_socket(connection, server_hostname=name)
    except BaseException:
        connection.close()
        raise


def _chain(shown: ssl.SSLSocket) -> list[x509.Certificate]:
    """Return all that the server showed, where Python tells more than the first."""
    if hasattr(shown, "get_unverified_chain"):  # from Python 3.13
        found = shown.get_unverified_chain()
    else:
        inner: Any = getattr(shown, "_sslobj", None)
        listed = inner.get_unverified_chain() if hasattr(inner, "get_unverified_chain") else None
        found = [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in listed or ()]
    ders = found or [shown.getpeercert(binary_form=True) or b""]
    return [x509.load_der_x509_certificate(der) for der in ders]
