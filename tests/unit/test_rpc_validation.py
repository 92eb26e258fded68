# SPDX-License-Identifier: Apache-2.0
"""What the validators accept, in which canonical form, and that nothing a shell or a command understands gets by."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mco_rpc.validation import VALIDATORS, ip_network, shellsafe


@pytest.mark.parametrize(
    "text", ["nginx", "web-1.example.net", "/etc/hosts", "a=b", "user@host:22", "50%", "1,2", "x+y"]
)
def test_ordinary_words_are_shellsafe(text: str) -> None:
    assert shellsafe(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "; rm -rf /",
        "-j ACCEPT",
        "-rf",
        "--",
        "a b",
        "a;b",
        "a|b",
        "a&b",
        "$(id)",
        "`id`",
        "a>b",
        "a<b",
        "a\nb",
        "a\n",
        "\na",
        "a\x00",
        "~root",
        "*",
        "a?",
        "[a]",
        "{a,b}",
        "'a'",
        '"a"',
        "\\a",
        "!1",
        "#a",
        "ä",
        "٣",
        "a\u2028",
    ],
)
def test_what_means_something_to_a_shell_or_a_command_is_not_shellsafe(text: str) -> None:
    with pytest.raises(ValueError, match="no - in front"):
        shellsafe(text)


@pytest.mark.parametrize(
    ("validator", "text", "canonical"),
    [
        ("ipv4_address", "192.168.1.1", "192.168.1.1"),
        ("ipv6_address", "2001:DB8:0::1", "2001:db8::1"),
        ("ip_address", "10.0.0.1", "10.0.0.1"),
        ("ip_address", "FE80::0001", "fe80::1"),
        ("ip_network", "10.0.0.1", "10.0.0.1"),
        ("ip_network", "10.0.0.1/32", "10.0.0.1"),
        ("ip_network", "::1/128", "::1"),
        ("ip_network", "10.0.0.0/8", "10.0.0.0/8"),
        ("ip_network", "10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("ip_network", "2001:DB8::/32", "2001:db8::/32"),
        ("ip_network", "0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_an_address_has_one_spelling(validator: str, text: str, canonical: str) -> None:
    assert VALIDATORS[validator](text) == canonical


@pytest.mark.parametrize(
    ("validator", "text"),
    [
        ("ipv4_address", "::1"),
        ("ipv4_address", "10.0.0.01"),
        ("ipv4_address", "10.0.0"),
        ("ipv4_address", "10.0.0.256"),
        ("ipv4_address", "١٠.0.0.1"),
        ("ipv6_address", "10.0.0.1"),
        ("ipv6_address", "fe80::1%eth0"),
        ("ipv6_address", "1:::2"),
        ("ip_address", "fe80::1%eth0"),
        ("ip_address", "localhost"),
        ("ip_address", "10.0.0.1/32"),
        ("ip_address", "-j ACCEPT"),
        ("ip_network", "10.0.0.0/33"),
        ("ip_network", "10.0.0.0/"),
        ("ip_network", "10.0.0.0/-1"),
        ("ip_network", "10.0.0.0/8/8"),
        ("ip_network", "/8"),
        ("ip_network", "fe80::1%eth0/64"),
        ("ip_network", "; rm -rf /"),
        ("ip_network", "10.0.0.1\n"),
    ],
)
def test_what_is_no_address_is_refused(validator: str, text: str) -> None:
    with pytest.raises(ValueError):
        VALIDATORS[validator](text)


def test_a_network_with_host_bits_is_refused_with_the_network_that_was_meant() -> None:
    with pytest.raises(ValueError, match=r"bits set after its prefix; the network is 10\.0\.0\.0/8"):
        ip_network("10.1.2.3/8")


@pytest.mark.parametrize("validator", sorted(VALIDATORS))
@given(text=st.one_of(st.text(max_size=60), st.text("0123456789abcdef:./%-", max_size=45)))
@example("1" * 100_000)
@example("\ud800")
@example("0.0.0.0/" + "9" * 5000)
def test_any_text_is_valid_or_a_value_error(validator: str, text: str) -> None:
    try:
        canonical = VALIDATORS[validator](text)
    except ValueError:
        return
    # What was accepted once is accepted again, and does not change any more.
    assert VALIDATORS[validator](canonical) == canonical
    assert not canonical.startswith("-")


@given(st.ip_addresses())
def test_every_address_is_valid_and_canonical(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    for text in (str(address), address.exploded):
        if "%" not in text:
            assert VALIDATORS["ip_address"](text) == VALIDATORS["ip_network"](text) == str(address)
