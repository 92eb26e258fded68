# SPDX-License-Identifier: Apache-2.0
"""What an operator says of a call beside the action and its inputs: whom, how, and how to show what comes.

The options are the same for `mco rpc` and for every application; `calling.call` does what they say.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from mco_client.cli import options, spread

if TYPE_CHECKING:
    from mco_client.connection import Connection
    from mco_client.plan import CallOptions
    from mco_rpc.filters import Filter

Command = Callable[..., int]
TEXT, JSON, JSONL, SENDERS = "text", "json", "jsonl", "senders"
DISPLAYS = ("ok", "failed", "all", "none", "always")


@dataclass(frozen=True)
class Shown:
    """How answers are shown.

    Attributes:
        form: ``text`` for people, or ``json``, ``jsonl``, ``senders`` for programs.
        display: one of `DISPLAYS` instead of what the schema says; empty if it is to say.
        fields: the outputs to show, in this order; all if empty. A dot leads into an output.
        sort_by: the output to sort by; by name if empty.
        is_grouped: whether equal answers are shown once; as reads best if None.
    """

    form: str = TEXT
    is_verbose: bool = False
    display: str = ""
    fields: tuple[str, ...] = ()
    sort_by: str = ""
    is_reversed: bool = False
    is_grouped: bool | None = None

    @property
    def is_for_programs(self) -> bool:
        """Whether what we print has to be nothing but the answers."""
        return self.form != TEXT


@dataclass(frozen=True)
class Asked:
    """One command line that asks nodes.

    Attributes:
        nodes: who is asked, without a discovery; whom the filter finds if None.
        how: limits, batches, waves, retries, noop.
        is_following: whether to show what nodes tell before they answer.
        is_cancelling: whether an interruption shall end the action on the nodes.
        is_sent_only: whether nobody waits for answers.
        reply_to: who else gets them.
        is_sure: whether everybody is meant where no filter is given.
    """

    connection: Connection
    node_filter: Filter
    nodes: list[str] | None
    timeout_s: float | None
    progress: bool
    how: CallOptions
    shown: Shown
    is_following: bool = False
    is_cancelling: bool = False
    is_sent_only: bool = False
    reply_to: str | None = None
    is_sure: bool = False


def asked(command: Command) -> Command:
    """Add all options of a call; hand over ``asked``, an `Asked`."""

    @functools.wraps(command)
    def run(
        *args: Any,
        connection: Connection,
        node_filter: Filter,
        nodes: list[str] | None,
        timeout_s: float | None,
        progress: bool,
        how: CallOptions,
        shown: Shown,
        is_following: bool,
        is_cancelling: bool,
        is_sent_only: bool,
        reply_to: str | None,
        is_sure: bool,
        **rest: Any,
    ) -> int:
        if is_sent_only or reply_to is not None:
            _refuse_what_waits(how, shown, {"--follow": is_following, "--cancel-on-interrupt": is_cancelling})
        made = Asked(
            connection,
            node_filter,
            nodes,
            timeout_s,
            progress,
            how,
            shown,
            is_following=is_following,
            is_cancelling=is_cancelling,
            is_sent_only=is_sent_only,
            reply_to=reply_to,
            is_sure=is_sure,
        )
        return command(*args, asked=made, **rest)

    made: Command = run
    connected = options.connected(is_sorting=True)
    for decorator in reversed((options.filtered, options.called, spread.spread, *_OPTIONS, shown, connected)):
        made = decorator(made)
    return made


def shown(command: Command) -> Command:
    """Add how answers are shown; hand over ``shown``, a `Shown`."""

    @functools.wraps(command)
    def run(
        *args: Any,
        is_json: bool,
        is_jsonl: bool,
        is_senders: bool,
        is_verbose: bool,
        display: str | None,
        fields: str | None,
        sort_by: str | None,
        is_reversed: bool,
        is_grouped: bool | None,
        **rest: Any,
    ) -> int:
        forms = {"-j": (JSON, is_json), "--jsonl": (JSONL, is_jsonl), "--senders": (SENDERS, is_senders)}
        given = [option for option, (_, is_given) in forms.items() if is_given]
        if len(given) > 1:
            raise click.UsageError(f"{' and '.join(given)} are different ways to print the answers; give one of them.")
        made = Shown(
            form=forms[given[0]][0] if given else TEXT,
            is_verbose=is_verbose,
            display=display or "",
            fields=_names(fields),
            sort_by=sort_by or "",
            is_reversed=is_reversed,
            is_grouped=is_grouped,
        )
        return command(*args, shown=made, **rest)

    for decorator in reversed(_SHOWN):
        run = decorator(run)
    return run


def _names(fields: str | None) -> tuple[str, ...]:
    if fields is None:
        return ()
    found = tuple(dict.fromkeys(name for field in fields.split(",") if (name := field.strip())))
    if not found:
        raise click.UsageError(
            "--fields names no output; expected them with commas between, as in value,facts.os.name."
        )
    return found


def _refuse_what_waits(how: CallOptions, shown_: Shown, is_waiting: dict[str, bool]) -> None:
    """Refuse options of which nothing can come where no answer is waited for."""
    useless = {
        "--batch": how.batch_size,
        "--waves": how.waves,
        "--abort-on": how.abort_on,
        "--retries": how.retries,
        **is_waiting,
        "--senders": shown_.form == SENDERS,
        "--display": shown_.display,
        "--fields": shown_.fields,
        "--sort": shown_.sort_by,
    }
    for option, is_given in useless.items():
        if is_given:
            raise click.UsageError(f"{option} needs answers, and with --nr or --reply-to nobody waits for any here.")


_OPTIONS = (
    click.option(
        "--follow",
        "is_following",
        is_flag=True,
        help="Show when the action begins on each node, and what it tells.",
    ),
    click.option(
        "--cancel-on-interrupt",
        "is_cancelling",
        is_flag=True,
        help="On Ctrl-C, tell the nodes that are still at work to end the action.",
    ),
    click.option("--nr", "--no-results", "is_sent_only", is_flag=True, help="Send the request and wait for nothing."),
    click.option("--reply-to", metavar="TOKEN", help="The same, but let the answers go to `mco receive TOKEN`."),
    click.option(
        "-y", "--yes", "is_sure", is_flag=True, help="Change every node, without a filter, without a question."
    ),
)
_SHOWN = (
    click.option(
        "--display",
        type=click.Choice(DISPLAYS),
        help="Which answers to show, instead of what the agent says; all is always.",
    ),
    click.option("--fields", metavar="A,B.C", help="Only these outputs, in this order; a dot leads into one."),
    click.option(
        "--sort",
        "--sort-by",
        "sort_by",
        is_flag=False,
        flag_value="",
        metavar="FIELD",
        help="Sort by an output, or by took_s, instead of by name.",
    ),
    click.option("-r", "--reverse", "is_reversed", is_flag=True, help="The other way round."),
    click.option(
        "--group/--no-group",
        "is_grouped",
        default=None,
        help="Show equal answers once, with the nodes they are from.  [default: where many nodes say the same]",
    ),
    click.option("--senders", "is_senders", is_flag=True, help="Print only the names of the nodes that did it."),
    options.verbose("Show every result with its time, and what was not checked."),
    options.as_json,
    click.option(
        "--jsonl",
        "is_jsonl",
        is_flag=True,
        help="Print a line of JSON for each answer as it comes, and the statistics as the last one.",
    ),
)
