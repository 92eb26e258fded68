# SPDX-License-Identifier: Apache-2.0
"""Real TCP connections between the hosts of a lab."""

from behave import then

from mco_client.bdd.traffic import require_connections


@then("the {device} can connect to port {port:d} of every node")
def reaches_every_node(context, device, port):
    require_connections(context.fleet, device, port, context.fleet.nodes, can_connect=True)


@then("the {device} cannot connect to port {port:d} of any node")
def reaches_no_node(context, device, port):
    require_connections(context.fleet, device, port, context.fleet.nodes, can_connect=False)


@then('the {device} can connect to port {port:d} of "{host}"')
def reaches_host(context, device, port, host):
    require_connections(context.fleet, device, port, [host], can_connect=True)
