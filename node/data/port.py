# SPDX-License-Identifier: Apache-2.0
"""The data source about listening ports."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from mco_rpc.data import DataSource, Input, Output
from mco_rpc.errors import FilterError
from mco_rpc.validation import shown

from .sockets import TABLES, Address, listening, plain
from .users import user_name

ARGUMENTS = {"port": Input("string", "PORT, ADDRESS:PORT or [ADDRESS]:PORT, and /tcp or /udp after it", max_length=80)}
FIELDS = {
    "listening": Output("boolean", "Whether something waits there"),
    "addresses": Output("array", "Where it waits, such as 0.0.0.0:443 and [::]:443"),
    "protocol": Output("string", "tcp or udp"),
    "users": Output("array", "Names of the users who opened it"),
}
_PORT = re.compile(r"((\[(?P<six>[^\]]+)\]|(?P<host>.+)):)?(?P<port>[0-9]{1,5})(/(?P<protocol>tcp|udp))?\Z")


class Port(DataSource):
    """Say whether something listens at a port, of TCP unless it is said."""

    arguments = ARGUMENTS
    fields = FIELDS

    @staticmethod
    def activate_when(settings: object) -> str | None:
        """Ask for the kernel's tables."""
        return None if (TABLES / "tcp").exists() else f"{TABLES}/tcp is not there"

    def query(self, port: str) -> dict[str, Any]:
        """Look the port up in the kernel's tables."""
        protocol, number, wanted = parse(port)
        found = [socket for socket in listening(protocol, number) if _is_reached(socket.address, wanted)]
        return {
            "listening": bool(found),
            "addresses": sorted({str(socket) for socket in found}),
            "protocol": protocol,
            "users": sorted({user_name(socket.uid) for socket in found}),
        }


def parse(text: str) -> tuple[str, int, Address | None]:
    """Return protocol, port and address that a text names.

    Raises:
        FilterError: it names none.

    >>> parse("[::1]:53/udp")
    ('udp', 53, IPv6Address('::1'))
    """
    found = _PORT.match(text)
    try:
        if found and 0 < int(found["port"]) < 65536:
            host = found["six"] or found["host"]
            address = plain(ipaddress.ip_address(host.partition("%")[0])) if host else None
            return found["protocol"] or "tcp", int(found["port"]), address
    except ValueError:
        pass
    raise FilterError(f"expected a port such as 443, 53/udp, 127.0.0.1:5432 or [::1]:25/tcp, got {shown(text)}")


def _is_reached(bound: Address, wanted: Address | None) -> bool:
    """Say whether a socket gets what is sent to an address; one bound to :: is taken to get IPv4, too."""
    if wanted is None or bound == wanted:
        return True
    return bound.is_unspecified and (bound.version == wanted.version or bound.version == 6)
