# SPDX-License-Identifier: Apache-2.0
"""The registry's configuration: ``/etc/mco/registry.yaml``, read like that of a node."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from mco_rpc import names
from mco_rpc.config import DEFAULT_MAX_BODY_BYTES, BrokerSettings, NodeSettings, load_settings
from mco_rpc.errors import ConfigError

FILE = Path("/etc/mco/registry.yaml")
# What a node runs and the registry has not.
_NOWHERE = "/nonexistent"


class RegistrySettings(BrokerSettings, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Who keeps what the nodes say.

    Attributes:
        identity: the registry's name in its collectives; callers know it by their setting `registry`.
        collectives: the collectives to listen and to answer in.
        key_file: the registry's private key.
        trusted_callers: folder of the public keys that may ask, ``NAME.pub``.
        trusted_nodes: folder of the nodes' public keys, ``IDENTITY.pub``; nobody else's word counts.
        database: where it is kept: ``postgresql://user:password@host/name``, or the path of an SQLite file.
        max_nodes: so many nodes are kept at most.
        max_node_bytes: largest registration that is kept whole; of a larger one the facts are left out.
        max_clock_skew_s: how far a node's or a caller's clock may be off.
        workers: questions that are answered at the same time.
        queue_limit: questions that may wait.
        max_body_bytes: largest message that is read or sent.
        drain_timeout_s: seconds that a stop waits for what is to be answered and to be written.
        identity_grace_s: as for a node.
        authorization: who may ask what, once the key is trusted.
        audit_file: JSON lines, one a question; empty means none.
        log_level: debug, info, warning or error.
        log_format: text or json.
    """

    identity: str = "registry"
    collectives: tuple[str, ...] = ("mcollective",)
    key_file: str = "/etc/mco/registry.key"
    trusted_callers: str = "/etc/mco/callers"
    trusted_nodes: str = "/etc/mco/nodes"
    database: str = ""
    max_nodes: int = 50_000
    max_node_bytes: int = 256 * 1024
    max_clock_skew_s: float = 10.0
    workers: int = 4
    queue_limit: int = 1000
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    drain_timeout_s: float = 10.0
    identity_grace_s: float | None = None
    authorization: str = "allow_all"
    audit_file: str = ""
    log_level: str = "info"
    log_format: str = "text"

    def check(self) -> None:
        """Raise `ConfigError` for a value that its type allows and nothing else does."""
        super().check()
        self.node().check()
        names.check("identity", self.identity)
        for name in ("max_nodes", "max_node_bytes"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name}: expected more than 0, got {getattr(self, name)}")

    def node(self) -> NodeSettings:
        """Return the settings of the node that answers: it has no facts, and says nothing unasked."""
        known = {field.name for field in msgspec.structs.fields(NodeSettings)}
        shared = {field: getattr(self, field) for field in self.__struct_fields__ if field in known}
        return NodeSettings(**shared, registration=False, facts_dir=_NOWHERE)


def registry_settings(file: Path | None = None) -> RegistrySettings:
    """Return the registry's settings; ``MCO_CONFIG`` is not asked, for it names the client's file.

    Raises:
        ConfigError: what is wrong, in which file or variable.
    """
    environment = {name: text for name, text in os.environ.items() if name != "MCO_CONFIG"}
    return load_settings(RegistrySettings, file, (FILE,), environment)


def database_url(database: str) -> str:
    """Return the URL of the configured database; of an SQLite file where state belongs if there is none.

    >>> database_url("/var/lib/mco/registry.sqlite")
    'sqlite:////var/lib/mco/registry.sqlite'
    """
    if "://" in database:
        return database
    if not database:
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        database = str((Path("/var/lib") if os.geteuid() == 0 else home) / "mco" / "registry.sqlite")
    return f"sqlite:///{Path(database).expanduser().absolute()}"
