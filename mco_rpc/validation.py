# SPDX-License-Identifier: Apache-2.0
"""What a value can be: the types, and the checks an input can name with ``validate=``.

Each check returns the value, canonical, or says what it is not.
"""

from __future__ import annotations

import functools
import ipaddress
import math
import re
from collections.abc import Callable
from typing import Any

TYPES = ("string", "list", "boolean", "integer", "float", "number", "array", "hash", "any")
MAX_FOREIGN_PATTERN_LENGTH = 1024
# Nothing here means anything to a shell; a leading "-" would mean something to a command.
_SHELLSAFE = re.compile(r"[A-Za-z0-9_./:@%+=,][A-Za-z0-9_./:@%+=,-]*\Z")


def check_type(wanted: str, value: object) -> None:
    """Raise `ValueError` if a value is not of a type: what was expected and what was seen."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_right = {
        "string": isinstance(value, str),
        "list": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": is_number and isinstance(value, int),
        "float": is_number and isinstance(value, float),
        "number": is_number,
        "array": isinstance(value, list | tuple),
        "hash": isinstance(value, dict),
        "any": True,
    }[wanted]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a number that can be sent")
    if not is_right:
        raise ValueError(f"expected {wanted}, got {shown(value)}")


def shown(value: object, limit: int = 60) -> str:
    """Return a value as Python writes it, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def shellsafe(value: str) -> str:
    """Accept text that no shell and no command reads as more than text."""
    if not _SHELLSAFE.match(value):
        raise ValueError("only letters, digits and _ . / : @ % + = , - are allowed, and no - in front")
    return value


def ipv4_address(value: str) -> str:
    """Accept an IPv4 address."""
    return str(ipaddress.IPv4Address(value))


def ipv6_address(value: str) -> str:
    """Accept an IPv6 address without a zone."""
    if "%" in value:
        raise ValueError("an address with a zone is not accepted")
    return str(ipaddress.IPv6Address(value))


def ip_address(value: str) -> str:
    """Accept an IPv4 or IPv6 address."""
    try:
        return ipv6_address(value) if ":" in value else ipv4_address(value)
    except ValueError as e:
        raise ValueError("expected an IPv4 or IPv6 address") from e


def ip_network(value: str) -> str:
    """Accept an address or a network in CIDR notation; an address stays one, without a prefix length."""
    if "/" not in value:
        return ip_address(value)
    if "%" in value:
        raise ValueError("an address with a zone is not accepted")
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError as e:
        raise ValueError("expected an IPv4 or IPv6 address, or a network as in 10.0.0.0/8") from e
    if str(network.network_address) != str(ipaddress.ip_address(value.partition("/")[0])):
        raise ValueError(f"it has bits set after its prefix; the network is {network}")
    return str(network.network_address) if network.num_addresses == 1 else str(network)


VALIDATORS: dict[str, Callable[[str], str]] = {
    "shellsafe": shellsafe,
    "ipv4_address": ipv4_address,
    "ipv6_address": ipv6_address,
    "ip_address": ip_address,
    "ip_network": ip_network,
}
NAMES = tuple(VALIDATORS)
# MCollective's and Choria's names for some of them.
VALIDATORS |= {
    "ipv4address": ipv4_address,
    "ipv6address": ipv6_address,
    "ipaddress": ip_address,
    "ipv4": ipv4_address,
    "ipv6": ipv6_address,
}


def is_expression(validate: str) -> bool:
    """Say whether ``validate=`` is ``/an expression/`` and not a name."""
    return len(validate) > 2 and validate.startswith("/") and validate.endswith("/")


@functools.lru_cache(maxsize=64)
def regex(pattern: str) -> re.Pattern[str]:
    """Return the compiled expression of a schema (an agent's author wrote it, not the network)."""
    return re.compile(pattern)


def matches(pattern: str, text: str) -> bool:
    """Say whether a whole text matches an expression of an agent of our own."""
    return regex(pattern).fullmatch(text) is not None


def may_match(pattern: str, text: str) -> bool:
    """Say whether a whole text matches an expression that somebody else sent, in time linear in the text.

    What RE2 does not take, or is too long, counts as matching: it is unchecked here, and who sent it checks it.
    """
    compiled = _foreign_regex(pattern)
    try:
        return compiled is None or compiled.fullmatch(text) is not None
    except UnicodeEncodeError:  # half a character
        return True


@functools.lru_cache(maxsize=64)
def _foreign_regex(pattern: str) -> Any:
    if len(pattern) > MAX_FOREIGN_PATTERN_LENGTH:
        return None
    import re2  # who asks for nothing with an expression does not pay for the engine

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError):
        return None
