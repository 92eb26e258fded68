# SPDX-License-Identifier: Apache-2.0
"""What all commands share: how to connect, and whether to talk about it. Tests connect to a fleet of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mco_client.connection import Connection

# The configuration file to read, if one was named, and the settings that options replace.
Connect = Callable[[Path | None, Mapping[str, Any]], "Connection"]


def from_configuration(file: Path | None, changes: Mapping[str, Any]) -> Connection:
    """Return a connection by the client's configuration; it connects when it is first used.

    Raises:
        ConfigError: a setting is wrong.
        SecurityError: a key cannot be used.
    """
    import msgspec

    from mco_client.connection import Connection
    from mco_rpc.config import client_settings

    settings = msgspec.structs.replace(client_settings(file), **changes)
    settings.check()
    return Connection(settings)


@dataclass
class App:
    """One run of ``mco``."""

    connect: Connect = from_configuration
    is_debugging: bool = False

    def open(self, file: Path | None, changes: Mapping[str, Any]) -> Connection:
        """Return a connection, and keep the libraries below it from talking to the user unasked."""
        import logging

        if self.is_debugging:
            _log_to_stderr()
        else:
            # Its errors are told once, by the connector, in our words.
            logging.getLogger("pika").setLevel(logging.CRITICAL)
        connection = self.connect(file, changes)
        if connection.notice:
            from mco_client.cli import output

            output.warn(connection.notice)
        return connection


def _log_to_stderr() -> None:
    import logging

    from mco_client.text import safe

    class SafeFormatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return safe(super().format(record))

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter("%(relativeCreated)d ms %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
