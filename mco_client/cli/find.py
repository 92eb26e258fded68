# SPDX-License-Identifier: Apache-2.0
"""``mco find``: the names of the nodes that a filter matches, one a line, for people and for pipes."""

from __future__ import annotations

import click

from mco_client.cli import asking, exits, options, output
from mco_client.connection import Connection
from mco_client.discovery.broadcast import BroadcastDiscovery
from mco_rpc.filters import Filter


@click.command(
    epilog="""\b
Examples:
  mco find                                    everybody
  mco find -C /dev_server/ -F country=de      both must hold
  mco find -I web1 -I /^db/                   one of them must hold
  mco find -F country=de | mco rpc --nodes - rpcutil ping

"""
    + exits.EPILOG
)
@options.filtered
@options.as_json
@options.connected("-t", "--timeout")
def find(connection: Connection, node_filter: Filter, is_json: bool) -> int:
    """Print the names of the nodes that match."""
    found = BroadcastDiscovery(connection).discover(node_filter, None, connection.settings.discovery_timeout_s)
    output.warn_of_unbelieved(found.unverified, found.unverified_more)
    if is_json:
        output.say_json(list(found.nodes))
    else:
        for node in found.nodes:
            output.say(node)
    for node, why in found.absent.items():
        output.warn(f"{node} was named, and not found: {why}")
    if found.unverified or found.unverified_more or (found.absent and found.nodes):
        return exits.FAILED
    if not found.nodes:
        if not found.absent:
            output.warn(asking.nobody(connection, node_filter))
        return exits.ERROR
    return exits.OK
