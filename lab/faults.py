# SPDX-License-Identifier: Apache-2.0
"""Break parts of a lab that is up on purpose, and mend them: each call may be repeated, and says what it did.

What is broken is seen where it is, and written down nowhere: `conditions` tells what anybody else did, too.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mco_rpc.errors import ConfigError
from mco_rpc.suggestion import did_you_mean

from . import cgroups, network
from .errors import LabError
from .process import ProcessId, end

if TYPE_CHECKING:
    from .lab import Lab
    from .state import HostState

BROKER = "broker"
CPU_SHARE = 0.02
_RESUME_TRIES, _PAUSE_S = 20, 0.01
# A packet of the largest size has to fit.
_BURST_BYTES, _QUEUE_BYTES = 1600, 1_000_000
_RATE = re.compile(r"[1-9][0-9]{0,8}(bit|kbit|mbit|gbit)\Z")


class Faults:
    """What can go wrong with the hosts and the broker of a lab. A target is a host's name or ``broker``.

    ::

        lab.faults.partition("web1")
        lab.run(["mco", "ping"])  # web1 does not answer
        lab.faults.heal("web1")
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def kill(self, target: str, *, is_host: bool = False) -> str:
        """End the node of a host, the whole host, or the broker with signal 9, as a crash would."""
        if self._is_broker(target):
            if not self._lab.broker_process.is_running:
                return "broker: does not run"
            self._lab.stop_broker(signal.SIGKILL)
            return "broker: killed"
        if is_host:
            return self._kill_host(target)
        node = self._node(target)
        if node is None:
            return f"{target}: its node does not run"
        end([node])
        by_itself = "; its systemd will start it again" if self._lab.hosts[target].is_systemd else ""
        return f"{target}: its node was killed{by_itself}"

    def start(self, target: str) -> str:
        """Start what was killed: the broker, a host with its node, or only the node."""
        if self._is_broker(target):
            if self._lab.broker_process.is_running:
                return "broker: runs already"
            self._lab.start_broker()
            return "broker: started"
        if not self._is_up(target):
            self._lab.start_host(target)
            return f"{target}: started"
        if not self._lab.hosts[target].has_node:
            return f"{target}: is up already"
        if self._node(target) is not None:
            return f"{target}: its node runs already"
        self._lab.start_node(target)
        return f"{target}: its node was started"

    def pause(self, target: str, *, is_host: bool = False) -> str:
        """Stop the node of a host, everything on the host, or the broker in the middle of what it does (SIGSTOP)."""
        if self._is_broker(target):
            server = self._lab.broker_process
            was_paused = server.is_stopped
            _stop([server])
            return f"broker: {_became(was_paused, 'paused', server.is_running, 'does not run')}"
        if is_host:
            before = self._is_paused(target, is_host=True)
            while moving := [process for process in self._members(target) if not process.is_stopped]:
                _stop(moving)
            return f"{target}: {_became(before, 'paused', self._is_up(target), 'is down')}"
        node = self._node(target)
        if node is None:
            return f"{target}: its node does not run"
        was_paused = node.is_stopped
        _stop([node])
        return f"{target}: its node {_became(was_paused, 'paused')}"

    def resume(self, target: str) -> str:
        """Let everything of a host, or the broker, go on that was paused."""
        is_broker = self._is_broker(target)
        processes = [self._lab.broker_process] if is_broker else self._members(target)
        was_paused = False
        # What started something in the host stops once more when it learns that this was stopped.
        for _ in range(_RESUME_TRIES):
            stopped = [process for process in processes if process.is_stopped]
            if not stopped:
                break
            was_paused = True
            for process in reversed(stopped):
                process.send(signal.SIGCONT)
            time.sleep(_PAUSE_S)
        return f"{target}: {'goes on' if was_paused else 'was not paused'}"

    def partition(self, host: str) -> str:
        """Cut a host from the network; what it sends and what is sent to it is lost, and nobody is told."""
        self._not_broker(host, "partition", "pause")
        was_cut = host in self._cut()
        self._link(host, "down")
        return f"{host}: {_became(was_cut, 'cut from the network')}"

    def slow(self, host: str, *, cpu_share: float | None = None, rate: str | None = None) -> str:
        """Leave a host little CPU time, 2 % of a processor if nothing is said, or a slow link in both directions.

        Args:
            cpu_share: of one processor, for everything on the host together.
            rate: as ``tc`` writes it, for instance ``64kbit``.
        """
        self._not_broker(host, "slow down", "pause")
        if rate is not None and not _RATE.match(rate):
            raise ConfigError(f"{rate!r} is not a rate: a number and bit, kbit, mbit or gbit, for instance 64kbit")
        if cpu_share is not None and not 0 < cpu_share <= 1:
            raise ConfigError(f"{cpu_share:g} is not a share of a processor: more than 0, at most 1")
        if cpu_share is None and rate is None:
            cpu_share = CPU_SHARE
        said = []
        if cpu_share is not None:
            known = self._up(host)
            cgroups.limit_cpu(known.namespace, lambda: self._members(host), cpu_share)
            said.append(f"{cpu_share:.1%} of a processor")
        if rate is not None:
            for namespace, device in self.ends(host):
                network.limit_rate(namespace, device, rate, _BURST_BYTES, _QUEUE_BYTES)
            said.append(f"{rate}/s on its link")
        return f"{host}: slowed down to {' and '.join(said)}"

    def heal(self, target: str) -> str:
        """Undo `pause`, `partition` and `slow`; what was killed stays so until `start`."""
        resumed = self.resume(target).endswith("goes on")
        if self._is_broker(target):
            return "broker: goes on" if resumed else "broker: nothing to heal"
        done = ["goes on"] if resumed else []
        if target in self._cut():
            self._link(target, "up")
            done.append("joined to the network")
        was_slow = cgroups.unlimit_cpu(self._lab.host_state(target).namespace)
        for namespace, device in self.ends(target):
            was_slow |= network.unlimit_rate(namespace, device)
        if was_slow:
            done.append("fast again")
        return f"{target}: {', '.join(done) or 'nothing to heal'}"

    def conditions(self) -> dict[str, list[str]]:
        """Return what is wrong with each host and the broker, as words; no entry for what is well."""
        cut, found = self._cut(), {}
        server = self._lab.broker_process
        found[BROKER] = ["down"] if not server.is_running else ["paused"] if server.is_stopped else []
        for name, host in self._lab.hosts.items():
            if not self._is_up(name):
                found[name] = ["down"]
                continue
            node = self._node(name) if host.has_node else None
            words = {
                "node down": host.has_node and node is None,
                "paused": self._is_paused(name, is_host=True),
                "partitioned": name in cut,
                "slow": cgroups.has_cpu_limit(self._lab.host_state(name).namespace)
                or any(network.has_rate(namespace, device) for namespace, device in self.ends(name)),
            }
            words["node paused"] = not words["paused"] and node is not None and node.is_stopped
            found[name] = [word for word, is_so in words.items() if is_so]
        return {name: words for name, words in found.items() if words}

    def _kill_host(self, host: str) -> str:
        known = self._lab.host_state(host)
        if known.init is None or not known.init.is_running:
            return f"{host}: is down"
        namespaces = [known.namespace]
        while found := {*network.members(namespaces), *cgroups.members(namespaces)}:
            if survivors := end(found):
                pids = ", ".join(str(process.pid) for process in survivors)
                raise LabError(f"host {host}: processes {pids} cannot be ended")
        cgroups.remove(namespaces)
        return f"{host}: the whole host was killed"

    def _members(self, host: str) -> list[ProcessId]:
        """Return everything that runs on a host, its first process first."""
        namespaces = [self._lab.host_state(host).namespace]
        found = {*network.members(namespaces), *cgroups.members(namespaces)}
        return sorted((process for process in found if process.is_running), key=lambda process: process.start_ticks)

    def _is_paused(self, host: str, *, is_host: bool) -> bool:
        init = self._lab.host_state(host).init
        return is_host and init is not None and init.is_stopped

    def _is_up(self, host: str) -> bool:
        init = self._lab.host_state(host).init
        return init is not None and init.is_running

    def _up(self, host: str) -> HostState:
        known = self._lab.host_state(host)
        if not self._is_up(host):
            raise LabError(f"host {host} of lab {self._lab.name!r} is down; `mco lab start {host}` starts it")
        return known

    def _node(self, host: str) -> ProcessId | None:
        if not self._lab.spec.host(host).has_node:
            raise LabError(f"host {host} has no node; --host means the host itself")
        return self._lab.node_of(host) if self._is_up(host) else None

    def ends(self, host: str) -> list[tuple[str, str]]:
        """Return namespace and name of both ends of a host's cable."""
        return [(self._lab.control, self._cable(host)), (self._lab.host_state(host).namespace, network.HOST_LINK)]

    def _cable(self, host: str) -> str:
        return network.link_of(list(self._lab.hosts).index(self._lab.spec.host(host).name), host)

    def _link(self, host: str, word: str) -> None:
        network.ip(f"link set {self._cable(host)} {word}", namespace=self._lab.control)

    def _cut(self) -> set[str]:
        links = json.loads(network.ask("ip", "-n", self._lab.control, "-j", "link"))
        down = {link["ifname"] for link in links if "UP" not in link["flags"]}
        return {host for host in self._lab.hosts if self._cable(host) in down}

    def _is_broker(self, target: str) -> bool:
        if target != BROKER and target not in self._lab.hosts:
            known = [*self._lab.hosts, BROKER]
            raise ConfigError(f"this lab has no {target!r}{did_you_mean(target, known)} (it has {', '.join(known)})")
        return target == BROKER and BROKER not in self._lab.hosts

    def _not_broker(self, target: str, verb: str, instead: str) -> None:
        if self._is_broker(target):
            raise LabError(f"the broker has no cable of its own to {verb}; {instead} it, or take the hosts one by one")


def _stop(processes: Sequence[ProcessId]) -> None:
    """Stop processes, and wait until they do nothing more."""
    for process in processes:
        process.send(signal.SIGSTOP)
    for process in processes:
        while process.is_running and not process.is_stopped:
            time.sleep(_PAUSE_S)


def _became(was: bool, word: str, could: bool = True, why_not: str = "") -> str:
    if not could:
        return why_not
    return f"was {word} already" if was else f"was {word}"
