# SPDX-License-Identifier: Apache-2.0
"""The agent answers with what the packet filter says afterwards, and refuses what would cut the node off."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

import pytest

from mco_agents.iptables import Iptables
from mco_agents.packet_filter import Network, NotReached, PacketFilterError
from mco_agents.packet_filter.memory import MemoryFilter
from mco_rpc.current import Current, working_for
from mco_rpc.errors import ActionAborted, ConfigError, InvalidData, MissingData

BROKER = "192.168.1.9"


class Node:
    """A node of which only the broker's addresses are asked for."""

    def __init__(self, *broker: str) -> None:
        self.broker = broker

    def broker_addresses(self) -> list[str]:
        return list(self.broker)


class Watched(MemoryFilter):
    """Counts changes; can lie, claim doubt, and wait in the middle of a change."""

    def __init__(self, *, lies: bool = False, doubt: Sequence[str] | None = None) -> None:
        super().__init__()
        self.changes = 0
        self.lies = lies
        self.doubt = None if doubt is None else [ip_network(text) for text in doubt]

    def block(self, network: Network) -> None:
        self.changes += 1
        if not self.lies:
            self._repair()
            super().block(network)

    def unblock(self, network: Network) -> None:
        self.changes += 1
        if not self.lies:
            self._repair()
            super().unblock(network)

    def blocked(self, version: int | None = None) -> list[Network]:
        if self.doubt is not None:
            raise NotReached("cannot say: another rule stands before the jump", self.doubt)
        return super().blocked(version)

    def _repair(self) -> None:
        for network in self.doubt or []:
            super().block(network)
        self.doubt = None


def agent(packet_filter: Any = None, *broker: str) -> Iptables:
    node: Any = Node(*(broker or (BROKER,)))
    it = Iptables(node, {"backend": "memory"})
    if packet_filter is not None:
        it._filter = packet_filter
    return it


def ask(it: Iptables, name: str, **inputs: Any) -> dict[str, Any]:
    """Call an action the way a node does, its inputs and outputs checked."""
    schema = it.schema().action(name)
    outputs = getattr(it, name)(**schema.check_inputs("iptables", inputs))
    return schema.check_outputs("iptables", outputs)


def test_block_isblocked_listblocked_unblock() -> None:
    it = agent()
    assert ask(it, "isblocked", ipaddr="10.0.0.1") == {
        "output": "10.0.0.1 is not blocked",
        "blocked": False,
        "rule": None,
    }
    assert ask(it, "block", ipaddr="10.0.0.1") == {
        "output": "10.0.0.1 is blocked",
        "blocked": True,
        "changed": True,
        "before": False,
        "after": True,
        "backend": "memory",
    }
    assert ask(it, "isblocked", ipaddr="10.0.0.1") == {
        "output": "10.0.0.1 is blocked",
        "blocked": True,
        "rule": "10.0.0.1",
    }
    ask(it, "block", ipaddr="2001:DB8::/32")
    ask(it, "block", ipaddr="10.9.0.0/16")
    assert ask(it, "listblocked") == {"blocked": ["10.0.0.1", "10.9.0.0/16", "2001:db8::/32"]}
    assert ask(it, "unblock", ipaddr="10.0.0.1") == {
        "output": "10.0.0.1 is not blocked",
        "blocked": False,
        "changed": True,
        "before": True,
        "after": False,
        "backend": "memory",
    }
    assert ask(it, "listblocked") == {"blocked": ["10.9.0.0/16", "2001:db8::/32"]}


def test_a_second_time_changes_nothing() -> None:
    packet_filter = Watched()
    it = agent(packet_filter)
    for name, before in (("block", True), ("unblock", False)):
        ask(it, name, ipaddr="10.0.0.1")
        again = ask(it, name, ipaddr="10.0.0.1")
        assert (again["changed"], again["before"], again["after"]) == (False, before, before)
    assert packet_filter.changes == 2


def test_an_address_in_a_blocked_network_is_blocked_and_its_block_changes_nothing() -> None:
    it = agent()
    ask(it, "block", ipaddr="10.0.0.0/8")
    assert ask(it, "isblocked", ipaddr="10.0.0.1")["rule"] == "10.0.0.0/8"
    assert ask(it, "block", ipaddr="10.0.0.1")["changed"] is False
    assert ask(it, "listblocked")["blocked"] == ["10.0.0.0/8"]


@pytest.mark.parametrize(
    ("blocked", "asked", "named"),
    [
        (["10.0.0.0/8"], "10.0.0.1", "10.0.0.0/8"),
        (["10.0.0.1", "10.0.0.0/8"], "10.0.0.1", "10.0.0.0/8"),
        (["10.0.0.0/9", "10.128.0.0/9"], "10.0.0.0/8", "10.0.0.0/9, 10.128.0.0/9"),
    ],
)
def test_what_a_wider_network_blocks_is_not_unblocked(blocked: list[str], asked: str, named: str) -> None:
    packet_filter = Watched()
    it = agent(packet_filter)
    for network in blocked:
        packet_filter.block(ip_network(network))
    changes = packet_filter.changes
    with pytest.raises(ActionAborted, match=f"will not unblock {asked}: {named} blocks it too"):
        ask(it, "unblock", ipaddr=asked)
    assert packet_filter.changes == changes
    assert ask(it, "listblocked")["blocked"] == blocked


def test_unblocking_a_network_leaves_the_addresses_in_it_that_were_blocked_themselves() -> None:
    it = agent()
    for network in ("10.0.0.1", "10.0.0.0/8"):
        ask(it, "block", ipaddr=network)
    assert ask(it, "unblock", ipaddr="10.0.0.0/8")["blocked"] is False
    assert ask(it, "listblocked")["blocked"] == ["10.0.0.1"]


@pytest.mark.parametrize("ipaddr", ["; rm -rf /", "-j ACCEPT", "", "web1", "10.0.0.1/24", "1" * 50, "fe80::1%eth0", 5])
@pytest.mark.parametrize("name", ["block", "unblock", "isblocked"])
def test_what_is_no_address_is_refused_before_anything_is_done(name: str, ipaddr: object) -> None:
    with pytest.raises(InvalidData):
        ask(agent(Untouchable()), name, ipaddr=ipaddr)


@pytest.mark.parametrize("name", ["block", "unblock", "isblocked"])
def test_ipv4_written_as_ipv6_is_refused_before_anything_is_done(name: str) -> None:
    with pytest.raises(InvalidData, match=r"give 10\.0\.0\.1"):
        ask(agent(Untouchable()), name, ipaddr="::ffff:10.0.0.1")


class Untouchable:
    """Fails the test that asks it anything."""

    def __getattr__(self, name: str) -> Any:
        pytest.fail(f"{name} was used")


def test_host_bits_are_refused_with_the_network_that_is_meant() -> None:
    with pytest.raises(InvalidData, match=r"10\.0\.0\.0/24"):
        ask(agent(), "block", ipaddr="10.0.0.1/24")


def test_the_longest_address_there_is_is_short_enough() -> None:
    longest = "2001:0db8:0000:0000:0000:0000:0000:0000/128"
    assert ask(agent(), "isblocked", ipaddr=longest)["output"] == "2001:db8:: is not blocked"


def test_the_address_is_required() -> None:
    with pytest.raises(MissingData, match="ipaddr"):
        ask(agent(), "block")


@pytest.mark.parametrize("ipaddr", ["127.0.0.1", "::1", "0.0.0.0/0", "::/0", BROKER, "192.168.0.0/16"])
def test_what_cuts_the_node_off_is_blocked_only_by_force(ipaddr: str) -> None:
    it = agent()
    with pytest.raises(ActionAborted, match=f"will not block {ipaddr}: .*force=true"):
        ask(it, "block", ipaddr=ipaddr)
    with pytest.raises(ActionAborted, match="will not block"):
        ask(it, "block", ipaddr=ipaddr, force=False)
    assert ask(it, "listblocked")["blocked"] == []
    assert ask(it, "block", ipaddr=ipaddr, force=True)["blocked"] is True


def test_what_the_packet_filter_does_not_show_afterwards_is_an_error() -> None:
    lying = Watched(lies=True)
    with pytest.raises(ActionAborted, match=r"^10\.0\.0\.1 is not blocked, though memory reported no error"):
        ask(agent(lying), "block", ipaddr="10.0.0.1")
    MemoryFilter.block(lying, ip_network("10.0.0.1"))
    with pytest.raises(ActionAborted, match=r"^10\.0\.0\.1 is blocked, though memory reported no error"):
        ask(agent(lying), "unblock", ipaddr="10.0.0.1")


def test_where_rules_are_not_asked_first_neither_answer_is_given_and_a_change_repairs() -> None:
    for name, before in (("block", False), ("unblock", False)):
        packet_filter = Watched(doubt=["10.0.0.1", "10.0.0.2"])
        it = agent(packet_filter)
        with pytest.raises(PacketFilterError, match="another rule stands before the jump"):
            ask(it, "isblocked", ipaddr="10.0.0.1")
        with pytest.raises(PacketFilterError):
            ask(it, "listblocked")
        done = ask(it, name, ipaddr="10.0.0.1")
        assert (done["changed"], done["before"], done["after"]) == (True, before, name == "block")
        assert "10.0.0.2" in ask(it, "listblocked")["blocked"]


def test_doubt_does_not_hide_a_wider_network() -> None:
    packet_filter = Watched(doubt=["10.0.0.0/8"])
    with pytest.raises(ActionAborted, match=r"10\.0\.0\.0/8 blocks it too"):
        ask(agent(packet_filter), "unblock", ipaddr="10.0.0.1")
    assert packet_filter.changes == 0


def test_a_packet_filter_that_fails_fails_the_action() -> None:
    class Broken(MemoryFilter):
        def blocked(self, version: int | None = None) -> list[Network]:
            raise PacketFilterError("cannot say")

    for name in ("block", "unblock", "isblocked"):
        with pytest.raises(PacketFilterError, match="cannot say"):
            ask(agent(Broken()), name, ipaddr="10.0.0.1")


def test_changes_come_one_after_the_other() -> None:
    """Ten block the same address at once: exactly one of them has changed something."""
    barrier = threading.Barrier(10)

    class Slow(MemoryFilter):
        def blocked(self, version: int | None = None) -> list[Network]:
            seen = super().blocked(version)
            entered.append(threading.get_ident())
            threading.Event().wait(0.001)  # gives the others every chance to come in between
            entered.append(threading.get_ident())
            return seen

    entered: list[int] = []
    it = agent(Slow())
    changed: list[bool] = []

    def block() -> None:
        barrier.wait()
        changed.append(ask(it, "block", ipaddr="10.0.0.1")["changed"])

    threads = [threading.Thread(target=block) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(changed) == [False] * 9 + [True]
    assert entered[::2] == entered[1::2], "two were inside at once"


def test_the_packet_filter_is_chosen_once_also_by_many_threads() -> None:
    it = agent()
    barrier = threading.Barrier(8)
    found: list[object] = []

    def look() -> None:
        barrier.wait()
        found.append(it.packet_filter)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(packet_filter) for packet_filter in found}) == 1


def test_settings_are_checked_when_the_agent_is_loaded() -> None:
    node: Any = Node()
    with pytest.raises(ConfigError, match=r"unknown setting 'backnd', did you mean backend\?"):
        Iptables(node, {"backnd": "memory"})
    with pytest.raises(ConfigError, match="did you mean memory"):
        Iptables(node, {"backend": "memroy"})
    assert Iptables.activate_when({"backend": "memory"}) is None


def test_the_schema_is_sound_and_says_what_changes_things() -> None:
    schema = Iptables.schema()
    assert schema.name == "iptables"
    assert {name: action.mutating for name, action in schema.actions.items()} == {
        "block": True,
        "unblock": True,
        "isblocked": False,
        "listblocked": False,
    }
    assert [name for name, action in sorted(schema.actions.items()) if action.noop] == ["block", "unblock"]


# What would be changed, without changing it.


def would(it: Iptables, name: str, **inputs: Any) -> dict[str, Any]:
    with working_for(Current(is_noop=True)):
        return ask(it, name, **inputs)


@pytest.mark.parametrize(
    ("blocked", "name", "is_changed", "output"),
    [
        ([], "block", True, "10.0.0.1 is not blocked; it would be"),
        (["10.0.0.1"], "block", False, "10.0.0.1 is blocked"),
        (["10.0.0.0/8"], "block", False, "10.0.0.1 is blocked"),
        ([], "unblock", False, "10.0.0.1 is not blocked"),
        (["10.0.0.1"], "unblock", True, "10.0.0.1 is blocked; it would not be"),
    ],
)
def test_with_noop_what_would_be_changed_is_said_and_nothing_is_changed(
    blocked: list[str], name: str, is_changed: bool, output: str
) -> None:
    # Given a host with these rules
    packet_filter = Watched()
    it = agent(packet_filter)
    for network in blocked:
        packet_filter.block(ip_network(network))
    changes = packet_filter.changes
    # When it is asked what a change would do
    said = would(it, name, ipaddr="10.0.0.1")
    # Then it says so, how things are now, and how they would be after it
    assert said == {
        "output": output,
        "blocked": bool(blocked),
        "changed": is_changed,
        "before": bool(blocked),
        "after": name == "block",
        "backend": "memory",
    }
    # And nothing was changed
    assert packet_filter.changes == changes
    assert ask(it, "listblocked")["blocked"] == blocked
    # And the change itself does what was said
    assert ask(it, name, ipaddr="10.0.0.1")["changed"] is is_changed


def test_with_noop_what_would_be_refused_is_refused() -> None:
    packet_filter = Watched()
    it = agent(packet_filter)
    with pytest.raises(ActionAborted, match="will not block"):
        would(it, "block", ipaddr=BROKER)
    assert would(it, "block", ipaddr=BROKER, force=True)["changed"] is True
    MemoryFilter.block(packet_filter, ip_network("10.0.0.0/8"))
    with pytest.raises(ActionAborted, match=r"will not unblock 10\.0\.0\.1: 10\.0\.0\.0/8 blocks it too"):
        would(it, "unblock", ipaddr="10.0.0.1")
    assert packet_filter.changes == 0


@pytest.mark.parametrize("name", ["block", "unblock"])
def test_with_noop_doubt_is_what_a_change_would_repair(name: str) -> None:
    packet_filter = Watched(doubt=["10.0.0.1"])
    said = would(agent(packet_filter), name, ipaddr="10.0.0.1")
    assert (said["changed"], said["before"], packet_filter.changes) == (True, False, 0)
