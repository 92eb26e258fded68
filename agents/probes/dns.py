# SPDX-License-Identifier: Apache-2.0
"""One question to a name server; the hosts file and the search list have no part in it."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.reversename

from mco_rpc.errors import ActionAborted, InvalidData

from .faults import fault_of


def probe(name: str, type: str, server: str, port: int, timeout_s: float) -> dict[str, Any]:
    """Ask the server, or each of the system's until one answers."""
    question = dns.message.make_query(_asked(name, type), type)
    until = time.monotonic() + timeout_s
    failed: dict[str, Any] = {"fault": "failed", "reason": "there is no name server"}
    servers = [_address(server)] if server else _servers()
    for at, address in enumerate(servers):
        left_s = (until - time.monotonic()) / (len(servers) - at)
        began = time.perf_counter()
        try:
            # A datagram may be lost: it is sent a second time.
            answer = _answer(question, address, port, left_s / 2) or _answer(question, address, port, left_s / 2)
        except OSError as e:
            failed = fault_of(e) | {"server": address}
            continue
        except dns.exception.DNSException as e:
            failed = {"fault": "protocol", "reason": f"{e.__class__.__name__}: {e}", "server": address}
            continue
        if answer is None:
            failed = {"fault": "timed_out", "reason": f"no answer within {left_s:.1f} s", "server": address}
            continue
        return _told(answer, question, type) | {"server": address, "took_s": round(time.perf_counter() - began, 6)}
    return failed


def _answer(
    question: dns.message.QueryMessage, address: str, port: int, timeout_s: float
) -> dns.message.Message | None:
    try:
        answer, _ = dns.query.udp_with_fallback(
            question, address, timeout=max(0.01, timeout_s), port=port, ignore_unexpected=True
        )
    except dns.exception.Timeout:
        return None
    return answer


def _told(answer: dns.message.Message, question: dns.message.QueryMessage, kind: str) -> dict[str, Any]:
    rcode = dns.rcode.to_text(answer.rcode())
    wanted = dns.rdatatype.from_text(kind)
    made: dict[str, Any] = {"rcode": rcode, "authoritative": bool(answer.flags & dns.flags.AA), "answers": []}
    if rcode in ("NOERROR", "NXDOMAIN"):  # of anything else nobody knows
        made["exists"] = rcode == "NOERROR"
    sets = [found for found in answer.answer if found.rdtype == wanted]
    made["answers"] = sorted(_text(data, kind) for found in sets for data in found)
    if sets:
        made["ttl"] = min(found.ttl for found in sets)
        if sets[0].name != question.question[0].name:
            made["canonical_name"] = sets[0].name.to_text(omit_final_dot=True)
    return made


def _text(data: Any, kind: str) -> str:
    """Return an answer as people write it: names without the dot at the end, texts without quotes."""
    if kind == "TXT":
        return b"".join(data.strings).decode("utf-8", "replace")
    text = data.to_text()
    return " ".join(word[:-1] if word.endswith(".") and word != "." else word for word in text.split(" "))


def _asked(name: str, kind: str) -> dns.name.Name:
    try:
        if kind == "PTR":
            try:
                return dns.reversename.from_address(str(ipaddress.ip_address(name)))
            except ValueError:
                pass
        return dns.name.from_text(name)
    except (dns.exception.DNSException, UnicodeError) as e:
        raise InvalidData(f"{name!r} is no name that can be asked for: {e}") from e


def _address(server: str) -> str:
    try:
        return str(ipaddress.ip_address(server))
    except ValueError as e:
        raise InvalidData(f"server: expected the address of a name server, got {server!r}") from e


def _servers() -> list[str]:
    try:
        return [str(address) for address in dns.resolver.Resolver().nameservers]
    except dns.resolver.NoResolverConfiguration as e:
        raise ActionAborted("/etc/resolv.conf of this node names no server: give one as server") from e
