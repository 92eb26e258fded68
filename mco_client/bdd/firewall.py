# SPDX-License-Identifier: Apache-2.0
"""Changes of packet filters that can be taken back."""

from __future__ import annotations

from mco_client.bdd.fleet import Fleet
from mco_client.rpc import RpcClient
from mco_client.text import listed

OPPOSITE = {"block": "unblock", "unblock": "block"}


def change(fleet: Fleet, action: str, device: str) -> None:
    """Block or unblock a device on every node to manage.

    What to take back is learned before the change: a node that changes and whose answer is lost is put
    right all the same, and one that was so before is left so.

    Raises:
        ExpectationFailed: a node did not do it, or did not answer; it names each.
    """
    address = fleet.address_of(device)
    iptables = fleet.client("iptables")
    if fleet.is_undoing:
        was = action == "unblock"
        before = iptables.call("isblocked", ipaddr=address).require_ok()
        nodes = [result.sender for result in before.where(blocked=was)]
        opposite = OPPOSITE[action]
        if nodes:

            def take_back() -> None:
                taken = RpcClient("iptables", iptables.connection, timeout_s=iptables.timeout_s)
                taken.discover(nodes=nodes)
                taken.call(opposite, ipaddr=address).require_all(blocked=was)

            fleet.when_undone(f"{opposite} {address} on {listed(nodes)}", take_back)
    fleet.call("iptables", action, ipaddr=address).require_ok()
