# SPDX-License-Identifier: Apache-2.0
"""Real connections between the hosts of a lab, tried from the host that is to be blocked."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from typing import Any

from mco_client.bdd.fleet import Fleet
from mco_client.text import listed, one_line
from mco_rpc.errors import ConfigError, ExpectationFailed

CONNECT_TIMEOUT_S = 1.0
# A connection that is refused got through: nobody listens there, and nothing says that it would be blocked.
CUT_OFF = "timed out"
_COMMAND_TIMEOUT_S = 30.0


def require_connections(fleet: Fleet, device: str, port: int, nodes: Iterable[str], *, can_connect: bool) -> None:
    """Be content if the device can, or cannot, open a TCP connection to a port of every node.

    Raises:
        ExpectationFailed: it names every node where it is otherwise, and how the connection ended there.
    """
    addresses = _addresses(fleet)
    source = _host_with(addresses, fleet.address_of(device), device)
    targets = {f"{_address_of(addresses, node)}:{port}": node for node in nodes}
    if not targets:
        raise ExpectationFailed(f"no node to connect to from the {device}")
    wrong = [
        f"{targets[row['target']]} ({row['reason'] or 'connected'})"
        for row in _probe(fleet, source, list(targets))
        if not (row["connected"] if can_connect else row["reason"] == CUT_OFF)
    ]
    if wrong:
        what = "cannot" if can_connect else "can"
        raise ExpectationFailed(
            f"the {device} {what} connect to port {port} on {len(wrong)} of {len(targets)}: {', '.join(sorted(wrong))}"
        )


def _probe(fleet: Fleet, source: str, targets: Sequence[str]) -> list[dict[str, Any]]:
    probe = ("python", "-m", "mco_lab.probe", *targets, "--timeout", str(CONNECT_TIMEOUT_S))
    rows: list[dict[str, Any]] = _lab(fleet, "exec", "--name", fleet.session.options.lab, source, "--", *probe)
    if {row["target"] for row in rows} != set(targets):
        raise ConfigError(f"the probe on {source} did not try every target: {one_line(rows)}")
    return rows


def _addresses(fleet: Fleet) -> dict[str, str]:
    name = fleet.session.options.lab
    for lab in _lab(fleet, "status", "-j")[0]:
        if lab["name"] == name:
            return {host["name"]: host["address"] for host in lab["hosts"]}
    raise ConfigError(f"lab {name!r} is not up; `mco lab status` says what is")


def _address_of(addresses: dict[str, str], node: str) -> str:
    if node not in addresses:
        raise ConfigError(f"node {node} is no host of this lab; its hosts are {listed(addresses)}")
    return addresses[node]


def _host_with(addresses: dict[str, str], address: str, device: str) -> str:
    for name, its in addresses.items():
        if its == address:
            return name
    raise ConfigError(f"the {device} ({address}) is no host of this lab; its hosts are {listed(addresses)}")


def _lab(fleet: Fleet, *arguments: str) -> list[Any]:
    """Return what ``mco lab`` prints: JSON, once or line by line."""
    mco = shutil.which("mco")
    if mco is None or not fleet.session.options.lab:
        raise ConfigError("this step needs a lab: mco lab run lab/firewall.yaml -- behave")
    said = f"`mco lab {' '.join(arguments)}`"
    try:
        done = subprocess.run(
            [mco, "lab", *arguments], capture_output=True, text=True, check=False, timeout=_COMMAND_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as e:
        raise ConfigError(f"{said} did not end within {_COMMAND_TIMEOUT_S:g} s") from e
    is_lines = arguments[0] == "exec"
    texts = done.stdout.splitlines() if is_lines else [done.stdout]
    try:
        return [json.loads(text) for text in ([""] if done.returncode else texts)]
    except ValueError as e:
        raise ConfigError(f"{said} ended with status {done.returncode}: {one_line(done.stderr or done.stdout)}") from e
