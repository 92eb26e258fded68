# SPDX-License-Identifier: Apache-2.0
"""The files of the lab's nodes and of its client: configuration, fresh keys, facts and classes.

Writes below the lab's own folder only; the hosts see their part of it as /etc/mco and /var/log/mco.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mco_rpc.security import keys

from .spec import HostSpec, Spec

CALLER = "operator"
NODE_ETC = "/etc/mco"
NODE_LOG = "/var/log/mco"


def client_config(folder: Path) -> Path:
    """Return where the configuration of the lab's caller is."""
    return folder / "client/client.yaml"


def etc_of(folder: Path, host: str) -> Path:
    """Return the folder that a host sees as /etc/mco."""
    return folder / "hosts" / host / "etc"


def log_of(folder: Path, host: str) -> Path:
    """Return the folder that a host sees as /var/log/mco."""
    return folder / "hosts" / host / "log"


def make_folders(folder: Path, host: str) -> None:
    """Make what a host binds before it starts; it is filled afterwards."""
    for path in (etc_of(folder, host), log_of(folder, host), folder / "hosts" / host / "scratch"):
        path.mkdir(parents=True, exist_ok=True)


def write(folder: Path, spec: Spec, url: str) -> None:
    """Write everything that the caller and the nodes of a lab read."""
    client = client_config(folder).parent
    trusted = client / "nodes"
    trusted.mkdir(parents=True)
    public = client / f"{CALLER}.pub"
    keys.generate(client / f"{CALLER}.key", public)
    _write_yaml(
        client_config(folder),
        {
            "caller": CALLER,
            "brokers": [url],
            "key_file": str(client / f"{CALLER}.key"),
            "trusted_nodes": str(trusted),
        },
    )
    for host in spec.hosts:
        if host.has_node:
            etc = etc_of(folder, host.name)
            keys.generate(etc / "node.key", trusted / f"{host.identity}.pub")
            (etc / "callers").mkdir()
            shutil.copy(public, etc / "callers")
            _write_yaml(etc / "facts.yaml", host.facts)
            _write_yaml(etc / "classes.yaml", host.classes)
            _write_yaml(etc / "node.yaml", node_config(spec, host, url))


def node_config(spec: Spec, host: HostSpec, url: str) -> dict[str, Any]:
    """Return the configuration of a host's node: the lab's, then the spec's for all nodes, then the host's."""
    config: dict[str, Any] = {
        "identity": host.identity,
        "collectives": ["mcollective"],
        "brokers": [url],
        "key_file": f"{NODE_ETC}/node.key",
        "trusted_callers": f"{NODE_ETC}/callers",
        "facts_file": f"{NODE_ETC}/facts.yaml",
        "classes_file": f"{NODE_ETC}/classes.yaml",
        "audit_file": f"{NODE_LOG}/audit.jsonl",
    }
    config = merged(config, spec.node)
    return merged(config, host.node) if isinstance(host.node, dict) else config


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the values of ``over``; mappings are merged, everything else is replaced.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        is_deep = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if is_deep else value  # type: ignore[arg-type]
    return result


def _write_yaml(path: Path, data: object) -> None:
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), "utf-8")
