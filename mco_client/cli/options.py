# SPDX-License-Identifier: Apache-2.0
"""The options that several commands share, under the names that MCollective's users know.

Each decorator adds options to a command and hands it one value made of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mco_client.cli.app import App

if TYPE_CHECKING:
    from mco_rpc.filters import Filter

Command = Callable[..., int]
# The longest time to live that a node grants unless its configuration says otherwise.
MAX_TIMEOUT_S = 3600.0
_WITHOUT_OPTIONS = ("broadcast", "registry")


def _seconds(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value <= MAX_TIMEOUT_S:  # this is how it refuses nan as well
        raise click.BadParameter(f"expected seconds, more than 0 and at most {MAX_TIMEOUT_S:g}, got {value:g}.")
    return value


def completing(what: str) -> Any:
    """Return what lets a shell complete a word as one of `mco_client.cli.candidates` says, loaded when it asks."""

    def complete(ctx: click.Context, parameter: click.Parameter, begun: str) -> Any:
        from mco_client.cli import candidates

        return getattr(candidates, what)(ctx, parameter, begun)

    return complete


def debug(command: Any) -> Any:
    """Add ``--debug``, which the program itself obeys."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.ensure_object(App).is_debugging = True

    return click.option(
        "--debug",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=remember,
        help="Log what happens to stderr; show the traceback of an error.",
    )(command)


def connected(
    *aliases: str, unless: tuple[str, ...] = (), is_discovering: bool = True, is_sorting: bool = False
) -> Callable[[Command], Command]:
    """Add where to connect to and how long to discover; hand over ``connection``, closed afterwards.

    Args:
        aliases: further names of ``--dt``, for commands that do nothing but discover.
        unless: options of the command; if one of them is given, it needs no connection, and ``connection`` is None.
        is_discovering: whether it looks for nodes, so that the options that say how mean something.
        is_sorting: whether the command has a ``--sort`` of its own.
    """

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def run(
            config: Path | None,
            collective: str | None,
            *args: Any,
            discovery_timeout_s: float | None = None,
            discovery: str | None = None,
            discovery_options: tuple[str, ...] = (),
            **rest: Any,
        ) -> int:
            if any(rest[option] for option in unless):
                return command(*args, connection=None, **rest)
            changes: dict[str, Any] = {
                "collective": collective,
                "discovery_timeout_s": discovery_timeout_s,
                "discovery": discovery,
                # Files of the configured source are not those of another one.
                "discovery_options": discovery_options or (None if discovery is None else ()),
            }
            given = {name: value for name, value in changes.items() if value is not None}
            with click.get_current_context().ensure_object(App).open(config, given) as connection:
                if discovery_options and connection.settings.discovery in _WITHOUT_OPTIONS:
                    raise click.UsageError(
                        f"--do is for the files or the command of a --dm; {connection.settings.discovery} takes none."
                    )
                return command(*args, connection=connection, **rest)

        return _all(
            run,
            click.option(
                "-T",
                "--target",
                "collective",
                metavar="COLLECTIVE",
                shell_complete=completing("collectives"),
                help="Ask in this collective.",
            ),
            *(_discovery(aliases) if is_discovering else ()),
            click.option(
                "-c",
                "--config",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="Read this configuration [default: $MCO_CONFIG, ~/.config/mco/client.yaml, /etc/mco/client.yaml].",
            ),
            _as_ever(is_sorting=is_sorting),
            debug,
        )

    return add


def _discovery(aliases: tuple[str, ...]) -> tuple[Callable[[Any], Any], ...]:
    """Return the options that say how nodes are looked for."""
    return (
        click.option(
            *aliases,
            "--dt",
            "--discovery-timeout",
            "discovery_timeout_s",
            type=float,
            callback=_seconds,
            metavar="SECONDS",
            help="Wait so long at most for nodes to be found.",
        ),
        click.option(
            "--dm",
            "--disc-method",
            "discovery",
            metavar="METHOD",
            shell_complete=completing("discovery"),
            help="Who knows the nodes: broadcast, registry, inventory, flatfile, stdin or external.",
        ),
        click.option(
            "--do",
            "--disc-option",
            "discovery_options",
            multiple=True,
            metavar="OPTION",
            help="The file, or the command, of the discovery method.",
        ),
    )


def _as_ever(*, is_sorting: bool) -> Callable[[Any], Any]:
    """Take what MCollective's users may ask for and get anyway: no chatter, sorted replies, and nothing that waits."""
    names = ("-q", "--quiet", "--threaded", *(() if is_sorting else ("--sort",)))
    return click.option(*names, "_", is_flag=True, hidden=True, expose_value=False)


def filtered(command: Command) -> Command:
    """Add the filters; hand over ``node_filter``."""

    @functools.wraps(command)
    def run(*args: Any, **rest: Any) -> int:
        from mco_rpc.filters import from_options

        kinds = ("facts", "classes", "identities", "agents", "mixed", "compound")
        node_filter = from_options(**{kind: rest.pop(kind) for kind in kinds})
        return command(*args, node_filter=node_filter, **rest)

    def option(*names: str, metavar: str, text: str, completed: Any = None) -> Any:
        return click.option(*names, multiple=True, metavar=metavar, help=text, shell_complete=completed)

    return _all(
        run,
        option(
            "-F",
            "--wf",
            "--with-fact",
            "facts",
            metavar="FACT",
            completed=completing("facts"),
            text="Only nodes with this fact: country=de, cores>=4, kernel=/^6/.",
        ),
        option(
            "-C",
            "--wc",
            "--with-class",
            "classes",
            metavar="CLASS",
            completed=completing("classes"),
            text="Only nodes with this class; /x/ is a regular expression.",
        ),
        option(
            "-I",
            "--wi",
            "--with-identity",
            "identities",
            metavar="NODE",
            completed=completing("nodes"),
            text="Only this node, or also this one; /x/ is a regular expression.",
        ),
        option(
            "-A",
            "--wa",
            "--with-agent",
            "agents",
            metavar="AGENT",
            text="Only nodes that offer this agent.",
            completed=completing("agents"),
        ),
        option(
            "-W",
            "--with",
            "mixed",
            metavar="FILTER",
            text="Classes and facts together: '/web/ country=de'.",
            completed=completing("mixed"),
        ),
        option(
            "-S",
            "--select",
            "compound",
            metavar="EXPRESSION",
            text="Only nodes for which this holds: 'country=de and not (/db/ or cores<4)'.",
        ),
    )


def called(command: Command) -> Command:
    """Add what belongs to a call to discovered or listed nodes; hand over ``timeout_s``, ``progress``, ``nodes``."""

    @functools.wraps(command)
    def run(*args: Any, nodes_file: str | None, node_filter: Filter, np: bool, **rest: Any) -> int:
        nodes = None if nodes_file is None else _nodes_in(nodes_file)
        if nodes is not None and node_filter:
            raise click.UsageError(f"--nodes names the nodes; it cannot be combined with a filter ({node_filter}).")
        return command(*args, nodes=nodes, node_filter=node_filter, progress=not np, **rest)

    return _all(
        run,
        click.option(
            "--nodes",
            "nodes_file",
            metavar="FILE",
            shell_complete=completing("files"),
            help="Ask the nodes listed there without looking for them: names or ranges, or what -j printed; "
            "- is standard input.",
        ),
        timeout,
        click.option("--np", "--no-progress", "np", is_flag=True, help="Show no progress bar."),
    )


def timeout(command: Any) -> Any:
    """Add ``-t``; hand over ``timeout_s``."""
    return click.option(
        "-t",
        "--timeout",
        "timeout_s",
        type=float,
        callback=_seconds,
        metavar="SECONDS",
        help="Wait so long at most for replies.",
    )(command)


def as_json(command: Any) -> Any:
    """Add ``-j``; hand over ``is_json``."""
    return click.option("-j", "--json", "is_json", is_flag=True, help="Print JSON.")(command)


def verbose(text: str) -> Callable[[Any], Any]:
    """Add ``-v``, which shows what ``text`` says; hand over ``is_verbose``."""
    return click.option("-v", "--verbose", "is_verbose", is_flag=True, help=text)


def _all(command: Command, *decorators: Callable[[Any], Any]) -> Command:
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def _nodes_in(file: str) -> list[str]:
    """Return the nodes in a file, in any form that `mco` prints them; those whose answer there failed are left out."""
    from mco_client.cli import output
    from mco_client.discovery import stdin
    from mco_client.discovery.listed import listing
    from mco_client.discovery.source import read_text
    from mco_client.folding import folded

    found = stdin.read() if file == "-" else listing(read_text(Path(file)), f"--nodes {file}")
    if found.failed:
        output.warn(f"left out, for their answers had failed: {folded(found.failed)}")
    return list(found.names)
