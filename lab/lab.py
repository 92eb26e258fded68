# SPDX-License-Identifier: Apache-2.0
"""A disposable fleet: up, used and gone, from Python.

Knows the order in which things come up and go; how each of them is made is the business of its own module.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from . import hosts, network, node_files, readiness, requirements, state
from .broker import AMQP_PORT, DIST_PORT, EPMD_PORT, Broker
from .errors import LabError
from .process import ProcessId, parent_of, reap
from .removal import remove
from .spec import HostSpec, Spec, read

_log = logging.getLogger(__name__)

HOST_TIMEOUT_S = 20.0
NODE_TIMEOUT_S = 30.0
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
        self._node_command = tuple(node_command or hosts.default_node_command())
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
        client = {"MCO_CONFIG": str(self.client_config), "MCO_LAB": self.name}
        return {**hosts.with_our_programs(os.environ), **client}

    def up(self) -> Self:
        """Bring everything up and wait until every node is connected; on failure nothing is left behind.

        Raises:
            LabError: something did not start; the text has the end of its log.
        """
        requirements.check()
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
            if state.is_current(self._state):
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

    def enter(self, host: str, argv: Sequence[str]) -> list[str]:
        """Return the command that runs ``argv`` on a host.

        Raises:
            LabError: the host is not up.
        """
        known = self._host(host)
        if known.init is None or not known.init.is_running:
            raise LabError(f"host {host} of lab {self.name!r} is not up; `mco lab status` says what is")
        return [*hosts.enter(known), *argv]

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
        if number == signal.SIGCONT and (outside := parent_of(node)):
            outside.send(number)  # what entered the host stops and goes on with what it started there
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
        return hosts.node_log(self.folder, host)

    def _bring_up(self, known: state.LabState) -> None:
        network.create(self.spec, known.control, [host.namespace for host in known.hosts])
        folder = self.folder / "broker"
        folder.mkdir()
        prefix = network.enter(known.control)
        # Inside a namespace of their own, all ports are free.
        self.broker = Broker(
            folder, host=self.spec.gateway, port=AMQP_PORT, dist_port=DIST_PORT, epmd_port=EPMD_PORT, prefix=prefix
        )
        self.broker.launch()  # takes longest, so everything else is done meanwhile
        self._save_broker()
        starts = [hosts.start(self.folder, self.spec, host, self._private) for host in known.hosts]
        self._children += [start.child for start in starts]
        node_files.write(self.folder, self.spec, self.broker.url)
        readiness.wait(starts, HOST_TIMEOUT_S)
        for host, start in zip(known.hosts, starts, strict=True):
            host.init = hosts.inner_process(start)
            host.files = start.said.decode().removeprefix("READY").strip()
            if host.files != "overlay":
                _log.warning("host %s: its own files are a %s", host.name, host.files)
        state.save(known)
        self.broker.await_ready()
        self._start_nodes([host for host in known.hosts if self.hosts[host.name].has_node])
        known.is_up = True
        state.save(known)

    def _start_nodes(self, of: Sequence[state.HostState]) -> None:
        """Start nodes and wait for all of them at once."""
        self._children = [child for child in self._children if child.poll() is None]
        environment = self._host_environment()
        starts = [hosts.start_node(self.folder, host, self._node_command, environment) for host in of]
        self._children += [start.child for start in starts]
        readiness.wait(starts, NODE_TIMEOUT_S)
        for host, start in zip(of, starts, strict=True):
            host.node = hosts.inner_process(start)
        state.save(self._up_state())

    def _host_environment(self) -> dict[str, str]:
        """Return the environment of commands on a host: without variables about clients or nodes elsewhere."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("MCO_")}
        return {**hosts.with_our_programs(outside), "MCO_LAB": self.name}

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
