# SPDX-License-Identifier: Apache-2.0
"""Addresses and networks as callers write them, and which of them a set of rules covers; no command is run here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network

from mco_rpc.errors import InvalidData

from . import Network

_LOOPBACK: dict[int, Network] = {4: IPv4Network("127.0.0.0/8"), 6: IPv6Network("::1/128")}
# Nobody holds networks wider than these: blocking one is cutting off a part of the Internet.
_WIDEST_PREFIX = {4: 8, 6: 16}


def parse(text: str) -> Network:
    """Return the network that ``text`` names, a single address as the network of that one address.

    Raises:
        InvalidData: it names none, or one that no packet ever comes from.

    >>> parse("10.0.0.1")
    IPv4Network('10.0.0.1/32')
    """
    try:
        network = ip_network(text)
    except ValueError as e:
        raise InvalidData(f"{text!r} is no address and no network: {e}") from e
    if isinstance(network, IPv6Network):
        if "%" in text:
            raise InvalidData(f"{text!r} names an interface; give the address without it")
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= 96:
            # The kernel sees IPv4 packets: a rule for this would be there, and drop nothing.
            plain = written(IPv4Network((mapped, network.prefixlen - 96)))
            raise InvalidData(f"{text} is {plain} written as IPv6, and comes as IPv4; give {plain}")
    return network


def written(network: Network) -> str:
    """Return a network as people write it: an address without its prefix length.

    >>> written(parse("10.0.0.1/32")), written(parse("10.0.0.0/8"))
    ('10.0.0.1', '10.0.0.0/8')
    """
    return str(network.network_address if network.num_addresses == 1 else network)


def covering(network: Network, blocked: Iterable[Network]) -> Network | None:
    """Return the narrowest of the blocked networks that holds all of ``network``, None if it is not blocked.

    Networks that only together hold it count too, as the one network they make.

    >>> covering(parse("10.0.0.1"), [parse("10.0.0.0/8"), parse("10.0.0.0/24")])
    IPv4Network('10.0.0.0/24')
    >>> covering(parse("10.0.0.0/8"), [parse("10.0.0.0/9"), parse("10.128.0.0/9")])
    IPv4Network('10.0.0.0/8')
    """
    family = [rule for rule in blocked if rule.version == network.version]
    holding = [rule for rule in family if _holds(rule, network)]
    if not holding:
        joined: Iterable[Network] = collapse_addresses(family)  # type: ignore[type-var]
        holding = [rule for rule in joined if _holds(rule, network)]
    return max(holding, key=lambda rule: rule.prefixlen, default=None)


def why_not_block(network: Network, broker: Sequence[str]) -> str | None:
    """Return why blocking this would cut the node off, None if it would not.

    Where it is not known which addresses the broker has, networks wider than 10.0.0.0/8 or 2001::/16 are
    refused, because any of them may hold it; narrower ones, and single addresses, pass.

    Args:
        broker: the addresses of the broker that the node uses, as far as they are known.
    """
    if _overlaps(network, _LOOPBACK[network.version]):
        return "the loopback addresses are in it, and the host talks to itself there"
    known = [address for address in map(_address, broker) if address is not None]
    for address in known:
        if _holds(network, address):
            return f"the broker's address {written(address)} is in it, and this node could not be reached any more"
    if len(known) == len(broker) > 0 or network.prefixlen >= _WIDEST_PREFIX[network.version]:
        return None
    return f"the broker's address is not known, and a network wider than /{_WIDEST_PREFIX[network.version]} may hold it"


def _address(text: str) -> Network | None:
    """Return the network of one address, also of one with a zone or an IPv4 one written as IPv6; None for a name."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return ip_network(getattr(address, "ipv4_mapped", None) or address)


def _holds(outer: Network, inner: Network) -> bool:
    return outer.version == inner.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _overlaps(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
