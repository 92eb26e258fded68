# SPDX-License-Identifier: Apache-2.0
"""What the nodes say of themselves, asked once each for all who look at it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from mco_client.doctor.finding import Finding, found, skipped
from mco_client.doctor.illnesses import NODES
from mco_client.doctor.patient import Patient
from mco_client.folding import folded
from mco_client.results import Results
from mco_client.rpc import RpcClient
from mco_client.text import one_line, with_reasons
from mco_rpc.errors import BrokerError

PING, STATS, INVENTORY, AGENTS = "ping", "daemon_stats", "inventory", "agent_inventory"
ACTIONS = (PING, STATS, INVENTORY, AGENTS)


def ask(patient: Patient) -> Iterator[Finding]:
    """Ask the nodes that were found how they fare."""
    connection, seen = patient.connection, patient.population
    if connection is None or seen is None or not seen.nodes:
        yield skipped(NODES, "how they fare, their clocks and their agents: there is nobody to ask")
        return

    def asked(action: str) -> Results:
        client = RpcClient("rpcutil", connection, timeout_s=patient.timeout_s)
        client.discover(nodes=seen.nodes)
        patient.asked_at[action] = connection.clock()
        return client.call(action)

    # The clocks first, and by itself: what is asked beside it would be part of its time.
    try:
        patient.answers[PING] = asked(PING)
        with ThreadPoolExecutor(len(ACTIONS)) as pool:
            patient.answers.update(zip(ACTIONS[1:], pool.map(asked, ACTIONS[1:]), strict=True))
    except BrokerError as e:
        yield found("broker-lost", one_line(str(e), 300))
        return
    yield from _silent(patient)


def _silent(patient: Patient) -> Iterator[Finding]:
    missing = {node: action for action, results in patient.answers.items() for node in results.missing}
    if missing:
        nodes = tuple(missing)
        text = f"found, and silent within {patient.timeout_s:g} s: {folded(nodes)}"
        yield found("node-silent", text, nodes=nodes, node=nodes[0])
    denied = {node for results in patient.answers.values() for node in results.denied}
    if denied:
        assert patient.settings is not None  # noqa: S101 - there is a connection
        nodes = tuple(sorted(denied))
        yield found("node-denies", f"rpcutil: {folded(nodes)}", nodes=nodes, caller=patient.settings.caller)
    failed = {
        result.sender: f"{result.status_text}: {result.message}"
        for results in patient.answers.values()
        for result in results.failed
        if result.sender not in denied
    }
    if failed:
        nodes = tuple(failed)
        yield found("node-silent", one_line(with_reasons(failed), 300), nodes=nodes, node=nodes[0])
