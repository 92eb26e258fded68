# SPDX-License-Identifier: Apache-2.0
"""A TCP connection to whichever address of a name takes it; several are tried one after the other."""

from __future__ import annotations

import socket
import time

from mco_rpc.errors import InvalidData


def connected(host: str, port: int, timeout_s: float, source: str = "", family: str = "any") -> socket.socket:
    """Return a connection.

    Args:
        source: the address it comes from; the kernel's choice if empty.
        family: ipv4, ipv6 or any.

    Raises:
        OSError: why no address took it: the last one's reason.
        InvalidData: there is no such port, or the source address is not of this machine.
    """
    if not 0 < port < 65536:
        raise InvalidData(f"port: expected 1 to 65535, got {port}")
    families = {"any": socket.AF_UNSPEC, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
    try:
        found = socket.getaddrinfo(host, port, families[family], socket.SOCK_STREAM)
    except UnicodeError as e:
        raise InvalidData(f"{host!r} is no name of a host: {e}") from e
    last: OSError = OSError(f"{host} has no address")
    until = time.monotonic() + timeout_s
    for at, (kind, _, _, _, address) in enumerate(found):
        if source and (":" in source) != (kind == socket.AF_INET6):
            last = OSError(f"{host} has no address of the same family as {source}")
            continue
        made = socket.socket(kind, socket.SOCK_STREAM)
        try:
            if source:
                _bind(made, source)
            # An address that does not answer leaves time for the others.
            made.settimeout(max(0.01, (until - time.monotonic()) / (len(found) - at)))
            made.connect(address)
            made.settimeout(max(0.01, until - time.monotonic()))
        except OSError as e:
            made.close()
            last = e
        except BaseException:
            made.close()
            raise
        else:
            return made
    raise last


def _bind(made: socket.socket, source: str) -> None:
    try:
        made.bind((source, 0))
    except OSError as e:
        raise InvalidData(f"source {source}: {e.strerror}; is it an address of this node?") from e
