# SPDX-License-Identifier: Apache-2.0
"""The settings say which packet filter is used, or the host does; what is missing is named with its package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mco_agents.packet_filter import PacketFilterError
from mco_agents.packet_filter.choice import BACKENDS, Settings, choose, why_not
from mco_rpc.command import Completed
from mco_rpc.errors import ConfigError


def installed(*commands: str) -> Callable[[str], str | None]:
    return lambda command: f"/usr/sbin/{command}" if command in commands else None


class Host:
    """Runs nothing but ``iptables -V``, and keeps what was asked of it."""

    def __init__(self, version: str = "", returncode: int = 0) -> None:
        self.version = version
        self.returncode = returncode
        self.listing = "-P INPUT ACCEPT\n"
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, *argv: str, stdin: bytes = b"") -> Completed:
        self.asked.append(argv)
        if argv[-1] == "-V":
            return Completed(argv, self.returncode, self.version, "it is broken")
        return Completed(argv, 0, self.listing, "")


ALL = installed("iptables", "iptables-nft", "iptables-legacy", "nft")


@pytest.mark.parametrize(
    ("backend", "which", "version", "name"),
    [
        ("auto", ALL, "iptables v1.8.9 (nf_tables)\n", "iptables-nft"),
        ("auto", ALL, "iptables v1.8.9 (legacy)\n", "iptables-legacy"),
        ("auto", ALL, "iptables v1.6.1\n", "iptables-legacy"),
        ("auto", installed("nft"), "", "nftables"),
        ("iptables", installed("iptables"), "iptables v1.8.9 (nf_tables)\n", "iptables-nft"),
        ("iptables-nft", ALL, "", "iptables-nft"),
        ("iptables-legacy", ALL, "", "iptables-legacy"),
        ("nftables", ALL, "", "nftables"),
        ("memory", installed(), "", "memory"),
    ],
)
def test_the_packet_filter_that_is_meant_is_chosen(
    backend: str, which: Callable[[str], str | None], version: str, name: str
) -> None:
    assert choose(Settings.of({"backend": backend}), Host(version), which).name == name


@pytest.mark.parametrize(
    ("backend", "command"),
    [("iptables", "iptables"), ("iptables-nft", "iptables-nft"), ("iptables-legacy", "iptables-legacy")],
)
def test_the_commands_are_those_of_the_setting(backend: str, command: str) -> None:
    host = Host("iptables v1.8.9 (legacy)\n")
    choose(Settings.of({"backend": backend}), host, ALL).blocked(4)
    assert host.asked[-1] == (command, "-w", "5", "-S")


def test_chain_and_table_are_those_of_the_settings() -> None:
    host = Host()
    settings = {"chain": "MINE", "table": "mine"}
    with pytest.raises(PacketFilterError, match=r"gave something unexpected"):
        choose(Settings.of({"backend": "nftables", **settings}), host, ALL).blocked(4)
    assert host.asked[-1] == ("nft", "-j", "list", "table", "inet", "mine")
    host.listing += "-N MINE\n-A INPUT -j MINE\n-A MINE -s 10.0.0.1/32 -j DROP\n"
    assert len(choose(Settings.of({"backend": "iptables-nft", **settings}), host, ALL).blocked(4)) == 1


@pytest.mark.parametrize(
    ("backend", "package"),
    [
        ("auto", "iptables or nftables"),
        ("iptables", "iptables"),
        ("iptables-nft", "iptables"),
        ("iptables-legacy", "iptables"),
        ("nftables", "nftables"),
    ],
)
def test_what_is_missing_is_named_with_its_package(backend: str, package: str) -> None:
    with pytest.raises(PacketFilterError, match=f"install the Debian package {package} "):
        choose(Settings.of({"backend": backend}), Host(), installed())


def test_what_is_missing_is_named_as_it_is_called() -> None:
    reasons = [why_not({"backend": backend}, installed("something")) for backend in ("auto", "nftables")]
    assert [str(reason).partition(";")[0] for reason in reasons] == [
        "none of iptables, nft is on the PATH of this node",
        "nft is not on the PATH of this node",
    ]


def test_an_agent_is_active_where_its_tool_is() -> None:
    for backend in BACKENDS:
        assert why_not({"backend": backend}, ALL) is None
    assert why_not({}, installed("nft")) is None
    assert why_not({"backend": "memory"}, installed()) is None
    assert why_not({"backend": "a typing error"}, installed()) is None, "loading says what is wrong with it"


def test_commands_are_looked_for_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "nft is not on the PATH" in str(why_not({"backend": "nftables"}))
    (tmp_path / "nft").touch(mode=0o755)
    assert why_not({"backend": "nftables"}) is None


def test_an_iptables_that_does_not_run_is_not_guessed_about() -> None:
    with pytest.raises(PacketFilterError, match=r"the host's iptables cannot be used: .*it is broken"):
        choose(Settings(), Host(returncode=1), ALL)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"backend": "nftable"}, "backend: 'nftable' is not a packet filter, did you mean nftables?"),
        ({"backend": None}, "backend: None is not a packet filter"),
        ({"backend": ["memory"]}, "is not a packet filter"),
        ({"chain": ""}, "chain: '' cannot be used"),
        ({"chain": "-F"}, "chain: '-F' cannot be used"),
        ({"chain": "A B"}, "chain: 'A B' cannot be used"),
        ({"chain": "A\n"}, "chain: 'A\\n' cannot be used"),
        ({"chain": "A" * 29}, "at most 28 characters"),
        ({"chain": 3}, "chain: 3 cannot be used"),
        ({"chain": "INPUT"}, "chain: INPUT has a meaning of its own"),
        ({"chain": "ACCEPT"}, "chain: ACCEPT has a meaning of its own"),
        ({"table": "t; flush ruleset"}, "table: 't; flush ruleset' cannot be used"),
        ({"table": "t" * 65}, "at most 64 characters"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_right(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.of(settings)
    assert text in str(caught.value)
    assert str(caught.value).startswith("agents: iptables: ")


def test_settings_have_defaults() -> None:
    assert Settings.of({}) == Settings("auto", "MCO-BLOCK", "mco_block")
    assert Settings.of({"chain": "A" * 28, "table": "B" * 64}).chain == "A" * 28
