# SPDX-License-Identifier: Apache-2.0
"""Each change is one transaction, made for the state that was seen, and made anew where that has changed."""

from __future__ import annotations

import json
from ipaddress import ip_network

import pytest

from mco_agents.packet_filter import PacketFilter, PacketFilterError
from mco_agents.packet_filter.iptables import IptablesFilter
from mco_agents.packet_filter.nftables import NftablesFilter
from mco_agents.packet_filter.settle import MAX_ATTEMPTS
from mco_rpc.command import Completed

ONE, TWO = ip_network("10.0.0.1"), ip_network("10.0.0.2")
CHAIN, JUMP = "-N MCO-BLOCK", "-A INPUT -j MCO-BLOCK"
RULE_1, RULE_2 = "-A MCO-BLOCK -s 10.0.0.1/32 -j DROP", "-A MCO-BLOCK -s 10.0.0.2/32 -j DROP"
UNJUMP, REJUMP = "-D INPUT -j MCO-BLOCK", "-I INPUT 1 -j MCO-BLOCK"
OTHER = "-A INPUT -p tcp -j ACCEPT"


class Scripted:
    """Shows one listing after the other, the last one for ever; takes changes, or refuses the first so many."""

    def __init__(self, *listings: str, refusals: int = 0) -> None:
        self.listings = list(listings)
        self.refusals = refusals
        self.changes: list[tuple[str, list[str]]] = []

    def __call__(self, *argv: str, stdin: bytes = b"") -> Completed:
        if not stdin:
            listing = self.listings.pop(0) if len(self.listings) > 1 else self.listings[0]
            return Completed(argv, 0, listing, "")
        self.changes.append((" ".join(argv), stdin.decode().splitlines()))
        if len(self.changes) <= self.refusals:
            return Completed(argv, 1, "", "refused")
        return Completed(argv, 0, "", "")


def rules(*lines: str) -> str:
    return "\n".join(["-P INPUT ACCEPT", *lines, ""])


def table(*addresses: str) -> str:
    left = {"payload": {"protocol": "ip", "field": "saddr"}}
    return json.dumps({
        "nftables": [
            {"rule": {"handle": handle, "expr": [{"match": {"op": "==", "left": left, "right": it}}, {"drop": None}]}}
            for handle, it in enumerate(addresses, 7)
        ]
    })  # fmt: skip


def iptables(run: Scripted) -> PacketFilter:
    return IptablesFilter(run, "MCO-BLOCK", name="iptables-nft", suffix="-nft")


@pytest.mark.parametrize(
    ("seen", "done"),
    [
        ([], [CHAIN, REJUMP, RULE_1]),
        ([OTHER], [CHAIN, REJUMP, RULE_1]),
        ([CHAIN], [REJUMP, RULE_1]),
        ([CHAIN, JUMP, OTHER], [RULE_1]),
        ([CHAIN, JUMP, RULE_2], [RULE_1]),
        ([CHAIN, OTHER, JUMP, RULE_1], [UNJUMP, REJUMP]),
        (
            [CHAIN, OTHER, JUMP, OTHER, JUMP, RULE_2],
            [UNJUMP] * 2 + [REJUMP, RULE_1],
        ),
        ([CHAIN, RULE_1], [REJUMP]),
        ([CHAIN, "-A INPUT -p tcp -j MCO-BLOCK", RULE_1], [REJUMP]),
        ([CHAIN, JUMP, OTHER, JUMP, RULE_1], None),
        ([CHAIN, JUMP, RULE_1], None),
    ],
)
def test_iptables_blocks_with_what_is_missing(seen: list[str], done: list[str] | None) -> None:
    run = Scripted(rules(*seen))
    iptables(run).block(ONE)
    wanted = ("iptables-nft-restore -w 5 --noflush", ["*filter", *(done or []), "COMMIT"])
    assert run.changes == ([] if done is None else [wanted])


DROP_1 = "-D MCO-BLOCK -s 10.0.0.1/32 -j DROP"
AWAY = [UNJUMP, "-X MCO-BLOCK"]


@pytest.mark.parametrize(
    ("seen", "done"),
    [
        ([], None),
        ([OTHER], None),
        ([CHAIN, JUMP], None),
        ([CHAIN, JUMP, RULE_2], None),
        ([CHAIN, JUMP, RULE_1, RULE_2], [DROP_1]),
        ([CHAIN, JUMP, RULE_1, RULE_2, RULE_1], [DROP_1, DROP_1]),
        ([CHAIN, JUMP, RULE_1], [DROP_1, *AWAY]),
        ([CHAIN, JUMP, OTHER, JUMP, RULE_1, RULE_1], [DROP_1, DROP_1, AWAY[0], *AWAY]),
        ([CHAIN, RULE_1], [DROP_1, "-X MCO-BLOCK"]),
        ([CHAIN, OTHER, JUMP, RULE_1], [DROP_1, *AWAY]),
        ([CHAIN, OTHER, JUMP, RULE_1, RULE_2], [DROP_1, UNJUMP, REJUMP]),
        ([CHAIN, OTHER, JUMP, RULE_2], [UNJUMP, REJUMP]),
        ([CHAIN, JUMP, RULE_1, "-A FORWARD -j MCO-BLOCK"], [DROP_1]),
        ([CHAIN, JUMP, RULE_1, "-A FORWARD -g MCO-BLOCK"], [DROP_1]),
        ([CHAIN, JUMP, RULE_1, "-A INPUT -j MCO-BLOCK-2"], [DROP_1, *AWAY]),
    ],
)
def test_iptables_unblocks_and_takes_away_what_nobody_needs(seen: list[str], done: list[str] | None) -> None:
    run = Scripted(rules(*seen))
    iptables(run).unblock(ONE)
    assert [lines for _, lines in run.changes] == ([] if done is None else [["*filter", *done, "COMMIT"]])


def test_ip6tables_has_commands_of_its_own() -> None:
    run = Scripted(rules(CHAIN, JUMP))
    iptables(run).block(ip_network("2001:db8::/32"))
    rule = "-A MCO-BLOCK -s 2001:db8::/32 -j DROP"
    assert run.changes == [("ip6tables-nft-restore -w 5 --noflush", ["*filter", rule, "COMMIT"])]


def test_nft_makes_its_table_with_every_rule_because_that_costs_nothing() -> None:
    run = Scripted(table("10.0.0.2"))
    NftablesFilter(run, "mco_block").block(ONE)
    assert run.changes == [
        (
            "nft -f -",
            [
                "add table inet mco_block",
                "add chain inet mco_block input { type filter hook input priority -10; policy accept; }",
                "add rule inet mco_block input ip saddr 10.0.0.1/32 drop",
            ],
        )
    ]


def test_nft_has_one_table_for_both_families() -> None:
    run = Scripted(table("10.0.0.2"))
    NftablesFilter(run, "t").block(ip_network("2001:db8::/32"))
    ((_, lines),) = run.changes
    assert lines[-1] == "add rule inet t input ip6 saddr 2001:db8::/32 drop"


def test_nft_deletes_every_copy_of_a_rule_and_no_other() -> None:
    run = Scripted(table("10.0.0.1", "10.0.0.2", "10.0.0.1"))
    NftablesFilter(run, "t").unblock(ONE)
    assert run.changes == [("nft -f -", ["delete rule inet t input handle 7", "delete rule inet t input handle 9"])]


def test_nft_does_nothing_where_nothing_is_to_do() -> None:
    run = Scripted(table("10.0.0.2"))
    NftablesFilter(run, "t").unblock(ONE)
    NftablesFilter(run, "t").block(TWO)
    assert run.changes == []


def test_a_chain_edited_by_hand_is_left_alone() -> None:
    run = Scripted(rules(CHAIN, JUMP, "-A MCO-BLOCK -s 10.0.0.9/32 -j ACCEPT"))
    for change in (iptables(run).block, iptables(run).unblock):
        with pytest.raises(PacketFilterError, match="is not one of this agent's rules"):
            change(ONE)
    assert run.changes == []


def test_a_change_that_somebody_else_was_faster_with_is_planned_anew() -> None:
    run = Scripted(rules(), rules(CHAIN, JUMP, RULE_2), refusals=1)
    iptables(run).block(ONE)
    assert [lines[1:-1] for _, lines in run.changes] == [[CHAIN, REJUMP, RULE_1], [RULE_1]]


def test_a_change_that_somebody_else_has_made_already_is_done() -> None:
    run = Scripted(rules(CHAIN, JUMP, RULE_1), rules(), refusals=1)
    iptables(run).unblock(ONE)
    assert len(run.changes) == 1


def test_a_change_that_is_refused_though_nobody_else_changed_anything_fails_at_once() -> None:
    run = Scripted(rules(CHAIN, JUMP), refusals=9)
    with pytest.raises(PacketFilterError, match=r"was not changed: `iptables-nft-restore .*status 1: refused"):
        iptables(run).block(ONE)
    assert len(run.changes) == 1


def test_a_packet_filter_that_never_stands_still_is_given_up() -> None:
    restless = [rules(CHAIN, JUMP, *[RULE_2] * (n % 2)) for n in range(MAX_ATTEMPTS + 2)]
    run = Scripted(*restless, refusals=MAX_ATTEMPTS + 2)
    with pytest.raises(PacketFilterError, match=f"others changed it {MAX_ATTEMPTS} times in between.*refused"):
        iptables(run).block(ONE)
    assert len(run.changes) == MAX_ATTEMPTS
