# SPDX-License-Identifier: Apache-2.0
"""A call from the command line, from the inputs as words to the exit status: all that `mco rpc` and applications do.

>>> from mco_client.cli.asked import Asked, asked
>>> @asked
... def uptime(asked: Asked) -> int:
...     return call(asked, "host", "uptime", {})
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mco_client.cli import asking, consent, exits, following, inputs, output, showing
from mco_client.cli.asked import JSONL, Asked
from mco_client.folding import folded
from mco_client.results import Results
from mco_client.rpc import RpcClient
from mco_client.schema.cache import of_user
from mco_client.schema.learning import Known, learn
from mco_client.text import one_line, with_reasons
from mco_rpc import names
from mco_rpc.errors import BrokerError

# The node's own "timed out" shall arrive before we stop to wait for it.
GRACE_S = 1.0
# A node may say what it likes; who wants to wait for longer says so.
MAX_SCHEMA_TIMEOUT_S = 120.0

Say = Callable[["showing.Answered"], None]
Judge = Callable[[Results], int]


def call(
    asked: Asked,
    agent: str,
    action: str,
    given: Mapping[str, Any],
    *,
    say: Say | None = None,
    judge: Judge | None = None,
) -> int:
    """Ask for an action as the options say, print what comes, and return the exit status.

    Args:
        given: the inputs; texts are read by the schema, other values go as they are.
        say: prints the successful answers for people, in the place of the table; failures, summaries and the closing
            line follow.
        judge: returns the exit status where it is not `exits.of`.

    Raises:
        ConfigError: an input is wrong, or nobody said that everybody is meant; nothing was sent.
        DiscoveryError: there is nobody to ask.
        TooManyNodes: there are more than may be asked; nothing was sent.
        BrokerError: the broker cannot be used.
    """
    client = _client(asked, agent)
    if not asked.shown.is_for_programs:
        output.prepare_table()
    asking.discover(client, asked.nodes)
    known, data = _checked(client, asked, action, given)
    if asked.is_sent_only or asked.reply_to is not None:
        return _send(client, action, data, asked)
    return _called(client, asked, action, data, known, say, judge or exits.of)


def _client(asked: Asked, agent: str) -> RpcClient:
    return asking.client(
        asked.connection,
        names.check("agent", agent),
        asked.node_filter,
        timeout_s=asked.timeout_s,
        progress=asked.progress,
        how=asked.how,
    )


def _checked(client: RpcClient, asked: Asked, action: str, given: Mapping[str, Any]) -> tuple[Known, dict[str, Any]]:
    """Return what is known of the agent and the inputs as it takes them, once it is sure that the call is meant."""
    cap = asked.connection.settings.max_changed_nodes
    is_consent_needed = asked.nodes is None and not asked.node_filter and not asked.is_sure and not asked.how.noop
    # Whoever is the first to answer must not decide whether a change counts as one.
    known = _known(client, is_verbose=asked.shown.is_verbose, is_first_enough=not is_consent_needed and not cap)
    data = inputs.checked_by_all(known, action, given) if known.versions else {**given}
    showing.check(asked.shown, known, action)
    if not known.is_harmless(action):
        if is_consent_needed:
            consent.require(client, action, known)
        if cap and asked.how.max_nodes is None and not asked.how.noop:
            client.options = asked.how.replaced(max_nodes=cap)
    schema = known.action(action)
    if asked.timeout_s is None and schema is not None:
        client.timeout_s = min(schema.timeout_s + GRACE_S, MAX_SCHEMA_TIMEOUT_S)
    return known, data


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


def _called(
    client: RpcClient,
    asked: Asked,
    action: str,
    data: dict[str, Any],
    known: Known,
    say: Say | None,
    judge: Judge,
) -> int:
    try:
        results = _results(client, asked, action, data)
    except (BrokerError, KeyboardInterrupt) as e:
        if client.last_results is None:
            raise
        # Nobody waited for as long as the call would have.
        came = dataclasses.replace(client.last_results, timeout_s=0.0)
        if came.answers or asked.shown.form == JSONL:
            showing.say(showing.Answered.of(client, came, known, asked.shown), say)
        if isinstance(e, KeyboardInterrupt):
            _say_interrupted(client, came, is_cancelled=asked.is_cancelling)
            raise
        output.warn(str(e))
        return exits.of(client.last_results)
    showing.say(showing.Answered.of(client, results, known, asked.shown), say)
    if asked.how.noop and not asked.shown.is_for_programs:
        output.say("noop: nothing was changed")
    if asked.nodes is None and not asked.node_filter and asked.connection.settings.discovery != "stdin":
        asking.warn_of_unread_names()
    return judge(results)


def _results(client: RpcClient, asked: Asked, action: str, data: dict[str, Any]) -> Results:
    """Make the call, and print what is printed before it is over."""
    if asked.shown.form == JSONL:
        stream = client.follow(action, **data) if asked.is_following else client.stream(action, **data)
        with contextlib.closing(stream) as said:  # type: ignore[type-var]
            for each in said:
                showing.say_line(each, asked.shown)
        return client.results
    if asked.is_following:
        return following.call(client, action, data, is_for_programs=asked.shown.is_for_programs)
    return client.call(action, **data)


def _send(client: RpcClient, action: str, data: dict[str, Any], asked: Asked) -> int:
    ids = client.send(action, reply_to=asked.reply_to, **data)
    output.warn_of_unbelieved(client.stats.unverified, client.stats.unverified_more)
    output.warn_of_absent(client.absent)
    if asked.shown.is_for_programs:
        told = {"requests": list(ids)}
        output.say_json(told) if asked.shown.form != JSONL else output.say_jsonl({"kind": "sent", **told})
    else:
        for request_id in ids:
            output.say(request_id)
    is_everybody = not (client.absent or client.stats.unverified or client.stats.unverified_more)
    return exits.OK if is_everybody else exits.FAILED


def _say_interrupted(client: RpcClient, results: Results, *, is_cancelled: bool) -> None:
    """Say of whom nobody knows what became of the call; with ``is_cancelled``, tell them to end it."""
    unknown = f"; what became of it is unknown on {folded(results.silent)}" if results.silent else ""
    output.warn(
        f"{results.agent}#{results.action}: interrupted: {len(results)} of {len(results.expected)} "
        f"had answered{unknown}"
    )
    if is_cancelled and (told := client.cancel_last()) is not None:
        ended = [result.sender for result in told if result.is_ok]
        output.warn(f"told to end it: {folded(ended) or 'nobody could be'}")
