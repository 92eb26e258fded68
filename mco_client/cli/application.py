# SPDX-License-Identifier: Apache-2.0
"""The kit of applications: a command for one agent, from a table of what it can be told, with all options of `mco rpc`.

An application says which plain words mean what, and how answers read best; asking, consent and output are elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from mco_client.cli import exits
from mco_client.cli.asked import Asked, asked
from mco_rpc.suggestion import did_you_mean

if TYPE_CHECKING:
    from mco_client.cli.calling import Judge
    from mco_client.cli.showing import Answered

REST, OPTIONAL = "...", "?"


@dataclass(frozen=True)
class Verb:
    """One thing that an application can be told to do.

    Attributes:
        about: what it does, for the help.
        takes: the inputs that plain words give, in this order. One that ends with ``?`` may be left out, one that ends
            with ``...`` takes all that are left, as a list. Every input can be given as ``KEY=VALUE``, too.
        say: prints the successful answers; the table of `mco rpc` if None.
        judge: gives the exit status; that of `mco rpc` if None.
        action: the action of the agent; the verb itself if empty.
        given: inputs that are given unless the line says otherwise.
    """

    about: str
    takes: tuple[str, ...] = ()
    say: Callable[[Answered], None] | None = None
    judge: Judge | None = None
    action: str = ""
    given: Mapping[str, Any] | None = None


class Application(click.Command):
    """The command of an application.

    Args:
        agent: whom it asks.
        verbs: what it can be told.
    """

    def __init__(self, *args: Any, agent: str, verbs: Mapping[str, Verb], **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.agent = agent
        self.verbs = verbs


def application(
    agent: str,
    about: str,
    verbs: Mapping[str, Verb],
    *,
    words: str,
    examples: str,
    unsaid: str = "",
    name: str = "",
    statuses: str = exits.EPILOG,
) -> Application:
    """Return the command of an application.

    Args:
        about: what it is for, as its help says.
        verbs: what it can be told, by name.
        words: how plain words follow the name, for the help, as in ``SERVICE ACTION``.
        examples: lines for the help, each a command with what it does.
        unsaid: the verb that is meant where none is named.
        name: of the command, if it is not the agent's.
        statuses: what the exit statuses mean.
    """

    def complete(ctx: click.Context, _: click.Parameter, begun: str) -> Any:
        from mco_client.cli import candidates

        return candidates.words_of_application(ctx, agent, verbs, unsaid, begun)

    @click.command(
        name or agent,
        cls=Application,
        agent=agent,
        verbs=verbs,
        help=about,
        epilog=_epilog(verbs, examples, statuses),
    )
    @click.argument("given", metavar=f"{words} [KEY=VALUE]...", nargs=-1, shell_complete=complete)
    @asked
    def command(asked: Asked, given: tuple[str, ...]) -> int:
        from mco_client.cli import calling

        chosen, inputs = understood(given, verbs, words, unsaid)
        verb = verbs[chosen]
        return calling.call(asked, agent, verb.action or chosen, inputs, say=verb.say, judge=verb.judge)

    made: Application = command
    return made


def understood(
    given: Sequence[str], verbs: Mapping[str, Verb], words: str, unsaid: str = ""
) -> tuple[str, dict[str, Any]]:
    """Return the verb and the inputs that the words of a line name; the verb comes first, or after the first word.

    >>> verbs = {"start": Verb("Start it", ("service",))}
    >>> understood(["nginx", "start"], verbs, "SERVICE ACTION")
    ('start', {'service': 'nginx'})
    >>> understood(["start", "nginx"], verbs, "SERVICE ACTION")
    ('start', {'service': 'nginx'})

    Raises:
        click.UsageError: they name no verb, or two, or more than the verb takes.
    """
    plain = [word for word in given if not _is_input(word)]
    chosen, plain = _verb(plain, verbs, words, unsaid)
    inputs: dict[str, Any] = dict(verbs[chosen].given or {})
    for word in given:
        if _is_input(word):
            key, _, text = word.partition("=")
            if key in inputs and key not in (verbs[chosen].given or {}):
                raise click.UsageError(f"input {key} is given twice: {inputs[key]!r} and {text!r}.")
            inputs[key] = text
    return chosen, inputs | _plain(chosen, verbs[chosen], plain, inputs)


def _verb(plain: list[str], verbs: Mapping[str, Verb], words: str, unsaid: str) -> tuple[str, list[str]]:
    """Return the verb, and the words without it."""
    there = [number for number, word in enumerate(plain[:2]) if word.replace("-", "_") in verbs]
    if not there:
        if unsaid and plain:
            return unsaid, plain
        if not plain:
            raise click.UsageError(f"Missing argument '{words}': {_known(verbs)}.")
        near = next((hint for word in plain[:2] if (hint := did_you_mean(word, verbs))), "")
        said = f"neither {plain[0]!r} nor {plain[1]!r} is an action" if len(plain) > 1 else f"{plain[0]!r} is no action"
        raise click.UsageError(f"{said}{near}; {_known(verbs)}.")
    if len(there) == 2 and plain[0] != plain[1]:
        takes = verbs[plain[0].replace("-", "_")].takes or verbs[plain[1].replace("-", "_")].takes or ("INPUT",)
        raise click.UsageError(
            f"{plain[0]!r} and {plain[1]!r} are both actions, and either may be meant; "
            f"say it as {plain[0]} {input_of(takes[0])}={plain[1]}."
        )
    at = there[0]
    return plain[at].replace("-", "_"), plain[:at] + plain[at + 1 :]


def _plain(chosen: str, verb: Verb, plain: list[str], keyed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that the plain words give."""
    inputs: dict[str, Any] = {}
    left = list(plain)
    for name in verb.takes:
        if not left:
            break
        key = input_of(name)
        if key in keyed and key not in (verb.given or {}):
            continue
        if name.endswith(REST):
            inputs[key], left = left, []
        else:
            inputs[key] = left.pop(0)
    if left:
        takes = f"takes {' '.join(_upper(name) for name in verb.takes)}" if verb.takes else "takes no plain words"
        raise click.UsageError(f"{chosen} {takes}, and then KEY=VALUE; {left[0]!r} is too much.")
    return inputs


def _is_input(word: str) -> bool:
    """Say whether a word is ``key=value``: a name before the first sign of equality."""
    key, mark, _ = word.partition("=")
    return bool(mark) and key.isidentifier()


def _known(verbs: Mapping[str, Verb]) -> str:
    return f"expected one of {', '.join(verbs)}"


def input_of(taken: str) -> str:
    """Return the name of the input that an entry of `Verb.takes` stands for."""
    return taken.removesuffix(REST).removesuffix(OPTIONAL)


def _upper(taken: str) -> str:
    """Return it as a usage line has it: ``SERVICE``, ``[PATTERN]``, ``[ARGS]...``."""
    name = input_of(taken).upper()
    return f"[{name}]{REST if taken.endswith(REST) else ''}" if taken.endswith((REST, OPTIONAL)) else name


def _epilog(verbs: Mapping[str, Verb], examples: str, statuses: str) -> str:
    rows = [(" ".join([name, *map(_upper, verb.takes)]), verb.about) for name, verb in verbs.items()]
    width = min(40, max(len(call) for call, _ in rows))
    actions = "\n".join(f"  {call:<{width}}  {about}" for call, about in rows)
    return f"\b\nActions:\n{actions}\n\n\b\nExamples:\n{examples.rstrip()}\n\n{statuses}"


@dataclass(frozen=True)
class Fields:
    """Prints a row a node with some outputs, as they are; with ``-v`` all.

    Attributes:
        is_grouped: whether equal rows become one, with the nodes they are from; where that reads better if None.
    """

    outputs: tuple[str, ...]
    is_grouped: bool | None = None

    def __call__(self, answered: Answered) -> None:
        """Print it."""
        from mco_client.cli import replies

        replies.say_fields(answered, self.outputs, is_grouped=self.is_grouped)


def fields(*outputs: str, is_grouped: bool | None = None) -> Fields:
    """Return what prints a row a node with these outputs."""
    return Fields(outputs, is_grouped)
