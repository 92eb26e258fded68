# SPDX-License-Identifier: Apache-2.0
"""``mco record``: run a command, and have every `Connection` in it write down what the fleet answers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from mco_client.cli import options, output

STATUS_OF_SIGNAL = 128


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="""\b
Examples:
  mco record fleet.rec -- mco rpc rpcutil get_fact fact=country
  mco record fleet.rec -- behave features/firewall.feature
  mco record fleet.rec --redact '*password*' -- python my_script.py
  MCO_CONNECTOR=replay MCO_REPLAY=fleet.rec mco rpc rpcutil get_fact fact=country
  behave -D connector=replay -D replay=fleet.rec features/firewall.feature

\b
FILE holds all questions and answers, secrets among them: only you can read it; look into it before you hand it on.
Exit status: the command's, 128 + n if signal n ended it; 1 if it was not run.""",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", "is_forced", is_flag=True, help="Replace FILE if it is a recording.")
@click.option(
    "--redact",
    "redacted",
    multiple=True,
    metavar="FIELD",
    help="Blank fields of this name in inputs and outputs; * and ? are wildcards.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@options.debug
def record(file: Path, is_forced: bool, redacted: tuple[str, ...], command: tuple[str, ...]) -> int:
    """Run COMMAND, and record in FILE what it asks the fleet and what it is answered."""
    from mco_client.recording.file import create, tally
    from mco_rpc.errors import ConfigError

    words = [word for number, word in enumerate(command) if number or word != "--"]
    program = shutil.which(words[0]) if words else None
    if program is None:
        raise ConfigError(f"record: there is no command {words[0] if words else ''!r} to run; nothing was recorded")
    create(file, redacted, is_forced=is_forced)
    status = _run([program, *words[1:]], file.absolute())
    questions, answers = tally(file)
    output.warn(f"recorded {output.counted(questions, 'question')} and {output.counted(answers, 'answer')} in {file}")
    if not questions:
        output.warn("the command asked the fleet nothing: does it use mco, behave or mco_client?")
    return status


def _run(words: Sequence[str], file: Path) -> int:
    with subprocess.Popen(words, env={**os.environ, "MCO_RECORD": str(file)}) as child, _passing_on_to(child):
        status = child.wait()
    return status if status >= 0 else STATUS_OF_SIGNAL - status


@contextmanager
def _passing_on_to(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let signals be the child's concern."""

    def pass_on(number: int, _frame: object) -> None:
        # A terminal's Ctrl-C reaches the child without us.
        if number != signal.SIGINT or not _is_terminals_foreground():
            child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_terminals_foreground() -> bool:
    try:
        return os.tcgetpgrp(sys.__stdin__.fileno()) == os.getpgrp() if sys.__stdin__ else False
    except (OSError, ValueError):
        return False
