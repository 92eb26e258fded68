# SPDX-License-Identifier: Apache-2.0
"""Which addresses are meant, which rules cover them, and which of them must not be blocked."""

from __future__ import annotations

import pytest

from mco_agents.packet_filter.networks import covering, parse, why_not_block, written
from mco_rpc.errors import InvalidData


@pytest.mark.parametrize(
    ("text", "network", "people_write"),
    [
        ("10.0.0.1", "10.0.0.1/32", "10.0.0.1"),
        ("10.0.0.1/32", "10.0.0.1/32", "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8:0::1", "2001:db8::1/128", "2001:db8::1"),
        ("2001:db8::/32", "2001:db8::/32", "2001:db8::/32"),
        ("::/0", "::/0", "::/0"),
    ],
)
def test_addresses_and_networks_are_read_and_written(text: str, network: str, people_write: str) -> None:
    assert str(parse(text)) == network
    assert written(parse(text)) == people_write


@pytest.mark.parametrize(
    "text", ["", "; rm -rf /", "-j ACCEPT", "web1", "10.0.0.1/24", "10.0.0", "10.0.0.1 ", "10.0.0.1\n"]
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(InvalidData, match="is no address and no network"):
        parse(text)


def test_an_address_of_an_interface_is_refused() -> None:
    with pytest.raises(InvalidData, match="names an interface"):
        parse("fe80::1%eth0")


@pytest.mark.parametrize(
    ("text", "meant"),
    [("::ffff:10.0.0.1", "10.0.0.1"), ("::ffff:a00:0/104", "10.0.0.0/8"), ("::ffff:0:0/96", "0.0.0.0/0")],
)
def test_ipv4_written_as_ipv6_is_refused_because_the_rule_would_drop_nothing(text: str, meant: str) -> None:
    with pytest.raises(InvalidData) as caught:
        parse(text)
    assert str(caught.value).endswith(f"give {meant}")


@pytest.mark.parametrize(
    ("asked", "rules", "rule"),
    [
        ("10.0.0.1", [], None),
        ("10.0.0.1", ["10.0.0.1"], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.2", "192.168.0.0/16", "2001:db8::/32"], None),
        ("10.0.0.1", ["10.0.0.0/8"], "10.0.0.0/8"),
        ("10.0.0.1", ["10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/12"], "10.0.0.0/16"),
        ("10.0.0.1", ["10.0.0.1", "0.0.0.0/0"], "10.0.0.1"),
        ("10.0.0.0/24", ["10.0.0.1"], None),
        ("10.0.0.0/24", ["10.0.0.0/25"], None),
        ("10.0.0.0/24", ["10.0.0.0/25", "10.0.0.128/25"], "10.0.0.0/24"),
        ("10.0.0.0/24", ["10.0.0.0/25", "10.0.1.0/24", "10.0.0.128/25"], "10.0.0.0/23"),
        ("10.0.0.1", ["::/0"], None),
        ("::1", ["0.0.0.0/0"], None),
        ("2001:db8::1", ["2001:db8::/32"], "2001:db8::/32"),
    ],
)
def test_an_address_is_covered_by_the_narrowest_rule_that_holds_it(
    asked: str, rules: list[str], rule: str | None
) -> None:
    found = covering(parse(asked), [parse(text) for text in rules])
    assert (found and written(found)) == rule


@pytest.mark.parametrize("broker", [[], ["192.168.1.9"]])
@pytest.mark.parametrize(
    "text", ["127.0.0.1", "127.0.0.0/8", "127.3.0.0/16", "0.0.0.0/0", "0.0.0.0/1", "::1", "::/0", "::/64"]
)
def test_loopback_is_not_blocked(text: str, broker: list[str]) -> None:
    assert "loopback" in (why_not_block(parse(text), broker) or "")


@pytest.mark.parametrize(
    ("text", "broker"),
    [
        ("192.168.1.9", ["192.168.1.9"]),
        ("192.168.0.0/16", ["10.9.9.9", "192.168.1.9"]),
        ("128.0.0.0/1", ["192.168.1.9"]),
        ("2001:db8::/32", ["192.168.1.9", "2001:db8::9"]),
        ("fe80::/10", ["fe80::9%eth0"]),
        ("fe80::9", ["fe80::9%eth0"]),
        ("192.168.1.9", ["::ffff:192.168.1.9"]),
        ("192.168.1.9", ["mq.example.net", "192.168.1.9"]),
    ],
)
def test_what_holds_the_broker_is_not_blocked(text: str, broker: list[str]) -> None:
    assert "the broker's address" in (why_not_block(parse(text), broker) or "")


@pytest.mark.parametrize("text", ["192.168.1.1", "192.168.2.0/24", "128.0.0.0/2", "2001:db8::1", "2000::/3"])
def test_what_does_not_hold_the_broker_is_blocked(text: str) -> None:
    assert why_not_block(parse(text), ["192.168.1.9"]) is None


@pytest.mark.parametrize("broker", [[], ["mq.example.net"], ["64.0.0.9", "mq.example.net"]])
def test_with_an_unknown_broker_only_what_nobody_owns_is_refused(broker: list[str]) -> None:
    for text in ("10.0.0.0/7", "128.0.0.0/1", "2000::/3", "2000::/15"):
        assert "the broker's address is not known" in (why_not_block(parse(text), broker) or ""), text
    for text in ("10.0.0.0/8", "10.0.0.1", "2001::/16", "2001:db8::1"):
        assert why_not_block(parse(text), broker) is None, text
