# SPDX-License-Identifier: Apache-2.0
"""Configuration: a YAML file, then ``MCO_*`` variables over it; an unknown key is an error, never ignored.

``brokers`` becomes ``MCO_BROKERS``; a variable's text is read as the setting's type, lists at commas.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mco_rpc import names
from mco_rpc.errors import ConfigError
from mco_rpc.suggestion import did_you_mean
from mco_rpc.yaml_text import parse_yaml, read_yaml_mapping

PREFIX = "MCO_"
_MAX_HEARTBEAT_S = 65535
# Variables that are not settings: which file to read, and which lab a command runs in.
_NOT_SETTINGS = frozenset({"MCO_CONFIG", "MCO_LAB"})
# A client refuses to send more than nodes read unless their configuration says otherwise.
DEFAULT_MAX_BODY_BYTES = 1024 * 1024


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
        direct_limit: up to so many named nodes are asked one by one, which says at once who is offline.
    """

    collective: str = "mcollective"
    caller: str = ""
    key_file: str = "~/.config/mco/caller.key"
    trusted_nodes: str = "~/.config/mco/nodes"
    discovery_timeout_s: float = 2.0
    discovery_window_s: float = 0.3
    timeout_s: float = 5.0
    direct_limit: int = 200

    def check(self) -> None:
        """Raise `ConfigError` for a value that its type allows and nothing else does."""
        super().check()
        names.check("collective", self.collective)
        if self.caller:
            names.check("caller", self.caller)
        for name in ("discovery_timeout_s", "discovery_window_s", "timeout_s"):
            _positive(self, name)


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
        classes_file: YAML list, or one class a line.
        libdir: folders with agents of one's own.
        agents: settings by agent name; ``enabled: false`` leaves one out.
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
    """

    identity: str = ""
    collectives: tuple[str, ...] = ("mcollective",)
    key_file: str = "/etc/mco/node.key"
    trusted_callers: str = "/etc/mco/callers"
    facts_file: str = "/etc/mco/facts.yaml"
    facts_dir: str = "/etc/mco/facts.d"
    facts_interval_s: float = 300.0
    classes_file: str = "/etc/mco/classes.yaml"
    libdir: tuple[str, ...] = ()
    agents: dict[str, dict[str, Any]] = {}
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

    def check(self) -> None:
        """Raise `ConfigError` for a value that its type allows and nothing else does."""
        super().check()
        names.check("identity", self.identity)
        if not self.collectives:
            raise ConfigError("collectives: at least one is needed")
        for collective in self.collectives:
            names.check("collective", collective)
        for name in ("facts_interval_s", "workers", "queue_limit", "max_body_bytes", "max_ttl_s"):
            _positive(self, name)
        for name in ("max_clock_skew_s", "drain_timeout_s"):
            _not_negative(self, name)
        if self.identity_grace_s is not None:
            _not_negative(self, "identity_grace_s")
        _one_of("log_level", self.log_level, ("debug", "info", "warning", "error"))
        _one_of("log_format", self.log_format, ("text", "json"))


_Settings = TypeVar("_Settings", bound=BrokerSettings)


def client_settings(file: Path | None = None, environment: Mapping[str, str] | None = None) -> ClientSettings:
    """Return the settings of who asks.

    Args:
        file: the file to read; else ``MCO_CONFIG``, ``~/.config/mco/client.yaml``, ``/etc/mco/client.yaml``.

    Raises:
        ConfigError: what is wrong, in which file or variable.
    """
    environment = os.environ if environment is None else environment
    home = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "/")) / ".config")
    candidates = (home / "mco" / "client.yaml", Path("/etc/mco/client.yaml"))
    made = _load(ClientSettings, _file(file, environment, candidates), environment)
    if made.caller:
        return made
    try:
        caller = names.check("caller", Path(made.key_file).stem)
    except ConfigError as e:
        raise ConfigError(f"key_file: its name is the caller's unless `caller` is set, and {e}") from e
    return msgspec.structs.replace(made, caller=caller)


def node_settings(file: Path | None = None, environment: Mapping[str, str] | None = None) -> NodeSettings:
    """Return the settings of who answers; the identity is the host's full name unless it is set.

    Raises:
        ConfigError: what is wrong, in which file or variable.
    """
    environment = os.environ if environment is None else environment
    return _load(NodeSettings, _file(file, environment, (Path("/etc/mco/node.yaml"),)), environment)


def redacted(url: str) -> str:
    """Return a broker's URL without its password.

    >>> redacted("amqp://lab:secret@192.168.1.254:5672/")
    'amqp://lab@192.168.1.254:5672/'
    """
    before, mark, after = url.partition("://")
    scheme, rest = (before, after) if mark else ("", before)
    credentials, at, address = rest.rpartition("@")
    return f"{scheme}{mark}{credentials.partition(':')[0]}{at}{address}"


def _file(given: Path | None, environment: Mapping[str, str], candidates: Sequence[Path]) -> Path | None:
    if given is None and environment.get("MCO_CONFIG"):
        given = Path(environment["MCO_CONFIG"])
    if given is not None:
        if not given.is_file():
            raise ConfigError(f"configuration file {given} is not there")
        return given
    return next((path for path in candidates if path.is_file()), None)


def _load(kind: type[_Settings], file: Path | None, environment: Mapping[str, str]) -> _Settings:
    values = read_yaml_mapping(file) if file else {}
    known = {field.name: field for field in msgspec.structs.fields(kind)}
    for key in values:
        if key not in known:
            raise ConfigError(f"{file}: unknown key {key!r}{did_you_mean(key, known)}")
    for variable, text in environment.items():
        key = variable.removeprefix(PREFIX).lower()
        if variable.startswith(PREFIX) and variable not in _NOT_SETTINGS and text:
            if key not in known:
                # The other side's variables may be set for it in the same shell.
                if key in _ALL_KEYS:
                    continue
                suggestion = did_you_mean(key, known).upper().replace(" DID YOU MEAN ", f" did you mean {PREFIX}")
                raise ConfigError(f"environment variable {variable}: there is no setting {key}{suggestion}")
            values[key] = _from_text(known[key], variable, text)
    if "identity" in known and not values.get("identity"):
        values["identity"] = socket.getfqdn()
    try:
        made = msgspec.convert(values, kind)
        made.check()
    except (msgspec.ValidationError, ConfigError) as e:
        raise ConfigError(f"{file or 'configuration'}: {_as_key(str(e))}") from e
    return made


def _from_text(field: Any, variable: str, text: str) -> Any:
    """Return a variable's text as the type of its setting."""
    if field.type is str:
        return text
    if field.name in ("brokers", "collectives", "libdir"):
        return [part.strip() for part in text.split(",") if part.strip()]
    value = parse_yaml(text, f"environment variable {variable}")
    try:
        return msgspec.convert(value, field.type)
    except msgspec.ValidationError as e:
        raise ConfigError(f"environment variable {variable}: {e}") from e


def _as_key(text: str) -> str:
    """Turn msgspec's "... - at `$.workers`" into "workers: ..."."""
    message, mark, path = text.rpartition(" - at `$.")
    return f"{path.rstrip('`')}: {message}" if mark else text


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


_ALL_KEYS = frozenset(field.name for kind in (ClientSettings, NodeSettings) for field in msgspec.structs.fields(kind))
