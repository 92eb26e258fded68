# SPDX-License-Identifier: Apache-2.0
"""``mco rpc``: ask any action of any agent, checked by the schema that the fleet gives before it is sent."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import click

from mco_client.cli import asking, exits, inputs, options, output, replies
from mco_client.connection import Connection
from mco_client.results import Results
from mco_client.rpc import RpcClient
from mco_client.text import listed
from mco_rpc import names
from mco_rpc.errors import BrokerError, ConfigError
from mco_rpc.filters import Filter
from mco_rpc.schema import ActionSchema

# The node's own "timed out" shall arrive before we stop to wait for it.
GRACE_S = 1.0
# A node may say what it likes; who wants to wait for longer says so.
MAX_SCHEMA_TIMEOUT_S = 120.0


@click.command(
    epilog="""\b
Examples:
  mco rpc rpcutil ping
  mco rpc rpcutil get_fact fact=country -C /dev_server/
  mco rpc iptables isblocked ipaddr=192.168.1.1 -F country=de -j
  mco rpc iptables block ipaddr=192.168.1.1 -C /dev_server/
  mco rpc iptables unblock ipaddr=192.168.1.1 --yes          on every node
  mco rpc rpcutil ping --nodes nodes.txt                     without looking for nodes

\b
What an agent can be asked, from one of the nodes:
  mco rpc rpcutil schema_of agent=iptables -I web1

"""
    + exits.EPILOG
)
@click.argument("agent")
@click.argument("action")
@click.argument("words", metavar="[KEY=VALUE]...", nargs=-1)
@options.filtered
@options.called
@click.option("-y", "--yes", "is_sure", is_flag=True, help="Change every node, without a filter, without a question.")
@options.verbose("Show every result with its time, and what was not checked.")
@options.as_json
@options.connected()
def rpc(
    connection: Connection,
    agent: str,
    action: str,
    words: tuple[str, ...],
    node_filter: Filter,
    nodes: list[str] | None,
    timeout_s: float | None,
    progress: bool,
    is_sure: bool,
    is_verbose: bool,
    is_json: bool,
) -> int:
    """Ask nodes for an ACTION of an AGENT, with inputs as KEY=VALUE."""
    texts = inputs.words(words)
    client = asking.client(connection, names.check("agent", agent), node_filter, timeout_s=timeout_s, progress=progress)
    if not is_json:
        output.prepare_table()
    asking.discover(client, nodes)
    is_consent_needed = nodes is None and not node_filter and not is_sure
    schema, data, is_harmless = _checked(client, action, texts, is_verbose=is_verbose, is_sure=not is_consent_needed)
    if is_consent_needed and not is_harmless:
        _require_consent(client, action, is_known=schema is not None)
    if timeout_s is None and schema is not None:
        client.timeout_s = min(schema.timeout_s + GRACE_S, MAX_SCHEMA_TIMEOUT_S)
    try:
        results = client.call(action, **data)
    except (BrokerError, KeyboardInterrupt) as e:
        if client.last_results is not None:
            _say_cut_off(client, client.last_results, schema, e, is_verbose=is_verbose, is_json=is_json)
        raise
    _say(client, results, schema, is_verbose=is_verbose, is_json=is_json)
    return exits.of(results)


def _say(client: RpcClient, results: Results, schema: ActionSchema | None, *, is_verbose: bool, is_json: bool) -> None:
    output.warn_of_strangers(results)
    if is_json:
        output.say_json({"results": output.result_dicts(results), "statistics": client.stats.to_dict()})
    else:
        replies.say(results, schema, client.stats, is_verbose=is_verbose)


def _say_cut_off(
    client: RpcClient,
    results: Results,
    schema: ActionSchema | None,
    why: BaseException,
    *,
    is_verbose: bool,
    is_json: bool,
) -> None:
    """Print what came before a call was cut off, and of whom nobody knows; the error itself is told elsewhere."""
    results = dataclasses.replace(results, timeout_s=0.0)  # nobody waited for so long
    if results.answers:
        _say(client, results, schema, is_verbose=is_verbose, is_json=is_json)
    if isinstance(why, KeyboardInterrupt):
        unknown = f"; what became of it is unknown on {listed(results.silent)}" if results.silent else ""
        output.warn(
            f"{results.agent}#{results.action}: interrupted: {len(results)} of {len(results.expected)} "
            f"had answered{unknown}"
        )


def _checked(
    client: RpcClient, action: str, texts: dict[str, str], *, is_verbose: bool, is_sure: bool
) -> tuple[ActionSchema | None, dict[str, Any], bool]:
    """Return what is known of the action, its inputs, and whether all who say something say that it is harmless.

    The inputs stay text if nothing is known.
    """
    schemas = inputs.schemas_of(client.connection, client.agent, client.discovered, is_first_enough=is_sure)
    if isinstance(schemas, str):
        if is_verbose:
            output.warn(f"the inputs are sent as text and unchecked: no schema of agent {client.agent}: {schemas}")
        return None, dict(texts), False
    schema = next((schema for schema in schemas if action in schema.actions), schemas[0])
    data = inputs.checked(schema, action, texts)
    return schema.actions.get(action), data, inputs.is_harmless(schemas, action)


def _require_consent(client: RpcClient, action: str, *, is_known: bool) -> None:
    """Ask whether everybody is meant; without somebody to ask, refuse.

    Raises:
        ConfigError: nobody said yes; nothing was changed.
    """
    where = f"{client.agent}#{action}"
    what = f"{where} changes nodes" if is_known else f"{where} may change nodes (its schema could not be had)"
    nodes = client.discovered
    everybody = f"all {len(nodes)} nodes" if len(nodes) > 1 else f"{nodes[0]}, the only node there is"
    if not sys.stdin.isatty():
        raise ConfigError(
            f"{what}, and no filter says which: refused to ask {everybody}. "
            "Give a filter (-I -C -F -A -W) or, if you mean everybody, --yes"
        )
    click.echo(f"{what}. Really on {everybody}? [y/N] ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConfigError(f"{where} was not asked for: nothing was changed")
