# SPDX-License-Identifier: Apache-2.0
"""What can be done with a lab that is up, whoever brought it up: run commands, look at hosts, end nodes.

Starts nothing that belongs to the lab itself; that is `mco_lab.lab`'s part.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import hosts, network, node_files, repository, state
from .errors import LabError
from .process import ProcessId, parent_of
from .spec import HostSpec, PackageSpec, Spec

NODE_TIMEOUT_S = 30.0
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)
_STATUS_OF_SIGNAL = 128


class RunningLab:
    """A lab as its users see it: hosts by name, and where the broker can be reached."""

    def __init__(self, name: str, spec: Spec) -> None:
        self.name = name
        self.spec = spec
        self.folder = state.folder_of(name)
        self._state: state.LabState | None = None

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
        known = self.host_state(host)
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

    def node_of(self, host: str) -> ProcessId | None:
        """Return the process of a host's node, if it runs."""
        return hosts.node_of(self.host_state(host), self.hosts[host])

    @property
    def broker_process(self) -> ProcessId:
        """The broker's server, running or not."""
        return self._up_state().broker[0]

    def publish(self, *packages: PackageSpec) -> None:
        """Add packages to the lab's repository; hosts know them after their next ``apt-get update``.

        Raises:
            LabError: the lab has no repository, or a package cannot be built.
        """
        if not self.spec.packages:
            raise LabError(f"lab {self.name!r} has no repository: its file has no packages")
        repository.build(repository.folder_of(self.folder), packages)

    def node_log(self, host: str) -> Path:
        """Return the log of a host's node."""
        return hosts.node_log(self.folder, host)

    def start_on(self, host: str, argv: Sequence[str]) -> subprocess.Popen[Any]:
        """Start a command on a host, with all its output in one pipe."""
        return subprocess.Popen(
            self.enter(host, argv),
            env=self._host_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _host_environment(self) -> dict[str, str]:
        """Return the environment of commands on a host: without variables about clients or nodes elsewhere."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("MCO_")}
        return {**hosts.with_our_programs(outside), "MCO_LAB": self.name}

    def host_state(self, host: str) -> state.HostState:
        """Return what is written down about a host."""
        self.spec.host(host)
        return next(found for found in self._up_state().hosts if found.name == host)

    def _up_state(self) -> state.LabState:
        """Return what is written down now: another process may have started or ended something."""
        if self._state is not None:
            known = state.load(self.name)
            if known.owner == self._state.owner:
                return known
        raise LabError(f"lab {self.name!r} is not up; call up() or use it as a context manager")

    def _node(self, host: str) -> ProcessId:
        node = self.node_of(host)
        if node is None:
            raise LabError(f"node {host} of lab {self.name!r} does not run; see {self.node_log(host)}")
        return node
