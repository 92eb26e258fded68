# SPDX-License-Identifier: Apache-2.0
"""A real name server on the loopback, asked for what it has, what it has not, and when it says nothing."""

from __future__ import annotations

import os
import pwd
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mco_agents.dns import Dns
from mco_agents.probes.dns import probe
from mco_client.rpc import RpcClient
from mco_lab.memory import MemoryFleet
from mco_rpc.errors import InvalidData
from tests.agents.asking import ask
from tests.agents.servers import free_port, need, serving

CONFIG = """
no-daemon
no-resolv
no-hosts
bind-interfaces
listen-address=127.0.0.1
port={port}
pid-file=
user={user}
local-ttl=77
auth-ttl=77
local=/example.test/
host-record=www.example.test,192.0.2.10,2001:db8::10
host-record=two.example.test,192.0.2.22
address=/many.example.test/192.0.2.2
address=/many.example.test/192.0.2.1
cname=alias.example.test,www.example.test
mx-host=example.test,mail.example.test,10
txt-record=txt.example.test,"v=spf1 -all"
srv-host=_sip._tcp.example.test,sip.example.test,5060,1,2
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a dnsmasq with a few names."""
    program = need("dnsmasq", "dnsmasq-base")
    folder, number = tmp_path_factory.mktemp("dns"), free_port()
    (folder / "conf").write_text(CONFIG.format(port=number, user=pwd.getpwuid(os.geteuid()).pw_name))
    with serving(number, program, "-C", folder / "conf", log=folder / "log"):
        yield number


@pytest.fixture
def resolve(port: int) -> Any:
    def asked(name: str, kind: str = "A", **more: Any) -> dict[str, Any]:
        return ask(Dns(), "resolve", name=name, type=kind, **{"server": "127.0.0.1", "port": port, **more})

    return asked


@pytest.mark.parametrize(
    ("name", "kind", "answers"),
    [
        ("www.example.test", "A", ["192.0.2.10"]),
        ("WWW.example.test.", "A", ["192.0.2.10"]),
        ("www.example.test", "AAAA", ["2001:db8::10"]),
        ("many.example.test", "A", ["192.0.2.1", "192.0.2.2"]),
        ("alias.example.test", "CNAME", ["www.example.test"]),
        ("example.test", "MX", ["10 mail.example.test"]),
        ("txt.example.test", "TXT", ["v=spf1 -all"]),
        ("_sip._tcp.example.test", "SRV", ["1 2 5060 sip.example.test"]),
        ("192.0.2.10", "PTR", ["www.example.test"]),
        ("2001:db8::10", "PTR", ["www.example.test"]),
        ("22.2.0.192.in-addr.arpa", "PTR", ["two.example.test"]),
    ],
)
def test_a_name_stands_for_something(resolve: Any, name: str, kind: str, answers: list[str]) -> None:
    made = resolve(name, kind)
    assert (made["exists"], made["rcode"], made["answers"], made["fault"]) == (True, "NOERROR", answers, None)
    assert made["server"] == "127.0.0.1"
    assert made["took_s"] > 0


def test_another_name_leads_to_the_answer(resolve: Any) -> None:
    made = resolve("alias.example.test")
    assert (made["answers"], made["canonical_name"], made["ttl"]) == (["192.0.2.10"], "www.example.test", 77)


def test_no_such_name_is_an_answer(resolve: Any) -> None:
    made = resolve("nowhere.example.test")
    assert (made["exists"], made["rcode"], made["answers"]) == (False, "NXDOMAIN", [])


def test_a_name_without_such_records_exists(resolve: Any) -> None:
    made = resolve("two.example.test", "AAAA")
    assert (made["exists"], made["rcode"], made["answers"]) == (True, "NOERROR", [])


def test_what_a_server_refuses_nobody_knows(resolve: Any) -> None:
    made = resolve("www.example.net")
    assert (made["exists"], made["rcode"], made["answers"]) == (None, "REFUSED", [])


def test_a_server_that_says_nothing_is_late() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        made = ask(Dns(), "resolve", name="a.b", server="127.0.0.1", port=silent.getsockname()[1], timeout_s=1.5)
        # And the question came twice, for the first could have been lost
        silent.settimeout(5)
        assert silent.recv(512)
        assert silent.recv(512)
    assert (made["exists"], made["fault"], made["server"]) == (None, "timed_out", "127.0.0.1")


def test_a_lie_from_elsewhere_is_not_believed(port: int) -> None:
    # Given a server whose answer is not to our question
    with socket.socket(type=socket.SOCK_DGRAM) as liar:
        liar.bind(("127.0.0.1", 0))
        liar.settimeout(20)

        def lie() -> None:
            question, address = liar.recvfrom(512)
            liar.sendto(b"\0\0" + question[2:], address)

        thread = threading.Thread(target=lie)
        thread.start()
        made = ask(Dns(), "resolve", name="a.b", server="127.0.0.1", port=liar.getsockname()[1], timeout_s=1)
        thread.join()
    assert made["exists"] is None
    assert made["fault"] in ("protocol", "timed_out")


def test_the_next_server_is_asked_when_one_says_nothing(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a node whose first name server is not there
    monkeypatch.setattr("mco_agents.probes.dns._servers", lambda: ["127.0.0.2", "127.0.0.1"])
    made = probe("www.example.test", "A", "", port, 1.0)
    assert (made["answers"], made["server"]) == (["192.0.2.10"], "127.0.0.1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a b"}, {"name": ""}, {"name": "a..b"}, {"name": "x" * 64 + ".test"}, {"name": "-o\n"},
        {"name": "a", "type": "ANY"}, {"name": "a", "server": "localhost"}, {"name": "a", "port": 0},
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidData):
        ask(Dns(), "resolve", **{"timeout_s": 0.1, "server": "127.0.0.1", "port": 1, **wrong})


def test_the_whole_way(port: int) -> None:
    with MemoryFleet({"web1": {}, "web2": {}}) as fleet:
        dns = RpcClient("dns", fleet.connection())
        results = dns.resolve(name="www.example.test", server="127.0.0.1", port=port)
        results.require_all(exists=True, answers=["192.0.2.10"])
