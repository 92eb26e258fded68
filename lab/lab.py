# SPDX-License-Identifier: Apache-2.0
"""A disposable fleet: up, used and gone, from Python.

Knows the order in which things come up and go; how each of them is made is the business of its own module.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from . import broker_files, host_init, network, node_files, readiness, state
from .broker import AMQP_PORT, Broker
from .errors import LabError
from .process import ProcessId, children_of, end, reap, system_environment
from .readiness import Start
from .spec import HostSpec, Spec, read

_log = logging.getLogger(__name__)

HOST_TIMEOUT_S = 20.0
NODE_TIMEOUT_S = 30.0
_DRAIN_TIMEOUT_S = 2.0
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)
_STATUS_OF_SIGNAL = 128


class Lab:
    """A private broker, and hosts with nodes, as a context manager.

    Args:
        name: how other processes find it; a random one if not given.
        spec: what to bring up, or the YAML file that says it.
        node_command: what starts a node, instead of the installed ``mco-node``.
        stays: whether it outlives this process; then only `down` ends it.
        private: ``auto`` or ``copy``: how hosts get files of their own.

    ::

        with Lab(None, Path("lab/firewall.yaml")) as lab:
            lab.run(["mco", "ping"])
            lab.stop_node("dev1", signal.SIGKILL)
    """

    def __init__(
        self,
        name: str | None,
        spec: Spec | Path,
        *,
        node_command: Sequence[str] | None = None,
        stays: bool = False,
        private: str = "auto",
    ) -> None:
        self.name = name or f"lab-{secrets.token_hex(3)}"
        self.spec = read(spec) if isinstance(spec, Path) else spec
        self.folder = state.folder_of(self.name)
        self.broker: Broker | None = None
        self._node_command = tuple(node_command or default_node_command())
        self._stays = stays
        self._private = private
        self._state: state.LabState | None = None
        self._children: list[subprocess.Popen[bytes]] = []

    @classmethod
    def attach(cls, name: str) -> Lab:
        """Return a lab that another process brought up.

        Raises:
            LabError: no lab of this name is up.
        """
        found = state.load(name)
        if not found.is_up:
            raise LabError(f"lab {name!r} is not wholly up; `mco lab status` says more, `mco lab down` removes it")
        lab = cls(name, found.spec)
        lab._state = found
        return lab

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.down()

    @property
    def hosts(self) -> dict[str, HostSpec]:
        """The hosts by name, those without a node too."""
        return {host.name: host for host in self.spec.hosts}

    @property
    def client_config(self) -> Path:
        """The configuration of the lab's caller."""
        return node_files.client_config(self.folder)

    @property
    def control(self) -> str:
        """The network namespace of the broker and of everything that `run` starts."""
        return self._up_state().control

    def environment(self) -> dict[str, str]:
        """Return the environment of commands that use the lab: this process's, the client's, our programs first."""
        return {**_with_our_programs(dict(os.environ)), "MCO_CONFIG": str(self.client_config), "MCO_LAB": self.name}

    def up(self) -> Self:
        """Bring everything up and wait until every node is connected; on failure nothing is left behind.

        Raises:
            LabError: something did not start; the text has the end of its log.
        """
        check_can_run()
        self._state = state.claim(self.name, self.spec, stays=self._stays)
        try:
            self._bring_up(self._state)
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """End every process of the lab and remove all traces of it; does nothing if there are none."""
        if self._state is not None:
            remove(self.name)
            if self.broker is not None:
                self.broker.close()
            reap(self._children)
            self._children.clear()
            self._state = None

    def run(self, command: Sequence[str], **options: Any) -> int:
        """Run a command where the broker can be reached; return its status, 128 + n if signal n ended it."""
        status = self.popen(command, **options).wait()
        return _STATUS_OF_SIGNAL - status if status < 0 else status

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command where the broker can be reached; options are those of `subprocess.Popen`."""
        return subprocess.Popen([*network.enter(self.control), *command], **{"env": self.environment(), **options})

    def exec(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a command on a host to its end; options are those of `subprocess.run`.

        Output is captured as text if the options do not say otherwise.
        """
        defaults: dict[str, Any] = {"env": self._host_environment(), "text": True, "check": False}
        if not {"capture_output", "stdout", "stderr"} & options.keys():
            defaults["capture_output"] = True
        return subprocess.run(self.enter(host, argv), **{**defaults, **options})

    def _host_environment(self) -> dict[str, str]:
        """Return the environment of commands on a host: without variables about clients or nodes elsewhere."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("MCO_")}
        return {**_with_our_programs(outside), "MCO_LAB": self.name}

    def enter(self, host: str, argv: Sequence[str]) -> list[str]:
        """Return the command that runs ``argv`` on a host.

        Raises:
            LabError: the host is not up.
        """
        init = self._host(host).init
        if init is None or not init.is_running:
            raise LabError(f"host {host} of lab {self.name!r} is not up; `mco lab status` says what is")
        return [*_enter_host(init), *argv]

    def node_pid(self, host: str) -> int:
        """Return the number of a host's node, as seen from outside the host.

        Raises:
            LabError: it does not run.
        """
        return self._node(host).pid

    def stop_node(self, host: str, number: int = signal.SIGTERM) -> None:
        """Send a signal to a host's node and, if it ends processes, wait until it has ended.

        Raises:
            LabError: it does not run, or has not ended.
        """
        node = self._node(host)
        node.send(number)
        if number in _ENDING_SIGNALS and not node.wait(NODE_TIMEOUT_S):
            raise LabError(f"node {host} did not end within {NODE_TIMEOUT_S:g} s after signal {number}")

    def start_node(self, host: str) -> None:
        """Start the node of a host and wait until it is connected.

        Raises:
            LabError: it runs already, or did not become ready.
        """
        known = self._host(host)
        if known.node is not None and known.node.is_running:
            raise LabError(f"node {host} already runs as process {known.node.pid}")
        self._start_nodes([known])

    def restart_broker(self) -> None:
        """Stop the broker in an orderly way and start it again.

        Raises:
            LabError: this process did not bring the lab up, or the broker did not start.
        """
        if self.broker is None:
            raise LabError("only the process that brought a lab up can restart its broker")
        self.broker.stop()
        self.broker.start()
        self._save_broker()

    def node_log(self, host: str) -> Path:
        """Return the log of a host's node."""
        return self.folder / "hosts" / host / "node.log"

    def _bring_up(self, known: state.LabState) -> None:
        namespaces = [host.namespace for host in known.hosts]
        network.create(self.spec, known.control, namespaces)
        self.broker = Broker(
            self._folder("broker"),
            host=self.spec.gateway,
            port=AMQP_PORT,
            dist_port=AMQP_PORT + 20000,
            epmd_port=4369,
            prefix=network.enter(known.control),
        )
        self.broker.launch()  # takes longest, so everything else is done meanwhile
        self._save_broker()
        starts = [self._start_host(host) for host in known.hosts]
        node_files.write(self.folder, self.spec, self.broker.url)
        readiness.wait(starts, HOST_TIMEOUT_S)
        for host, start in zip(known.hosts, starts, strict=True):
            host.init = _only_child(start)
            host.files = start.said.decode().removeprefix("READY").strip()
            if host.files != "overlay":
                _log.warning("host %s: this machine allows no overlay, files by %s", host.name, host.files)
        state.save(known)
        self.broker.await_ready()
        self._start_nodes([host for host in known.hosts if self.hosts[host.name].has_node])
        known.is_up = True
        state.save(known)

    def _start_host(self, host: state.HostState) -> Start:
        node_files.make_folders(self.folder, host.name)
        names = [("127.0.0.1", "localhost"), ("::1", "localhost"), (self.spec.gateway, "broker")]
        names += [(other.address, other.name) for other in self.spec.hosts]
        settings = {
            "name": host.name,
            "services": self.hosts[host.name].services,
            "scratch": str(self.folder / "hosts" / host.name / "scratch"),
            "binds": {
                node_files.NODE_ETC: str(node_files.etc_of(self.folder, host.name)),
                node_files.NODE_LOG: str(node_files.log_of(self.folder, host.name)),
            },
            "keep": sorted({sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parent.parent)}),
            "private": self._private,
            "etc": {
                "hostname": f"{host.name}\n",
                "hosts": "".join(f"{address} {name}\n" for address, name in names),
                "resolv.conf": "# the hosts of a lab only know each other\n",
            },
        }
        separate = ("--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", "--")

        def argv(ready_fd: int) -> list[str]:
            program = [sys.executable, "-I", "-S", host_init.__file__]
            described = json.dumps({**settings, "ready_fd": ready_fd})
            return [*network.enter(host.namespace), "unshare", *separate, *program, described]

        log = self.folder / "hosts" / host.name / "host.log"
        return self._spawned(readiness.spawn(f"host {host.name}", log, argv, system_environment()))

    def _start_nodes(self, hosts: Sequence[state.HostState]) -> None:
        """Start nodes as a user would, and wait for all of them at once."""
        config = f"{node_files.NODE_ETC}/node.yaml"
        self._children = [child for child in self._children if child.poll() is None]
        starts = []
        for host in hosts:

            def argv(ready_fd: int, host: state.HostState = host) -> list[str]:
                command = (*self._node_command, "run", "--config", config, "--ready-fd", str(ready_fd))
                return self.enter(host.name, command)

            log = self.node_log(host.name)
            start = readiness.spawn(f"node {host.name}", log, argv, self._host_environment())
            starts.append(self._spawned(start))
        readiness.wait(starts, NODE_TIMEOUT_S)
        for host, start in zip(hosts, starts, strict=True):
            host.node = _only_child(start)
        state.save(self._up_state())

    def _spawned(self, start: Start) -> Start:
        self._children.append(start.child)
        return start

    def _save_broker(self) -> None:
        known = self._up_state()
        known.broker = self.broker.processes if self.broker is not None else []
        state.save(known)

    def _up_state(self) -> state.LabState:
        if self._state is None:
            raise LabError(f"lab {self.name!r} is not up; call up() or use it as a context manager")
        return self._state

    def _host(self, name: str) -> state.HostState:
        self.spec.host(name)
        return next(host for host in self._up_state().hosts if host.name == name)

    def _node(self, host: str) -> ProcessId:
        node = self._host(host).node
        if node is None or not node.is_running:
            raise LabError(f"node {host} of lab {self.name!r} does not run; see {self.node_log(host)}")
        return node

    def _folder(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir()
        return path


def remove(name: str) -> None:
    """Tear a lab down from what was written down about it, whoever brought it up and however far that came.

    Raises:
        LabError: a process cannot be ended.
    """
    try:
        known = state.load(name)
    except LabError:  # there is none, or its state was destroyed
        namespaces = _unclaimed(name)
    else:
        namespaces = known.namespaces
        deadline = time.monotonic() + _DRAIN_TIMEOUT_S
        nodes = [host.node for host in known.hosts if host.node is not None and host.node.send(signal.SIGTERM)]
        for node in nodes:
            node.wait(deadline - time.monotonic())
        end(known.processes)
    # What is not written down, because the way up was cut short or a command started it, lives in a namespace of ours.
    while found := network.members(namespaces):
        if survivors := end(found):
            pids = ", ".join(str(process.pid) for process in survivors)
            raise LabError(f"lab {name!r}: processes {pids} cannot be ended; try `mco lab down --name {name}` again")
    network.remove(namespaces)
    state.forget(name)


def _unclaimed(name: str) -> list[str]:
    """Return the namespaces that by their name belong to a lab, without those another lab has written down."""
    claimed: set[str] = set()
    for other in state.names():
        with contextlib.suppress(LabError):
            claimed.update(state.load(other).namespaces)
    return [namespace for namespace in network.named(f"mco-{name}-") if namespace not in claimed]


def check_can_run() -> None:
    """Make sure that a lab can be brought up here, before anything is made.

    Raises:
        LabError: not root, or programs are missing.
    """
    if os.geteuid() != 0:
        command = " ".join([str(Path(sys.argv[0]).absolute()), *sys.argv[1:]])
        raise LabError(f"a lab makes network namespaces, which needs root; run: sudo {command}")
    network.check_programs()
    broker_files.find_server()


def default_node_command() -> list[str]:
    """Return what starts a node: the program installed beside this interpreter, or its module."""
    installed = Path(sysconfig.get_path("scripts")) / "mco-node"
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "mco_node"]


def _with_our_programs(environment: dict[str, str]) -> dict[str, str]:
    system = system_environment(environment)
    path, ours = system["PATH"], sysconfig.get_path("scripts")
    return {**system, "PATH": path if path.split(os.pathsep)[0] == ours else f"{ours}{os.pathsep}{path}"}


def _enter_host(init: ProcessId) -> tuple[str, ...]:
    return ("nsenter", f"--target={init.pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--")


def _only_child(start: Start) -> ProcessId | None:
    """Return the process that a command runs in the host: the one child of what entered it."""
    with contextlib.suppress(IndexError):
        return ProcessId.of(children_of(start.child.pid)[0])
    return None
