# SPDX-License-Identifier: Apache-2.0
"""Which action is asked for: ``AGENT ACTION KEY=VALUE``, or the same as options, as older scripts have it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from mco_client.cli import options

Command = Callable[..., int]


def asked_for(command: Command) -> Command:
    """Add the words of a call; hand over ``agent``, ``action`` and ``words``."""

    @functools.wraps(command)
    def run(
        *args: Any,
        given: tuple[str, ...],
        agent: str | None,
        action: str | None,
        arguments: tuple[str, ...],
        **rest: Any,
    ) -> int:
        words = list(given)
        names = [
            name if name is not None else _first(words, what) for name, what in ((agent, "AGENT"), (action, "ACTION"))
        ]
        return command(*args, agent=names[0], action=names[1], words=(*words, *arguments), **rest)

    for decorator in reversed(_OPTIONS):
        run = decorator(run)
    return run


def _first(words: list[str], what: str) -> str:
    if not words:
        raise click.UsageError(f"Missing argument '{what}'.")
    return words.pop(0)


_OPTIONS = (
    click.argument(
        "given", metavar="AGENT ACTION [KEY=VALUE]...", nargs=-1, shell_complete=options.completing("words_of_a_call")
    ),
    click.option("-a", "--agent", hidden=True),
    click.option("--action", hidden=True),
    click.option("--arg", "--argument", "arguments", multiple=True, hidden=True),
)
