# SPDX-License-Identifier: Apache-2.0
"""Listening sockets, real ones, and who holds them."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mco_agents.port import Port
from mco_client.rpc import RpcClient
from mco_host import sockets
from mco_lab.memory import MemoryFleet
from mco_rpc.errors import InvalidData
from tests.agents.asking import ask

USER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        yield made.getsockname()[1]


def test_a_port_is_told_with_where_and_who(listener: int) -> None:
    made = ask(Port(), "status", port=str(listener))
    name = Path("/proc/self/comm").read_text().strip()
    assert made == {
        "port": listener,
        "protocol": "tcp",
        "listening": True,
        "addresses": ["127.0.0.1"],
        "users": [USER],
        "processes": [{"pid": os.getpid(), "name": name, "user": USER}],
    }


def test_the_address_and_the_protocol_count(listener: int) -> None:
    for port, is_so in ((f"127.0.0.1:{listener}", True), (f"[::1]:{listener}", False), (f"{listener}/udp", False)):
        assert ask(Port(), "status", port=port)["listening"] is is_so


def test_two_processes_may_hold_one_socket(listener: int) -> None:
    with socket.socket() as shared:
        shared.bind(("127.0.0.1", 0))
        shared.listen()
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[shared.fileno()])
        try:
            held = ask(Port(), "status", port=str(shared.getsockname()[1]))["processes"]
            assert [row["pid"] for row in held] == sorted([os.getpid(), child.pid])
        finally:
            child.communicate(b"\n")


def test_all_that_listens_is_listed_in_order(listener: int) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        made = ask(Port(), "list")
        rows = {(row["protocol"], row["port"]): row for row in made["sockets"] if row["address"] == "127.0.0.1"}
        assert rows["tcp", listener]["processes"][0]["pid"] == os.getpid()
        assert rows["udp", datagrams.getsockname()[1]]["user"] == USER
        keys = [(row["protocol"], row["port"], row["address"]) for row in made["sockets"]]
        assert keys == sorted(keys)
        assert made["count"] == len(keys)
        assert {row["protocol"] for row in ask(Port(), "list", protocol="udp")["sockets"]} == {"udp"}


def test_a_long_list_is_cut(listener: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as another:
        another.bind(("127.0.0.1", 0))
        another.listen()
        monkeypatch.setattr("mco_agents.port.MAX_LISTED", 1)
        made = ask(Port(), "list")
    assert len(made["sockets"]) == 1
    assert made["count"] > 1


@pytest.mark.parametrize("port", ["", "x", "0", "65536", "-1", "443/sctp", "host:443", "443\n", "1" * 100])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(InvalidData):
        ask(Port(), "status", port=port)


def test_it_is_offered_where_the_kernel_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Port.activate_when({}) is None
    monkeypatch.setattr(sockets, "TABLES", tmp_path)
    assert Port.activate_when({}) == f"{tmp_path}/tcp is not there"


def test_the_whole_way(listener: int) -> None:
    with MemoryFleet({"web1": {}, "web2": {}}) as fleet:
        port = RpcClient("port", fleet.connection())
        port.status(port=f"{listener}/tcp").require_all(listening=True)
