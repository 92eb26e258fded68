# SPDX-License-Identifier: Apache-2.0
"""Certificates in files and of servers: good, expired, of another name, of nobody we believe."""

from __future__ import annotations

import datetime as dt
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mco_agents.certificate import Certificate
from mco_agents.probes import certificates
from mco_client.rpc import RpcClient
from mco_host import opening
from mco_lab.memory import MemoryFleet
from mco_rpc.errors import ActionAborted, InvalidData
from tests.agents.asking import ask
from tests.agents.authority import Signed, listening, showing
from tests.agents.servers import free_port

ROOT = Signed("Root", is_authority=True, days=1000)
BETWEEN = Signed("Between", ROOT, is_authority=True, days=500)
LEAF = Signed("leaf", BETWEEN, names=("www.example.test", "*.wild.example.test", "127.0.0.1"))
EXPIRED = Signed("expired", BETWEEN, names=("127.0.0.1",), days=-3)
ALONE = Signed("alone", names=("127.0.0.1",))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "root.pem"
    path.write_bytes(ROOT.pem)
    return path


def file(path: Path | str) -> dict[str, Any]:
    return ask(Certificate(), "file", path=str(path))


def peer(port: int, **more: Any) -> dict[str, Any]:
    return ask(Certificate(), "peer", host="127.0.0.1", port=port, **more)


def test_a_file_with_one(tmp_path: Path) -> None:
    for name, data in (("pem", LEAF.key_pem + LEAF.pem), ("der", LEAF.der)):
        (tmp_path / name).write_bytes(data)
        made = file(tmp_path / name)
        assert (made["exists"], made["count"], made["subject"], made["issuer"]) == (True, 1, "CN=leaf", "CN=Between")
        assert 29.9 < made["days_left"] <= 30
        assert (made["is_expired"], made["is_not_yet_valid"], made["self_signed"]) == (False, False, False)
        assert (made["key_type"], made["key_bits"], made["signature"]) == ("EC", 256, "sha256")
        assert made["names"] == ["www.example.test", "*.wild.example.test", "127.0.0.1"]
        assert "PRIVATE" not in str(made)


def test_the_first_to_end_counts_in_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "bundle").write_bytes(LEAF.pem + ROOT.pem + EXPIRED.pem)
    made = file(tmp_path / "bundle")
    assert [each["subject"] for each in made["certificates"]] == ["CN=leaf", "CN=Root", "CN=expired"]
    assert (made["subject"], made["count"], made["is_expired"]) == ("CN=leaf", 3, True)
    assert -3.1 < made["days_left"] < -2.9
    assert [each["self_signed"] for each in made["certificates"]] == [False, True, False]


def test_no_file_is_an_answer(tmp_path: Path) -> None:
    assert file(tmp_path / "x")["exists"] is False


def test_what_is_no_certificate_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("root:secret:0:0")
    (tmp_path / "cut").write_bytes(LEAF.pem[:200] + b"\n-----END CERTIFICATE-----\n")
    (tmp_path / "empty").touch()
    for name in ("text", "cut", "empty"):
        with pytest.raises(ActionAborted, match="holds no certificate that can be read") as caught:
            file(tmp_path / name)
        assert "secret" not in str(caught.value)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(1 << 30)
    for path in (tmp_path / "fifo", tmp_path / "large", tmp_path, "/dev/zero"):
        with pytest.raises(ActionAborted, match=r"not a file|has more than 4194304 bytes"):
            file(path)


def test_what_is_no_file_is_not_even_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given devices, of which one restarts the machine when it is closed again, and the kernel's log, which is read away
    flags: list[int] = []
    real = os.open
    monkeypatch.setattr(opening.os, "open", lambda path, how, **more: flags.append(how) or real(path, how, **more))
    for path in ("/dev/null", "/dev/ptmx", "/proc/kmsg", "/proc/self/environ", "/tmp"):
        with pytest.raises(ActionAborted, match=r"not a file|made up by the kernel"):
            opening.opened(path)

    # Then nothing was done with them but to look what they are
    assert len(flags) == 5
    assert all(how & os.O_PATH for how in flags)


def test_an_authority_is_a_file_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("no certificate")
    for path in (tmp_path / "fifo", "/dev/zero", tmp_path / "empty", tmp_path / "text", tmp_path / "none", tmp_path):
        with pytest.raises(InvalidData, match=f"ca {path}: "):
            peer(free_port(), ca=str(path))


def test_a_name_that_looks_like_an_address_is_none(tmp_path: Path) -> None:
    named = Signed("named")
    builder = x509.CertificateBuilder().subject_name(named.certificate.subject).issuer_name(named.certificate.issuer)
    builder = (
        builder.public_key(named.key.public_key())
        .serial_number(1)
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    )
    builder = builder.not_valid_after(dt.datetime(2040, 1, 1, tzinfo=dt.UTC))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("127.0.0.1")]), critical=False)
    named.certificate = builder.sign(named.key, hashes.SHA256())
    with listening(showing(named.context(tmp_path))) as port:
        assert peer(port)["hostname_matches"] is False


def test_a_certificate_that_contradicts_itself_vouches_for_nobody(tmp_path: Path) -> None:
    # Given one that says twice whom it vouches for, the second time in a way that nobody understands
    twice = Signed("twice", names=("127.0.0.1",))
    der = twice.der.replace(b"\x06\x03\x55\x1d\x13", b"\x06\x03\x55\x1d\x11")
    assert der != twice.der
    twice.certificate = x509.load_der_x509_certificate(der)

    # When it is looked at
    (tmp_path / "twice").write_bytes(twice.der)
    made = file(tmp_path / "twice")

    # Then what can be read of it is told
    assert (made["names"], made["subject"], made["count"]) == ([], "CN=twice", 1)
    assert certificates.is_for(twice.certificate, "127.0.0.1") is False


@pytest.mark.parametrize("path", ["", "relative", "/a\nb", "/a\0", "/" + "x" * 2000])
def test_what_cannot_be_a_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidData):
        file(path)


def test_a_server_that_is_believed(tmp_path: Path, root: Path) -> None:
    with listening(showing(LEAF.context(tmp_path, BETWEEN))) as port:
        made = peer(port, ca=str(root))
    assert (made["connected"], made["verified"], made["hostname_matches"], made["verify_error"]) == (
        True,
        True,
        True,
        None,
    )
    assert (made["subject"], made["address"]) == ("CN=leaf", "127.0.0.1")
    assert [each["subject"] for each in made["chain"]] == ["CN=leaf", "CN=Between"]
    assert made["protocol"] == "TLSv1.3"
    assert made["sha256"] == certificates.told(LEAF.certificate)["sha256"]


@pytest.mark.parametrize(
    ("leaf", "between", "why"),
    [
        (EXPIRED, (BETWEEN,), "certificate has expired"),
        (ALONE, (), "self-signed certificate|self signed certificate"),
        (LEAF, (), "unable to get local issuer certificate"),
    ],
    ids=["expired", "self-signed", "incomplete"],
)
def test_a_server_that_is_not_believed(
    tmp_path: Path, root: Path, leaf: Signed, between: tuple[Signed, ...], why: str
) -> None:
    with listening(showing(leaf.context(tmp_path, *between))) as port:
        made = peer(port, ca=str(root))
    assert (made["connected"], made["verified"]) == (True, False)
    assert made["verify_error"] in why.split("|")
    assert made["self_signed"] is (leaf is ALONE)
    assert made["is_expired"] is (leaf is EXPIRED)


def test_another_name_is_told_apart_from_the_chain(tmp_path: Path, root: Path) -> None:
    with listening(showing(LEAF.context(tmp_path, BETWEEN))) as port:
        made = peer(port, ca=str(root), server_name="mail.example.test")
        assert (made["verified"], made["hostname_matches"]) == (True, False)
        assert peer(port, ca=str(root), server_name="www.example.test")["hostname_matches"] is True


def test_the_system_does_not_believe_us(tmp_path: Path) -> None:
    with listening(showing(LEAF.context(tmp_path, BETWEEN))) as port:
        assert peer(port)["verified"] is False


@pytest.mark.parametrize(
    ("host", "is_so"),
    [
        ("www.example.test", True), ("WWW.Example.Test.", True), ("a.wild.example.test", True),
        ("a.b.wild.example.test", False), ("wild.example.test", False), ("example.test", False),
        ("127.0.0.1", True), ("127.0.0.2", False), ("", False),
    ],
)  # fmt: skip
def test_which_names_it_is_for(host: str, is_so: bool) -> None:
    assert certificates.is_for(LEAF.certificate, host) is is_so


def test_nobody_there_is_an_answer() -> None:
    made = peer(free_port())
    assert (made["connected"], made["fault"], made["days_left"]) == (False, "refused", None)


def test_a_server_without_tls_is_an_answer() -> None:
    with listening(lambda connection: connection.sendall(b"220 hello\r\n")) as port:
        made = peer(port)
    assert (made["connected"], made["fault"]) == (False, "tls")


def test_a_server_that_says_nothing_is_late() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        made = peer(silent.getsockname()[1], timeout_s=0.3)
    assert (made["connected"], made["fault"]) == (False, "timed_out")


TALKS: dict[str, tuple[bytes, list[tuple[bytes, bytes]]]] = {
    "smtp": (b"220-a\r\n220 b\r\n", [(b"EHLO", b"250-x\r\n250 STARTTLS\r\n"), (b"STARTTLS", b"220 go\r\n")]),
    "imap": (b"* OK hi\r\n", [(b"a STARTTLS", b"* CAPABILITY x\r\na OK go\r\n")]),
    "pop3": (b"+OK hi\r\n", [(b"STLS", b"+OK go\r\n")]),
    "ftp": (b"220 hi\r\n", [(b"AUTH TLS", b"234 go\r\n")]),
    "postgresql": (b"", [(b"\x00\x00\x00\x08\x04\xd2\x16\x2f", b"S")]),
}


def talking(protocol: str, last: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    greeting, exchanges = TALKS[protocol]

    def serve(connection: socket.socket) -> None:
        connection.sendall(greeting)
        for expected, answer in exchanges:
            assert connection.recv(200).startswith(expected)
            connection.sendall(answer)
        last(connection)

    return serve


@pytest.mark.parametrize("protocol", TALKS)
def test_tls_may_begin_later(tmp_path: Path, root: Path, protocol: str) -> None:
    with listening(talking(protocol, showing(LEAF.context(tmp_path, BETWEEN)))) as port:
        made = peer(port, starttls=protocol, ca=str(root))
    assert (made["connected"], made["verified"], made["subject"]) == (True, True, "CN=leaf")


@pytest.mark.parametrize(
    "said", [b"554 go away\r\n", b"220 hi\r\n" * 3, b"220-" + b"x" * 9000, b"220-a\r\n" * 300, b""]
)
def test_who_does_not_want_tls_is_an_answer(said: bytes) -> None:
    with listening(lambda connection: connection.sendall(said)) as port:
        made = peer(port, starttls="smtp")
    assert made["connected"] is False
    assert made["fault"] in ("tls", "reset")


@pytest.mark.parametrize(
    "wrong", [{"port": 0}, {"starttls": "telnet"}, {"server_name": "-x"}, {"ca": "x"}, {"ca": "/nonexistent"}]
)
def test_what_cannot_be_asked_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidData):
        ask(Certificate(), "peer", **{"host": "127.0.0.1", "port": 1, **wrong})


def test_the_whole_way(tmp_path: Path) -> None:
    (tmp_path / "leaf.pem").write_bytes(LEAF.pem)
    with MemoryFleet({"web1": {}, "web2": {}}) as fleet:
        certificate = RpcClient("certificate", fleet.connection())
        certificate.file(path=str(tmp_path / "leaf.pem")).require_all(exists=True, is_expired=False)
