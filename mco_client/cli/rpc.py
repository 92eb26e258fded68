# SPDX-License-Identifier: Apache-2.0
"""``mco rpc``: ask any action of any agent, checked by the schema that the fleet gives before it is sent."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import click

from mco_client.cli import asking, exits, following, inputs, options, output, replies, spread
from mco_client.cli.words import asked_for
from mco_client.connection import Connection
from mco_client.plan import CallOptions
from mco_client.results import Results
from mco_client.rpc import RpcClient
from mco_client.schema.aggregates import aggregates
from mco_client.schema.cache import of_user
from mco_client.schema.deviations import deviations
from mco_client.schema.learning import Known, learn
from mco_client.text import listed, one_line, with_reasons
from mco_rpc import names
from mco_rpc.errors import BrokerError, ConfigError
from mco_rpc.filters import Filter
from mco_rpc.schema import DISPLAYS

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
  mco find -C /web/ | mco rpc --dm stdin rpcutil ping        those that another command names
  mco rpc rpcutil ping -1                                    one of them
  mco rpc iptables listblocked --batch 2 --batch-sleep 5     two at a time
  mco rpc iptables block ipaddr=192.168.1.1 -C /dev_server/ --waves 1,10%,100% --abort-on 5%

\b
What an agent can be asked:
  mco plugin doc iptables

"""
    + exits.EPILOG
)
@asked_for
@options.filtered
@options.called
@spread.spread
@click.option("--follow", is_flag=True, help="Show when the action begins on each node, and what it tells.")
@click.option(
    "--cancel-on-interrupt", is_flag=True, help="On Ctrl-C, tell the nodes that are still at work to end the action."
)
@click.option("--nr", "--no-results", "is_sent_only", is_flag=True, help="Send the request and wait for nothing.")
@click.option("--reply-to", metavar="TOKEN", help="The same, but let the answers go to `mco receive TOKEN`.")
@click.option(
    "--display",
    type=click.Choice([*DISPLAYS, "all", "none"]),
    help="Which answers to show, instead of what the agent says; all is always.",
)
@click.option("--senders", "is_senders", is_flag=True, help="Print only the names of the nodes that did it.")
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
    how: CallOptions,
    follow: bool,
    cancel_on_interrupt: bool,
    is_sent_only: bool,
    reply_to: str | None,
    display: str | None,
    is_senders: bool,
    is_sure: bool,
    is_verbose: bool,
    is_json: bool,
) -> int:
    """Ask nodes for an ACTION of an AGENT, with inputs as KEY=VALUE."""
    texts = inputs.words(words)
    if is_senders and is_json:
        raise click.UsageError("--senders prints names and -j everything; give one of them.")
    if is_sent_only or reply_to is not None:
        _refuse_what_waits(
            how,
            is_waiting={
                "--follow": follow,
                "--cancel-on-interrupt": cancel_on_interrupt,
                "--senders": is_senders,
                "--display": display is not None,
            },
        )
    client = asking.client(
        connection, names.check("agent", agent), node_filter, timeout_s=timeout_s, progress=progress, how=how
    )
    shown = _Shown(is_json, is_verbose, display or "", is_senders)
    if not is_json:
        output.prepare_table()
    asking.discover(client, nodes)
    is_consent_needed = nodes is None and not node_filter and not is_sure and not how.noop
    # Whoever is the first to answer must not decide whether a change counts as one.
    is_first_enough = not is_consent_needed and not connection.settings.max_changed_nodes
    known = _known(client, is_verbose=is_verbose, is_first_enough=is_first_enough)
    data: dict[str, Any] = inputs.checked_by_all(known, action, texts) if known.versions else {**texts}
    if is_consent_needed and not known.is_harmless(action):
        _require_consent(client, action, known)
    if (
        not known.is_harmless(action)
        and how.max_nodes is None
        and not how.noop
        and connection.settings.max_changed_nodes
    ):
        client.options = how.replaced(max_nodes=connection.settings.max_changed_nodes)
    schema = known.action(action)
    if timeout_s is None and schema is not None:
        client.timeout_s = min(schema.timeout_s + GRACE_S, MAX_SCHEMA_TIMEOUT_S)
    if is_sent_only or reply_to is not None:
        return _send(client, action, data, reply_to, is_json=is_json)
    try:
        results = (
            following.call(client, action, data, is_for_programs=is_json or is_senders)
            if follow
            else client.call(action, **data)
        )
    except (BrokerError, KeyboardInterrupt) as e:
        if client.last_results is None:
            raise
        _say_cut_off(client, client.last_results, known, e, shown, is_cancelled=cancel_on_interrupt)
        if isinstance(e, KeyboardInterrupt):
            raise
        output.warn(str(e))
        return exits.of(client.last_results)
    _say(client, results, known, shown)
    if how.noop and not is_json and not is_senders:
        output.say("noop: nothing was changed")
    return exits.of(results)


@dataclasses.dataclass(frozen=True)
class _Shown:
    """How the results are shown."""

    is_json: bool
    is_verbose: bool
    display: str
    is_senders: bool


def _refuse_what_waits(how: CallOptions, *, is_waiting: dict[str, bool]) -> None:
    """Refuse options of which nothing can come where no answer is waited for."""
    parts = {"--batch": how.batch_size, "--waves": how.waves, "--abort-on": how.abort_on, "--retries": how.retries}
    for option, is_given in (parts | is_waiting).items():
        if is_given:
            raise click.UsageError(f"{option} needs answers, and with --nr or --reply-to nobody waits for any here.")


def _send(client: RpcClient, action: str, data: dict[str, Any], reply_to: str | None, *, is_json: bool) -> int:
    ids = client.send(action, reply_to=reply_to, **data)
    output.warn_of_unbelieved(client.stats.unverified, client.stats.unverified_more)
    output.warn_of_absent(client.absent)
    if is_json:
        output.say_json({"requests": list(ids)})
    else:
        for request_id in ids:
            output.say(request_id)
    is_everybody = not (client.absent or client.stats.unverified or client.stats.unverified_more)
    return exits.OK if is_everybody else exits.FAILED


def _known(client: RpcClient, *, is_verbose: bool, is_first_enough: bool) -> Known:
    """Return what the nodes say that the agent can be asked; without that, inputs are sent as text."""
    cache = of_user(client.connection.settings.connector)
    known = learn(
        client.connection, client.agent, client.discovered, client.schemas, cache, is_first_enough=is_first_enough
    )
    if not known.versions:
        if is_verbose:
            output.warn(
                f"the inputs are sent as text and unchecked: no schema of agent {client.agent}: {known.why_nothing}"
            )
    elif known.unknown:
        output.warn(
            f"the inputs are not checked for {output.counted(len(known.unknown))}, whose schema of agent "
            f"{client.agent} could not be had: {one_line(with_reasons(known.unknown))}"
        )
    if difference := known.difference():
        output.warn(f"not all nodes have the same agent: {difference}")
    return known


def _say(client: RpcClient, results: Results, known: Known, shown: _Shown) -> None:
    schema = known.action(results.action)
    summaries, failures = aggregates(schema, results) if schema else ([], [])
    client.stats.aggregate_summary = [summary.to_dict() for summary in summaries]
    client.stats.aggregate_failures = [failure.to_dict() for failure in failures]
    odd = deviations(known, results.action, results)
    output.warn_of_strangers(results)
    if not client.schemas and (difference := known.difference_of(results.schemas)):
        output.warn(f"not all nodes that answered have the same agent: {difference}")
    for deviation in odd:
        output.warn(deviation.text)
    for failure in failures:
        output.warn(one_line(f"{failure.function}({failure.output}) could not be made: {failure.reason}"))
    output.warn_of_late(results)
    if shown.is_json:
        output.say_json(
            {
                "results": output.result_dicts(results),
                "statistics": client.stats.to_dict(),
                "schemas": known.to_dicts(),
                "schema_problems": [deviation.to_dict() for deviation in odd],
            }
        )
    elif shown.is_senders:
        replies.say_senders(results)
    else:
        replies.say(
            results, schema, client.stats, is_verbose=shown.is_verbose, display=shown.display, summaries=summaries
        )


def _say_cut_off(
    client: RpcClient,
    results: Results,
    known: Known,
    why: BaseException,
    shown: _Shown,
    *,
    is_cancelled: bool,
) -> None:
    """Print what came before a call was cut off, and of whom nobody knows; the error itself is told elsewhere."""
    results = dataclasses.replace(results, timeout_s=0.0)  # nobody waited for so long
    if results.answers:
        _say(client, results, known, shown)
    if isinstance(why, KeyboardInterrupt):
        unknown = f"; what became of it is unknown on {listed(results.silent)}" if results.silent else ""
        output.warn(
            f"{results.agent}#{results.action}: interrupted: {len(results)} of {len(results.expected)} "
            f"had answered{unknown}"
        )
        if is_cancelled and (told := client.cancel_last()) is not None:
            ended = [result.sender for result in told if result.is_ok]
            output.warn(f"told to end it: {listed(ended) or 'nobody could be'}")


def _require_consent(client: RpcClient, action: str, known: Known) -> None:
    """Ask whether everybody is meant; without somebody to ask, refuse.

    Raises:
        ConfigError: nobody said yes; nothing was changed.
    """
    where = f"{client.agent}#{action}"
    what = f"{where} {_what_it_does(action, known)}"
    nodes = client.discovered
    if client.options.limit is not None:
        everybody = f"{output.counted(len(client.options.chosen(nodes)))}, whichever the limit leaves"
    else:
        everybody = f"all {len(nodes)} nodes" if len(nodes) > 1 else f"{nodes[0]}, the only node there is"
    if not sys.stdin.isatty():
        raise ConfigError(
            f"{what}, and no filter says which: refused to ask {everybody}. "
            "Give a filter (-I -C -F -A -W -S) or, if you mean everybody, --yes"
        )
    click.echo(f"{what}. Really on {everybody}? [y/N] ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConfigError(f"{where} was not asked for: nothing was changed")


def _what_it_does(action: str, known: Known) -> str:
    if not known.versions:
        return "may change nodes (its schema could not be had)"
    declared = [version.schema.actions.get(action) for version in known.versions]
    if known.unknown and not any(each.mutating for each in declared if each):
        return f"may change nodes (its schema could not be had from {one_line(listed(known.unknown))})"
    return "changes nodes"
