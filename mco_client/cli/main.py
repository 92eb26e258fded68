# SPDX-License-Identifier: Apache-2.0
"""The program ``mco``: find the command, run it, and turn whatever happens into a line and an exit status.

It imports only what every run needs: a command's module is loaded when the command is named.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mco_client.cli import exits
from mco_client.cli.app import App, Connect, from_configuration
from mco_client.cli.options import debug
from mco_rpc import __version__
from mco_rpc.errors import ConfigError, McoError
from mco_rpc.suggestion import did_you_mean

if TYPE_CHECKING:
    from mco_rpc.installed import EntryPoint

PLUGINS = "mco.commands"
# Set by the shells that `mco completion` has told how.
COMPLETE = "_MCO_COMPLETE"
BUILTINS = {
    "completion": "mco_client.cli.completion:completion",
    "describe-filter": "mco_client.cli.filter:describe_filter",
    "doctor": "mco_client.cli.doctor:doctor",
    "facts": "mco_client.cli.facts:facts",
    "filter": "mco_client.cli.filter:filters",
    "find": "mco_client.cli.find:find",
    "inventory": "mco_client.cli.inventory:inventory",
    "keygen": "mco_client.cli.keygen:keygen",
    "nodes": "mco_client.cli.nodes:nodes",
    "ping": "mco_client.cli.ping:ping",
    "plugin": "mco_client.cli.plugin:plugin",
    "receive": "mco_client.cli.receive:receive",
    "record": "mco_client.cli.record:record",
    "rpc": "mco_client.cli.rpc:rpc",
}
# What `mco --help` says of each, for it would take long to load all of them; a test compares.
ABOUT = {
    "completion": "Print what a shell needs to complete the words after `mco`.",
    "describe-filter": "Say in words what a filter means; no node is asked.",
    "doctor": "Find out why something does not work, and what to do.",
    "facts": "Show the values of a fact, and how many nodes have each.",
    "filter": "See why a filter matches a node, or does not.",
    "find": "Print the names of the nodes that match.",
    "inventory": "Show what one node is, knows and offers.",
    "keygen": "Make the key pair with which a caller signs.",
    "nodes": "List the nodes that the registry knows, and say whether they are there.",
    "ping": "Show which nodes answer, and how fast.",
    "plugin": "Show, make and check what extends the fleet.",
    "receive": "Print answers that are sent to TOKEN, one JSON object a line.",
    "record": "Run COMMAND, and record in FILE what it asks the fleet and what it is answered.",
    "rpc": "Ask nodes for an ACTION of an AGENT, with inputs as KEY=VALUE.",
}


class Commands(click.Group):
    """Our own commands, and those that installed packages bring as entry points ``mco.commands``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*BUILTINS, *(entry.name for entry in _plugins())})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; None if nobody has one of this name.

        Raises:
            ConfigError: a package has it, and it cannot be loaded.
        """
        if (dashed := cmd_name.replace("_", "-")) in BUILTINS:  # MCollective's names have the one, ours the other
            cmd_name = dashed
        if cmd_name in BUILTINS:
            module, _, attribute = BUILTINS[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        for entry in _plugins(name=cmd_name):
            try:
                made = entry.load()
            except Exception as e:
                raise ConfigError(
                    f"command {cmd_name} ({entry.value}) cannot be loaded: {type(e).__name__}: {e}"
                ) from e
            if isinstance(made, click.Command):
                return made
            raise ConfigError(f"command {cmd_name} ({entry.value}) is not a command: {type(made).__name__}")
        return None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command that the first argument names; suggest the nearest one."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(f"there is no command {name!r}{did_you_mean(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete the name of a command, without loading any, or an option."""
        from mco_client.cli import candidates

        places = {entry.name: entry.value for entry in _plugins()} | BUILTINS
        return [*candidates.commands(places, incomplete), *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands; one that cannot be loaded does not keep the others from being listed."""
        rows = []
        for name in self.list_commands(ctx):
            if name in ABOUT:
                rows.append((name, ABOUT[name]))
                continue
            try:
                command = self.get_command(ctx, name)
            except ConfigError as e:
                rows.append((name, str(e)))
            else:
                rows.append((name, command.get_short_help_str(80) if command else ""))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  mco ping                                    who is there?
  mco find -C /dev_server/ -F country=de      the names of some of them
  mco rpc rpcutil get_fact fact=country       ask an agent
  mco rpc --help                              all about a command

"""
    + exits.EPILOG_WITH_NOBODY,
)
@click.version_option(__version__, prog_name="mco", message="%(prog)s %(version)s")
@debug
def mco() -> None:
    """Ask a fleet of machines, and see what each of them answers."""


def main(arguments: Sequence[str] | None = None, connect: Connect = from_configuration) -> int:
    """Run what the command line says; return the exit status.

    Args:
        arguments: those of the process if None.
        connect: makes the connection of the commands that need one.
    """
    app = App(connect)
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a letter is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    try:
        if (instruction := os.environ.get(COMPLETE)) is not None:
            return _completed(instruction)
        return _run(app, words or ["--help"])
    except click.exceptions.Exit as e:
        return e.exit_code
    except click.ClickException as e:
        text = e.format_message()
        if text.startswith("Usage:"):  # a group of commands was named and none of them
            click.echo(text, err=True)
            return exits.ERROR
        return _complain(app, _usage(e, text))
    except (KeyboardInterrupt, click.Abort):
        return exits.INTERRUPTED
    except BrokenPipeError:
        _forget_output()  # whoever read it has gone
        return exits.BROKEN_PIPE
    except McoError as e:
        return _complain(app, str(e))
    except OSError as e:
        if not e.filename:  # no room for our output, perhaps
            try:
                sys.stdout.flush()
            except OSError:
                _forget_output()
        return _complain(app, f"{e.filename}: {e.strerror}" if e.filename else e.strerror or str(e))
    except Exception as e:
        hint = f"this is a fault in mco; please report it with what --debug prints: mco --debug {' '.join(words)}"
        return _complain(app, f"{type(e).__name__}: {e}\n{hint}")


def _forget_output() -> None:
    """Let what is still in the buffer go nowhere: it must not fail once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_what_is_closed() -> None:
    """Let output go nowhere if whoever started us closed it: a file that we open must not get it instead."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - open as long as we run
            if sys.__dict__[name].fileno() != number:
                os.dup2(sys.__dict__[name].fileno(), number)


def _completed(instruction: str) -> int:
    """Answer a shell that completes a command line."""
    from mco_client.cli.completion import answer

    return answer(mco, instruction)


def _run(app: App, words: list[str]) -> int:
    with mco.make_context("mco", words, obj=app) as ctx:
        status = mco.invoke(ctx)
        sys.stdout.flush()
    return status if isinstance(status, int) else exits.OK


def _complain(app: App, text: str) -> int:
    """Print what went wrong; with ``--debug`` also where."""
    from mco_client.text import safe

    if app.is_debugging:
        import traceback

        click.echo(safe(traceback.format_exc()), err=True)
    click.echo(f"mco: {safe(text)}", err=True)
    return exits.ERROR


def _usage(error: click.ClickException, text: str) -> str:
    """Return what is wrong with a command line, and where to read more."""
    ctx = getattr(error, "ctx", None)
    return f"{text[:1].lower()}{text[1:]}\nTry `{ctx.command_path if ctx else 'mco'} --help`."


def _plugins(name: str | None = None) -> tuple[EntryPoint, ...]:
    """Return the commands that installed packages bring; looked for when no command of ours has the name."""
    from mco_rpc.installed import entry_points

    return entry_points(PLUGINS, name)
