# SPDX-License-Identifier: Apache-2.0
"""``mco keygen``: make the key pair of somebody who asks, and say what belongs where."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mco_client.cli import exits, options, output
from mco_rpc import names

_DEFAULT = Path("~/.config/mco")


@click.command(
    epilog="""\b
Examples:
  mco keygen alice                 a key pair in ~/.config/mco
  mco keygen deploy --dir keys     somewhere else

\b
Nodes know the owner of the key as key=NAME. Exit status: 0, or 1 with the reason."""
)
@click.argument("name")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Make the files there, not in ~/.config/mco.",
)
@options.debug
def keygen(name: str, folder: Path | None) -> int:
    """Make the key pair with which a caller signs."""
    from mco_rpc.security import keys

    names.check("caller", name)
    config = _config_folder()
    folder = (folder or config).expanduser().absolute()
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    nodes = folder / "nodes"
    keys.generate(private, public)
    nodes.mkdir(exist_ok=True)
    output.say(
        f"private key  {private}  (keep it; only you can read it)\n"
        f"public key   {public}\n"
        f"\n"
        f"1. Copy the public key to every node, as /etc/mco/callers/{name}.pub: nodes will know you as key={name}.\n"
        f"2. Copy the public key of every node (mco-node keygen says where it is) into {nodes}.\n"
        f"3. Have these lines in {config / 'client.yaml'}:\n"
        f"\n"
        f"     key_file: {private}\n"
        f"     trusted_nodes: {nodes}\n"
        f"     brokers: [amqp://USER:PASSWORD@HOST:5672/]"
    )
    return exits.OK


def _config_folder() -> Path:
    """Return where the client's configuration is looked for."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return Path(home) / "mco" if home else _DEFAULT.expanduser()
