# SPDX-License-Identifier: Apache-2.0
"""Changes of packet filters that can be taken back."""

from __future__ import annotations

from mco_client.bdd.fleet import Fleet
from mco_client.rpc import RpcClient
from mco_client.text import listed
from mco_rpc.errors import ExpectationFailed, McoError


def change(fleet: Fleet, action: str, device: str) -> None:
    """Block or unblock a device on every node to manage.

    What to put back is learned before the first change: a node that changes and whose answer is lost is put
    right all the same. One on which nothing was changed here is left alone: somebody else may be at work there.

    Raises:
        ExpectationFailed: a node did not do it, or did not answer; it names each.
    """
    address = fleet.address_of(device)
    iptables = fleet.client("iptables")
    what = f"the firewall's rule for {address}"
    if fleet.is_undoing and not fleet.is_undone_later(what):
        before = iptables.call("isblocked", ipaddr=address).require_ok()
        was = {blocked: [result.sender for result in before.where(blocked=blocked)] for blocked in (False, True)}
        if unclear := set(before.by_node()).difference(*was.values()):
            raise ExpectationFailed(f"iptables#isblocked: no yes and no no, nothing was changed: {listed(unclear)}")
        fleet.when_undone(what, lambda: _put_back(iptables, address, was, fleet.touched[what]))
    fleet.is_changed = True
    touched = fleet.touched.setdefault(what, set())
    untouched = set(fleet.nodes) - touched
    touched |= untouched  # until each of them has said otherwise
    results = fleet.call("iptables", action, ipaddr=address)
    touched -= untouched & {result.sender for result in results.where(changed=False)}
    results.require_ok()


def _put_back(iptables: RpcClient, address: str, was: dict[bool, list[str]], touched: set[str]) -> str:
    """Make each node as it was, and return what that took; a node that fails keeps no other one from it."""
    done, failed = [], []
    for blocked, before in was.items():
        action = "block" if blocked else "unblock"
        nodes = [node for node in before if node in touched]
        if not nodes:
            continue
        client = RpcClient("iptables", iptables.connection, timeout_s=iptables.timeout_s)
        client.discover(nodes=nodes)
        try:
            results = client.call(action, ipaddr=address).require_all(blocked=blocked)
        except McoError as e:
            failed.append(str(e))
            continue
        changed = [result.sender for result in results.where(changed=True)]
        if changed:
            done.append(f"{action} {address} on {listed(changed)}")
    if failed:
        raise ExpectationFailed("; ".join(failed))
    return "; ".join(done)
