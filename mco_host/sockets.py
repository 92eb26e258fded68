# SPDX-License-Identifier: Apache-2.0
"""The listening sockets of this network namespace, from /proc/net, and who holds them."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mco_rpc.validation import shown

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
TABLES = Path("/proc/net")
PROTOCOLS = ("tcp", "udp")
# The state of a socket that waits for others: a TCP socket listens, a UDP socket is not connected to anybody.
_WAITING = {"tcp": "0A", "udp": "07"}
_PORT = re.compile(r"((\[(?P<six>[^\]]+)\]|(?P<host>.+)):)?(?P<port>[0-9]{1,5})(/(?P<protocol>tcp|udp))?\Z")


class Listening(NamedTuple):
    """One socket that others can reach; ``uid`` is who made it."""

    protocol: str
    address: Address
    port: int
    uid: int
    inode: int = 0

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"

    def is_reached(self, wanted: Address | None) -> bool:
        """Say whether it gets what is sent to an address; one bound to :: is taken to get IPv4, too."""
        if wanted is None or self.address == wanted:
            return True
        return self.address.is_unspecified and (self.address.version == wanted.version or self.address.version == 6)


def listening(protocol: str, port: int | None = None) -> Iterator[Listening]:
    """Yield the sockets of a protocol, tcp or udp, that wait at a port, or at any."""
    state = _WAITING[protocol]
    # The line of a connection looks much the same: 100,000 of them are to be passed over quickly.
    wanted = f" {state} " if port is None else f":{port:04X}"
    near = "" if port is None else wanted
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
                if wanted in line:
                    _, local, _, is_in, _, _, _, uid, _, inode, *_ = line.split()
                    if is_in == state and local.endswith(near):
                        digits, _, number = local.partition(":")
                        yield Listening(protocol, address_of(digits), int(number, 16), int(uid), int(inode))


def holders(inodes: set[int]) -> dict[int, list[int]]:
    """Return which processes hold sockets; those of other users are seen by root alone."""
    names = {f"socket:[{inode}]": inode for inode in inodes if inode}
    found: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if not names or not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError), os.scandir(folder / "fd") as entries:  # it ended, or is not ours
            held = set()
            for entry in entries:
                with contextlib.suppress(OSError):
                    held.add(os.readlink(entry.path))  # noqa: PTH115 - a Path for each would take most of the time
            for name in names.keys() & held:
                found.setdefault(names[name], []).append(int(folder.name))
    return found


def parse(text: str) -> tuple[str, int, Address | None]:
    """Return protocol, port and address that a text names.

    Raises:
        ValueError: it names none.

    >>> parse("[::1]:53/udp")
    ('udp', 53, IPv6Address('::1'))
    """
    found = _PORT.match(text)
    with contextlib.suppress(ValueError):
        if found and 0 < int(found["port"]) < 65536:
            host = found["six"] or found["host"]
            address = plain(ipaddress.ip_address(host.partition("%")[0])) if host else None
            return found["protocol"] or "tcp", int(found["port"]), address
    raise ValueError(f"expected a port such as 443, 53/udp, 127.0.0.1:5432 or [::1]:25/tcp, got {shown(text)}")


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
