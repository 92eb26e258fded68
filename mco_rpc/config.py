# SPDX-License-Identifier: Apache-2.0
"""Configuration: a YAML file, then ``MCO_*`` variables over it; an unknown key is an error, never ignored.

``brokers`` becomes ``MCO_BROKERS``; a variable's text is read as the setting's type, lists at commas.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mco_rpc import names
from mco_rpc.errors import ConfigError
from mco_rpc.settings import (
    DEFAULT_MAX_BODY_BYTES,
    DISCOVERY_KINDS,
    BrokerSettings,
    ClientSettings,
    NodeSettings,
)
from mco_rpc.suggestion import did_you_mean
from mco_rpc.yaml_text import parse_yaml, read_yaml_mapping

__all__ = [
    "DEFAULT_MAX_BODY_BYTES",
    "DISCOVERY_KINDS",
    "BrokerSettings",
    "ClientSettings",
    "NodeSettings",
    "client_file",
    "client_settings",
    "load_settings",
    "node_settings",
    "redacted",
]

PREFIX = "MCO_"
# Variables that are not settings: which file to read, which lab a command runs in, where to record,
# whether a shell that completes a word may ask the fleet.
_NOT_SETTINGS = frozenset({"MCO_CONFIG", "MCO_LAB", "MCO_RECORD", "MCO_CALL", "MCO_COMPLETE_LIVE"})
# What an external agent is told: it may run `mco`.
_NOT_SETTINGS_AT_ALL = ("MCO_CALL_", "MCO_INPUT_", "MCO_SETTING_")

_Settings = TypeVar("_Settings", bound=BrokerSettings)


def client_settings(file: Path | None = None, environment: Mapping[str, str] | None = None) -> ClientSettings:
    """Return the settings of who asks.

    Args:
        file: the file to read; else ``MCO_CONFIG``, ``~/.config/mco/client.yaml``, ``/etc/mco/client.yaml``.

    Raises:
        ConfigError: what is wrong, in which file or variable.
    """
    environment = os.environ if environment is None else environment
    made = _load(ClientSettings, client_file(file, environment), environment)
    if made.caller:
        return made
    try:
        caller = names.check("caller", Path(made.key_file).stem)
    except ConfigError as e:
        raise ConfigError(f"key_file: its name is the caller's unless `caller` is set, and {e}") from e
    return msgspec.structs.replace(made, caller=caller)


def client_file(file: Path | None = None, environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the file that the settings of who asks are read from, None if there is none.

    Raises:
        ConfigError: one was named, and is not there.
    """
    environment = os.environ if environment is None else environment
    home = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "/")) / ".config")
    return _file(file, environment, (home / "mco" / "client.yaml", Path("/etc/mco/client.yaml")))


def node_settings(file: Path | None = None, environment: Mapping[str, str] | None = None) -> NodeSettings:
    """Return the settings of who answers; the identity is the host's full name unless it is set.

    Raises:
        ConfigError: what is wrong, in which file or variable.
    """
    return load_settings(NodeSettings, file, (Path("/etc/mco/node.yaml"),), environment)


def load_settings(
    kind: type[_Settings], file: Path | None, candidates: Sequence[Path], environment: Mapping[str, str] | None = None
) -> _Settings:
    """Return settings of a kind, for programs that bring one of their own.

    Args:
        file: the file to read; else ``MCO_CONFIG``, or the first of ``candidates`` that is there.

    Raises:
        ConfigError: what is wrong, in which file or variable.
    """
    environment = os.environ if environment is None else environment
    return _load(kind, _file(file, environment, candidates), environment)


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
        if variable in _NOT_SETTINGS or variable.startswith(_NOT_SETTINGS_AT_ALL):
            continue
        if variable.startswith(PREFIX) and text:
            if key not in known:
                # The other side's variables may be set for it in the same shell.
                if key in _ALL_KEYS:
                    continue
                suggestion = did_you_mean(key, known).upper().replace(" DID YOU MEAN ", f" did you mean {PREFIX}")
                raise ConfigError(f"environment variable {variable}: there is no setting {key}{suggestion}")
            values[key] = _from_text(known[key], variable, text)
    if "identity" in known and not (values.get("identity") or known["identity"].default):
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
    if field.name in ("brokers", "collectives", "libdir", "discovery_options"):
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


_ALL_KEYS = frozenset(field.name for kind in (ClientSettings, NodeSettings) for field in msgspec.structs.fields(kind))
