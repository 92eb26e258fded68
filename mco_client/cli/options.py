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
        def run(*args: Any, config: Path | None, changes: dict[str, Any], **rest: Any) -> int:
            if any(rest[option] for option in unless):
                return command(*args, connection=None, **rest)
            with click.get_current_context().ensure_object(App).open(config, changes) as connection:
                _refuse_needless(connection.settings.discovery, changes)
                return command(*args, connection=connection, **rest)

        return _all(run, located(*aliases, is_discovering=is_discovering), _as_ever(is_sorting=is_sorting), debug)

    return add


def located(*aliases: str, is_discovering: bool = True) -> Callable[[Command], Command]:
    """Add where to connect to and how to look for nodes; hand over ``config``, and ``changes`` of its settings."""

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def run(
            *args: Any,
            collective: str | None,
            discovery_timeout_s: float | None = None,
            discovery: str | None = None,
            discovery_options: tuple[str, ...] = (),
            **rest: Any,
        ) -> int:
            changes: dict[str, Any] = {
                "collective": collective,
                "discovery_timeout_s": discovery_timeout_s,
                "discovery": discovery,
                # Files of the configured source are not those of another one.
                "discovery_options": discovery_options or (None if discovery is None else ()),
            }
            given = {name: value for name, value in changes.items() if value is not None}
            _refuse_needless(discovery, given)
            return command(*args, changes=given, **rest)

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
        )

    return add


def _refuse_needless(discovery: str | None, changes: dict[str, Any]) -> None:
    if changes.get("discovery_options") and discovery in _WITHOUT_OPTIONS:
        raise click.UsageError(f"--do is for the files or the command of a --dm; {discovery} takes none.")


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


# Short name, MCollective's two long ones, what it adds to, what it takes, what completes it, and the help.
_FILTERS = (
    ("-F", "--wf", "--with-fact", "facts", "FACT", "facts",
     "Only nodes with this fact: country=de, cores>=4, kernel=/^6/."),
    ("-C", "--wc", "--with-class", "classes", "CLASS", "classes",
     "Only nodes with this class; /x/ is a regular expression."),
    ("-I", "--wi", "--with-identity", "identities", "NODE", "nodes",
     "Only this node, or also this one; /x/ is a regular expression."),
    ("-A", "--wa", "--with-agent", "agents", "AGENT", "agents",
     "Only nodes that offer this agent."),
    ("-W", "--with", None, "mixed", "FILTER", "mixed",
     "Classes and facts together: '/web/ country=de'."),
    ("-S", "--select", None, "compound", "EXPRESSION", None,
     "Only nodes for which this holds: 'country=de and not (/db/ or cores<4)'."),
)  # fmt: skip


def filtered(command: Command) -> Command:
    """Add the filters; hand over ``node_filter``."""

    @functools.wraps(command)
    def run(*args: Any, **rest: Any) -> int:
        from mco_rpc.filters import from_options

        node_filter = from_options(**{kind: rest.pop(kind) for _, _, _, kind, *_ in _FILTERS})
        return command(*args, node_filter=node_filter, **rest)

    return _all(
        run,
        *(
            click.option(
                *filter(None, (short, long, longer)),
                kind,
                multiple=True,
                metavar=metavar,
                help=text,
                shell_complete=completing(completed) if completed else None,
            )
            for short, long, longer, kind, metavar, completed, text in _FILTERS
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
