# SPDX-License-Identifier: Apache-2.0
"""``mco plugin``: what the fleet, or this machine, can be asked, and tools for who writes or calls agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mco_client.cli import asking, exits, options, output
from mco_client.cli.plugin_files import generate, validate, write_stubs
from mco_client.cli.plugin_fleet import counted, known_of, source_of, sources_on
from mco_client.cli.plugin_local import local_or_fleet
from mco_client.schema import plugins
from mco_client.schema import text as schema_text
from mco_client.text import one_line
from mco_rpc.errors import ConfigError
from mco_rpc.suggestion import did_you_mean

if TYPE_CHECKING:
    from mco_client.connection import Connection
    from mco_client.schema.learning import Version
    from mco_rpc.data import SourceSchema
    from mco_rpc.filters import Filter
    from mco_rpc.schema import AgentSchema

_MAX_ROWS = 1000
_MAX_TEXT = 80
_AGENT_KINDS = ("", "agent", plugins.AGENTS)


class Commands(click.Group):
    """A group that suggests the nearest of its commands."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command that the first argument names."""
        if not args[0].startswith("-") and args[0] not in self.commands:
            ctx.fail(f"there is no command {args[0]!r}{did_you_mean(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    epilog="""\b
Examples:
  mco plugin list                               what the fleet can be asked
  mco plugin doc iptables                       all about an agent
  mco plugin doc --local iptables               as it is installed here
  mco plugin generate agent weather             an agent and its test, to begin with
  mco plugin stubs iptables rpcutil             typed Python for who calls them

\b
Exit status: 0, or 1 with the reason.""",
)
@options.debug
def plugin() -> None:
    """Show, make and check what extends the fleet."""


plugin.add_command(generate)
plugin.add_command(validate)


# list


def _list_here(*, is_json: bool) -> int:
    known = plugins.installed()
    if is_json:
        output.say_json({kind: {name: entry.value for name, entry in found.items()} for kind, found in known.items()})
        return exits.OK
    rows = [
        (one_line(kind), one_line(name), one_line(entry.value))
        for kind, found in known.items()
        for name, entry in found.items()
    ]
    output.say(output.table(["kind", "name", "from"], rows))
    return exits.OK


def _list_fleet(connection: Connection, node_filter: Filter, *, is_json: bool) -> int:
    client = asking.client(connection, "rpcutil", node_filter, timeout_s=None, progress=False)
    asking.discover(client, None)
    results = client.agent_inventory()
    agents, sources = counted(results, "agents"), counted(sources_on(connection, client.discovered), "sources")
    output.warn_of_strangers(results)
    output.warn_of_late(results)
    if is_json:
        output.say_json({"agents": agents, "data": sources})
        return exits.of(results)
    for title, found in (("agent", agents), ("data source", sources)):
        if found:
            output.say(output.table([title, "version", "nodes", "what it is"], map(_row, found[:_MAX_ROWS])))
            output.say()
    output.say_failures(results)
    output.say_finished(results, client.stats.blocktime)
    return exits.of(results)


def _row(found: dict[str, Any]) -> list[str]:
    texts = [one_line(found[name], _MAX_TEXT) for name in ("name", "version", "description")]
    return [*texts[:2], str(len(found["nodes"])), texts[2]]


@plugin.command(name="list")
@local_or_fleet(_list_here, "is_json")
@options.filtered
@options.as_json
@options.connected()
def list_(connection: Connection, node_filter: Filter, is_json: bool) -> int:
    """List the agents and data sources that nodes offer, with their versions."""
    return _list_fleet(connection, node_filter, is_json=is_json)


# doc


def _doc_here(*, name: str | None, is_export: bool, is_json: bool) -> int:
    if name is None:
        return _list_here(is_json=is_json)
    kind, _, plain = name.rpartition("/")
    if kind in _AGENT_KINDS:
        from mco_client.schema.learning import Version

        schema = plugins.agent_schema(plain)
        _say_agent([Version(schema.digest, schema, ())], is_export=is_export, is_json=is_json)
    elif kind == plugins.DATA:
        _say_source(plugins.source_schema(plain), is_json=is_json or is_export)
    else:
        loaded = plugins.load(kind, plain)
        about = (loaded.__doc__ or "").strip().partition("\n")[0]
        output.say(f"{one_line(name)}: {one_line(about or 'it has no description')}")
    return exits.OK


@plugin.command()
@click.argument("name", required=False, shell_complete=options.completing("agents"))
@click.option(
    "--export", "is_export", is_flag=True, help="Print the schema as JSON, as `validate` and `stubs` read it."
)
@local_or_fleet(_doc_here, "name", "is_export", "is_json")
@options.filtered
@options.as_json
@options.connected()
def doc(connection: Connection, name: str | None, node_filter: Filter, is_export: bool, is_json: bool) -> int:
    """Show what an agent can be asked, or a data source as data/NAME; without a name, list them."""
    if name is None:
        return _list_fleet(connection, node_filter, is_json=is_json)
    kind, _, plain = name.rpartition("/")
    if kind == plugins.DATA:
        _say_source(source_of(connection, plain, node_filter), is_json=is_json or is_export)
    elif kind in _AGENT_KINDS:
        _say_agent(known_of(connection, plain, node_filter).versions, is_export=is_export, is_json=is_json)
    else:
        raise ConfigError(f"nodes tell of agents (iptables) and data sources (data/fact), not of {kind!r}; try --local")
    return exits.OK


def _say_agent(versions: Sequence[Version], *, is_export: bool, is_json: bool) -> None:
    """Print the schemas of one agent; to export, the one that most nodes have."""
    if is_export:
        output.say_json(versions[0].schema.to_json())
    elif is_json:
        found = [
            {"digest": version.digest, "nodes": list(version.nodes), "schema": version.schema.to_json()}
            for version in versions
        ]
        output.say_json({"name": versions[0].schema.name, "versions": found})
    else:
        output.say("\n\n".join(schema_text.of_agent(version.schema) for version in versions))


def _say_source(schema: SourceSchema, *, is_json: bool) -> None:
    if is_json:
        output.say_json(schema.to_json())
    else:
        output.say(schema_text.of_source(schema))


# stubs


def _stubs_here(*, wanted: tuple[str, ...], out: str) -> int:
    return write_stubs(wanted, plugins.agent_schema, out)


@plugin.command()
@click.argument("wanted", metavar="AGENT...", nargs=-1, required=True, shell_complete=options.completing("agents"))
@click.option("-o", "--output", "out", default="-", metavar="FILE", help="Write it there, not to standard output.")
@local_or_fleet(_stubs_here, "wanted", "out")
@options.filtered
@options.connected()
def stubs(connection: Connection, wanted: tuple[str, ...], node_filter: Filter, out: str) -> int:
    """Write typed Python clients of agents, from the fleet's schemas or from schema files (*.json)."""

    def schema_of(name: str) -> AgentSchema:
        return known_of(connection, name, node_filter).versions[0].schema

    return write_stubs(wanted, schema_of, out)
