# SPDX-License-Identifier: Apache-2.0
"""The agent on two hosts with real packet filters: what it says is blocked is what does not come through."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mco_agents.iptables import Iptables
from mco_agents.packet_filter import NotReached, PacketFilterError
from mco_rpc.command import Completed, run
from mco_rpc.errors import ActionAborted

BACKENDS = {"iptables-nft": "iptables-nft", "iptables-legacy": "iptables-legacy", "nftables": "nft"}
IPTABLES = [backend for backend in BACKENDS if backend.startswith("iptables")]
PORT = 7000
_numbers = itertools.count()

LISTEN = """
import socket
server = socket.create_server(("::", 7000), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
while True:
    server.accept()[0].close()
"""
# 0: connected; 3: no answer, as from a host that drops; anything else is another trouble.
CONNECT = """
import errno, socket, sys
try:
    socket.create_connection((sys.argv[1], 7000), timeout=float(sys.argv[2])).close()
except TimeoutError:
    sys.exit(3)
except OSError as e:
    sys.exit(3 if e.errno == errno.EHOSTUNREACH else 1)
"""


class Node:
    """A node that uses a broker at an address nobody in these tests has."""

    def broker_addresses(self) -> list[str]:
        return ["203.0.113.9"]


class InsideAgent(Iptables):
    """The agent as it is, with its commands run in a network namespace."""

    namespace = ""

    def run(self, *argv: str, **options: Any) -> Completed:
        return super().run("ip", "netns", "exec", self.namespace, *argv, **options)


@dataclass
class Host:
    """A managed host at 10.77.0.1 and 2001:db8:77::1, and a peer at .2 and ::2 that it can block."""

    name: str
    peer: str
    backend: str

    def agent(self) -> Iptables:
        node: Any = Node()
        it = InsideAgent(node, {"backend": self.backend})
        it.namespace = self.name
        return it

    def do(self, *argv: str, stdin: bytes = b"") -> str:
        return run(
            ("ip", "netns", "exec", self.name, *argv), deadline=time.monotonic() + 20, stdin=stdin, check=True
        ).stdout

    def answers(self, address: str = "10.77.0.1") -> bool:
        """Say whether the peer gets a connection, however busy the machine is."""
        return self._connect(address, timeout_s=20) == 0

    def is_silent(self, address: str = "10.77.0.1") -> bool:
        """Say whether the peer hears nothing at all for a moment."""
        return self._connect(address, timeout_s=0.5) == 3

    def _connect(self, address: str, timeout_s: float) -> int:
        done = subprocess.run(
            ["ip", "netns", "exec", self.peer, sys.executable, "-c", CONNECT, address, str(timeout_s)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 3), done
        return done.returncode

    def tables(self) -> str:
        """Return all that its packet filters hold, but for counters."""
        listed = [self.do(command, "-S") for command in ("iptables-legacy", "ip6tables-legacy")]
        return "".join([*listed, self.do("nft", "-s", "list", "ruleset")])


@pytest.fixture(params=BACKENDS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    yield from make_host(request.param)


@pytest.fixture(params=IPTABLES)
def iptables_host(request: pytest.FixtureRequest) -> Iterator[Host]:
    yield from make_host(request.param)


@pytest.fixture
def nft_host() -> Iterator[Host]:
    yield from make_host("nftables")


def make_host(backend: str) -> Iterator[Host]:
    lacking = [command for command in ("ip", *BACKENDS.values()) if not shutil.which(command)]
    missing = "root is needed" if os.geteuid() else f"not installed: {', '.join(lacking)}" if lacking else ""
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"{missing}, and in CI nothing may be left out")
    if missing:
        pytest.skip(missing)
    number = next(_numbers)
    name, peer = (f"mcotest-{os.getpid()}-{kind}{number}" for kind in "hp")
    server = None
    try:
        for namespace in (name, peer):
            ip("netns", "add", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", peer)
        for namespace, last in ((name, "1"), (peer, "2")):
            ip("-n", namespace, "address", "add", f"10.77.0.{last}/24", "dev", "eth0")
            ip("-n", namespace, "address", "add", f"2001:db8:77::{last}/64", "dev", "eth0", "nodad")
            ip("-n", namespace, "link", "set", "eth0", "up")
        server = subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, "-c", LISTEN], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        yield Host(name, peer, backend)
    finally:
        if server is not None:
            server.kill()
            server.communicate()
        for namespace in (name, peer):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


def ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("ipaddr", "address"),
    [
        ("10.77.0.2", "10.77.0.1"),
        ("10.77.0.0/24", "10.77.0.1"),
        ("2001:db8:77::2", "2001:db8:77::1"),
        ("2001:db8:77::/64", "2001:db8:77::1"),
    ],
)
def test_a_connection_succeeds_fails_and_succeeds_again(host: Host, ipaddr: str, address: str) -> None:
    agent = host.agent()
    assert host.answers(address)
    assert [agent.block(ipaddr)["changed"] for _ in range(2)] == [True, False]
    assert host.is_silent(address)
    assert agent.isblocked(ipaddr)["blocked"] is True
    assert [agent.unblock(ipaddr)["changed"] for _ in range(2)] == [True, False]
    assert host.answers(address)
    assert agent.isblocked(ipaddr)["blocked"] is False


def test_a_whole_family_is_blocked_and_the_other_is_not(host: Host) -> None:
    agent = host.agent()
    for ipaddr, shut, opened in (
        ("0.0.0.0/0", "10.77.0.1", "2001:db8:77::1"),
        ("::/0", "2001:db8:77::1", "10.77.0.1"),
    ):
        agent.block(ipaddr, force=True)
        assert host.is_silent(shut)
        assert host.answers(opened)
        agent.unblock(ipaddr)
        assert host.answers(shut)


def test_a_block_of_somebody_else_leaves_the_peer_alone(host: Host) -> None:
    agent = host.agent()
    agent.block("10.77.0.3")
    agent.block("10.78.0.0/16")
    assert host.answers()
    assert agent.isblocked("10.77.0.2")["blocked"] is False


def test_another_host_sees_nothing_of_it(host: Host) -> None:
    for other in make_host(host.backend):
        host.agent().block("10.77.0.2")
        assert other.agent().listblocked() == {"blocked": []}
        assert other.answers()
        other.agent().block("10.77.0.9")
        assert host.agent().listblocked() == {"blocked": ["10.77.0.2"]}


def test_after_the_last_unblock_the_rules_are_as_before(iptables_host: Host) -> None:
    agent = iptables_host.agent()
    command = iptables_host.backend
    iptables_host.do(command, "-A", "INPUT", "-p", "icmp", "-j", "ACCEPT")
    iptables_host.do(f"ip6{command.removeprefix('ip')}", "-P", "FORWARD", "DROP")
    for ipaddr in ("10.0.0.1", "2001:db8::1"):  # makes the tables and INPUT itself, which stay
        agent.block(ipaddr)
        agent.unblock(ipaddr)
    before = iptables_host.tables()
    for ipaddr in ("10.77.0.2", "10.0.0.0/8", "2001:db8::/32"):
        agent.block(ipaddr)
    assert iptables_host.tables() != before
    for ipaddr in ("2001:db8::/32", "10.0.0.0/8", "10.77.0.2"):
        agent.unblock(ipaddr)
    assert iptables_host.tables() == before


@pytest.mark.parametrize("change", ["block", "unblock"])
def test_a_rule_of_somebody_else_before_the_jump_makes_it_unsure_until_a_change(
    iptables_host: Host, change: str
) -> None:
    agent = iptables_host.agent()
    agent.block("10.77.0.2")
    foreign = ("INPUT", "1", "-s", "10.77.0.0/24", "-j", "ACCEPT")
    iptables_host.do(iptables_host.backend, "-I", *foreign)
    assert iptables_host.answers(), "the other rule lets it in"
    for ipaddr in ("10.77.0.2", "10.1.1.1"):
        with pytest.raises(NotReached, match="another rule stands before the jump"):
            agent.isblocked(ipaddr)
    with pytest.raises(NotReached, match="another rule stands before the jump"):
        agent.listblocked()
    answer = agent.block("10.77.0.2") if change == "block" else agent.unblock("10.77.0.3")
    assert answer["changed"] is True
    assert iptables_host.is_silent()
    assert agent.listblocked() == {"blocked": ["10.77.0.2"]}
    rules = [line for line in iptables_host.do(iptables_host.backend, "-S", "INPUT").splitlines() if "-A" in line]
    assert rules == ["-A INPUT -j MCO-BLOCK", "-A INPUT -s 10.77.0.0/24 -j ACCEPT"], "theirs stays, ours is there once"


def test_a_jump_that_is_gone_makes_it_unsure_until_a_change(iptables_host: Host) -> None:
    agent = iptables_host.agent()
    agent.block("10.77.0.2")
    iptables_host.do(iptables_host.backend, "-D", "INPUT", "1")
    with pytest.raises(NotReached, match="INPUT does not jump to it"):
        agent.isblocked("10.77.0.2")
    agent.block("10.77.0.2")
    assert iptables_host.is_silent()


def test_a_chain_edited_by_hand_is_neither_believed_nor_touched(iptables_host: Host) -> None:
    agent = iptables_host.agent()
    agent.block("10.77.0.2")
    iptables_host.do(iptables_host.backend, "-I", "MCO-BLOCK", "1", "-s", "10.77.0.2", "-p", "tcp", "-j", "ACCEPT")
    before = iptables_host.tables()
    assert iptables_host.answers()
    for ask in (agent.isblocked, agent.block, agent.unblock):
        with pytest.raises(PacketFilterError, match=r"take it out with `(.*)`") as caught:
            ask("10.77.0.2")
    assert iptables_host.tables() == before
    advice = str(caught.value).split("`")[3]
    iptables_host.do(*advice.split())
    assert agent.isblocked("10.77.0.2")["blocked"] is True
    assert iptables_host.is_silent()


def test_a_chain_that_somebody_else_uses_too_stays(iptables_host: Host) -> None:
    agent = iptables_host.agent()
    agent.block("10.77.0.2")
    iptables_host.do(iptables_host.backend, "-A", "FORWARD", "-j", "MCO-BLOCK")
    assert agent.unblock("10.77.0.2")["changed"] is True
    assert "-A FORWARD -j MCO-BLOCK" in iptables_host.do(iptables_host.backend, "-S")


@pytest.mark.parametrize(
    ("edit", "seen"),
    [
        ("insert rule inet mco_block input ip saddr 10.77.0.2 accept", "is not one of its rules"),
        ("add table inet mco_block { flags dormant; }", "may be switched off"),
        ("delete chain inet mco_block input; add chain inet mco_block input", "is not as this agent makes it"),
    ],
)
def test_a_table_edited_by_hand_is_neither_believed_nor_touched(nft_host: Host, edit: str, seen: str) -> None:
    agent = nft_host.agent()
    agent.block("10.77.0.2")
    assert nft_host.is_silent()
    nft_host.do("nft", "-f", "-", stdin=f"{edit}\n".encode())
    assert nft_host.answers()
    before = nft_host.tables()
    for ask in (agent.isblocked, agent.block, agent.unblock):
        with pytest.raises(PacketFilterError, match=f"{seen}.*nft delete table inet mco_block"):
            ask("10.77.0.2")
    assert nft_host.tables() == before
    nft_host.do("nft", "delete", "table", "inet", "mco_block")
    assert agent.block("10.77.0.2")["changed"] is True
    assert nft_host.is_silent()


def test_what_other_tables_accept_is_dropped_all_the_same(nft_host: Host) -> None:
    theirs = "table inet filter { chain input { type filter hook input priority -300; policy accept; accept; }; }\n"
    nft_host.do("nft", "-f", "-", stdin=theirs.encode())
    nft_host.agent().block("10.77.0.2")
    assert nft_host.is_silent()


def test_what_others_block_is_not_ours_to_unblock(host: Host) -> None:
    theirs = "table inet theirs { chain input { type filter hook input priority 0; ip saddr 10.77.0.2 drop; }; }\n"
    host.do("nft", "-f", "-", stdin=theirs.encode())
    agent = host.agent()
    assert agent.unblock("10.77.0.2")["changed"] is False
    assert "10.77.0.2 drop" in host.do("nft", "list", "ruleset")


def test_the_agent_refuses_in_real_life_too(host: Host) -> None:
    agent = host.agent()
    before = host.tables()
    for ipaddr in ("127.0.0.1", "203.0.113.0/24", "0.0.0.0/0"):
        with pytest.raises(ActionAborted, match="will not block"):
            agent.block(ipaddr)
    assert host.tables() == before


def test_thousands_of_rules_of_others_keep_nothing_from_being_said(host: Host) -> None:
    # Given a host with more rules than an ordinary command may print
    tool = "iptables-legacy" if host.backend == "iptables-legacy" else "iptables-nft"
    comment = "x" * 200
    rules = [f"-A INPUT -s 10.99.{n // 250}.{n % 250} -m comment --comment {comment} -j ACCEPT" for n in range(2000)]
    script = "\n".join(["*filter", *rules, "COMMIT", ""])
    host.do(f"{tool}-restore", "--noflush", stdin=script.encode())
    # When it blocks and unblocks, then it knows what it did
    agent = host.agent()
    assert agent.block("10.77.0.2")["after"] is True
    assert agent.isblocked("10.77.0.2")["blocked"] is True
    assert agent.unblock("10.77.0.2")["after"] is False
