# SPDX-License-Identifier: Apache-2.0
"""A certificate authority for tests, and TLS servers that show what it signed."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


class Signed:
    """A certificate with its key; it signs others."""

    def __init__(
        self,
        name: str,
        issuer: Signed | None = None,
        *,
        days: float = 30,
        names: tuple[str, ...] = (),
        is_authority: bool = False,
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.issuer = issuer
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        ends = dt.datetime.now(dt.UTC) + days * DAY
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(ends, dt.datetime.now(dt.UTC)) - 10 * DAY)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(each) for each in names]), False)
        self.certificate = builder.sign((issuer or self).key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def context(self, folder: Path, *between: Signed) -> ssl.SSLContext:
        """Return a server's context that shows this certificate and those between it and the root."""
        file = folder / f"{self.certificate.serial_number:x}.pem"
        file.write_bytes(self.key_pem + self.pem + b"".join(each.pem for each in between))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve connections one after the other in a thread; yield the port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        is_ended = threading.Event()

        def accept() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    if is_ended.is_set():
                        return
                    connection.settimeout(10)
                    with contextlib.suppress(OSError):  # a client that leaves
                        serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            is_ended.set()
            socket.create_connection(listener.getsockname()).close()
            thread.join()


def showing(context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    """Return what serves a connection by a handshake, and waits until the client leaves."""

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as shown:
            shown.recv(1)

    return serve
