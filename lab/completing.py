# SPDX-License-Identifier: Apache-2.0
"""What may come next on a line of ``mco lab``: labs that are up, their hosts, and the labs that are shipped."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

DEFAULT_NAME = "default"


def labs(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """Complete the name of a lab that is up."""
    from . import state

    return [name for name in state.names() if name.startswith(begun)]


def hosts(ctx: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Complete a host of the lab that the line is about."""
    from . import state

    known = state.load(ctx.params.get("name") or DEFAULT_NAME)
    given = ctx.params.get("targets") or ()
    return sorted(host.name for host in known.hosts if host.name.startswith(begun) and host.name not in given)


def specs(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of a lab that is shipped, or of a file."""
    shipped = sorted(file.stem for file in Path(__file__).parent.glob("*.yaml") if file.stem.startswith(begun))
    return [*map(CompletionItem, shipped), CompletionItem(begun, type="file")]
