# SPDX-License-Identifier: Apache-2.0
"""Start hosts, and nodes on them as a user would; say how to run something else there.

Waits for nothing and remembers nothing: that is the lab's part.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import shlex
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import cgroups, network, node_files, readiness, repository
from .process import ProcessId, children_of, system_environment
from .readiness import Start
from .spec import HostSpec, Spec
from .state import HostState

NODE_UNIT = "mco-node.service"
# Beside what is every host's own.
_PACKAGES_WRITE_TO = ("usr", "opt", "srv")
_PORTS_UNIT = "mco-lab-ports.service"
_SEPARATE = ("--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
_NODE_ARGUMENTS = ("run", "--config", f"{node_files.NODE_ETC}/node.yaml")
_JOINED = ("--mount", "--uts", "--ipc", "--net", "--pid", "--")


def start(folder: Path, spec: Spec, host: HostState, private: str, node_command: Sequence[str]) -> Start:
    """Start a host in its network namespace, with files of its own.

    Args:
        folder: the lab's.
        private: ``auto`` or ``copy``: how a plain host gets these files.
        node_command: what the node's unit of a systemd host starts.
    """
    node_files.make_folders(folder, host.name)
    own = folder / "hosts" / host.name
    described = spec.host(host.name)
    settings: dict[str, Any] = {
        "name": host.name,
        "binds": {
            node_files.NODE_ETC: str(node_files.etc_of(folder, host.name)),
            node_files.NODE_LOG: str(node_files.log_of(folder, host.name)),
        },
        "keep": sorted({sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parent.parent)}),
        "etc": _names(spec, host.name),
        "emptied": [],
        "removed": [],
        "overlaid": [],
    }
    if spec.packages:
        settings["binds"][repository.MOUNTED] = str(repository.folder_of(folder))
        settings |= {"emptied": repository.EMPTIED, "removed": repository.REMOVED, "overlaid": _PACKAGES_WRITE_TO}
        settings["etc"] |= repository.ETC
    if described.is_systemd:
        units = _units(described, node_command)
        has_files = (node_files.etc_of(folder, host.name) / "node.yaml").exists()
        settings["cgroups"] = [str(path) for path in cgroups.create(host.namespace)]
        settings["etc"] |= {f"systemd/system/{name}": text for name, text in units.items()}
        # From its second boot on, the host starts its node by itself.
        enabled = {_PORTS_UNIT: bool(described.services), NODE_UNIT: described.has_node and has_files}
        settings["enabled"] = [unit for unit, is_enabled in enabled.items() if is_enabled]
        words = ["unshare", "--mount", "--", *program("systemd_init")]
    else:
        settings |= {"services": described.services, "scratch": str(own / "scratch"), "private": private}
        words = ["unshare", *_SEPARATE, *program("host_init")]

    def argv(ready_fd: int) -> list[str]:
        return [*network.enter(host.namespace), *words, json.dumps({**settings, "ready_fd": ready_fd})]

    return readiness.spawn(f"host {host.name}", own / "host.log", argv, system_environment())


def start_node(
    folder: Path, host: HostState, described: HostSpec, command: Sequence[str], environment: dict[str, str]
) -> Start:
    """Start the node of a host that is up."""

    def argv(ready_fd: int) -> list[str]:
        if described.is_systemd:
            return [*enter(host), *program("start_unit"), NODE_UNIT, str(ready_fd)]
        return [*enter(host), *command, *_NODE_ARGUMENTS, "--ready-fd", str(ready_fd)]

    return readiness.spawn(f"node {host.name}", node_log(folder, host.name), argv, environment)


def enter(host: HostState) -> list[str]:
    """Return the words that make a command run on a host that is up."""
    assert host.init is not None  # noqa: S101 - for the type checker
    return ["nsenter", f"--target={host.init.pid}", *_JOINED]


def node_of(host: HostState, described: HostSpec) -> ProcessId | None:
    """Return the process of a host's node, if it runs."""
    if described.is_systemd:
        return cgroups.main_process(host.namespace, NODE_UNIT, host.init) if host.init is not None else None
    return host.node if host.node is not None and host.node.is_running else None


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


def _names(spec: Spec, host: str) -> dict[str, str]:
    """Return the files below /etc that tell a host who it and the others are."""
    names = [("127.0.0.1", "localhost"), ("::1", "localhost"), (spec.gateway, "broker")]
    names += [(other.address, other.name) for other in spec.hosts]
    return {
        "hostname": f"{host}\n",
        "hosts": "".join(f"{address} {name}\n" for address, name in names),
        "resolv.conf": "# the hosts of a lab only know each other\n",
    }


def program(module: str) -> list[str]:
    """Return the words that run the ``main`` of a small program of this package, without what is installed."""
    folder = str(Path(__file__).parent.parent)
    start_it = f"import sys; sys.path.append(sys.argv.pop(1)); from mco_lab.{module} import main; main()"
    return [sys.executable, "-I", "-S", "-B", "-c", start_it, folder]


def _units(host: HostSpec, node_command: Sequence[str]) -> dict[str, str]:
    """Return the units of a systemd host: the node's as it is shipped, with the paths that are ours, and its ports'."""
    shipped = importlib.resources.files("mco_systemd").joinpath(NODE_UNIT).read_text("utf-8")
    paths = f"[Service]\nExecStart=\nExecStart={shlex.join([*node_command, *_NODE_ARGUMENTS])}\n"
    ports = shlex.join([*program("ports"), host.name, *(str(port) for port in host.services)])
    return {
        NODE_UNIT: shipped,
        f"{NODE_UNIT}.d/lab.conf": paths,
        _PORTS_UNIT: f"[Unit]\nDescription=Ports that answer\n[Service]\nType=notify\nExecStart={ports}\n",
    }
