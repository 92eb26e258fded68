# SPDX-License-Identifier: Apache-2.0
"""``mco completion``: let the shell complete commands, options, and what the fleet can be asked by name.

Whoever presses the key never waits for the fleet longer than half a second, and never sees an error.
"""

from __future__ import annotations

import contextlib

import click

from mco_client.cli import options

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
Nodes, agents, facts and classes are asked of the fleet in the background, at most every five minutes.
MCO_COMPLETE_LIVE=no asks for nothing: what was seen before is offered.

\b
Exit status: 0, or 1 with the reason."""
)
@click.argument("shell", type=click.Choice(SHELLS))
@options.debug
def completion(shell: str) -> int:
    """Print what a shell needs to complete the words after `mco`."""
    from mco_client.cli.shells import SCRIPTS

    click.echo(SCRIPTS[shell], nl=False)
    return 0


def answer(program: click.Command, shell: str) -> int:
    """Answer the shell, which asks by a variable; say nothing at all rather than something wrong."""
    from click.shell_completion import ShellComplete

    from mco_client.cli import shells

    if shell in SHELLS:
        with contextlib.suppress(Exception, SystemExit):
            line = shells.asked(shell)
            found = ShellComplete(program, {}, "mco", "").get_completions(line.words, line.begun)
            if text := shells.answered(shell, found, line):
                click.echo(text)
    return 0
