# SPDX-License-Identifier: Apache-2.0
"""Start hosts, and nodes on them as a user would; say how to run something else there.

Waits for nothing and remembers nothing: that is the lab's part.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import host_init, network, node_files, readiness
from .process import ProcessId, children_of, system_environment
from .readiness import Start
from .spec import Spec
from .state import HostState

_SEPARATE = ("--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
_JOINED = ("--mount", "--uts", "--ipc", "--net", "--pid", "--")


def start(folder: Path, spec: Spec, host: HostState, private: str) -> Start:
    """Start a host in its network namespace, with files of its own.

    Args:
        folder: the lab's.
        private: ``auto`` or ``copy``: how it gets these files.
    """
    node_files.make_folders(folder, host.name)
    own = folder / "hosts" / host.name
    names = [("127.0.0.1", "localhost"), ("::1", "localhost"), (spec.gateway, "broker")]
    names += [(other.address, other.name) for other in spec.hosts]
    checkout = Path(__file__).resolve().parent.parent
    settings = {
        "name": host.name,
        "services": spec.host(host.name).services,
        "scratch": str(own / "scratch"),
        "binds": {
            node_files.NODE_ETC: str(node_files.etc_of(folder, host.name)),
            node_files.NODE_LOG: str(node_files.log_of(folder, host.name)),
        },
        "keep": sorted({sys.prefix, sys.base_prefix, str(checkout)}),
        "private": private,
        "etc": {
            "hostname": f"{host.name}\n",
            "hosts": "".join(f"{address} {name}\n" for address, name in names),
            "resolv.conf": "# the hosts of a lab only know each other\n",
        },
    }

    def argv(ready_fd: int) -> list[str]:
        program = [sys.executable, "-I", "-S", host_init.__file__]
        described = json.dumps({**settings, "ready_fd": ready_fd})
        return [*network.enter(host.namespace), "unshare", *_SEPARATE, *program, described]

    return readiness.spawn(f"host {host.name}", own / "host.log", argv, system_environment())


def start_node(folder: Path, host: HostState, command: Sequence[str], environment: dict[str, str]) -> Start:
    """Start the node of a host that is up."""

    def argv(ready_fd: int) -> list[str]:
        config = f"{node_files.NODE_ETC}/node.yaml"
        return [*enter(host), *command, "run", "--config", config, "--ready-fd", str(ready_fd)]

    return readiness.spawn(f"node {host.name}", node_log(folder, host.name), argv, environment)


def enter(host: HostState) -> list[str]:
    """Return the words that make a command run on a host that is up."""
    assert host.init is not None  # noqa: S101 - for the type checker
    return ["nsenter", f"--target={host.init.pid}", *_JOINED]


def inner_process(start: Start) -> ProcessId | None:
    """Return the process inside the host: the one child of the program that entered it."""
    children = children_of(start.child.pid)
    return ProcessId.of(children[0]) if children else None


def node_log(folder: Path, host: str) -> Path:
    """Return the log of a host's node."""
    return folder / "hosts" / host / "node.log"


def default_node_command() -> list[str]:
    """Return what starts a node: the program installed beside this interpreter, or its module."""
    installed = Path(sysconfig.get_path("scripts")) / "mco-node"
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "mco_node"]


def with_our_programs(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which the programs installed beside this interpreter are found first."""
    system, ours = system_environment(environment), sysconfig.get_path("scripts")
    folders = [folder for folder in system["PATH"].split(os.pathsep) if folder != ours]
    return {**system, "PATH": os.pathsep.join([ours, *folders])}
