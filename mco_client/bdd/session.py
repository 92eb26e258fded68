# SPDX-License-Identifier: Apache-2.0
"""What a run of features shares: the options in one place, one connection, and the embedded fleet if there is one."""

from __future__ import annotations

import contextlib
import difflib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from mco_client.connection import Connection
from mco_rpc.config import client_settings
from mco_rpc.errors import ConfigError
from mco_rpc.installed import entry_points

FLEETS = "mco.fleets"
MEMORY, REPLAY = "memory", "replay"
_NAMES = ("connector", "config", "discovery_timeout", "replay", "timeout")
# So alike that it is a typing error and no name of the suite's own: "conector" would ask the real fleet.
_ALMOST = 0.85


@dataclass(frozen=True)
class Options:
    """What ``behave -D name=value`` can say.

    Attributes:
        connector: memory for nodes in this process, replay for recorded answers; else what the client's configuration
            says.
        config: the client's configuration file.
        discovery_timeout_s: seconds to look for nodes at most.
        timeout_s: seconds to wait for replies.
        lab: the name of the lab that the run goes against, if it does.
        replay: the recording to answer from, for ``connector=replay``.
    """

    connector: str = ""
    config: Path | None = None
    discovery_timeout_s: float = 2.0
    timeout_s: float = 5.0
    lab: str = ""
    replay: str = ""

    @classmethod
    def of(cls, userdata: Mapping[str, Any]) -> Options:
        """Return the options in behave's userdata; what is not ours is left to its owner.

        Raises:
            ConfigError: a value is not what it should be.
        """
        for name in userdata:
            near = difflib.get_close_matches(name, _NAMES, n=1, cutoff=_ALMOST)
            if near and near[0] != name:
                raise ConfigError(f"-D {name}=...: did you mean {near[0]}?")
        config = userdata.get("config")
        return cls(
            connector=str(userdata.get("connector", "")),
            config=Path(config) if config else None,
            discovery_timeout_s=_seconds(userdata, "discovery_timeout", cls.discovery_timeout_s),
            timeout_s=_seconds(userdata, "timeout", cls.timeout_s),
            lab=os.environ.get("MCO_LAB", ""),
            replay=str(userdata.get("replay", "")),
        )


class Session:
    """One run of features against one fleet; the connection is made when the first step asks.

    Args:
        connection: instead of the one that the options describe, for tests.
    """

    def __init__(self, options: Options, connection: Connection | None = None) -> None:
        self.options = options
        self._resources = contextlib.ExitStack()
        self._connection = connection

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_memory(self) -> bool:
        """Whether the nodes live in this process, without network and packet filter."""
        return self.options.connector == MEMORY

    @property
    def is_replay(self) -> bool:
        """Whether the answers are recorded ones; known once there is a connection."""
        return self._connection is not None and self._connection.settings.connector == REPLAY

    @property
    def connection(self) -> Connection:
        """The connection that all steps share."""
        if self._connection is None:
            self._connection = self._embedded() if self.is_memory else self._configured()
        return self._connection

    def close(self) -> None:
        """Leave the broker, and stop the embedded fleet."""
        self._resources.close()
        self._connection = None

    def _configured(self) -> Connection:
        wanted = self.options.connector
        if self.options.replay and wanted != REPLAY:
            raise ConfigError(f"-D replay={self.options.replay}: only with -D connector={REPLAY}")
        chosen = {"MCO_CONNECTOR": REPLAY} if wanted == REPLAY else {}
        if self.options.replay:
            chosen["MCO_REPLAY"] = self.options.replay
        settings = client_settings(self.options.config, {**os.environ, **chosen})
        if wanted and wanted != settings.connector:
            raise ConfigError(f"-D connector={wanted}: expected memory, replay or rabbitmq")
        return self._resources.enter_context(Connection(settings))

    def _embedded(self) -> Connection:
        found = entry_points(FLEETS, MEMORY)
        if not found:
            raise ConfigError("-D connector=memory: no in-process fleet is installed (entry point mco.fleets: memory)")
        fleet = self._resources.enter_context(found[0].load().of_demo())
        connection: Connection = fleet.connection()
        return connection


def _seconds(userdata: Mapping[str, Any], name: str, default: float) -> float:
    text = userdata.get(name, default)
    try:
        seconds = float(text)
    except (TypeError, ValueError):
        seconds = 0.0
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ConfigError(f"-D {name}={text}: expected a number of seconds")
    return seconds
