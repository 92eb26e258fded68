# SPDX-License-Identifier: Apache-2.0
"""The commands of ``mco plugin`` that read and write files: generate, validate, stubs. They ask no node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from mco_client.cli import exits, options, output
from mco_client.text import one_line
from mco_rpc.errors import ConfigError
from mco_rpc.schema import AgentSchema


@click.group()
def generate() -> None:
    """Write the first version of a plug-in, and of its test."""


@generate.command(
    epilog="""\b
Examples:
  mco plugin generate agent weather
  mco plugin generate agent weather --action forecast --changing wish --output agents
  mco plugin generate agent weather --language sh
  mco plugin generate agent weather --package"""
)
@click.argument("name")
@click.option("--action", "asking", multiple=True, metavar="NAME", help="An action that only looks; may be repeated.")
@click.option("--changing", multiple=True, metavar="NAME", help="An action that changes something; may be repeated.")
@click.option("--description", default="", metavar="TEXT", help="What the agent is for, in one sentence.")
@click.option("--package", "is_package", is_flag=True, help="A package to install, found by its entry point.")
@click.option(
    "--language",
    type=click.Choice(("sh", "perl", "node", "python")),
    help="An executable in this language that answers, instead of a class in Python.",
)
@click.option(
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Write into this folder, a libdir for instance, not into the current one.",
)
@options.debug
def agent(
    name: str,
    asking: Sequence[str],
    changing: Sequence[str],
    description: str,
    is_package: bool,
    language: str | None,
    folder: Path,
) -> int:
    """Write an agent NAME that works, to be changed, with a test that passes."""
    from mco_client.schema import scaffold

    wanted = scaffold.Wanted(name, asking, changing, description, is_package, language or "")
    written = scaffold.write(scaffold.files(wanted), folder)
    for path in written:
        output.say(f"{one_line(path)} is written")
    is_test = [path for path in written if path.name.startswith("test_")]
    if is_package:
        output.say(f"install it with: pip install -e {one_line(written[0].parent)}")
    output.say(f"then try it: python -m pytest {one_line(is_test[0])}")
    return exits.OK


@click.command(
    epilog="""\b
Examples:
  mco plugin validate weather.py
  mco plugin doc iptables --export > iptables.json && mco plugin validate iptables.json

\b
Exit status: 0 if nothing is wrong, 1 if something is."""
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@options.as_json
@options.debug
def validate(files: Sequence[Path], is_json: bool) -> int:
    """Say all that is wrong with files that declare agents; a Python file is run to be read."""
    from mco_client.schema import agent_file

    told = []
    is_wrong = False
    for file in files:
        checked = agent_file.check(file)
        is_wrong = is_wrong or bool(checked.findings)
        told.append(
            {
                "file": str(file),
                "problems": [{"line": finding.line or None, "text": finding.text} for finding in checked.findings],
                "agents": [schema.to_json() for schema in checked.schemas] if not checked.findings else [],
            }
        )
        if not is_json:
            for finding in checked.findings:
                line = f":{finding.line}" if finding.line else ""
                output.say(output.coloured(one_line(f"{file}{line}: {finding.text}", 1000), "red"))
            if not checked.findings:
                output.say(one_line(f"{file}: ok: {', '.join(map(_counted, checked.schemas))}"))
    if is_json:
        output.say_json(told)
    return exits.ERROR if is_wrong else exits.OK


def write_stubs(names: Sequence[str], schema_of: Callable[[str], AgentSchema], out: str) -> int:
    """Write typed clients of agents, or of the schemas in ``*.json`` files; ``-`` is standard output.

    Raises:
        ConfigError: a file is there that is no such module; nothing was written.
    """
    from mco_client.schema import agent_file, stubs

    schemas = {}
    for name in names:
        schema = agent_file.read_schema(Path(name)) if name.endswith(".json") else schema_of(name)
        schemas[schema.name] = schema
    text = stubs.module(schemas.values())
    if out == "-":
        output.say(text.rstrip("\n"))
        return exits.OK
    file = Path(out)
    if (file.exists() or file.is_symlink()) and not _is_ours(file):
        raise ConfigError(f"{file} is there, and was not written by this command; nothing was written")
    file.write_text(text, "utf-8")
    output.say(f"{one_line(file)} is written: {', '.join(sorted(schemas))}")
    return exits.OK


def _is_ours(file: Path) -> bool:
    from mco_client.schema.stubs import MARK

    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return MARK.encode() in opened.read(1024)


def _counted(schema: AgentSchema) -> str:
    return f"agent {schema.name} {schema.version} with {output.counted(len(schema.actions), 'action')}"
