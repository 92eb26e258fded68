# SPDX-License-Identifier: Apache-2.0
"""``mco ping``: ask everybody whether they are there, and print how long each answer took, as it comes."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from mco_client.cli import asking, exits, options, output
from mco_client.cli.histogram import histogram
from mco_client.text import one_line, safe

if TYPE_CHECKING:
    from mco_client.connection import Connection
    from mco_client.results import Result
    from mco_rpc.filters import Filter

# The times of fewer nodes are read one by one.
_MANY = 10


@click.command(
    epilog="""\b
Examples:
  mco ping                         everybody
  mco ping -C /dev_server/         who has a class like this
  mco ping -W "/web/ country=de"   classes and facts together
  mco ping -g                      with a histogram of the times
  mco ping --dt 10 -j              a slow network, and JSON

"""
    + exits.EPILOG_WITH_NOBODY
)
@options.filtered
@options.as_json
@click.option(
    "-g/--no-graph",
    "--graph/--no-graph",
    "is_graph",
    default=None,
    help="Show how the times are distributed.  [default: of more than 10 nodes, on a terminal]",
)
@options.connected("-t", "--timeout")
def ping(connection: Connection, node_filter: Filter, is_json: bool, is_graph: bool | None) -> int:
    """Show which nodes answer, and how fast."""
    from mco_client.core import Outcome
    from mco_client.discovery import Query
    from mco_client.discovery.choice import configured
    from mco_client.stats import Stats

    settings, began = connection.settings, time.monotonic()
    query = Query(node_filter, timeout_s=settings.discovery_timeout_s, must_answer=True)
    asking_nodes = Outcome(configured(connection).core(query))
    results = []
    for result in asking_nodes:
        if result.is_ok and result.data.get("matches") is False:
            continue
        results.append(result)
        if not is_json:
            output.say(_line(result))
    found = asking_nodes.value
    answered = {result.sender for result in results}
    output.warn_of_unbelieved(
        {node: why for node, why in found.unverified.items() if node not in answered}, found.unverified_more
    )
    times_s = [result.took_s for result in results]
    if is_json:
        statistics = Stats.of_discovery(found, time.monotonic() - began)
        statistics.take_answers(results)
        plain = {**statistics.to_dict(), **_numbers(times_s)}
        output.say_json({"results": output.result_dicts(results), "statistics": plain})
    elif times_s:
        numbers = ", ".join(f"{name[:3]} {seconds * 1000:.1f} ms" for name, seconds in _numbers(times_s).items())
        output.say(f"\n{output.counted(len(times_s))} answered: {numbers}")
        if is_graph or (is_graph is None and len(times_s) > _MANY and sys.stdout.isatty()):
            output.say("\n".join(("", *histogram(times_s, output.width(), encoding=sys.stdout.encoding or "ascii"))))
    output.warn_of_doubts(found.warnings)
    output.warn_of_absent({node: why for node, why in found.absent.items() if node not in answered})
    is_doubted = bool(found.unverified or found.unverified_more)
    if not results and not is_doubted and not found.absent:
        output.warn(asking.nobody(connection, node_filter))
    if not results and not found.unverified:
        return exits.NOBODY
    is_good = all(result.is_ok for result in results) and not (is_doubted or found.absent or found.warnings)
    return exits.OK if is_good else exits.FAILED


def _line(result: Result) -> str:
    if result.is_ok:
        return f"{safe(result.sender):<40} time={result.took_s * 1000:.1f} ms"
    return output.coloured(f"{safe(result.sender):<40} {result.status_text}: {one_line(result.message)}", "red")


def _numbers(times_s: list[float]) -> dict[str, float]:
    if not times_s:
        return {}
    average_s = sum(times_s) / len(times_s)
    return {"min_s": round(min(times_s), 6), "avg_s": round(average_s, 6), "max_s": round(max(times_s), 6)}
