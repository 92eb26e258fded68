# SPDX-License-Identifier: Apache-2.0
"""``mco ping``: ask everybody whether they are there, and print how long each answer took, as it comes."""

from __future__ import annotations

import click

from mco_client.call import Call
from mco_client.cli import asking, exits, options, output
from mco_client.connection import Connection
from mco_client.discovery.broadcast import ACTION, AGENT, absent_in, named_in
from mco_client.results import Result, Results
from mco_client.text import one_line, safe
from mco_rpc.filters import Filter


@click.command(
    epilog="""\b
Examples:
  mco ping                         everybody
  mco ping -C /dev_server/         who has a class like this
  mco ping -W "/web/ country=de"   classes and facts together
  mco ping --dt 10 -j              a slow network, and JSON

"""
    + exits.EPILOG
)
@options.filtered
@options.as_json
@options.connected("-t", "--timeout")
def ping(connection: Connection, node_filter: Filter, is_json: bool) -> int:
    """Show which nodes answer, and how fast."""
    call = Call(
        connection,
        AGENT,
        ACTION,
        {},
        node_filter=node_filter,
        targets=named_in(node_filter),
        timeout_s=connection.settings.discovery_timeout_s,
        window_s=connection.settings.discovery_window_s,
    )
    for result in call:
        if not is_json:
            output.say(_line(result))
    results = call.results()
    output.warn_of_strangers(results)
    times_s = [result.took_s for result in results]
    if is_json:
        statistics = {"responses": len(results), **_numbers(times_s), "unverified": dict(results.unverified)}
        output.say_json({"results": output.result_dicts(results), "statistics": statistics})
    elif times_s:
        numbers = ", ".join(f"{name[:3]} {seconds * 1000:.1f} ms" for name, seconds in _numbers(times_s).items())
        output.say(f"\n{output.counted(len(times_s))} answered: {numbers}")
    absent = absent_in(results)
    for node, why in absent.items():
        output.warn(f"{node} was named, and does not answer: {why}")
    if not results.answers and not results.unverified and not absent:
        output.warn(asking.nobody(connection, node_filter))
    return _status(results)


def _line(result: Result) -> str:
    if result.is_ok:
        return f"{safe(result.sender):<40} time={result.took_s * 1000:.1f} ms"
    return output.coloured(f"{safe(result.sender):<40} {result.status_text}: {one_line(result.message)}", "red")


def _numbers(times_s: list[float]) -> dict[str, float]:
    if not times_s:
        return {}
    average_s = sum(times_s) / len(times_s)
    return {"min_s": round(min(times_s), 6), "avg_s": round(average_s, 6), "max_s": round(max(times_s), 6)}


def _status(results: Results) -> int:
    if not results.answers and not results.unverified:
        return exits.NOBODY
    doubted = results.unverified or results.unverified_more
    return exits.FAILED if results.failed or doubted or results.missing else exits.OK
