# SPDX-License-Identifier: Apache-2.0
"""What X.509 certificates say, as plain data; whom to believe is not decided here."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from mco_rpc.errors import ActionAborted

MAX_CERTIFICATES = 500
_DAY_S = 86_400
_BEGIN = b"-----BEGIN CERTIFICATE-----"


def read(data: bytes, where: str) -> list[x509.Certificate]:
    """Return the certificates of a PEM bundle, or the one of a DER file.

    Raises:
        ActionAborted: there is none.
    """
    try:
        if _BEGIN in data:
            return x509.load_pem_x509_certificates(data)[:MAX_CERTIFICATES]
        return [x509.load_der_x509_certificate(data)]
    except ValueError as e:  # whose text says what bytes there are instead
        raise ActionAborted(f"{where} holds no certificate that can be read, neither as PEM nor as DER") from e


def told(certificate: x509.Certificate, now: dt.datetime | None = None) -> dict[str, Any]:
    """Return what a certificate says."""
    days_left = _days_left(certificate, now)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    key_type, key_bits = _key(certificate)
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "names": names(certificate),
        "not_before": begins.isoformat(),
        "not_after": ends.isoformat(),
        "days_left": days_left,
        "is_expired": days_left < 0,
        "is_not_yet_valid": (now or dt.datetime.now(dt.UTC)) < begins,
        "self_signed": _is_self_signed(certificate),
        "key_type": key_type,
        "key_bits": key_bits,
        "signature": _signature(certificate),
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
    }


def days_left_of(der: bytes) -> float:
    """Return the days until a certificate ends, less than nothing if it has ended."""
    return _days_left(x509.load_der_x509_certificate(der))


def names(certificate: x509.Certificate) -> list[str]:
    """Return the names and addresses that it vouches for."""
    named, addresses = _vouched(certificate)
    return named + addresses


def _vouched(certificate: x509.Certificate) -> tuple[list[str], list[str]]:
    """Return the names, and the addresses; none if what it says of them cannot be read."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return [], []
    named = [str(name) for name in found.get_values_for_type(x509.DNSName)]
    return named, [str(address) for address in found.get_values_for_type(x509.IPAddress)]


def is_for(certificate: x509.Certificate, host: str) -> bool:
    """Say whether it vouches for a name, whose first label may be a star there, or for an address."""
    named, addresses = _vouched(certificate)
    try:
        return str(ipaddress.ip_address(host)) in addresses
    except ValueError:
        pass
    wanted = host.lower().rstrip(".")
    _, _, parent = wanted.partition(".")
    found = {name.lower().rstrip(".") for name in named}
    return wanted in found or ("." in parent and f"*.{parent}" in found)


def _days_left(certificate: x509.Certificate, now: dt.datetime | None = None) -> float:
    left = certificate.not_valid_after_utc - (now or dt.datetime.now(dt.UTC))
    return round(left.total_seconds() / _DAY_S, 2)


def _key(certificate: x509.Certificate) -> tuple[str, int | None]:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "unknown", None
    for kind, name in ((rsa.RSAPublicKey, "RSA"), (ec.EllipticCurvePublicKey, "EC"), (dsa.DSAPublicKey, "DSA")):
        if isinstance(key, kind):
            return name, int(key.key_size)
    return type(key).__name__.removesuffix("PublicKey").lstrip("_"), None


def _signature(certificate: x509.Certificate) -> str:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "unknown"
    return algorithm.name if algorithm else "none"


def _is_self_signed(certificate: x509.Certificate) -> bool:
    if certificate.subject != certificate.issuer:
        return False
    try:
        certificate.verify_directly_issued_by(certificate)
    except InvalidSignature:
        return False
    except (UnsupportedAlgorithm, TypeError, ValueError):  # of a kind that is no longer checked, such as SHA-1
        return True
    return True
