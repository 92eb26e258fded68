# SPDX-License-Identifier: Apache-2.0
"""Which discovery the settings ask for."""

from __future__ import annotations

from mco_client.connection import Connection
from mco_client.discovery import Discovery


def configured(connection: Connection) -> Discovery:
    """Return the discovery of a connection's settings.

    Raises:
        ConfigError: there is no such kind, or its options are not what it needs.
    """
    settings = connection.settings
    match settings.discovery:
        case "broadcast":
            from mco_client.discovery.broadcast import BroadcastDiscovery

            return BroadcastDiscovery(connection)
        case "registry":
            from mco_client.discovery.registry import RegistryDiscovery

            return RegistryDiscovery(connection)
        case kind:
            from mco_client.discovery.known import KnownDiscovery
            from mco_client.discovery.source import make

            return KnownDiscovery(connection, make(kind, settings.discovery_options, settings))
