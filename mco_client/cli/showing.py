# SPDX-License-Identifier: Apache-2.0
"""What came of a call, in the form that was asked for: for people, JSON, a line of JSON an answer, or only names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mco_client.cli import output, replies
from mco_client.cli.asked import JSON, JSONL, SENDERS, Shown
from mco_client.results import Result, Results
from mco_client.schema.aggregates import Summary, aggregates
from mco_client.schema.deviations import Deviation, deviations
from mco_client.schema.learning import Known
from mco_client.stats import Stats
from mco_client.text import one_line
from mco_client.told import Started, Told
from mco_rpc.errors import ConfigError
from mco_rpc.schema import ActionSchema
from mco_rpc.suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from mco_client.rpc import RpcClient

# What --sort and --fields know beside the outputs.
OF_EVERY_ANSWER = ("took_s", "ran_s")


@dataclass(frozen=True)
class Answered:
    """The results of a call with all that is known to show them.

    Attributes:
        schema: what most nodes declare of the action; None if nobody said.
        problems: how nodes answered otherwise than they declare.
    """

    results: Results
    schema: ActionSchema | None
    stats: Stats
    known: Known
    shown: Shown
    summaries: tuple[Summary, ...] = ()
    problems: tuple[Deviation, ...] = ()

    @classmethod
    def of(cls, client: RpcClient, results: Results, known: Known, shown: Shown) -> Answered:
        """Return the results with their summaries, and warn of all in them that is odd."""
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
        for failure in (failure for failure in failures if not failure.is_of_nothing):
            output.warn(one_line(f"{failure.function}({failure.output}) could not be made: {failure.reason}"))
        output.warn_of_late(results)
        return cls(results, schema, client.stats, known, shown, tuple(summaries), tuple(odd))


def check(shown: Shown, known: Known, action: str) -> None:
    """Refuse fields that no version of the agent declares, before anything is sent.

    Raises:
        ConfigError: there is no such output.
    """
    declared = {name for version in known.versions for name in _outputs(version.schema.actions.get(action))}
    if not declared:
        return
    for option, fields in (("--fields", shown.fields), ("--sort", (shown.sort_by,) if shown.sort_by else ())):
        for field in fields:
            name = field.partition(".")[0]
            if not {name, field} & {*declared, *OF_EVERY_ANSWER}:
                raise ConfigError(
                    f"{option}: {known.agent}#{action} has no output {name!r}{did_you_mean(name, declared)}; "
                    f"it has {one_line(', '.join(sorted(declared)))}"
                )


def say(answered: Answered, of_application: Callable[[Answered], None] | None = None) -> None:
    """Print the results.

    Args:
        of_application: prints the successful answers for people, in the place of a table.
    """
    form = answered.shown.form
    if form == JSON:
        output.say_json(
            {
                "agent": answered.results.agent,
                "action": answered.results.action,
                "results": [
                    _plain(result, answered.shown) for result in replies.in_order(answered.results, answered.shown)
                ],
                **_closing(answered),
            }
        )
    elif form == JSONL:
        output.say_jsonl({"kind": "statistics", **_closing(answered)})
    elif form == SENDERS:
        replies.say_senders(answered.results)
    else:
        replies.say(answered, of_application)


def say_line(said: Result | Started | Told, shown: Shown) -> None:
    """Print what a node says as a line of JSON."""
    if isinstance(said, Result):
        output.say_jsonl({"kind": "answer", **_plain(said, shown)})
    elif isinstance(said, Started):
        output.say_jsonl({"kind": "started", "sender": said.sender, "took_s": round(said.took_s, 6)})
    else:
        told = {"sender": said.sender, "number": said.number, "stream": said.stream, "text": said.text}
        output.say_jsonl({"kind": "told", **told, "data": dict(said.data), "took_s": round(said.took_s, 6)})


def _outputs(action: ActionSchema | None) -> tuple[str, ...]:
    return tuple(action.outputs) if action else ()


def _plain(result: Result, shown: Shown) -> dict[str, Any]:
    plain = output.result_dict(result)
    if shown.fields and result.is_ok:
        plain["data"] = {field: result.value(field) for field in shown.fields}
    return plain


def _closing(answered: Answered) -> dict[str, Any]:
    return {
        "statistics": answered.stats.to_dict(),
        "schemas": answered.known.to_dicts(),
        "schema_problems": [deviation.to_dict() for deviation in answered.problems],
    }
