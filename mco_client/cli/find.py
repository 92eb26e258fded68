# SPDX-License-Identifier: Apache-2.0
"""``mco find``: the names of the nodes that a filter matches, one a line, for people and for pipes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from mco_client.cli import asking, exits, options, output

if TYPE_CHECKING:
    from mco_client.connection import Connection
    from mco_rpc.filters import Filter


@click.command(
    epilog="""\b
Examples:
  mco find                                    everybody
  mco find -C /dev_server/ -F country=de      both must hold
  mco find -I web1 -I /^db/                   one of them must hold
  mco find -F country=de | mco rpc --nodes - rpcutil ping
  mco find -C /web/ -j                        JSON, with who was expected and not found

"""
    + exits.EPILOG
)
@options.filtered
@options.verbose("Say who knew the nodes, and how long it took.")
@options.as_json
@options.connected("-t", "--timeout")
def find(connection: Connection, node_filter: Filter, is_json: bool, is_verbose: bool) -> int:
    """Print the names of the nodes that match."""
    from mco_client.discovery.choice import configured
    from mco_client.stats import Stats

    began = time.monotonic()
    found = configured(connection).discover(node_filter, None, connection.settings.discovery_timeout_s)
    took_s = time.monotonic() - began
    output.warn_of_unbelieved(found.unverified, found.unverified_more)
    if is_json:
        statistics = Stats.of_discovery(found, took_s).to_dict()
        output.say_json({"nodes": list(found.nodes), "statistics": statistics})
    else:
        for node in found.nodes:
            output.say(node)
    output.warn_of_doubts(found.warnings)
    output.warn_of_absent(found.absent)
    if is_verbose:
        output.warn(f"{output.counted(len(found.nodes))} found in {took_s:.2f} s by {found.source}")
    if found.unverified or found.unverified_more or ((found.absent or found.warnings) and found.nodes):
        return exits.FAILED
    if not found.nodes:
        if not found.absent:
            output.warn(asking.nobody(connection, node_filter))
        return exits.ERROR
    return exits.OK
