# SPDX-License-Identifier: Apache-2.0
"""Ports on which a host answers whoever connects; a part of its first process, or a unit. Imports little."""

import os
import selectors
import socket
import sys


def main() -> None:
    """Answer with the name that is given on the ports that follow it, as a unit of a systemd host."""
    name, *ports = sys.argv[1:]
    listeners = [listen(int(port)) for port in ports]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", "\0"))
    serve(listeners, name.encode() + b"\n")


def listen(port: int) -> socket.socket:
    """Open a port to every address, of both families if the kernel has them."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    return socket.create_server(("", port), backlog=128)


def serve(listeners: list[socket.socket], answer: bytes) -> None:
    """Accept every connection, answer and close, for ever."""
    with selectors.DefaultSelector() as selector:
        for listener in listeners:
            selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                try:
                    connection, _ = key.fileobj.accept()  # type: ignore[union-attr]
                    with connection:
                        connection.sendall(answer)
                except OSError:
                    continue  # the peer was gone before it was answered
