# SPDX-License-Identifier: Apache-2.0
"""Who is reached and who is not, and why: on the loopback, and in network namespaces that drop and reject."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from mco_agents import probes
from mco_agents.nettest import Nettest
from mco_client.rpc import RpcClient
from mco_lab.memory import MemoryFleet
from mco_rpc.errors import ActionAborted, InvalidData, MissingData
from tests.agents.asking import ask
from tests.agents.servers import PATH, free_port, need


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        yield made.getsockname()[1]


def connect(**data: Any) -> dict[str, Any]:
    return ask(Nettest(), "connect", **data)


def ping(**data: Any) -> dict[str, Any]:
    need("ping", "iputils-ping")
    return ask(Nettest(), "ping", **data)


def test_a_port_that_takes_connections(listener: int) -> None:
    made = connect(host="127.0.0.1", port=listener)
    assert (made["connected"], made["address"], made["fault"]) == (True, "127.0.0.1", None)
    assert made["took_s"] > 0


def test_a_name_is_found_and_the_family_counts(listener: int) -> None:
    assert connect(host="localhost", port=listener)["connected"]
    assert connect(host="localhost", port=listener, family="ipv4")["address"] == "127.0.0.1"
    made = connect(host="127.0.0.1", port=listener, family="ipv6")
    assert (made["connected"], made["fault"]) == (False, "unresolvable")


def test_the_source_address_is_ours_to_choose(listener: int) -> None:
    assert connect(host="127.0.0.1", port=listener, source="127.0.0.9")["source"] == "127.0.0.9"
    with pytest.raises(InvalidData, match=r"source 203\.0\.113\.77: .* is it an address of this node"):
        connect(host="127.0.0.1", port=listener, source="203.0.113.77")


def test_refused_and_unresolvable_are_answers() -> None:
    made = connect(host="127.0.0.1", port=free_port())
    assert (made["connected"], made["fault"], made["reason"]) == (False, "refused", "Connection refused")
    made = connect(host="nowhere.invalid", port=1, timeout_s=2)
    assert (made["connected"], made["fault"]) in ((False, "unresolvable"), (False, "timed_out"))


def test_a_full_backlog_is_late() -> None:
    # Given a listener that takes nobody, and whose queue is full
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        made = connect(host="127.0.0.1", port=full.getsockname()[1], timeout_s=0.5)
    assert (made["connected"], made["fault"]) == (False, "timed_out")


def test_a_resolver_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a process that does not end, as one that waits for the C library's resolver
    monkeypatch.setattr(probes, "_GRACE_S", 0.1)
    monkeypatch.setattr(probes.sys, "executable", "/bin/sh")
    monkeypatch.setattr(probes, "_MODULE", ("-c", "sleep 60"))
    made = connect(host="x", port=1, timeout_s=0.2)
    assert (made["connected"], made["fault"]) == (False, "timed_out")


def test_a_process_that_says_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_MODULE", ("-c", "raise SystemExit('no, thanks')"))
    with pytest.raises(ActionAborted, match=r"ended without an answer: .*no, thanks"):
        connect(host="x", port=1)


@pytest.mark.parametrize("host", ["", "-c", "--", "a b", "a;b", "a\n", "$(id)", "a/b", "ä", "x" * 300])
def test_a_host_cannot_be_an_option(host: str) -> None:
    for action, more in (("connect", {"port": 1}), ("ping", {})):
        with pytest.raises(InvalidData):
            ask(Nettest(), action, host=host, **more)


@pytest.mark.parametrize(
    "wrong", [{"port": 0}, {"port": 65536}, {"port": -1}, {"port": "80"}, {"source": "eth0"}, {"family": "x"}]
)
def test_what_cannot_be_tried_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidData):
        connect(**{"host": "127.0.0.1", "port": 1, "timeout_s": 0.1, **wrong})
    with pytest.raises(MissingData):
        connect(host="x")


def test_ping_reaches_the_loopback() -> None:
    made = ping(host="127.0.0.1", count=2)
    assert (made["reached"], made["sent"], made["received"], made["loss_percent"]) == (True, 2, 2, 0)
    assert 0 <= made["rtt_min"] <= made["rtt"] <= made["rtt_max"]
    assert ping(host="localhost", family="ipv4", count=1)["address"] == "127.0.0.1"


def test_ping_of_no_name_is_an_answer() -> None:
    made = ping(host="nowhere.invalid", count=1, timeout_s=2)
    assert (made["reached"], made["fault"]) == (False, "unresolvable")


def test_without_ping_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ActionAborted, match="`ping` cannot be started: No such file or directory"):
        ask(Nettest(), "ping", host="127.0.0.1")


@pytest.mark.lab
def test_filters_and_missing_routes_are_told_apart() -> None:
    """Each in a network namespace of its own: the agent runs there, and answers over a pipe."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    rules = "; ".join((
        "ip link set lo up", "ip addr add 10.9.9.1/24 dev lo", "ip -6 addr add fd09::1/64 dev lo nodad",
        "iptables -A INPUT -p tcp --dport 7 -j DROP", "iptables -A INPUT -p tcp --dport 8 -j REJECT",
        "iptables -A INPUT -p tcp --dport 9 -j REJECT --reject-with icmp-admin-prohibited",
        "iptables -A INPUT -p icmp --icmp-type echo-request -d 10.9.9.1 -j DROP",
    ))  # fmt: skip
    script = """
import json
from mco_agents.nettest import Nettest
agent = Nettest()
found = [agent.connect(host="10.9.9.1", port=port, timeout_s=0.5) for port in (7, 8, 9, 10)]
found.append(agent.connect(host="192.0.2.1", port=1))
found.append(agent.connect(host="fd09::1", port=1))
found.append(agent.ping(host="10.9.9.1", count=1, timeout_s=1))
found.append(agent.ping(host="192.0.2.1", count=1, timeout_s=1))
found.append(agent.ping(host="fd09::1", count=1, timeout_s=1))
print(json.dumps([answer.get("fault") for answer in found]))
"""
    need("ping", "iputils-ping")
    done = subprocess.run(
        ["unshare", "-n", "sh", "-ec", f'{rules}; exec "$0" -P -c "$1"', sys.executable, script],
        env={**os.environ, "PATH": PATH}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = '["timed_out", "refused", "no_route", "refused", "no_route", "refused", "timed_out", "no_route", null]'
    assert done.stdout.strip() == expected


def test_the_whole_way(listener: int) -> None:
    with MemoryFleet({"web1": {}, "web2": {}}) as fleet:
        nettest = RpcClient("nettest", fleet.connection())
        nettest.connect(host="127.0.0.1", port=listener).require_all(connected=True)
        nettest.connect(host="127.0.0.1", port=free_port()).require_all(connected=False, fault="refused")
