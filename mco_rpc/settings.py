# SPDX-License-Identifier: Apache-2.0
"""The settings of who asks and of who answers, with their defaults and what they may be; reading them is elsewhere."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from mco_rpc import names
from mco_rpc.errors import ConfigError
from mco_rpc.suggestion import did_you_mean

_MAX_HEARTBEAT_S = 65535
_MAX_PORT = 65535
# A client refuses to send more than nodes read unless their configuration says otherwise.
DEFAULT_MAX_BODY_BYTES = 1024 * 1024
DISCOVERY_KINDS = ("broadcast", "inventory", "flatfile", "stdin", "external", "registry")
MIN_REGISTRATION_INTERVAL_S, MAX_REGISTRATION_INTERVAL_S = 1.0, 86_400.0


class BrokerSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What both sides need to reach each other.

    Attributes:
        connector: rabbitmq or memory.
        brokers: AMQP URLs, tried in turn: ``amqp://user:password@host:5672/vhost``.
        heartbeat_s: seconds after which a silent connection is looked into; twice that and it is given up.
        connect_timeout_s: seconds to wait for one broker to take a connection.
    """

    connector: str = "rabbitmq"
    brokers: tuple[str, ...] = ("amqp://guest:guest@127.0.0.1:5672/",)
    heartbeat_s: int = 10
    connect_timeout_s: float = 5.0

    def check(self) -> None:
        """Raise `ConfigError` for a value that its type allows and nothing else does."""
        if not self.brokers:
            raise ConfigError("brokers: at least one URL is needed, as in amqp://user:password@host:5672/")
        for name in ("heartbeat_s", "connect_timeout_s"):
            _positive(self, name)
        if self.heartbeat_s > _MAX_HEARTBEAT_S:
            raise ConfigError(f"heartbeat_s: AMQP allows at most {_MAX_HEARTBEAT_S}, got {self.heartbeat_s}")


class ClientSettings(BrokerSettings, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Who asks.

    Attributes:
        collective: the collective to ask in.
        caller: the name of the key that signs; nodes know it as ``key=NAME``.
        key_file: its private key.
        trusted_nodes: folder of the nodes' public keys, ``IDENTITY.pub``; nobody else's reply counts.
        discovery_timeout_s: seconds to wait at most for the first and the last answer of a discovery.
        discovery_window_s: seconds without a new answer, after one, that end a discovery.
        timeout_s: seconds to wait for the replies of a call.
        registry: the identity of the registry that knows who should be there; `mco nodes` asks it.
        direct_limit: up to so many named nodes are asked one by one, which says at once who is offline.
        max_changed_nodes: ``mco`` refuses to change more nodes than this at a time, ``50`` or ``"10%"`` of everybody,
            unless --max-nodes says otherwise; empty for no limit.
        discovery: who finds the nodes: broadcast, inventory, flatfile, stdin, external or registry.
        discovery_options: the files of an inventory or a flatfile; the command of an external source.
        replay: the recording to answer from, for ``connector: replay``, which needs neither broker nor keys.
        replay_speed: 0 gives recorded answers at once, 1 as fast as they came, 10 ten times as fast.
        replay_strict: whether it is an error to ask more, or more often, than was asked when it was recorded.
    """

    collective: str = "mcollective"
    caller: str = ""
    key_file: str = "~/.config/mco/caller.key"
    trusted_nodes: str = "~/.config/mco/nodes"
    discovery_timeout_s: float = 2.0
    discovery_window_s: float = 0.3
    timeout_s: float = 5.0
    direct_limit: int = 200
    max_changed_nodes: str = ""
    discovery: str = "broadcast"
    discovery_options: tuple[str, ...] = ()
    registry: str = "registry"
    replay: str = ""
    replay_speed: float = 0.0
    replay_strict: bool = False

    def check(self) -> None:
        """Raise `ConfigError` for a value that its type allows and nothing else does."""
        super().check()
        names.check("collective", self.collective)
        names.check("registry", self.registry)
        if self.caller:
            names.check("caller", self.caller)
        for name in ("discovery_timeout_s", "discovery_window_s", "timeout_s"):
            _positive(self, name)
        _one_of("discovery", self.discovery, DISCOVERY_KINDS)
        _not_negative(self, "replay_speed")
        if bool(self.replay) != (self.connector == "replay"):
            # Who thinks that he asks a recording must never ask the fleet.
            raise ConfigError(
                f"replay: {self.replay!r} and connector: {self.connector!r}: a recording is answered from by "
                "`connector: replay`, and that needs one (MCO_CONNECTOR=replay MCO_REPLAY=FILE)"
            )


class NodeSettings(BrokerSettings, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Who answers.

    Attributes:
        identity: the node's name in its collectives; the host's full name if it is empty.
        collectives: the collectives to answer in.
        key_file: the node's private key.
        trusted_callers: folder of the public keys that may ask, ``NAME.pub``.
        facts_file: YAML mapping; read again when it changes.
        facts_dir: folder of executables that print a mapping (YAML, JSON or key=value lines) and of YAML files.
        facts_interval_s: seconds between two runs of the executables.
        registration: whether the node says unasked that it is there and what it is, for a registry.
        registration_interval_s: seconds between two registrations; at least 1. Who is silent for longer is missed.
        registration_facts: the facts that are told: ``true`` for all, or a list of names.
        classes_file: YAML list, or one class a line.
        libdir: folders with agents and data sources of one's own.
        libdir_interval_s: seconds between two looks at whether files in them changed; 0 for never.
        agents: settings by agent name; ``enabled: false`` leaves one out.
        data: settings by the name of a data source; ``enabled: false`` leaves one out.
        workers: actions that run at the same time.
        queue_limit: requests that may wait for a worker; more are answered ``aborted: busy``.
        max_body_bytes: largest request that is read and largest reply that is sent.
        max_clock_skew_s: how far a caller's clock may be off.
        max_ttl_s: longest time to live that a request may ask for; its id is remembered for so long.
        drain_timeout_s: seconds that a stop waits for running actions.
        identity_grace_s: seconds to wait for another connection with our identity to go; three heartbeats and 15 s
            if it is not given, because the broker needs so long to see that a connection of ours is dead.
        authorization: who may do what, once the key is trusted; allow_all is the only kind so far.
        audit_file: JSON lines, one a request; empty means none.
        log_level: debug, info, warning or error.
        log_format: text or json.
        metrics_textfile: file ending in .prom that the node's counters are written to, for node_exporter's textfile
            collector; empty for none. It needs the extra ``metrics``, and so does ``metrics_port``.
        metrics_interval_s: seconds between two writings of it.
        metrics_port: TCP port on which Prometheus may fetch them; 0 for none.
        metrics_address: the address to listen on there.
    """

    identity: str = ""
    collectives: tuple[str, ...] = ("mcollective",)
    key_file: str = "/etc/mco/node.key"
    trusted_callers: str = "/etc/mco/callers"
    facts_file: str = "/etc/mco/facts.yaml"
    facts_dir: str = "/etc/mco/facts.d"
    facts_interval_s: float = 300.0
    registration: bool = True
    registration_interval_s: float = 300.0
    registration_facts: bool | tuple[str, ...] = True
    classes_file: str = "/etc/mco/classes.yaml"
    libdir: tuple[str, ...] = ()
    libdir_interval_s: float = 10.0
    agents: dict[str, dict[str, Any]] = {}
    data: dict[str, dict[str, Any]] = {}
    workers: int = 8
    queue_limit: int = 1000
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    max_clock_skew_s: float = 10.0
    max_ttl_s: float = 3600.0
    drain_timeout_s: float = 10.0
    identity_grace_s: float | None = None
    authorization: str = "allow_all"
    audit_file: str = ""
    log_level: str = "info"
    log_format: str = "text"
    metrics_textfile: str = ""
    metrics_interval_s: float = 15.0
    metrics_port: int = 0
    metrics_address: str = "127.0.0.1"

    def check(self) -> None:
        """Raise `ConfigError` for a value that its type allows and nothing else does."""
        super().check()
        names.check("identity", self.identity)
        if not self.collectives:
            raise ConfigError("collectives: at least one is needed")
        for collective in self.collectives:
            names.check("collective", collective)
        for name in ("facts_interval_s", "workers", "queue_limit", "max_body_bytes", "max_ttl_s", "metrics_interval_s"):
            _positive(self, name)
        for name in ("max_clock_skew_s", "drain_timeout_s", "libdir_interval_s"):
            _not_negative(self, name)
        if not MIN_REGISTRATION_INTERVAL_S <= self.registration_interval_s <= MAX_REGISTRATION_INTERVAL_S:
            raise ConfigError(
                f"registration_interval_s: expected {MIN_REGISTRATION_INTERVAL_S:g} to "
                f"{MAX_REGISTRATION_INTERVAL_S:g} seconds, got {self.registration_interval_s:g}"
            )
        if self.identity_grace_s is not None:
            _not_negative(self, "identity_grace_s")
        _one_of("log_level", self.log_level, ("debug", "info", "warning", "error"))
        _one_of("log_format", self.log_format, ("text", "json"))
        if not 0 <= self.metrics_port <= _MAX_PORT:
            raise ConfigError(f"metrics_port: expected 0 to {_MAX_PORT}, got {self.metrics_port}")
        if self.metrics_textfile and not self.metrics_textfile.endswith(".prom"):
            raise ConfigError(
                f"metrics_textfile: {self.metrics_textfile!r}: the textfile collector reads only files "
                "that end in .prom"
            )


def _positive(settings: BrokerSettings, name: str) -> None:
    value = getattr(settings, name)
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{name}: expected more than 0, got {value}")


def _not_negative(settings: BrokerSettings, name: str) -> None:
    value = getattr(settings, name)
    if not (value >= 0 and math.isfinite(value)):
        raise ConfigError(f"{name}: expected 0 or more, got {value}")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name}: {value!r} is not one of {', '.join(choices)}{did_you_mean(value, choices)}")
