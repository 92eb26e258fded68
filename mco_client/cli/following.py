# SPDX-License-Identifier: Apache-2.0
"""What nodes tell while an action runs, line by line with the node's name in front, as it comes."""

from __future__ import annotations

import sys
from typing import IO

import click

from mco_client.cli import output
from mco_client.results import Result, Results
from mco_client.rpc import RpcClient
from mco_client.text import one_line, safe
from mco_client.told import Started, Told

_MAX_LINE = 2000


def call(client: RpcClient, action: str, data: dict[str, object], *, is_for_programs: bool) -> Results:
    """Make a call and print what the nodes say before they answer; on stderr if a program reads the results."""
    stream = sys.stderr if is_for_programs else sys.stdout
    for said in client.follow(action, **data):
        if not isinstance(said, Result):
            _say(said, stream)
    return client.results


def _say(said: Started | Told, stream: IO[str]) -> None:
    name = safe(said.sender)
    if isinstance(said, Started):
        click.echo(output.coloured(f"{name} | started", "bright_black", stream), file=stream)
        return
    mark = "!" if said.stream == "stderr" else "|"
    data = " ".join(f"{one_line(key)}={one_line(output.value(value))}" for key, value in said.data.items())
    lines = said.text.splitlines() or ([""] if data else [])
    for number, line in enumerate(lines):
        extra = f" {data}" if data and number == len(lines) - 1 else ""
        click.echo(f"{name} {mark} {one_line(line, _MAX_LINE)}{extra}", file=stream)
