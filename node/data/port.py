# SPDX-License-Identifier: Apache-2.0
"""The data source about listening ports."""

from __future__ import annotations

from typing import Any

from mco_host import sockets
from mco_host.users import user_name
from mco_rpc.data import DataSource, Input, Output
from mco_rpc.errors import FilterError

ARGUMENTS = {"port": Input("string", "PORT, ADDRESS:PORT or [ADDRESS]:PORT, and /tcp or /udp after it", max_length=80)}
FIELDS = {
    "listening": Output("boolean", "Whether something waits there"),
    "addresses": Output("array", "Where it waits, such as 0.0.0.0:443 and [::]:443"),
    "protocol": Output("string", "tcp or udp"),
    "users": Output("array", "Names of the users who opened it"),
}


class Port(DataSource):
    """Say whether something listens at a port, of TCP unless it is said."""

    arguments = ARGUMENTS
    fields = FIELDS

    @staticmethod
    def activate_when(settings: object) -> str | None:
        """Ask for the kernel's tables."""
        return None if (sockets.TABLES / "tcp").exists() else f"{sockets.TABLES}/tcp is not there"

    def query(self, port: str) -> dict[str, Any]:
        """Look the port up in the kernel's tables."""
        try:
            protocol, number, wanted = sockets.parse(port)
        except ValueError as e:
            raise FilterError(str(e)) from e
        found = [socket for socket in sockets.listening(protocol, number) if socket.is_reached(wanted)]
        return {
            "listening": bool(found),
            "addresses": sorted({str(socket) for socket in found}),
            "protocol": protocol,
            "users": sorted({user_name(socket.uid) for socket in found}),
        }
