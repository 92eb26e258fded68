# SPDX-License-Identifier: Apache-2.0
"""The whole path in one process: a client, several nodes, and what the client says of those that fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_client.rpc import RpcClient
from mco_lab.memory import MemoryFleet
from mco_rpc.errors import DiscoveryError, ExpectationFailed
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import for_caller
from mco_rpc.status import Status

LIBDIR = Path(__file__).with_name("libdir")
NODES = ("web1", "web2", "web3")


@pytest.fixture
def fleet() -> Iterator[MemoryFleet]:
    settings = {"libdir": [str(LIBDIR)], "agents": {"iptables": {"backend": "memory"}}}
    hosts: dict[str, dict[str, Any]] = {
        name: {"facts": {"number": number}, "classes": ["web"], "settings": settings}
        for number, name in enumerate(NODES, start=1)
    }
    with MemoryFleet(hosts) as made:
        yield made
        for node in made.nodes.values():
            node.agent("faulty").gate.set()  # type: ignore[attr-defined]


def client(fleet: MemoryFleet, agent: str, **options: Any) -> RpcClient:
    """Return a client that asks all three, found or not."""
    made = RpcClient(agent, fleet.connection(), **options)
    made.discover(nodes=NODES)
    return made


def test_block_check_unblock(fleet: MemoryFleet) -> None:
    # Given the nodes of a class
    iptables = RpcClient("iptables", fleet.connection())
    iptables.class_filter("/web/")
    assert iptables.discovered == list(NODES)

    # When an address is blocked, then all of them say so
    iptables.block(ipaddr="192.168.1.1").require_all(changed=True, blocked=True)
    iptables.isblocked(ipaddr="192.168.1.1").require_all(blocked=True, output="192.168.1.1 is blocked")

    # When it is unblocked, then all of them say that
    iptables.unblock(ipaddr="192.168.1.1").require_all(changed=True)
    iptables.isblocked(ipaddr="192.168.1.1").require_all(blocked=False)

    # And each call has a record on each node, with what was asked
    for audit in fleet.audits.values():
        records = [entry for entry in audit.entries if entry["agent"] == "iptables"]
        assert [entry["action"] for entry in records] == ["block", "isblocked", "unblock", "isblocked"]
        assert {entry["caller"] for entry in records} == {"key=operator"}
        assert all(entry["data"]["ipaddr"] == "192.168.1.1" for entry in records)


def test_one_node_that_fails_fails_the_whole_and_is_named(fleet: MemoryFleet) -> None:
    # Given a node on which an action hangs, and one that is gone
    faulty = client(fleet, "faulty")
    fleet.nodes["web3"].agent("faulty").gate.set()  # type: ignore[attr-defined]
    fleet.stop("web2")

    # When all are asked
    results = faulty.hang()

    # Then it is said of each of them what became of it
    assert (results.timed_out, results.offline, results.missing) == (["web1"], ("web2",), ["web2"])
    assert [result.sender for result in results.where(number=1)] == ["web3"]
    with pytest.raises(ExpectationFailed) as caught:
        results.require_ok()
    assert str(caught.value) == (
        "faulty#hang: web1: timed out: faulty#hang did not end within 0.05 s; offline, 1 of 3: web2"
    )
    assert (faulty.stats.okcount, faulty.stats.failcount, faulty.stats.timed_out) == (1, 1, ["web1"])


def test_equal_failures_are_told_once(fleet: MemoryFleet) -> None:
    # When all nodes refuse for the same reason
    with pytest.raises(ExpectationFailed) as caught:
        client(fleet, "iptables").block(ipaddr="; rm -rf /").require_ok()

    # Then it is said once, with all their names
    assert str(caught.value) == (
        "iptables#block: web1, web2, web3: invalid data: iptables#block: input ipaddr: '; rm -rf /' is not valid: "
        "expected an IPv4 or IPv6 address, or a network as in 10.0.0.0/8"
    )


def test_nobody_matches_is_an_error_that_names_the_filter(fleet: MemoryFleet) -> None:
    # When a filter matches nobody
    nobody = RpcClient("rpcutil", fleet.connection(), discovery_timeout_s=0.1)
    nobody.fact_filter("number=4")

    # Then a call is an error, and nobody was asked
    with pytest.raises(DiscoveryError, match=r"no node with agent rpcutil was discovered .* number=4"):
        nobody.ping()


def test_a_node_whose_key_we_do_not_trust_is_never_a_pass(fleet: MemoryFleet) -> None:
    # Given a client that knows only two of the three nodes
    rpcutil = client(fleet, "rpcutil", timeout_s=0.5)
    trusted = {name: keys.public_of(seed) for name, seed in fleet._node_seeds.items() if name != "web2"}
    rpcutil.connection.security = for_caller("operator", fleet._caller_seed, trusted)

    # When all are asked
    results = rpcutil.ping()

    # Then the third one's answer is not believed
    assert results.missing == ["web2"]
    with pytest.raises(ExpectationFailed, match=r"answered, but not believed: web2 \(unknown key 'web2'"):
        results.require_ok()


def test_a_caller_whom_the_nodes_do_not_trust_is_not_answered(fleet: MemoryFleet) -> None:
    # Given somebody with a key of its own, in the name of a caller whom the nodes trust
    rpcutil = client(fleet, "rpcutil", timeout_s=0.2)
    trusted = {name: keys.public_of(seed) for name, seed in fleet._node_seeds.items()}
    rpcutil.connection.security = for_caller("operator", keys.new_seed(), trusted)

    # When they are asked
    results = rpcutil.ping()

    # Then nobody answers, which is no pass, and each has it in its audit
    assert results.silent == list(NODES)
    with pytest.raises(ExpectationFailed, match=r"no reply within 0.2 s from 3 of 3: web1, web2, web3"):
        results.require_ok()
    for audit in fleet.audits.values():
        (record,) = audit.entries
        assert (record["outcome"], record["signer"]) == ("rejected", "operator")


def test_broken_facts_are_in_the_inventory_and_the_last_good_ones_count(fleet: MemoryFleet) -> None:
    # Given nodes that work
    rpcutil = client(fleet, "rpcutil")
    rpcutil.ping().require_ok()
    rpcutil.get_fact(fact="number").require_ok()

    # When a facts file breaks
    facts = fleet.folder("web2") / "facts.yaml"
    facts.write_text("number: [2\n")

    # Then its node answers with the last good ones, and says what is wrong
    values = {result.sender: result.data["value"] for result in rpcutil.get_fact(fact="number")}
    assert values == {"web1": 1, "web2": 2, "web3": 3}
    problems = {result.sender: result.data["problems"] for result in rpcutil.inventory()}
    assert (problems["web1"], problems["web3"]) == ([], [])
    assert problems["web2"][0].startswith(f"{facts}: line 2, column 1: not YAML: ")

    # When the classes break as well, then both are said
    (fleet.folder("web2") / "classes.yaml").write_text("web: yes\n")
    found = RpcClient("rpcutil", fleet.connection())
    found.class_filter("web")
    assert found.discovered == list(NODES)
    assert len(rpcutil.inventory().by_node()["web2"].data["problems"]) == 2


def test_settings_are_told_without_secrets(fleet: MemoryFleet) -> None:
    # When nodes are asked for their settings
    rpcutil = client(fleet, "rpcutil")

    # Then what is no secret is told, and a broker's password is not
    rpcutil.get_config_item(item="workers").require_all(value=8)
    rpcutil.get_config_item(item="brokers").require_all(value=["amqp://guest@127.0.0.1:5672/"])
    rpcutil.get_config_item(item="collectives").require_all(value=["mcollective"])
    assert {result.status for result in rpcutil.get_config_item(item="agents")} == {Status.ABORTED}


def test_agents_know_where_the_broker_is(fleet: MemoryFleet) -> None:
    # Given nodes without a network
    # Then they know no address of the broker, and an agent is at hand for whoever embeds one
    assert fleet.nodes["web1"].broker_addresses() == []
    assert fleet.nodes["web1"].agent("faulty").schema().name == "faulty"
