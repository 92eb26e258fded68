# SPDX-License-Identifier: Apache-2.0
"""What the steps of a scenario share, against nodes in this process: devices, targets, changes and their undoing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from mco_client.bdd.firewall import change
from mco_client.bdd.fleet import Fleet
from mco_client.bdd.session import Options, Session
from mco_client.results import Results
from mco_lab.memory import CALLER, MemoryFleet
from mco_rpc.config import ClientSettings
from mco_rpc.errors import ActionAborted, BrokerUnreachable, ConfigError, DiscoveryError, ExpectationFailed
from mco_rpc.filters import from_options

HOSTS: dict[str, dict[str, Any]] = {
    "dev1": {"classes": ["dev_server"], "facts": {"country": "de"}},
    "dev2": {"classes": ["dev_server"], "facts": {"country": "de"}},
    "dev3": {"classes": ["dev_server"], "facts": {"country": "fr"}},
}
LB, ADDRESS = "load balancer", "192.168.1.1"

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def nodes() -> Iterator[MemoryFleet]:
    settings = ClientSettings(connector="memory", caller=CALLER, discovery_window_s=0.3)
    with MemoryFleet(HOSTS, settings) as made:
        yield made


@pytest.fixture
def fleet(nodes: MemoryFleet) -> Fleet:
    """A scenario that knows the load balancer."""
    made = Fleet(Session(Options(), nodes.connection()))
    made.add_device(LB, ADDRESS)
    return made


def blocked(nodes: MemoryFleet, address: str = ADDRESS) -> list[str]:
    """Return the nodes whose packet filter blocks an address, asked past all that is tested here."""
    return [
        identity
        for identity, node in sorted(nodes.nodes.items())
        if node.agent("iptables").isblocked(address)["blocked"]  # type: ignore[attr-defined]
    ]


def block_by_hand(nodes: MemoryFleet, *identities: str) -> None:
    for identity in identities:
        nodes.nodes[identity].agent("iptables").block(ADDRESS)  # type: ignore[attr-defined]


class TestDevices:
    @pytest.mark.parametrize(("address", "known"), [("192.168.1.1", "192.168.1.1"), ("2001:DB8:0::1", "2001:db8::1")])
    def test_a_device_has_an_address(self, fleet: Fleet, address: str, known: str) -> None:
        fleet.add_device("router", address)
        assert fleet.address_of("router") == known

    @pytest.mark.parametrize("address", ["192.168.1", "lb.example.net", "", "10.0.0.0/8", "-j ACCEPT"])
    def test_what_is_no_address_is_refused(self, fleet: Fleet, address: str) -> None:
        with pytest.raises(ConfigError, match=r"the router: .* is not an IP address"):
            fleet.add_device("router", address)

    def test_an_unknown_device_is_told_with_those_that_are_known(self, fleet: Fleet) -> None:
        fleet.add_device("router", "10.0.0.1")
        with pytest.raises(ExpectationFailed) as told:
            fleet.address_of("lode balancer")
        assert str(told.value) == (
            "unknown device 'lode balancer', did you mean load balancer?; known are: load balancer, router. "
            "Say first: Given the lode balancer has ip address 192.0.2.1"
        )

    def test_without_any_none_is_known(self, nodes: MemoryFleet) -> None:
        with pytest.raises(ExpectationFailed, match="known are: none"):
            Fleet(Session(Options(), nodes.connection())).address_of(LB)


class TestTargets:
    def test_everybody_is_managed_unless_it_is_narrowed(self, fleet: Fleet) -> None:
        assert fleet.nodes == ("dev1", "dev2", "dev3")
        fleet.narrow(from_options(facts=["country=de"]))
        assert fleet.nodes == ("dev1", "dev2")
        fleet.narrow(from_options(identities=["dev2"]))
        assert fleet.nodes == ("dev2",)
        # And clients made before ask the new ones
        assert [result.sender for result in fleet.call("rpcutil", "ping")] == ["dev2"]

    def test_nobody_is_an_error_that_says_what_was_looked_for(self, nodes: MemoryFleet) -> None:
        session = Session(Options(discovery_timeout_s=0.05), nodes.connection())
        fleet = Fleet(session)
        fleet.narrow(from_options(facts=["country=xx"]))
        with pytest.raises(DiscoveryError) as told:
            fleet.discover()
        assert str(told.value) == (
            "did not find any nodes to manage: 0 answered within 0.05 s for the filter: fact country=xx"
        )

    def test_somebody_who_cannot_be_believed_is_an_error(self, fleet: Fleet, nodes: MemoryFleet) -> None:
        # Given a node whose key we do not trust
        connection = nodes.connection()
        connection.security._trusted = {  # type: ignore[attr-defined]
            name: key
            for name, key in connection.security._trusted.items()
            if name != "dev3"  # type: ignore[attr-defined]
        }
        # Then the fleet is not taken for complete
        with pytest.raises(
            DiscoveryError, match=r"answers to the discovery were not believed: dev3 \(unknown key 'dev3'"
        ):
            Fleet(Session(Options(), connection)).discover()

    def test_a_node_whose_clock_is_wrong_is_not_passed_over(
        self, fleet: Fleet, nodes: MemoryFleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a node that refuses what is, by its clock, from tomorrow
        guard = nodes.nodes["dev2"]._dispatcher._ladder._guard
        monkeypatch.setattr(guard, "_clock", lambda: time.time() - 86400)
        with pytest.raises(
            DiscoveryError, match=r"expected, and not found: dev2 \(expired: clock skew: .* set both clocks"
        ):
            fleet.discover()

    def test_a_node_without_the_agent_is_not_passed_over(self, fleet: Fleet, nodes: MemoryFleet) -> None:
        nodes.stop("dev2")
        nodes._hosts = {**HOSTS, "dev2": {"settings": {"agents": {"iptables": {"enabled": False}}}}}
        nodes.start("dev2").is_connected.wait(10)
        with pytest.raises(ExpectationFailed, match="dev2: unknown action: this node offers no agent 'iptables'"):
            change(fleet, "block", LB)

    def test_exactly_these_nodes(self, fleet: Fleet) -> None:
        fleet.require_nodes(["dev3", "dev1", "dev2"])
        with pytest.raises(ExpectationFailed, match=r"^not discovered, 1 of 4: web1$"):
            fleet.require_nodes(["dev3", "dev1", "dev2", "web1"])
        with pytest.raises(ExpectationFailed, match=r"^discovered, and not in the list: dev1, dev3$"):
            fleet.require_nodes(["dev2"])
        with pytest.raises(ExpectationFailed, match=r"^not discovered, 1 of 1: x; discovered, and not in the list: "):
            fleet.require_nodes(["x"])
        with pytest.raises(ExpectationFailed, match=r"^discovered, and not in the list: dev1, dev2, dev3$"):
            fleet.require_nodes([])

    def test_the_options_timeout_is_that_of_the_calls(self, nodes: MemoryFleet) -> None:
        fleet = Fleet(Session(Options(timeout_s=7.0), nodes.connection()))
        assert fleet.call("rpcutil", "ping").timeout_s == 7.0


class TestLast:
    def test_the_last_results_are_remembered(self, fleet: Fleet) -> None:
        with pytest.raises(ExpectationFailed, match="nothing was asked or changed in this scenario before this step"):
            fleet.require_last()
        results = fleet.call("rpcutil", "ping")
        assert isinstance(results, Results)
        assert fleet.require_last() is results

    def test_results_that_are_wrong_are_remembered_too(self, fleet: Fleet) -> None:
        # So that "nothing should have changed" after a failed change is judged by that change.
        with pytest.raises(ExpectationFailed):
            change(fleet, "nosuch", LB)
        with pytest.raises(ExpectationFailed, match="iptables#nosuch: dev1, dev2, dev3: unknown action"):
            fleet.require_last().require_all(changed=False)


class TestChange:
    def test_every_node_is_changed(self, fleet: Fleet, nodes: MemoryFleet) -> None:
        change(fleet, "block", LB)
        assert blocked(nodes) == ["dev1", "dev2", "dev3"]
        change(fleet, "unblock", LB)
        assert blocked(nodes) == []
        # And nothing is taken back that nobody asked to
        assert fleet.undo() == []

    def test_one_that_fails_is_named(self, fleet: Fleet, nodes: MemoryFleet) -> None:
        assert fleet.nodes
        nodes.stop("dev2")
        with pytest.raises(ExpectationFailed, match=r"^iptables#block: offline, 1 of 3: dev2$"):
            change(fleet, "block", LB)
        assert blocked(nodes) == ["dev1", "dev3"]


class TestUndo:
    @pytest.fixture(autouse=True)
    def undoing(self, fleet: Fleet) -> None:
        fleet.undo_at_the_end()

    def test_each_node_is_as_it_was(self, fleet: Fleet, nodes: MemoryFleet) -> None:
        block_by_hand(nodes, "dev2")
        change(fleet, "block", LB)
        assert blocked(nodes) == ["dev1", "dev2", "dev3"]
        assert fleet.undo() == ["unblock 192.168.1.1 on dev1, dev3"]
        assert blocked(nodes) == ["dev2"]
        assert fleet.undo() == []

    def test_what_somebody_else_undoes_meanwhile_stays_undone(self, fleet: Fleet, nodes: MemoryFleet) -> None:
        # Given another run that has blocked the same address
        other = Fleet(fleet.session)
        other.add_device(LB, fleet.address_of(LB))
        other.narrow(fleet.filter)
        other.undo_at_the_end()
        change(other, "block", LB)
        # When ours blocks it too, which changes nothing, and the other one ends first
        change(fleet, "block", LB)
        assert other.undo() == ["unblock 192.168.1.1 on dev1, dev2, dev3"]
        # Then ours puts nothing back, and nothing stays blocked
        assert fleet.undo() == []
        assert blocked(nodes) == []

    def test_what_was_unblocked_is_blocked_again(self, fleet: Fleet, nodes: MemoryFleet) -> None:
        block_by_hand(nodes, "dev2")
        change(fleet, "unblock", LB)
        assert blocked(nodes) == []
        assert fleet.undo() == ["block 192.168.1.1 on dev2"]
        assert blocked(nodes) == ["dev2"]

    def test_there_and_back_again(self, fleet: Fleet, nodes: MemoryFleet) -> None:
        # Given a first change that counts, and others that undo it, do it again and hide it
        block_by_hand(nodes, "dev2")
        for action in ("block", "unblock", "block", "unblock"):
            change(fleet, action, LB)
        assert fleet.undo() == ["block 192.168.1.1 on dev2"]
        assert blocked(nodes) == ["dev2"]

    def test_a_change_that_turned_out_to_be_none_leaves_nothing_to_do(self, fleet: Fleet, nodes: MemoryFleet) -> None:
        change(fleet, "unblock", LB)
        assert fleet.undo() == []

    def test_what_was_changed_last_is_put_back_first(self, fleet: Fleet, nodes: MemoryFleet) -> None:
        fleet.add_device("router", "10.0.0.1")
        change(fleet, "block", LB)
        change(fleet, "block", "router")
        assert fleet.undo() == [
            "unblock 10.0.0.1 on dev1, dev2, dev3",
            "unblock 192.168.1.1 on dev1, dev2, dev3",
        ]
        assert blocked(nodes) == blocked(nodes, "10.0.0.1") == []

    def test_nodes_that_were_targeted_later_are_put_back_as_well(self, fleet: Fleet, nodes: MemoryFleet) -> None:
        # Given a change on one node, and the same on more of them
        fleet.narrow(from_options(identities=["dev1"]))
        change(fleet, "block", LB)
        fleet.narrow(from_options(identities=["dev2"]))
        assert fleet.nodes == ("dev1", "dev2")
        change(fleet, "block", LB)
        assert blocked(nodes) == ["dev1", "dev2"]
        # Then both are as they were before the first
        assert fleet.undo() == ["unblock 192.168.1.1 on dev2", "unblock 192.168.1.1 on dev1"]
        assert blocked(nodes) == []

    def test_a_node_that_changed_and_whose_answer_is_lost_is_put_back(
        self, fleet: Fleet, nodes: MemoryFleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        agent = nodes.nodes["dev2"].agent("iptables")
        monkeypatch.setattr(agent, "block", lambda ipaddr, force=False: _then_fail(type(agent).block(agent, ipaddr)))
        with pytest.raises(ExpectationFailed, match="dev2: aborted: lost"):
            change(fleet, "block", LB)
        assert blocked(nodes) == ["dev1", "dev2", "dev3"]
        fleet.undo()
        assert blocked(nodes) == []

    def test_nothing_is_changed_if_nobody_knows_how_it_was(self, fleet: Fleet, nodes: MemoryFleet) -> None:
        assert fleet.nodes
        nodes.stop("dev2")
        with pytest.raises(ExpectationFailed, match="iptables#isblocked: offline, 1 of 3: dev2"):
            change(fleet, "block", LB)
        assert blocked(nodes) == []

    @pytest.mark.parametrize("answer", [{"output": "?"}, {"output": "?", "blocked": None}])
    def test_an_answer_that_does_not_say_how_it_was_is_none(
        self, fleet: Fleet, nodes: MemoryFleet, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
    ) -> None:
        monkeypatch.setattr(nodes.nodes["dev2"].agent("iptables"), "isblocked", lambda ipaddr: answer)
        with pytest.raises(ExpectationFailed, match=r"iptables#isblocked: .*dev2"):
            change(fleet, "block", LB)
        monkeypatch.undo()
        assert blocked(nodes) == []

    def test_a_node_that_cannot_be_put_back_is_told_and_the_others_are(self, fleet: Fleet, nodes: MemoryFleet) -> None:
        change(fleet, "block", LB)
        nodes.stop("dev2")
        with pytest.raises(ExpectationFailed) as told:
            fleet.undo()
        assert str(told.value) == (
            "could not undo: the firewall's rule for 192.168.1.1: iptables#unblock: offline, 1 of 3: dev2"
        )
        assert blocked(nodes) == []

    def test_a_node_that_cannot_be_unblocked_keeps_none_from_being_blocked(
        self, fleet: Fleet, nodes: MemoryFleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given one node that was blocked and two that were not, one of which goes away
        block_by_hand(nodes, "dev2")
        for action in ("block", "unblock"):
            change(fleet, action, LB)
        nodes.stop("dev1")
        # Then what can be put back is
        with pytest.raises(ExpectationFailed, match=r"iptables#unblock: offline, 1 of 2: dev1$"):
            fleet.undo()
        assert blocked(nodes) == ["dev2"]

    def test_a_node_that_only_claims_to_be_put_back_is_told(
        self, fleet: Fleet, nodes: MemoryFleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        change(fleet, "block", LB)
        agent = nodes.nodes["dev3"].agent("iptables")
        claim = {"output": "", "blocked": True, "changed": False}
        monkeypatch.setattr(agent, "unblock", lambda ipaddr: claim)
        with pytest.raises(ExpectationFailed, match=r"could not undo: .*iptables#unblock: blocked on 1 of 3: dev3"):
            fleet.undo()

    @pytest.mark.parametrize("error", [ActionAborted("no"), BrokerUnreachable("gone"), KeyError("bug"), OSError("io")])
    def test_one_undoing_that_fails_keeps_none_of_the_others(
        self, fleet: Fleet, nodes: MemoryFleet, error: Exception
    ) -> None:
        # Given three things to put back, the middle one of which cannot be
        def fail() -> str:
            raise error

        done: list[str] = []
        assert fleet.nodes
        fleet.when_undone("first", lambda: done.append("first") or "first")  # type: ignore[func-returns-value]
        fleet.when_undone("second", fail)
        fleet.when_undone("third", lambda: done.append("third") or "")  # type: ignore[func-returns-value]
        # Then the others are, last first, and it is told
        with pytest.raises(ExpectationFailed, match=r"^could not undo: second: .*(no|gone|bug|io)"):
            fleet.undo()
        assert done == ["third", "first"]
        assert fleet.undo() == []

    def test_the_first_to_say_how_is_the_one(self, fleet: Fleet) -> None:
        fleet.when_undone("it", lambda: "first")
        assert fleet.is_undone_later("it")
        assert not fleet.is_undone_later("another")
        fleet.when_undone("it", lambda: "second")
        assert fleet.undo() == ["first"]

    def test_saying_it_twice_is_fine(self, fleet: Fleet) -> None:
        change(fleet, "block", LB)
        fleet.undo_at_the_end()
        assert fleet.is_undoing


def test_what_was_changed_before_it_was_said_cannot_be_taken_back(fleet: Fleet) -> None:
    # Given a change whose "before" nobody noted
    change(fleet, "block", LB)
    # Then a promise to take it back is not made
    with pytest.raises(ExpectationFailed, match=r"has changed something already.*say this before the first change"):
        fleet.undo_at_the_end()
    assert not fleet.is_undoing


def _then_fail(_: object) -> Any:
    raise ActionAborted("lost")
