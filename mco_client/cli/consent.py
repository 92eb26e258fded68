# SPDX-License-Identifier: Apache-2.0
"""Whether everybody is meant: a change that no filter narrows is not made without somebody who says so."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from mco_client.cli import output
from mco_client.text import listed, one_line
from mco_rpc.errors import ConfigError

if TYPE_CHECKING:
    from mco_client.rpc import RpcClient
    from mco_client.schema.learning import Known


def require(client: RpcClient, action: str, known: Known) -> None:
    """Ask whether everybody is meant; without somebody to ask, refuse.

    Raises:
        ConfigError: nobody said yes; nothing was changed.
    """
    where = f"{client.agent}#{action}"
    what = f"{where} {_what_it_does(action, known)}"
    nodes = client.discovered
    if client.options.limit is not None:
        everybody = f"{output.counted(len(client.options.chosen(nodes)))}, whichever the limit leaves"
    else:
        everybody = f"all {len(nodes)} nodes" if len(nodes) > 1 else f"{nodes[0]}, the only node there is"
    if sys.stdin is None or not sys.stdin.isatty():
        raise ConfigError(
            f"{what}, and no filter says which: refused to ask {everybody}. "
            "Give a filter (-I -C -F -A -W -S), the nodes (--nodes) or, if you mean everybody, --yes"
        )
    click.echo(f"{what}. Really on {everybody}? [y/N] ", nl=False, err=True)
    try:
        said = sys.stdin.readline()
    except KeyboardInterrupt:
        click.echo(err=True)  # what the shell says next begins a line of its own
        raise
    if said.strip().lower() not in ("y", "yes"):
        raise ConfigError(f"{where} was not asked for: nothing was changed")


def _what_it_does(action: str, known: Known) -> str:
    if not known.versions:
        return "may change nodes (its schema could not be had)"
    declared = [version.schema.actions.get(action) for version in known.versions]
    if known.unknown and not any(each.mutating for each in declared if each):
        return f"may change nodes (its schema could not be had from {one_line(listed(known.unknown))})"
    return "changes nodes"
