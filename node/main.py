# SPDX-License-Identifier: Apache-2.0
"""The command ``mco-node``: run the daemon, make its key, check its configuration."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mco_rpc import __version__
from mco_rpc.config import NodeSettings, node_settings
from mco_rpc.errors import ConfigError, McoError
from mco_rpc.security import keys

if TYPE_CHECKING:
    from .daemon import Node

EXIT_OK, EXIT_IDENTITY_TAKEN, EXIT_CONFIG, EXIT_STILL_RUNNING = 0, 1, 2, 3
_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        settings = node_settings(options.config)
        status: int = options.do(options, settings)
    except (McoError, OSError) as e:
        print(f"mco-node: {e}", file=sys.stderr)
        return EXIT_CONFIG
    return status


def make_node(settings: NodeSettings) -> Node:
    """Return the node that the settings describe, not yet started."""
    from mco_rpc.connector.rabbitmq import RabbitmqConnector
    from mco_rpc.security.ed25519 import for_node

    from .daemon import Node

    if settings.connector != "rabbitmq":
        raise ConfigError(f"connector: {settings.connector!r}; a daemon of its own needs rabbitmq")
    seed = keys.read_private(Path(settings.key_file).expanduser())
    security = for_node(settings.identity, seed, Path(settings.trusted_callers).expanduser())
    return Node(settings, RabbitmqConnector(settings), security)


def _run(options: argparse.Namespace, settings: NodeSettings) -> int:
    import sdnotify

    from .log import configure

    configure(options.log_level or settings.log_level, settings.log_format)
    node = make_node(settings)
    signals = {signal.SIGTERM, signal.SIGINT}
    for number in signals:
        signal.signal(number, lambda *_: node.is_over.set())
    notifier = sdnotify.SystemdNotifier()
    _log.info("mco-node %s, identity %s, pid %d", __version__, node.identity, os.getpid())
    node.start()
    is_ready = False
    started = time.monotonic()
    while not node.is_over.wait(None if is_ready else _look_again_s(time.monotonic() - started)):
        if not is_ready and node.is_connected.is_set():
            is_ready = True
            notifier.notify("READY=1")
            _say_ready(options.ready_fd)
            _log.info("ready")
    notifier.notify("STOPPING=1")
    _log.info("stopping")
    is_done = node.stop()
    if node.fatal:
        print(f"mco-node: {node.fatal}", file=sys.stderr)
        return EXIT_IDENTITY_TAKEN
    return EXIT_OK if is_done else EXIT_STILL_RUNNING


def _look_again_s(waited_s: float) -> float:
    """Return how long to wait for the connection: a broker may be away for days."""
    return 0.05 if waited_s < 2 else 0.5


def _say_ready(fd: int | None) -> None:
    if fd is not None:
        with contextlib.suppress(OSError):  # whoever waited has gone
            os.write(fd, b"READY=1\n")
            os.close(fd)


def _keygen(_: argparse.Namespace, settings: NodeSettings) -> int:
    private = Path(settings.key_file).expanduser()
    public = private.with_name(f"{settings.identity}.pub")
    keys.generate(private, public)
    print(f"private key {private}\npublic key  {public}  (copy it into the callers' folder trusted_nodes)")
    return EXIT_OK


def _check(_: argparse.Namespace, settings: NodeSettings) -> int:
    node = make_node(msgspec.structs.replace(settings, audit_file=""))  # a check writes nothing
    problems = node.problems()
    print(f"identity {node.identity}, agents {', '.join(sorted(node.agents())) or 'none'}")
    for name, why in sorted(node.stats()["inactive_agents"].items()):
        print(f"not offered: {name}: {why}")
    for problem in problems:
        print(f"problem: {problem}")
    return EXIT_CONFIG if problems else EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mco-node", description="Answer what is asked of this machine.")
    parser.add_argument("--version", action="version", version=f"mco-node {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config", type=Path, metavar="FILE", help="configuration (default: $MCO_CONFIG, then /etc/mco/node.yaml)"
    )
    run = commands.add_parser("run", parents=[common], help="connect and answer until TERM or INT")
    run.add_argument("--ready-fd", type=int, metavar="FD", help="write READY=1 there when requests can come")
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="instead of the configured one")
    run.set_defaults(do=_run)
    keygen = commands.add_parser("keygen", parents=[common], help="make this node's key pair")
    keygen.set_defaults(do=_keygen)
    check = commands.add_parser("check", parents=[common], help="say what would be offered, and what is wrong")
    check.set_defaults(do=_check)
    return parser
