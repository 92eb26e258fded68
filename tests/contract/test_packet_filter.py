# SPDX-License-Identifier: Apache-2.0
"""What every packet filter does, in memory and with the real tools in a network namespace of its own."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_network

import pytest

from mco_agents.packet_filter import PacketFilter
from mco_agents.packet_filter.choice import Settings, choose
from mco_rpc.command import Completed, run

MakeFilter = Callable[[], PacketFilter]
_numbers = itertools.count()
REAL = {"iptables-nft": "iptables-nft", "iptables-legacy": "iptables-legacy", "nftables": "nft"}
ANY = ["10.0.0.1", "10.0.0.0/8", "192.168.1.1", "2001:db8::1", "2001:db8::/32", "0.0.0.0/0", "::/0"]


def run_inside(namespace: str, *argv: str, stdin: bytes = b"") -> Completed:
    return run(("ip", "netns", "exec", namespace, *argv), deadline=time.monotonic() + 60, stdin=stdin)


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace of this test's own."""
    name = f"mcotest-{os.getpid()}-c{next(_numbers)}"
    subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True, capture_output=True)


@pytest.fixture(params=["memory", *REAL])
def make(request: pytest.FixtureRequest) -> MakeFilter:
    """Return a function that makes a packet filter of one kind; all of one test see the same host."""
    backend = request.param
    if backend == "memory":
        one = choose(Settings(backend), partial(run_inside, "none"))  # its host is the object itself
        return lambda: one
    missing = "root is needed" if os.geteuid() else "" if shutil.which(REAL[backend]) else f"no {REAL[backend]} here"
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"{missing}, and in CI nothing may be left out")
    if missing:
        pytest.skip(missing)
    namespace = request.getfixturevalue("namespace")
    return lambda: choose(Settings(backend), partial(run_inside, namespace))


def block(packet_filter: PacketFilter, *networks: str) -> None:
    for network in networks:
        packet_filter.block(ip_network(network))


def unblock(packet_filter: PacketFilter, *networks: str) -> None:
    for network in networks:
        packet_filter.unblock(ip_network(network))


def blocked(packet_filter: PacketFilter, version: int | None = None) -> list[str]:
    return [str(network) for network in packet_filter.blocked(version)]


def test_nothing_is_blocked_at_first(make: MakeFilter) -> None:
    assert blocked(make()) == []
    assert blocked(make(), 4) == blocked(make(), 6) == []


def test_it_says_what_it_is(make: MakeFilter) -> None:
    assert make().name in ("memory", *REAL)


@pytest.mark.parametrize("network", ANY)
def test_what_is_blocked_is_listed_until_it_is_unblocked(make: MakeFilter, network: str) -> None:
    packet_filter = make()
    block(packet_filter, network)
    assert blocked(packet_filter) == [str(ip_network(network))]
    unblock(packet_filter, network)
    assert blocked(packet_filter) == []


def test_both_are_idempotent(make: MakeFilter) -> None:
    packet_filter = make()
    for network in ANY:
        block(packet_filter, network, network)
        assert blocked(packet_filter) == [str(ip_network(network))]
        unblock(packet_filter, network, network)
        assert blocked(packet_filter) == []


def test_networks_are_listed_in_order_ipv4_first(make: MakeFilter) -> None:
    packet_filter = make()
    block(packet_filter, "2001:db8::2", "10.0.0.2", "2001:db8::1", "10.0.0.1")
    assert blocked(packet_filter) == ["10.0.0.2/32", "10.0.0.1/32", "2001:db8::2/128", "2001:db8::1/128"]
    assert blocked(packet_filter, 4) == ["10.0.0.2/32", "10.0.0.1/32"]
    assert blocked(packet_filter, 6) == ["2001:db8::2/128", "2001:db8::1/128"]


def test_blocking_again_does_not_change_the_order(make: MakeFilter) -> None:
    packet_filter = make()
    block(packet_filter, "10.0.0.2", "10.0.0.1", "10.0.0.2")
    assert blocked(packet_filter) == ["10.0.0.2/32", "10.0.0.1/32"]


@pytest.mark.parametrize("wide_first", [True, False])
def test_a_network_and_an_address_in_it_are_two(make: MakeFilter, wide_first: bool) -> None:
    packet_filter = make()
    pairs = [["10.0.0.0/8", "10.0.0.1/32"], ["2001:db8::/32", "2001:db8::1/128"]]
    wanted = [network for pair in pairs for network in (pair if wide_first else pair[::-1])]
    block(packet_filter, *wanted)
    assert blocked(packet_filter) == wanted
    unblock(packet_filter, "10.0.0.0/8", "2001:db8::/32")
    assert blocked(packet_filter) == ["10.0.0.1/32", "2001:db8::1/128"]
    block(packet_filter, "10.0.0.0/8", "2001:db8::/32")
    unblock(packet_filter, "10.0.0.1", "2001:db8::1")
    assert blocked(packet_filter) == ["10.0.0.0/8", "2001:db8::/32"]


def test_neighbouring_networks_are_not_merged(make: MakeFilter) -> None:
    packet_filter = make()
    block(packet_filter, "10.0.0.0/9", "10.128.0.0/9")
    unblock(packet_filter, "10.0.0.0/8")
    assert blocked(packet_filter) == ["10.0.0.0/9", "10.128.0.0/9"]


def test_unblocking_takes_away_nothing_else(make: MakeFilter) -> None:
    packet_filter = make()
    block(packet_filter, *ANY)
    for network in ANY:
        left = [other for other in blocked(packet_filter) if other != str(ip_network(network))]
        unblock(packet_filter, network)
        assert blocked(packet_filter) == left
    assert blocked(packet_filter) == []


def test_it_can_be_used_again_after_the_last_one_was_unblocked(make: MakeFilter) -> None:
    packet_filter = make()
    for _ in range(3):
        block(packet_filter, "10.0.0.1", "2001:db8::1")
        assert len(blocked(packet_filter)) == 2
        unblock(packet_filter, "10.0.0.1", "2001:db8::1")
        assert blocked(packet_filter) == []


def test_another_one_on_the_same_host_sees_the_same(make: MakeFilter) -> None:
    block(make(), "10.0.0.1")
    assert blocked(make()) == ["10.0.0.1/32"]
    unblock(make(), "10.0.0.1")
    assert blocked(make()) == []


def in_threads(works: list[Callable[[], None]]) -> None:
    """Do all of it at once; raise the first error of any."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(works))

    def work(do: Callable[[], None]) -> None:
        barrier.wait()
        try:
            do()
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(do,)) for do in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_nothing_is_lost_when_many_block_at_once(make: MakeFilter) -> None:
    networks = [f"10.0.0.{n}/32" for n in range(8)] + [f"2001:db8::{n}/128" for n in range(1, 5)]
    in_threads([partial(block, make(), network, "10.9.9.9") for network in networks])
    assert sorted(blocked(make())) == sorted([*networks, "10.9.9.9/32"])
    in_threads([partial(unblock, make(), network, "10.9.9.9") for network in networks])
    assert blocked(make()) == []


def test_nothing_is_lost_when_one_unblocks_the_last_one_while_another_blocks(make: MakeFilter) -> None:
    for n in range(8):
        block(make(), "10.0.0.1")
        new = f"10.0.1.{n}/32"
        in_threads([partial(unblock, make(), "10.0.0.1"), partial(block, make(), new)])
        assert blocked(make()) == [new]
        unblock(make(), new)


BLOCK_MANY = """
import sys, time
from ipaddress import ip_network
from mco_agents.packet_filter.choice import Settings, choose
from mco_rpc.command import run
backend, namespace, number = sys.argv[1:]
packet_filter = choose(Settings(backend), lambda *argv, stdin=b"": run(
    ("ip", "netns", "exec", namespace, *argv), deadline=time.monotonic() + 60, stdin=stdin))
print("ready", flush=True)
sys.stdin.readline()
for n in range(5):
    packet_filter.block(ip_network(f"10.{number}.0.{n}"))
    packet_filter.block(ip_network("10.99.99.99"))
    packet_filter.unblock(ip_network("10.99.99.99"))
"""


@pytest.mark.parametrize("make", list(REAL), indirect=True)  # memory belongs to one process
def test_nothing_is_lost_between_processes(make: MakeFilter, request: pytest.FixtureRequest) -> None:
    backend = make().name
    namespace = request.getfixturevalue("namespace")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BLOCK_MANY, backend, namespace, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            assert process.wait(60) == 0
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    wanted = [f"10.{number}.0.{n}/32" for number in range(4) for n in range(5)]
    assert sorted(blocked(make())) == sorted(wanted)
