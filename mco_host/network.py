# SPDX-License-Identifier: Apache-2.0
"""The interfaces and the routes of this network namespace."""

from __future__ import annotations

import ipaddress
import socket
import struct
from pathlib import Path
from typing import Any

ROUTES = Path("/proc/net")
_UP, _GATEWAY, _REJECT, _CACHED, _LOCAL = 0x1, 0x2, 0x200, 0x01000000, 0x80000000
_MULTICAST = ipaddress.IPv6Network("ff00::/8")


def interfaces() -> list[dict[str, Any]]:
    """Return the interfaces with their addresses and counters, in the kernel's order."""
    import psutil

    addresses, counters = psutil.net_if_addrs(), psutil.net_io_counters(pernic=True, nowrap=False)
    found = []
    for name, state in psutil.net_if_stats().items():
        own = addresses.get(name, ())
        count = counters.get(name)
        found.append(
            {
                "interface": name,
                "is_up": state.isup,
                "mtu": state.mtu,
                "speed_mbit": state.speed or None,
                "flags": [flag for flag in state.flags.split(",") if flag],
                "mac": next((each.address for each in own if each.family == socket.AF_PACKET), None),
                "addresses": [
                    _with_prefix(each.address, each.netmask)
                    for each in own
                    if each.family in (socket.AF_INET, socket.AF_INET6)
                ],
                "received_bytes": count.bytes_recv if count else None,
                "sent_bytes": count.bytes_sent if count else None,
                "received_packets": count.packets_recv if count else None,
                "sent_packets": count.packets_sent if count else None,
                "receive_errors": count.errin if count else None,
                "send_errors": count.errout if count else None,
                "receive_drops": count.dropin if count else None,
                "send_drops": count.dropout if count else None,
            }
        )
    return found


def routes() -> list[dict[str, Any]]:
    """Return the routes to elsewhere, IPv4 (of the main table) first."""
    return [*_ipv4_routes(), *_ipv6_routes()]


def _with_prefix(address: str, netmask: str | None) -> str:
    """Return an address with the length of its network; the zone that psutil adds is the interface."""
    plain = address.partition("%")[0]
    if not netmask:
        return plain
    mask = ipaddress.ip_address(netmask.partition("%")[0])
    return f"{plain}/{int(mask).bit_count()}"


def _ipv4_routes() -> list[dict[str, Any]]:
    found = []
    for line in _lines("route")[1:]:
        device, destination, gateway, flags, _, _, metric, mask, *_ = line.split()
        bits = int(flags, 16)
        if bits & _UP:
            found.append(
                _route(
                    f"{_ipv4(destination)}/{int(mask, 16).bit_count()}",
                    _ipv4(gateway) if bits & _GATEWAY else None,
                    device,
                    int(metric),
                    is_rejected=bool(bits & _REJECT),
                )
            )
    return found


def _ipv6_routes() -> list[dict[str, Any]]:
    found = []
    for line in _lines("ipv6_route"):
        destination, length, _, _, gateway, metric, _, _, flags, device = line.split()
        bits = int(flags, 16)
        network = ipaddress.IPv6Network((int(destination, 16), int(length, 16)))
        if not bits & _UP or bits & (_CACHED | _LOCAL) or network.subnet_of(_MULTICAST):
            continue
        # The kernel keeps a refusal for what has no route; nobody made it.
        if bits & _REJECT and device == "lo" and int(metric, 16) == (1 << 32) - 1:
            continue
        via = str(ipaddress.IPv6Address(int(gateway, 16))) if bits & _GATEWAY else None
        found.append(_route(str(network), via, device, int(metric, 16), is_rejected=bool(bits & _REJECT)))
    return found


def _route(destination: str, gateway: str | None, device: str, metric: int, *, is_rejected: bool) -> dict[str, Any]:
    is_default = destination in ("0.0.0.0/0", "::/0")
    return {
        "destination": "default" if is_default else destination,
        "family": "ipv6" if ":" in destination else "ipv4",
        "gateway": gateway,
        "interface": None if device == "*" else device,
        "metric": metric,
        "is_rejected": is_rejected or device == "*",
    }


def _lines(name: str) -> list[str]:
    try:
        return (ROUTES / name).read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:  # a host without this protocol
        return []


def _ipv4(digits: str) -> str:
    """Return an address that the kernel wrote as a number in the machine's order.

    >>> import sys; _ipv4("0100007F" if sys.byteorder == "little" else "7F000001")
    '127.0.0.1'
    """
    return socket.inet_ntoa(struct.pack("=I", int(digits, 16)))
