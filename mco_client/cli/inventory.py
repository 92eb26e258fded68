# SPDX-License-Identifier: Apache-2.0
"""``mco inventory``: what one node is, knows and offers, and how its daemon fares."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

import click

from mco_client.cli import asking, exits, options, output
from mco_client.text import natural, one_line
from mco_rpc import names

if TYPE_CHECKING:
    from mco_client.connection import Connection
    from mco_client.results import Result, Results
    from mco_rpc.filters import Filter

_MAX_TEXT = 1000
_MAX_SECONDS = 1e11  # after this the calendar ends


@click.command(
    epilog="""\b
Examples:
  mco inventory web1               all about a node
  mco inventory web1 -j            the same as JSON
  mco inventory --lc               the collectives, and how many nodes are in each

"""
    + exits.EPILOG
)
@click.argument("node", required=False, shell_complete=options.completing("nodes"))
@click.option(
    "--list-collectives", "--lc", "--collectives", "is_list", is_flag=True, help="List the collectives of all nodes."
)
@options.filtered
@options.timeout
@options.as_json
@options.connected()
def inventory(
    connection: Connection,
    node: str | None,
    is_list: bool,
    node_filter: Filter,
    timeout_s: float | None,
    is_json: bool,
) -> int:
    """Show what one node is, knows and offers."""
    from mco_rpc.filters import Filter

    if is_list:
        return _list_collectives(connection, node_filter, timeout_s, is_json=is_json)
    if node is None or node_filter:
        raise click.UsageError("Name one NODE; filters are for --list-collectives.")
    client = asking.client(connection, "rpcutil", Filter(), timeout_s=timeout_s, progress=False)
    client.discover(nodes=[names.check("node", node)])
    known = client.inventory()
    # A node that is not there the first time is not asked, and waited for, a second time.
    stats = client.daemon_stats() if known.answers else known
    told, counted = known.by_node().get(node), stats.by_node().get(node)
    for results in (known, stats) if stats is not known else (known,):
        _warn_of_failure(node, results)
    if told is None or not told.is_ok:
        return exits.of(known)
    daemon = counted.data if counted is not None and counted.is_ok else {}
    if is_json:
        output.say_json({**told.data, "daemon": dict(daemon), "statistics": client.stats.to_dict()})
    else:
        _say(told, daemon)
    return exits.of(stats)


def _list_collectives(connection: Connection, node_filter: Filter, timeout_s: float | None, *, is_json: bool) -> int:
    """Print how many nodes are in each collective, as those in this one say."""
    client = asking.client(connection, "rpcutil", node_filter, timeout_s=timeout_s, progress=False)
    asking.discover(client, None)
    results = client.collective_info()
    members: dict[str, list[str]] = {}
    for result in results:
        told = result.data.get("collectives") if result.is_ok else None
        for name in told if isinstance(told, list) else ():
            members.setdefault(str(name), []).append(result.sender)
    output.warn_of_strangers(results)
    output.warn_of_late(results)
    if is_json:
        collectives = {name: sorted(nodes, key=natural) for name, nodes in sorted(members.items())}
        output.say_json({"collectives": collectives, "statistics": client.stats.to_dict()})
        return exits.of(results)
    rows = [(one_line(name), str(len(members[name]))) for name in sorted(members, key=natural)]
    output.say(output.table(["collective", "nodes"], rows))
    output.say()
    output.say_failures(results)
    output.say_finished(results, client.stats.blocktime)
    return exits.of(results)


def _warn_of_failure(node: str, results: Results) -> None:
    where = f"{results.agent}#{results.action}"
    output.warn_of_strangers(results)
    for result in results.failed:
        output.warn(f"{where} on {node}: {result.status_text}: {one_line(result.message)}")
    if node in results.offline:
        output.warn(f"{node} is offline: no node of this name is connected; `mco find` names those that are")
    elif node in results.silent and node not in results.unverified:
        output.warn(f"{where}: no reply from {node} within {results.timeout_s:g} s; it is connected")


def _say(told: Result, daemon: Mapping[str, Any]) -> None:
    data = told.data
    output.say(f"Inventory of {one_line(data.get('identity'))}")
    _say_list("Agents", data.get("agents"))
    _say_mapping("Not offered", data.get("inactive_agents"))
    _say_list("Classes", data.get("classes"))
    _say_mapping("Facts", data.get("facts"))
    _say_list("Collectives", data.get("collectives"))
    if data.get("problems"):
        _say_list(output.coloured("Problems", "red"), data["problems"])
    _say_mapping("Daemon", {"version": data.get("version"), **_readable(daemon)})


def _readable(daemon: Mapping[str, Any]) -> dict[str, Any]:
    """Return the daemon's numbers without what is told elsewhere, times as people write them."""
    shown = {name: seen for name, seen in daemon.items() if name not in ("version", "inactive_agents")}
    uptime_s, counters = shown.pop("uptime_s", None), shown.pop("counters", None)
    for name in ("started_at", "clock"):
        if _is_time(at := shown.get(name)):
            shown[name] = dt.datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")
    if _is_time(uptime_s):
        shown["up"] = str(dt.timedelta(seconds=round(uptime_s)))
    # `mco controller stats` tells these, and they are long.
    shown = {name: seen for name, seen in shown.items() if not isinstance(seen, Mapping | list)}
    if isinstance(counters, Mapping):
        shown["requests"] = ", ".join(f"{name} {seen}" for name, seen in sorted(counters.items()))
    return shown


def _is_time(seconds: object) -> TypeGuard[float]:
    return isinstance(seconds, int | float) and 0 <= seconds < _MAX_SECONDS


def _say_list(title: str, items: object) -> None:
    output.say(f"\n{title}:")
    texts = [str(item) for item in items] if isinstance(items, list) else []
    for text in sorted(texts, key=natural) or ["-"]:
        output.say(f"    {one_line(text, _MAX_TEXT)}")


def _say_mapping(title: str, items: object) -> None:
    if not isinstance(items, Mapping) or not items:
        return
    output.say(f"\n{title}:")
    width = min(24, max(len(one_line(name)) for name in items))
    for name in sorted(items, key=natural):
        output.say(f"    {one_line(name):<{width}}  {one_line(output.value(items[name]), _MAX_TEXT)}")
