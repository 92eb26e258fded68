# SPDX-License-Identifier: Apache-2.0
"""A disposable fleet: up, used and gone, from Python.

Knows the order in which things come up and go; how each of them is made is the business of its own module.
"""

from __future__ import annotations

import functools
import logging
import secrets
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from . import hosts, network, node_files, readiness, repository, requirements, state
from .broker import AMQP_PORT, DIST_PORT, EPMD_PORT, Broker
from .errors import LabError
from .faults import Faults
from .process import end, reap
from .removal import remove
from .running import NODE_TIMEOUT_S, RunningLab
from .spec import Spec, read

_log = logging.getLogger(__name__)

HOST_TIMEOUT_S = 20.0
BROKER_TIMEOUT_S = 15.0


class Lab(RunningLab):
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
        super().__init__(name or f"lab-{secrets.token_hex(3)}", read(spec) if isinstance(spec, Path) else spec)
        self.broker: Broker | None = None
        self.faults = Faults(self)
        self._node_command = tuple(node_command or hosts.default_node_command())
        self._stays = stays
        self._private = private
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
        lab = cls(name, found.spec, node_command=found.node_command, private=found.private)
        lab._state = found
        return lab

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.down()

    def up(self) -> Self:
        """Bring everything up and wait until every node is connected; on failure nothing is left behind.

        Raises:
            LabError: something did not start; the text has the end of its log.
        """
        requirements.check(has_systemd=any(host.is_systemd for host in self.spec.hosts))
        self._state = state.claim(
            self.name, self.spec, stays=self._stays, node_command=self._node_command, private=self._private
        )
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

    def start_node(self, host: str) -> None:
        """Start the node of a host and wait until it is connected.

        Raises:
            LabError: it runs already, or did not become ready.
        """
        if (node := self.node_of(host)) is not None:
            raise LabError(f"node {host} already runs as process {node.pid}")
        self._start_nodes([host])

    def start_host(self, host: str) -> None:
        """Start a host that is down, and its node; files and packet filter are as they were at first.

        Raises:
            LabError: it is up, or did not start.
        """
        known = self.host_state(host)
        if known.init is not None and known.init.is_running:
            raise LabError(f"host {host} of lab {self.name!r} is up")
        network.renew(self.spec, self.control, host, known.namespace)
        self._start_hosts([host])
        if self.hosts[host].has_node:
            self._start_nodes([host])

    def stop_broker(self, number: int = signal.SIGTERM) -> None:
        """End the broker's server with a signal, and wait for it; fine if it does not run.

        Raises:
            LabError: it has not ended.
        """
        server = self.broker_process
        server.send(signal.SIGCONT)
        if server.send(number) and not server.wait(BROKER_TIMEOUT_S):
            raise LabError(f"the broker did not end within {BROKER_TIMEOUT_S:g} s after signal {number}")
        if self.broker is not None:
            self.broker.collect()

    def start_broker(self) -> None:
        """Start the broker's server and wait until it answers; what it stored is there again. Fine if it runs.

        Raises:
            LabError: it did not start.
        """
        known = self._up_state()
        server, epmd = known.broker
        if server.is_running:
            return
        if self.broker is None:
            ports = (AMQP_PORT, DIST_PORT, EPMD_PORT)
            prefix = network.enter(known.control)
            self.broker = Broker.of_folder(self.folder / "broker", host=self.spec.gateway, ports=ports, prefix=prefix)
        self.broker.launch(has_epmd=epmd.is_running)
        with state.change(self.name) as known:
            fresh = self.broker.processes
            known.broker = [fresh[0], epmd if epmd.is_running else fresh[1]]
        self.broker.await_ready()

    def restart_broker(self) -> None:
        """Stop the broker in an orderly way and start it again.

        Raises:
            LabError: it did not stop or start.
        """
        self.stop_broker()
        self.start_broker()

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
        with state.change(self.name) as changed:
            changed.broker = self.broker.processes
        if self.spec.packages:
            repository.build(repository.folder_of(self.folder), self.spec.packages)
        write_files = functools.partial(node_files.write, self.folder, self.spec, self.broker.url)
        self._start_hosts(list(self.hosts), write_files)
        self.broker.await_ready()
        self._start_nodes([host.name for host in self.spec.hosts if host.has_node])
        with state.change(self.name) as changed:
            changed.is_up = True

    def _start_hosts(self, names: Sequence[str], while_waiting: Callable[[], None] = lambda: None) -> None:
        """Start hosts, wait for all of them at once, and install what they are to have."""
        known = {name: self.host_state(name) for name in names}
        starts = {
            name: hosts.start(self.folder, self.spec, host, self._private, self._node_command)
            for name, host in known.items()
        }
        self._children += [start.child for start in starts.values()]
        while_waiting()
        readiness.wait(list(starts.values()), HOST_TIMEOUT_S)
        with state.change(self.name) as changed:
            for host in changed.hosts:
                if (start := starts.get(host.name)) is None:
                    continue
                host.init = hosts.inner_process(start)
                host.files = start.said.decode().removeprefix("READY").strip()
                if host.files != "overlay":
                    _log.warning("host %s: its own files are a %s", host.name, host.files)
        if self.spec.packages:
            repository.install({name: self.hosts[name].installed for name in names}, self.start_on)

    def _start_nodes(self, names: Sequence[str]) -> None:
        """Start nodes and wait for all of them at once."""
        self._children = [child for child in self._children if child.poll() is None]
        environment = self._host_environment()
        starts = {
            name: hosts.start_node(
                self.folder, self.host_state(name), self.hosts[name], self._node_command, environment
            )
            for name in names
        }
        self._children += [start.child for start in starts.values()]
        try:
            readiness.wait(list(starts.values()), NODE_TIMEOUT_S)
        except LabError:
            # One that is late must not be there beside the next that is started.
            end([process for start in starts.values() if (process := hosts.inner_process(start))])
            raise
        with state.change(self.name) as changed:
            for host in changed.hosts:
                if host.name in starts and not self.hosts[host.name].is_systemd:
                    host.node = hosts.inner_process(starts[host.name])
