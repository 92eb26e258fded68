# SPDX-License-Identifier: Apache-2.0
"""Listening ports, real ones."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import pwd
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_host import sockets
from mco_node.data.port import Port
from mco_node.data.sources import Sources
from mco_rpc.errors import FilterError

Listen = Callable[..., int]


def look(port: str) -> dict[str, Any]:
    return dict(Sources({"port": Port()}).query("port", (port,), time.monotonic() + 20))


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Return a function that opens a socket at an address and returns its port."""
    with contextlib.ExitStack() as stack:

        def begin(host: str, kind: int = socket.SOCK_STREAM, number: int = 0) -> int:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            made = stack.enter_context(socket.socket(family, kind))
            try:
                made.bind((host, number))
            except OSError as e:
                pytest.skip(f"cannot bind to {host} here: {e}")
            if kind == socket.SOCK_STREAM:
                made.listen()
            return int(made.getsockname()[1])

        yield begin


def test_a_listening_port_is_told_with_where_and_who(listen: Listen) -> None:
    port = listen("127.0.0.1")
    assert look(str(port)) == {
        "listening": True,
        "addresses": [f"127.0.0.1:{port}"],
        "protocol": "tcp",
        "users": [pwd.getpwuid(os.getuid()).pw_name],
    }
    assert look(f"{port}/tcp")["listening"]


def test_a_port_where_nobody_listens(listen: Listen) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, and not listening
        port = bound.getsockname()[1]
        assert look(str(port)) == {"listening": False, "addresses": [], "protocol": "tcp", "users": []}


def test_protocols_are_kept_apart(listen: Listen) -> None:
    port = listen("127.0.0.1", socket.SOCK_DGRAM)
    assert look(f"{port}/udp")["addresses"] == [f"127.0.0.1:{port}"]
    assert look(f"127.0.0.1:{port}/udp")["listening"]


def test_a_connection_is_not_a_listener() -> None:
    # Given a connection whose listener is closed, and a UDP socket that talks to one peer
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        port = listener.getsockname()[1]
    with near, far, socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.connect(("127.0.0.1", port))
        assert not look(str(port))["listening"]
        assert not look(f"{peer.getsockname()[1]}/udp")["listening"]


def test_the_address_counts(listen: Listen) -> None:
    port = listen("127.0.0.1")
    assert look(f"127.0.0.1:{port}")["listening"]
    assert not look(f"127.0.0.2:{port}")["listening"]
    assert not look(f"[::1]:{port}")["listening"]
    assert look(f"[::ffff:127.0.0.1]:{port}")["listening"]


def test_every_address_holds_each(listen: Listen) -> None:
    port = listen("0.0.0.0")
    assert look(f"127.0.0.1:{port}")["addresses"] == [f"0.0.0.0:{port}"]
    assert not look(f"[::1]:{port}")["listening"]


def test_ipv6(listen: Listen) -> None:
    port = listen("::1")
    assert look(str(port))["addresses"] == [f"[::1]:{port}"]
    for text in (f"[::1]:{port}", f"::1:{port}/tcp", f"[0:0::1]:{port}/tcp", f"[::1%lo]:{port}"):
        assert look(text)["listening"], text
    assert not look(f"[::2]:{port}")["listening"]
    both = listen("::")
    assert look(f"[::1]:{both}")["listening"]
    assert look(f"127.0.0.1:{both}")["listening"]


def test_a_host_without_ipv6_has_only_the_other_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tcp").write_text(Path("/proc/net/tcp").read_text())
    monkeypatch.setattr(sockets, "TABLES", tmp_path)
    assert look("1")["listening"] is False


def test_only_the_near_end_of_a_socket_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a table in which the port stands as the far end of something that waits
    line = (
        "   0: 0100007F:0050 0100007F:01BB 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0"
    )
    (tmp_path / "tcp").write_text(f"  sl  local_address rem_address   st\n{line}\n")
    monkeypatch.setattr(sockets, "TABLES", tmp_path)
    assert (look("80")["listening"], look("443")["listening"]) == (True, False)


def test_no_table_is_an_error_and_not_a_closed_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "TABLES", tmp_path)
    with pytest.raises(FilterError, match="FileNotFoundError"):
        look("1")
    assert Port.activate_when({}) == f"{tmp_path}/tcp is not there"


def test_it_is_offered_here() -> None:
    assert Port.activate_when({}) is None


@pytest.mark.parametrize(
    ("digits", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("00000000000000000000000001000000", "::1"),
        ("B80D0120000000000000000001000000", "2001:db8::1"),
        ("0000000000000000FFFF00000100007F", "127.0.0.1"),
        ("00000000000000000000000000000000", "::"),
    ],
)
def test_addresses_are_read_in_the_order_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, digits: str, address: str
) -> None:
    monkeypatch.setattr(sockets.sys, "byteorder", "little")
    assert sockets.address_of(digits) == ipaddress.ip_address(address)


def test_a_big_endian_machine_writes_them_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets.sys, "byteorder", "big")
    assert sockets.address_of("7F000001") == ipaddress.ip_address("127.0.0.1")


@pytest.mark.parametrize(
    "text",
    ["", "x", "0", "65536", "-1", "443/sctp", "443/TCP", "host:443", ":443", "::1", "1.2.3.4.5:6", "443\n", "[]:1"],
)
def test_what_is_no_port_is_said_so(text: str) -> None:
    with pytest.raises(FilterError, match=r"expected a port such as 443, 53/udp, 127\.0\.0\.1:5432 or "):
        look(text)


@pytest.mark.parametrize(
    "text",
    ["4 43", "1:2:3", "[::1:443", "\N{ARABIC-INDIC DIGIT FOUR}", "127.0.0.1:"],
)
def test_what_is_nearly_a_port_is_said_so(text: str) -> None:
    with pytest.raises(FilterError, match="expected a port such as 443, 53/udp, "):
        look(text)


def test_a_long_text_is_refused() -> None:
    with pytest.raises(FilterError, match="at most 80 are allowed"):
        look("1" * 10_000)
