# SPDX-License-Identifier: Apache-2.0
"""What is said in the clear before TLS begins, in each protocol that begins so."""

from __future__ import annotations

import socket
from collections.abc import Callable

PROTOCOLS = ("smtp", "imap", "pop3", "ftp", "postgresql")
_MAX_LINE_BYTES, _MAX_LINES = 2048, 100


class NotOffered(OSError):
    """The other side does not begin TLS."""


def begin(protocol: str, connection: socket.socket) -> None:
    """Talk until TLS can begin; raise `NotOffered` if the other side does not want to."""
    _TALKS[protocol](connection)


def _smtp(connection: socket.socket) -> None:
    _expect(connection, "220")
    connection.sendall(b"EHLO mco\r\n")
    _expect(connection, "250")
    connection.sendall(b"STARTTLS\r\n")
    _expect(connection, "220")


def _ftp(connection: socket.socket) -> None:
    _expect(connection, "220")
    connection.sendall(b"AUTH TLS\r\n")
    _expect(connection, "234")


def _imap(connection: socket.socket) -> None:
    _expect(connection, "* OK")
    connection.sendall(b"a STARTTLS\r\n")
    for _ in range(_MAX_LINES):
        line = _line(connection)
        if not line.startswith("*"):
            break
    if not line.upper().startswith("A OK"):
        raise NotOffered(f"IMAP answered STARTTLS with: {line}")


def _pop3(connection: socket.socket) -> None:
    _expect(connection, "+OK")
    connection.sendall(b"STLS\r\n")
    _expect(connection, "+OK")


def _postgresql(connection: socket.socket) -> None:
    connection.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
    if connection.recv(1) != b"S":
        raise NotOffered("PostgreSQL does not offer TLS")


_TALKS: dict[str, Callable[[socket.socket], None]] = {
    "smtp": _smtp, "imap": _imap, "pop3": _pop3, "ftp": _ftp, "postgresql": _postgresql,
}  # fmt: skip


def _expect(connection: socket.socket, code: str) -> None:
    """Read an answer of one line or several; the others have a dash after the code."""
    for _ in range(_MAX_LINES):
        line = _line(connection)
        if not line.startswith(code):
            raise NotOffered(f"expected {code}, got: {line}")
        if not line.startswith(f"{code}-"):
            return
    raise NotOffered(f"more than {_MAX_LINES} lines of {code}")


def _line(connection: socket.socket) -> str:
    """Read one line and not a byte more: what follows may be TLS."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte or len(line) > _MAX_LINE_BYTES:
            raise NotOffered(f"the other side ended after {bytes(line)!r:.100}")
        line += byte
    return line.decode("utf-8", "replace").strip()
