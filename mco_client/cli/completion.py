# SPDX-License-Identifier: Apache-2.0
"""``mco completion``: let the shell complete commands, options and what is known of agents; no node is asked.

Agents, actions and inputs are those of which `mco` has seen the schema before.
"""

from __future__ import annotations

from collections.abc import Iterable

import click

from mco_client.cli import options, output
from mco_client.cli.main import COMPLETE
from mco_client.text import safe

SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog="""\b
Examples:
  mco completion bash                          print it
  mco completion fish

\b
Once for each shell that is started:
  bash   source <(mco completion bash)         in ~/.bashrc
  zsh    source <(mco completion zsh)          in ~/.zshrc
  fish   mco completion fish | source          in ~/.config/fish/config.fish

\b
Exit status: 0, or 1 with the reason."""
)
@click.argument("shell", type=click.Choice(SHELLS))
@options.debug
def completion(shell: str) -> int:
    """Print what a shell needs to complete the words after `mco`."""
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"{shell} cannot be completed.")
    maker = made(click.Command("mco"), {}, "mco", COMPLETE)
    output.say(maker.source_template % maker.source_vars())
    return 0


def answer(program: click.Command, instruction: str) -> int:
    """Answer the shell, which asks by a variable; return the exit status."""
    from click.shell_completion import shell_complete

    return shell_complete(program, {}, "mco", COMPLETE, instruction)


def words_of_a_call(ctx: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Return what may come after ``mco rpc``: an agent, one of its actions, one of its inputs."""
    from mco_client.schema.cache import SchemaCache, default_folder

    given = ctx.params.get("given") or ()
    schemas = {schema.name: schema for schema in SchemaCache(default_folder()).schemas()}
    choices: Iterable[str] = schemas
    if given:
        agent = schemas.get(given[0])
        choices = agent.actions if agent else ()
        if agent and len(given) > 1:
            action = agent.actions.get(given[1])
            there = {word.partition("=")[0] for word in given[2:]}
            choices = [f"{name}=" for name in action.inputs if name not in there] if action else ()
    return sorted(safe(choice) for choice in choices if choice.startswith(begun))
