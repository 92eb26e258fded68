# SPDX-License-Identifier: Apache-2.0
"""The command ``mco registry``: run the registry, make its key, check its configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click

from mco_rpc.errors import ConfigError

from .settings import FILE, registry_settings

EXIT_OK, EXIT_NOT_ALL = 0, 3
LOG_LEVELS = ("debug", "info", "warning", "error")
_CONFIG = click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help=f"Read this configuration [default: {FILE}]."
)


@click.group()
def registry() -> None:
    """Keep what the nodes say of themselves, so that one that is missing is missed.

    \b
    Examples:
      mco registry keygen      make the registry's key pair
      mco registry check       is all there that it needs?
      mco registry serve       listen and answer until TERM
      mco nodes                ask it (on a caller's machine)
    """  # noqa: D301 - \b keeps the lines of a paragraph apart


@registry.command()
@_CONFIG
@click.option("--ready-fd", type=int, metavar="FD", help="Write READY=1 there when questions can come.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), help="Instead of the configured one.")
def serve(config: Path | None, ready_fd: int | None, log_level: str | None) -> int:
    """Listen to the nodes and answer callers, until TERM or INT."""
    settings = registry_settings(config)
    if log_level:
        import msgspec

        settings = msgspec.structs.replace(settings, log_level=log_level)
    with _installed():
        from . import daemon
    return EXIT_OK if daemon.serve(settings, ready_fd) else EXIT_NOT_ALL


@registry.command()
@_CONFIG
def keygen(config: Path | None) -> int:
    """Make the registry's key pair."""
    from mco_rpc.security import keys

    settings = registry_settings(config)
    private = Path(settings.key_file).expanduser()
    public = private.with_name(f"{settings.identity}.pub")
    keys.generate(private, public)
    click.echo(f"private key {private}")
    click.echo(f"public key  {public}  (copy it into the callers' folder trusted_nodes)")
    return EXIT_OK


@registry.command()
@_CONFIG
def check(config: Path | None) -> int:
    """Say what would be served: the keys, the database, and how many nodes are known."""
    settings = registry_settings(config)
    with _installed():
        from .daemon import make_registry
    made = make_registry(settings)
    try:
        count = made.store.count()
    finally:
        made.store.close()
    click.echo(f"identity {settings.identity}, collectives {', '.join(settings.collectives)}")
    click.echo(f"database {made.store}: {count} nodes are known")
    return EXIT_OK


@contextlib.contextmanager
def _installed() -> Iterator[None]:
    """Say what to install where the database's library is missing."""
    try:
        yield
    except ModuleNotFoundError as e:
        raise ConfigError(f"the registry needs {e.name}: install mco-behave[registry]") from e
