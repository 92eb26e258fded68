# SPDX-License-Identifier: Apache-2.0
"""The listening sockets of this network namespace, from /proc/net."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
TABLES = Path("/proc/net")
# The state of a socket that waits for others: a TCP socket listens, a UDP socket is not connected to anybody.
_WAITING = {"tcp": "0A", "udp": "07"}


class Listening(NamedTuple):
    """One socket that others can reach; ``uid`` is who made it."""

    protocol: str
    address: Address
    port: int
    uid: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


def listening(protocol: str, port: int) -> Iterator[Listening]:
    """Yield the sockets of a protocol, tcp or udp, that wait at a port."""
    wanted = f":{port:04X}"
    for table in (protocol, f"{protocol}6"):
        try:
            file = (TABLES / table).open(encoding="ascii", errors="replace")
        except FileNotFoundError:
            if table == protocol:
                raise
            continue  # a host without IPv6
        with file:
            next(file)
            for line in file:
                # The line of a connection looks the same: 100,000 of them are to be passed over quickly.
                if wanted in line:
                    _, local, _, state, _, _, _, uid, *_ = line.split()
                    if state == _WAITING[protocol] and local.endswith(wanted):
                        yield Listening(protocol, address_of(local.partition(":")[0]), port, int(uid))


def address_of(digits: str) -> Address:
    """Return an address that the kernel wrote as 32-bit words in the order of the machine.

    >>> address_of("00000000")
    IPv4Address('0.0.0.0')
    """
    data = bytes.fromhex(digits)
    if sys.byteorder == "little":
        data = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    return plain(ipaddress.ip_address(data))


def plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, any other as it is."""
    return getattr(address, "ipv4_mapped", None) or address
