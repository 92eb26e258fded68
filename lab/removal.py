# SPDX-License-Identifier: Apache-2.0
"""Tear a lab down from what was written down about it, whoever brought it up and however far that came."""

from __future__ import annotations

import contextlib
import signal
import time

from . import cgroups, hosts, network, state
from .errors import LabError
from .process import end

_DRAIN_TIMEOUT_S = 2.0


def remove(name: str) -> None:
    """End every process of a lab and remove its network and files; does nothing if there are none.

    Raises:
        LabError: a process cannot be ended.
    """
    try:
        known = state.load(name)
    except LabError:  # there is none, or its state was destroyed
        namespaces, written_down = _unclaimed(name), []
    else:
        namespaces, written_down = known.namespaces, known.processes
        _drain(known)
    # What is not written down, because the way up was cut short or a command started it, lives in a namespace of ours.
    # All at once: a host's first process cannot end before everything in the host has.
    while found := {
        *(process for process in written_down if process.is_running),
        *network.members(namespaces),
        *cgroups.members(namespaces),
    }:
        if survivors := end(found):
            pids = ", ".join(str(process.pid) for process in survivors)
            raise LabError(f"lab {name!r}: processes {pids} cannot be ended; try `mco lab down --name {name}` again")
    network.remove(namespaces)
    cgroups.remove(namespaces)
    state.forget(name)


def _drain(known: state.LabState) -> None:
    """Let the nodes end by themselves, for a moment: they answer what they work on, and write what they measured."""
    deadline = time.monotonic() + _DRAIN_TIMEOUT_S
    running = [hosts.node_of(host, known.spec.host(host.name)) for host in known.hosts]
    nodes = [node for node in running if node is not None and node.send(signal.SIGTERM)]
    for node in nodes:
        node.wait(deadline - time.monotonic())


def _unclaimed(name: str) -> list[str]:
    """Return the namespaces that by their name belong to a lab, without those another lab has written down."""
    claimed: set[str] = set()
    for other in state.names():
        with contextlib.suppress(LabError):
            claimed.update(state.load(other).namespaces)
    found = {*network.named(f"mco-{name}-"), *cgroups.named(f"mco-{name}-")}
    return [namespace for namespace in found if namespace not in claimed]
