# SPDX-License-Identifier: Apache-2.0
"""The agent that says what listens on this node, from the kernel's own tables; it connects to nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mco_host import sockets
from mco_host.users import user_name
from mco_rpc.agent import Agent, Aggregate, Input, Output, action
from mco_rpc.errors import InvalidData

MAX_LISTED = 2000
NAME = Input("string", "PORT, ADDRESS:PORT or [ADDRESS]:PORT, and /tcp or /udp after it", prompt="Port", max_length=80)
PROTOCOL = Input("list", "Only this protocol", optional=True, choices=sockets.PROTOCOLS)


class Port(Agent):
    """Say who listens at which port of this node.

    Processes of other users are seen only by a node that runs as root; `processes` is empty for the others'.
    """

    @staticmethod
    def activate_when(settings: Mapping[str, object]) -> str | None:
        """Ask for the kernel's tables."""
        return None if (sockets.TABLES / "tcp").exists() else f"{sockets.TABLES}/tcp is not there"

    @action(
        "Say whether something listens at a port",
        inputs={"port": NAME},
        outputs={
            "port": Output("integer", "The number of the port", display_as="Port"),
            "protocol": Output("string", "tcp or udp", display_as="Protocol"),
            "listening": Output("boolean", "Whether something waits there", display_as="Listening"),
            "addresses": Output("array", "Where, such as 0.0.0.0 and ::", display_as="Addresses", default=[]),
            "users": Output("array", "The users who opened it", display_as="Users", default=[]),
            "processes": Output("array", "Who holds it: pid, name and user", display_as="Processes", default=[]),
        },
        aggregates=[Aggregate("summary", "listening")],
    )
    def status(self, port: str) -> dict[str, object]:
        """Look in the kernel's tables."""
        try:
            protocol, number, wanted = sockets.parse(port)
        except ValueError as e:
            raise InvalidData(str(e)) from e
        found = [socket for socket in sockets.listening(protocol, number) if socket.is_reached(wanted)]
        held = sockets.holders({socket.inode for socket in found})
        return {
            "port": number,
            "protocol": protocol,
            "listening": bool(found),
            "addresses": sorted({str(socket.address) for socket in found}),
            "users": sorted({user_name(socket.uid) for socket in found}),
            "processes": _processes({pid for pids in held.values() for pid in pids}),
        }

    @action(
        "List all that listens",
        inputs={"protocol": PROTOCOL},
        outputs={
            "sockets": Output(
                "array",
                f"At most {MAX_LISTED}: protocol, address, port, user and processes of each",
                display_as="Sockets",
                default=[],
            ),
            "count": Output("integer", "How many there are", display_as="Count"),
        },
    )
    def list(self, protocol: str | None = None) -> dict[str, object]:
        """Look in the kernel's tables, in the order of protocol and port."""
        wanted = (protocol,) if protocol else sockets.PROTOCOLS
        every = (socket for name in wanted for socket in sockets.listening(name))
        found = sorted(every, key=lambda socket: (socket.protocol, socket.port, str(socket.address)))
        held = sockets.holders({socket.inode for socket in found[:MAX_LISTED]})
        rows = [
            {
                "protocol": socket.protocol,
                "address": str(socket.address),
                "port": socket.port,
                "user": user_name(socket.uid),
                "processes": _processes(held.get(socket.inode, ())),
            }
            for socket in found[:MAX_LISTED]
        ]
        return {"sockets": rows, "count": len(found)}


def _processes(pids: Iterable[int]) -> list[dict[str, Any]]:
    """Return pid, name and user of each that still runs."""
    found = []
    for pid in sorted(pids):
        folder = Path("/proc") / str(pid)
        try:
            name = (folder / "comm").read_text(errors="replace").rstrip("\n")
            found.append({"pid": pid, "name": name, "user": user_name(folder.stat().st_uid)})
        except OSError:
            continue
    return found
