# SPDX-License-Identifier: Apache-2.0
"""What the tools print becomes what is blocked, or an error that says why it cannot be said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import mco_agents.packet_filter
from mco_agents.packet_filter import NoIPv6, PacketFilter, PacketFilterError
from mco_agents.packet_filter.iptables import IptablesFilter
from mco_agents.packet_filter.nftables import NftablesFilter
from mco_rpc.command import Completed
from mco_rpc.errors import ActionAborted, TimedOut

CASES = Path(__file__).parent / "packet_filter_cases"
EMPTY = "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n"
OURS = EMPTY + "-N MCO-BLOCK\n-A INPUT -j MCO-BLOCK\n-A MCO-BLOCK -s 10.0.0.1/32 -j DROP\n"


class Recorded:
    """Answers each command as it was answered when it was recorded; an error stands for itself."""

    def __init__(self, outputs: Mapping[str, Mapping[str, Any] | Exception]) -> None:
        self.outputs = outputs
        self.asked: list[str] = []

    def __call__(self, *argv: str, stdin: bytes = b"") -> Completed:
        assert not stdin, "a reading changes nothing"
        command = " ".join(argv)
        self.asked.append(command)
        output = self.outputs[command]
        if isinstance(output, Exception):
            raise output
        stdout = "".join(f"{line}\n" for line in output.get("stdout", []))
        if "json" in output:
            stdout = json.dumps(output["json"])
        stderr = "\n".join(output.get("stderr", []))
        return Completed(argv, output.get("returncode", 0), stdout, stderr, output.get("is_truncated", False))


def recorded_cases() -> list[Any]:
    cases = [case for file in sorted(CASES.glob("*.json")) for case in json.loads(file.read_text())]
    return [pytest.param(case, id=f"{case['backend']}-{case['what']}") for case in cases]


def back_end(name: str, run: Recorded, *, has_ipv6: bool = True) -> PacketFilter:
    if name == "nftables":
        return NftablesFilter(run, "mco_block")
    suffix = name.removeprefix("iptables")
    return IptablesFilter(run, "MCO-BLOCK", name=name, suffix=suffix, has_ipv6=lambda: has_ipv6)


def iptables(ip4: object, ip6: object = EMPTY, *, has_ipv6: bool = True) -> PacketFilter:
    def output(given: object) -> Any:
        return {"stdout": given.splitlines()} if isinstance(given, str) else given

    run = Recorded({"iptables -w 5 -S": output(ip4), "ip6tables -w 5 -S": output(ip6)})
    return back_end("iptables", run, has_ipv6=has_ipv6)


@pytest.mark.parametrize("case", recorded_cases())
def test_a_recorded_output_becomes_data_or_a_clear_error(case: dict[str, Any]) -> None:
    packet_filter = back_end(case["backend"], Recorded(case["outputs"]))
    if "error" in case:
        with pytest.raises(PacketFilterError) as caught:
            packet_filter.blocked(case.get("version"))
        assert type(caught.value) is getattr(mco_agents.packet_filter, case["error"])
        assert case["text"] in str(caught.value)
    else:
        assert [str(network) for network in packet_filter.blocked(case.get("version"))] == case["blocked"]


def test_every_back_end_has_recorded_cases_of_both_kinds() -> None:
    for name in ("iptables_nft", "iptables_legacy", "nftables"):
        cases = json.loads((CASES / f"{name}.json").read_text())
        assert any("error" in case for case in cases)
        assert any(case.get("blocked") for case in cases)


def test_a_family_alone_is_asked_alone() -> None:
    run = Recorded({"ip6tables -w 5 -S": {"stdout": EMPTY.splitlines()}})
    assert back_end("iptables", run).blocked(6) == []
    assert run.asked == ["ip6tables -w 5 -S"]


def test_a_listing_that_was_cut_off_says_nothing() -> None:
    cut = {"stdout": EMPTY.splitlines(), "is_truncated": True}
    with pytest.raises(PacketFilterError, match="its listing is longer than 51 characters"):
        iptables(cut).blocked()
    nft = {"json": {"nftables": []}, "is_truncated": True}
    with pytest.raises(PacketFilterError, match="its listing is longer than"):
        back_end("nftables", Recorded({"nft -j list table inet mco_block": nft})).blocked()


@pytest.mark.parametrize("printed", ["", "ok\n", "-N INPUT\n"])
def test_a_listing_without_input_is_no_listing(printed: str) -> None:
    with pytest.raises(PacketFilterError, match="expected a listing with the chain INPUT"):
        iptables(printed).blocked()


@pytest.mark.parametrize(
    "printed",
    ["", "table inet mco_block {", "[]", '{"nftables": 3}', '{"nftables": [3]}', '{"nftables": [{"rule": 3}]}', "{}"],
)
def test_something_other_than_nfts_json_says_nothing(printed: str) -> None:
    run = Recorded({"nft -j list table inet mco_block": {"stdout": [printed]}})
    with pytest.raises(PacketFilterError, match="gave something unexpected"):
        back_end("nftables", run).blocked()


@pytest.mark.parametrize("source", [5, None, {}, {"prefix": {}}, {"prefix": {"addr": "10.0.0.1", "len": 8}}, "@names"])
def test_an_nft_rule_whose_source_is_no_network_is_not_ours(source: object) -> None:
    left = {"payload": {"protocol": "ip", "field": "saddr"}}
    expr = [{"match": {"op": "==", "left": left, "right": source}}, {"drop": None}]
    listing = {"json": {"nftables": [{"rule": {"handle": 3, "expr": expr}}]}}
    with pytest.raises(PacketFilterError, match=r"\(handle 3\) is not one of its rules"):
        back_end("nftables", Recorded({"nft -j list table inet mco_block": listing})).blocked()


def test_a_table_that_is_made_between_two_looks_is_read() -> None:
    found = {"json": {"nftables": [{"table": {"family": "inet", "name": "mco_block"}}]}}
    outputs: dict[str, Any] = {"nft -j list tables inet": found}
    looks = [{"returncode": 1, "stderr": ["Error: No such file or directory"]}, found]

    class MadeMeanwhile(Recorded):
        def __call__(self, *argv: str, stdin: bytes = b"") -> Completed:
            if "table" in argv:
                outputs[" ".join(argv)] = looks.pop(0)
            return super().__call__(*argv, stdin=stdin)

    assert back_end("nftables", MadeMeanwhile(outputs)).blocked() == []
    looks += [{"returncode": 1, "stderr": ["Error: broken"]}] * 2
    with pytest.raises(PacketFilterError, match="Error: broken"):
        back_end("nftables", MadeMeanwhile(outputs)).blocked()


NO_IP6 = {"returncode": 3, "stderr": ["ip6tables: Address family not supported by protocol"]}
NOT_INSTALLED = ActionAborted("`ip6tables` cannot be started: No such file or directory")


@pytest.mark.parametrize("ip6", [NO_IP6, NOT_INSTALLED], ids=["fails", "not installed"])
def test_without_ipv6_on_the_host_ipv4_works_and_ipv6_says_why_not(ip6: object) -> None:
    packet_filter = iptables(OURS, ip6, has_ipv6=False)
    assert [str(network) for network in packet_filter.blocked()] == ["10.0.0.1/32"]
    assert [str(network) for network in packet_filter.blocked(4)] == ["10.0.0.1/32"]
    with pytest.raises(NoIPv6, match=r"IPv6 is off on this host.*(not supported|cannot be started)"):
        packet_filter.blocked(6)


@pytest.mark.parametrize("ip6", [NO_IP6, NOT_INSTALLED], ids=["fails", "not installed"])
def test_with_ipv6_on_the_host_a_broken_ip6tables_is_no_empty_one(ip6: object) -> None:
    packet_filter = iptables(OURS, ip6)
    with pytest.raises(ActionAborted, match=r"not supported|cannot be started"):
        packet_filter.blocked()
    assert len(packet_filter.blocked(4)) == 1


def test_a_deadline_is_a_deadline_also_without_ipv6() -> None:
    with pytest.raises(TimedOut):
        iptables(OURS, TimedOut("too late"), has_ipv6=False).blocked()
