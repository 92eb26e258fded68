# SPDX-License-Identifier: Apache-2.0
"""The command ``mco-node``: run the daemon, make its key, check its configuration."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mco_rpc import __version__
from mco_rpc.config import NodeSettings, node_settings
from mco_rpc.errors import ConfigError, McoError
from mco_rpc.security import keys

from .exits import EXIT_CONFIG, EXIT_OK

if TYPE_CHECKING:
    from .control import Successor
    from .daemon import Node
    from .succession import Predecessor


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    handover_fd = getattr(options, "handover_fd", None)
    options.predecessor = None if handover_fd is None else _predecessor(handover_fd)
    try:
        settings = node_settings(options.config)
        status: int = options.do(options, settings)
    except (McoError, OSError) as e:
        print(f"mco-node: {e}", file=sys.stderr)
        if options.predecessor is not None:
            options.predecessor.fail(e)
        return EXIT_CONFIG
    return status


def _predecessor(fd: int) -> Predecessor:
    from .succession import Predecessor

    return Predecessor(fd)


def make_node(
    settings: NodeSettings,
    *,
    changed: Callable[[], None] = lambda: None,
    reread: Callable[[], NodeSettings] | None = None,
    succeed: Successor | None = None,
) -> Node:
    """Return the node that the settings describe, not yet started; for the rest see `mco_node.daemon.Node`."""
    from mco_rpc.connector.movable import MovableConnector
    from mco_rpc.security.ed25519 import for_node

    from .daemon import Node

    if settings.connector != "rabbitmq":
        raise ConfigError(f"connector: {settings.connector!r}; a daemon of its own needs rabbitmq")
    seed = keys.read_private(Path(settings.key_file).expanduser())
    security = for_node(settings.identity, seed, Path(settings.trusted_callers).expanduser())
    connector = MovableConnector(settings)
    return Node(settings, connector, security, changed=changed, reread=reread, succeed=succeed)


def _run(options: argparse.Namespace, settings: NodeSettings) -> int:
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN):
        signal.signal(number, signal.SIG_IGN)  # until the daemon heeds them: what it would read again it reads now

    from .running_daemon import Daemon

    def read() -> NodeSettings:
        made = node_settings(options.config)
        return msgspec.structs.replace(made, log_level=options.log_level) if options.log_level else made

    if options.log_level:
        settings = msgspec.structs.replace(settings, log_level=options.log_level)
    arguments = ["run"]
    for option, value in (("--config", options.config), ("--log-level", options.log_level)):
        arguments += [option, str(value)] if value is not None else []
    daemon = Daemon(
        settings, read, make_node, arguments=arguments, ready_fd=options.ready_fd, predecessor=options.predecessor
    )
    return daemon.run()


def _keygen(_: argparse.Namespace, settings: NodeSettings) -> int:
    private = Path(settings.key_file).expanduser()
    public = private.with_name(f"{settings.identity}.pub")
    keys.generate(private, public)
    print(f"private key {private}\npublic key  {public}  (copy it into the callers' folder trusted_nodes)")
    return EXIT_OK


def _install_unit(options: argparse.Namespace, _: NodeSettings) -> int:
    from . import unit

    if options.is_printed:
        print(unit.text(), end="")
        return EXIT_OK
    target, is_new = unit.install()
    print(f"{target} {'is written' if is_new else 'is as it should be'}; run:\n  systemctl daemon-reload")
    print(f"  systemctl enable --now {unit.UNIT.removesuffix('.service')}")
    return EXIT_OK


def _check(_: argparse.Namespace, settings: NodeSettings) -> int:
    node = make_node(msgspec.structs.replace(settings, audit_file=""))  # a check writes nothing
    problems = node.problems()
    print(f"identity {node.identity}")
    print(f"agents {', '.join(sorted(node.agents())) or 'none'}")
    print(f"data sources {', '.join(sorted(node.data_sources())) or 'none'}")
    for name, why in sorted(node.stats()["inactive_agents"].items()):
        print(f"not offered: {name}: {why}")
    for problem in problems:
        print(f"problem: {problem}")
    return EXIT_CONFIG if problems else EXIT_OK


class _Help(argparse.HelpFormatter):
    """Looks for the width itself: the library that argparse would ask brings every kind of compression along."""

    def __init__(self, prog: str) -> None:
        try:
            width = int(os.environ.get("COLUMNS", "")) or os.get_terminal_size().columns
        except (ValueError, OSError):
            width = 80
        super().__init__(prog, width=width - 2)


class _Parser(argparse.ArgumentParser):
    """What the subcommands are parsed with, too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Help, **options)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mco-node", description="Answer what is asked of this machine.")
    parser.add_argument("--version", action="version", version=f"mco-node {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = _Parser(add_help=False)
    common.add_argument(
        "--config", type=Path, metavar="FILE", help="configuration (default: $MCO_CONFIG, then /etc/mco/node.yaml)"
    )
    run = commands.add_parser("run", parents=[common], help="connect and answer until TERM or INT")
    run.add_argument("--ready-fd", type=int, metavar="FD", help="write READY=1 there when requests can come")
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="instead of the configured one")
    run.add_argument("--handover-fd", type=int, help=argparse.SUPPRESS)
    run.set_defaults(do=_run)
    keygen = commands.add_parser("keygen", parents=[common], help="make this node's key pair")
    keygen.set_defaults(do=_keygen)
    unit = commands.add_parser("install-unit", help="write the systemd unit of this installation")
    unit.add_argument("--print", dest="is_printed", action="store_true", help="print it instead")
    unit.set_defaults(do=_install_unit, config=None)
    check = commands.add_parser("check", parents=[common], help="say what would be offered, and what is wrong")
    check.set_defaults(do=_check)
    return parser
