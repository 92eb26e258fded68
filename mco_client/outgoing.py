# SPDX-License-Identifier: Apache-2.0
"""From a request to the packets that carry it: one a named node, or as few broadcasts as can name everybody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from mco_rpc import names
from mco_rpc.config import DEFAULT_MAX_BODY_BYTES
from mco_rpc.connector import Packet
from mco_rpc.errors import MessageError
from mco_rpc.filters import Filter
from mco_rpc.messages import Request, encode, new_id
from mco_rpc.security import Security

# A broadcast names its targets; every node reads all of it, so a long list goes out in parts.
MAX_BROADCAST_BYTES = 256 * 1024
# The last is of what comes back when nothing more will come, which only a replay can know.
REQUEST, PROBE, OVER = "request", "probe", "over"


def packets_of(request: Request, security: Security, direct_limit: int) -> dict[str, list[Packet]]:
    """Return the packets of a request by its id; more names than a broadcast can hold make several requests.

    One packet a named node says at once who is offline. Each part of a broadcast has an id of its own, the first
    one the request's, for a node takes an id once.

    Raises:
        MessageError: it is larger than nodes read; or its data cannot be written.
    """
    if request.targets is not None and len(request.targets) <= direct_limit:
        return {request.id: _sealed(request, security, names.NODE, request.targets, REQUEST, request.id)}
    made = {}
    for number, targets in enumerate(_parts(request)):
        part = msgspec.structs.replace(request, id=new_id() if number else request.id, targets=targets)
        made[part.id] = _sealed(part, security, names.BROADCAST, [names.agent_key(part.agent)], REQUEST, part.id)
    return made


def probes_of(request: Request, security: Security, nodes: Sequence[str], ttl_s: float) -> list[Packet]:
    """Return a ping for each of some nodes, which nobody answers and which comes back from who is gone."""
    ping = msgspec.structs.replace(
        request,
        id=new_id(),
        agent="discovery",
        action="ping",
        data={},
        reply_to=None,
        targets=tuple(nodes),
        filter=Filter(),
        ttl_s=ttl_s,
        noop=False,
        follow=False,
    )
    return _sealed(ping, security, names.NODE, nodes, PROBE, request.id)


def _parts(request: Request) -> Iterator[tuple[str, ...] | None]:
    """Yield the targets in parts of which each fits into a broadcast."""
    if request.targets is None:
        yield None
        return
    room = MAX_BROADCAST_BYTES - len(encode(msgspec.structs.replace(request, targets=())))
    room = max(room, MAX_BROADCAST_BYTES // 4)  # inputs that are large themselves; `_sealed` knows their limit
    part: list[str] = []
    size = 0
    for node in request.targets:
        needed = len(node.encode()) + len('"",')
        if part and size + needed > room:
            yield tuple(part)
            part, size = [], 0
        part.append(node)
        size += needed
    yield tuple(part)


def _sealed(
    request: Request, security: Security, exchange: str, keys: Sequence[str], kind: str, correlation_id: str
) -> list[Packet]:
    body = encode(request)
    if len(body) > DEFAULT_MAX_BODY_BYTES:
        raise MessageError(
            f"{request.agent}#{request.action}: the request has {len(body):,} bytes and nodes read at most "
            f"{DEFAULT_MAX_BODY_BYTES:,}; nothing was sent: give shorter inputs, or let the nodes fetch the data"
        )
    signature = security.sign(body)
    return [
        Packet(
            exchange=names.exchange(request.collective, exchange),
            key=key,
            body=body,
            type=kind,
            message_id=correlation_id,
            correlation_id=correlation_id,
            signer=security.signer,
            signature=signature,
            expiration_s=request.ttl_s,
            mandatory=True,
        )
        for key in keys
    ]
