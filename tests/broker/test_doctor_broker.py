# SPDX-License-Identifier: Apache-2.0
"""``mco doctor`` and the illnesses of a broker, each caused on a real one or on a real socket in its place."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import ipaddress
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mco_client.connection import Connection
from mco_client.doctor import broker as looks
from mco_client.doctor.finding import Finding, Grade
from mco_client.doctor.patient import Patient
from mco_lab.broker import Broker, free_port
from mco_rpc.config import ClientSettings
from mco_rpc.errors import BrokerUnreachable, ConfigError
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import for_caller

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]
causes = pytest.mark.causes
TIMEOUT_S = 1.0


def looked_at(*urls: str) -> list[Finding]:
    """Return what is found of some brokers."""
    settings = ClientSettings(brokers=urls, connect_timeout_s=TIMEOUT_S, caller="alice")
    return list(looks.brokers(Patient(_never, settings=settings)))


def code_of(*urls: str) -> str:
    """Return the one illness that is found, with advice for it."""
    (finding,) = looked_at(*urls)
    assert finding.grade in (Grade.ILL, Grade.WARNING), finding
    assert "{" not in finding.advice
    return finding.code


def _never(*_: object) -> Connection:
    raise AssertionError("a look at the broker needs no connection of the client's")


def test_a_broker_as_it_should_be(broker_url: str) -> None:
    (finding,) = looked_at(broker_url)
    assert finding.grade is Grade.OK
    assert "RabbitMQ 3." in finding.text or "RabbitMQ 4." in finding.text


def test_every_broker_of_a_list_is_looked_at(broker_url: str) -> None:
    first, second = looked_at(broker_url, f"amqp://a:b@127.0.0.1:{free_port()}/")
    assert (first.grade, second.code) == (Grade.OK, "broker-refused")


def test_a_url_with_half_a_login_is_told_in_words() -> None:
    (finding,) = looked_at("amqp://alice@127.0.0.1/")
    assert finding.code == "config-invalid"
    assert "it names a user and no password" in finding.text


@causes("broker-name")
def test_a_name_that_is_not_known() -> None:
    assert code_of("amqp://a:b@no-such-host.invalid/") == "broker-name"


@causes("broker-refused")
def test_a_port_on_which_nobody_listens() -> None:
    assert code_of(f"amqp://a:b@127.0.0.1:{free_port()}/") == "broker-refused"


@causes("broker-unreachable")
def test_an_address_that_no_way_leads_to() -> None:
    assert code_of("amqp://a:b@255.255.255.255/") == "broker-unreachable"


@causes("broker-silent")
def test_a_broker_that_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert code_of(f"amqp://a:b@127.0.0.1:{listening.getsockname()[1]}/") == "broker-silent"


@causes("broker-protocol")
def test_a_port_of_something_else() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert code_of(f"amqp://a:b@127.0.0.1:{server.server_port}/") == "broker-protocol"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@causes("broker-credentials")
def test_a_wrong_password(broker: Broker) -> None:
    assert code_of(broker.url.replace(broker.passwords[broker.user], "wrong")) == "broker-credentials"


@causes("broker-vhost")
def test_a_virtual_host_that_is_not_there(broker: Broker) -> None:
    assert code_of(broker.url_for("none-such")) == "broker-vhost"


@causes("broker-permissions")
@pytest.mark.parametrize("missing", ["configure", "write", "read"])
def test_a_user_who_lacks_a_permission(broker: Broker, broker_url: str, missing: str) -> None:
    vhost = broker_url.rpartition("/")[2]
    name = f"poor-{missing}-{vhost}"
    allowed = {"configure": ".*", "write": ".*", "read": ".*", missing: "^nothing$"}
    broker.add_user(name, "secret")
    broker.define({"permissions": [{"user": name, "vhost": vhost, **allowed}]})
    assert code_of(broker.url_for(vhost, name)) == "broker-permissions"


@causes("broker-blocked")
def test_a_broker_that_is_short_of_disk(own_broker: Broker) -> None:
    own_broker._call("rabbit_disk_monitor:set_disk_free_limit(1000000000000000).")
    try:
        assert code_of(own_broker.url) == "broker-blocked"
    finally:
        own_broker._call("rabbit_disk_monitor:set_disk_free_limit(1000000).")


@causes("broker-slow")
def test_a_way_that_is_slow(broker_url: str) -> None:
    with Relay(_port(broker_url), delay_s=looks.SLOW_S) as relay:
        assert code_of(relay.url(broker_url)) == "broker-slow"


class TestOverTls:
    """RabbitMQ behind a relay that speaks TLS."""

    @causes("broker-tls-expected")
    def test_a_port_that_wants_tls(self, broker_url: str, tmp_path: Path) -> None:
        with Relay(_port(broker_url), Certificate(tmp_path)) as relay:
            assert code_of(relay.url(broker_url)) == "broker-tls-expected"

    @causes("broker-tls-not-spoken")
    def test_a_port_that_speaks_none(self, broker_url: str) -> None:
        assert code_of(broker_url.replace("amqp://", "amqps://")) == "broker-tls-not-spoken"

    @causes("broker-certificate")
    @pytest.mark.parametrize(
        ("made", "is_known"),
        [({}, False), ({"days": -1}, True), ({"address": "192.0.2.1"}, True)],
        ids=["signed by a stranger", "expired", "of another address"],
    )
    def test_a_certificate_that_cannot_be_believed(
        self, made: dict[str, object], is_known: bool, broker_url: str, tmp_path: Path
    ) -> None:
        certificate = Certificate(tmp_path, **made)  # type: ignore[arg-type]
        with Relay(_port(broker_url), certificate) as relay:
            url = relay.url(broker_url, f"?cacertfile={certificate.file}" if is_known else "")
            assert code_of(url) == "broker-certificate"

    @causes("broker-certificate-soon")
    def test_a_certificate_that_expires_soon(self, broker_url: str, tmp_path: Path) -> None:
        certificate = Certificate(tmp_path, days=3)
        with Relay(_port(broker_url), certificate) as relay:
            soon, fine = looked_at(relay.url(broker_url, f"?cacertfile={certificate.file}"))
        assert (soon.code, soon.grade, fine.grade) == ("broker-certificate-soon", Grade.WARNING, Grade.OK)
        assert "TLSv1." in fine.text

    def test_a_caller_connects_where_the_certificate_is_believed(self, broker_url: str, tmp_path: Path) -> None:
        certificate = Certificate(tmp_path)
        with Relay(_port(broker_url), certificate) as relay:
            with _connection(relay.url(broker_url, f"?cacertfile={certificate.file}")) as connection:
                assert connection.reply_key
            with (
                _connection(relay.url(broker_url, "")) as connection,
                pytest.raises(BrokerUnreachable, match="TLS failed"),
            ):
                connection.open()

    @pytest.mark.parametrize("query", ["?verify=verify_none", "?cacertfile=/no/such/file"])
    def test_a_url_that_cannot_be_meant_is_refused(self, query: str) -> None:
        (finding,) = looked_at(f"amqps://a:b@127.0.0.1/{query}")
        assert finding.code == "config-invalid"
        with pytest.raises(ConfigError, match="brokers:"):
            _connection(f"amqps://a:b@127.0.0.1/{query}").open()


def _connection(url: str) -> Connection:
    settings = ClientSettings(brokers=(url,), connect_timeout_s=5.0, caller="alice")
    return Connection(settings, security=for_caller("alice", keys.new_seed(), {}))


def _port(url: str) -> int:
    return int(url.rpartition("@")[2].partition("/")[0].rpartition(":")[2])


class Certificate:
    """A certificate that vouches for itself, in a file with its key."""

    def __init__(self, folder: Path, *, days: int = 90, address: str = "127.0.0.1") -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=10))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.file = folder / "broker.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)


class Relay:
    """Passes on what comes to a port of its own, with TLS or with a delay if they are wanted."""

    def __init__(self, port: int, certificate: Certificate | None = None, *, delay_s: float = 0.0) -> None:
        self._to, self._delay_s = port, delay_s
        self._context = None
        if certificate is not None:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._context.load_cert_chain(certificate.file)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    def url(self, broker_url: str, query: str | None = None) -> str:
        """Return the broker's URL by way of this relay; with a query it is one of TLS."""
        scheme, query = ("amqp", "") if query is None else ("amqps", query)
        address = f"@127.0.0.1:{self._listening.getsockname()[1]}/"
        before, _, after = broker_url.rpartition("@")
        return before.replace("amqp://", f"{scheme}://") + address + after.partition("/")[2] + query

    def __enter__(self) -> Relay:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()

    def _run(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listening.accept()
                self._run(self._serve, accepted)

    def _serve(self, accepted: socket.socket) -> None:
        self._sockets.append(accepted)
        with contextlib.suppress(OSError):
            inner = accepted
            if self._context is not None:
                accepted.settimeout(10)
                inner = self._context.wrap_socket(accepted, server_side=True)
                inner.settimeout(None)
                self._sockets.append(inner)
            outer = socket.create_connection(("127.0.0.1", self._to))
            self._sockets.append(outer)
            self._run(self._pass_on, inner, outer)
            self._pass_on(outer, inner)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                time.sleep(self._delay_s)
                sink.sendall(chunk)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
