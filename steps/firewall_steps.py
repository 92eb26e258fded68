# SPDX-License-Identifier: Apache-2.0
"""Block and unblock devices in the packet filters of the nodes, and see whether that is so."""

from behave import given, then, when

from mco_client.bdd.firewall import change


@given("the {device} has ip address {address}")
def device_has_address(context, device, address):
    context.fleet.add_device(device, address)


@when("I block the {device}")
def block(context, device):
    change(context.fleet, "block", device)


@when("I unblock the {device}")
def unblock(context, device):
    change(context.fleet, "unblock", device)


@then("traffic from the {device} should be blocked")
def every_node_blocks(context, device):
    address = context.fleet.address_of(device)
    context.fleet.call("iptables", "isblocked", ipaddr=address).require_all(blocked=True)


@then("traffic from the {device} should be unblocked")
def no_node_blocks(context, device):
    address = context.fleet.address_of(device)
    context.fleet.call("iptables", "isblocked", ipaddr=address).require_all(blocked=False)
