# SPDX-License-Identifier: Apache-2.0
"""``mco facts``: which values a fact has in the fleet, and on how many nodes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from mco_client.cli import asking, exits, options, output
from mco_client.text import listed, natural, one_line

if TYPE_CHECKING:
    from mco_client.connection import Connection
    from mco_client.results import Results
    from mco_rpc.filters import Filter


@click.command(
    epilog="""\b
Examples:
  mco facts country                which countries, on how many nodes
  mco facts country -v             on which nodes
  mco facts cores -C /web/ -j      JSON, and only of some nodes

"""
    + exits.EPILOG
)
@click.argument("name", shell_complete=options.completing("fact_names"))
@options.filtered
@options.called
@options.verbose("Name the nodes.")
@options.as_json
@options.connected()
def facts(
    connection: Connection,
    name: str,
    node_filter: Filter,
    nodes: list[str] | None,
    timeout_s: float | None,
    progress: bool,
    is_verbose: bool,
    is_json: bool,
) -> int:
    """Show the values of a fact, and how many nodes have each."""
    client = asking.client(connection, "rpcutil", node_filter, timeout_s=timeout_s, progress=progress)
    asking.discover(client, nodes)
    results = client.get_fact(fact=name)
    output.warn_of_strangers(results)
    output.warn_of_late(results)
    found, missing = _by_value(results)
    if is_json:
        statistics = client.stats.to_dict()
        output.say_json({"fact": name, "values": found, "missing": missing, "statistics": statistics})
    else:
        output.say(f"{one_line(name)}:")
        rows = [(one_line(output.value(entry["value"])), "found on", entry["nodes"]) for entry in found]
        rows += [("(not there)", "missing on", missing)] if missing else []
        width = max((min(len(text), output.MAX_CELL) for text, _, _ in rows), default=0)
        for text, verb, where in rows:
            output.say(f"    {text:<{width}}  {verb} {output.counted(len(where))}")
            if is_verbose:
                output.say(output.indented(listed(where), " " * 8))
        output.say()
        output.say_failures(results)
        output.say_finished(results, client.stats.blocktime)
    return exits.of(results)


def _by_value(results: Results) -> tuple[list[dict[str, Any]], list[str]]:
    """Return each value with its nodes, the most frequent first, and the nodes that do not have the fact."""
    nodes: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    missing = []
    for result in results:
        if not result.is_ok:
            continue
        if result.data.get("exists") is not True:
            missing.append(result.sender)
            continue
        seen = result.data.get("value")
        key = json.dumps(seen, sort_keys=True)
        values[key] = seen
        nodes.setdefault(key, []).append(result.sender)
    order = sorted(nodes, key=lambda key: (-len(nodes[key]), natural(key)))
    return [{"value": values[key], "nodes": sorted(nodes[key], key=natural)} for key in order], sorted(
        missing, key=natural
    )
