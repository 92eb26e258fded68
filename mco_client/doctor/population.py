# SPDX-License-Identifier: Apache-2.0
"""Who is there, who is not, and whom we cannot believe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mco_client.core import finish
from mco_client.discovery import Discovered, Discovery, Query
from mco_client.discovery.broadcast import BroadcastDiscovery
from mco_client.discovery.choice import configured
from mco_client.doctor.finding import Finding, fine, found, skipped
from mco_client.doctor.illnesses import NODES
from mco_client.doctor.patient import Patient
from mco_client.folding import folded
from mco_client.text import by_reason, natural, one_line
from mco_rpc.errors import BrokerError, ConfigError, DiscoveryError, McoError
from mco_rpc.status import Status

# Nodes that agree on the time against us, rather than by chance.
MANY = 3


def population(patient: Patient) -> Iterator[Finding]:
    """Find the nodes."""
    settings = patient.settings
    if settings is None:
        yield skipped(NODES, "the configuration must be read first")
        return
    if patient.is_shut_out:
        yield skipped(NODES, "a broker must let us in first")
        return
    try:
        patient.connection = patient.connection or patient.connect(patient.file, patient.changes)
        try:
            seen = _seen(patient, configured(patient.connection))
        except (ConfigError, DiscoveryError) as e:
            # What fails is told; the nodes are looked at all the same.
            yield found("source-unsure", one_line(str(e), 300))
            seen = _seen(patient, BroadcastDiscovery(patient.connection))
    except BrokerError as e:
        yield found("broker-lost", one_line(str(e), 300))
        return
    except McoError as e:
        if patient.connection is not None:  # else the look at our key has said why
            yield found("source-unsure", one_line(str(e), 300))
        else:
            yield skipped(NODES, one_line(str(e), 300))
        return
    patient.population = seen
    yield from _judged(patient, seen)
    seen.close()


def _seen(patient: Patient, discovery: Discovery) -> Discovered:
    assert patient.settings is not None  # noqa: S101 - said by whoever calls
    timeout_s = patient.settings.discovery_timeout_s
    # Kept open: the question knows whether anybody was there to hear it.
    query = Query(patient.node_filter, timeout_s=timeout_s, must_answer=True, is_kept_open=True)
    return finish(discovery.core(query))


def _judged(patient: Patient, seen: Discovered) -> Iterator[Finding]:
    assert patient.settings is not None  # noqa: S101 - said by whoever calls
    settings = patient.settings
    folder = Path(settings.trusted_nodes).expanduser()
    for nodes, why in by_reason(seen.unverified):
        yield found("node-untrusted", f"{folded(nodes)}: {why}", nodes=tuple(nodes), folder=folder)
    expired = {node for node, why in seen.absent.items() if why.startswith(Status.EXPIRED.text)}
    is_here = len(expired) >= MANY and len(expired) > len(seen.nodes)  # so many clocks are not wrong at the same time
    if is_here:
        why = one_line(seen.absent[min(expired)], 200)
        yield found("clock-here", f"{len(expired)} nodes refuse our requests for their time: {why}")
    for nodes, why in by_reason(seen.absent):
        text = f"{folded(nodes)}: {one_line(why, 300)}"
        if nodes[0] in expired and is_here:
            continue
        if nodes[0] in expired:
            yield found("clock-node", text, nodes=tuple(nodes), node=nodes[0])
        elif why.startswith(Status.DENIED.text):
            yield found("node-denies", text, nodes=tuple(nodes), caller=settings.caller)
        else:
            yield found("node-missing", text, nodes=tuple(nodes))
    for doubt in seen.warnings:
        yield found("source-unsure", one_line(doubt, 300))
    if seen.nodes:
        yield fine(NODES, f"{len(seen.nodes)} answer: {folded(seen.nodes)}")
        yield from _unheard(patient, seen, folder)
    elif not (seen.unverified or seen.unverified_more or seen.absent):
        yield _nobody(patient, seen)


def _unheard(patient: Patient, seen: Discovered, folder: Path) -> Iterator[Finding]:
    """Tell of nodes whose keys we have and that did not answer, where nobody says who should be there."""
    settings = patient.settings
    assert settings is not None  # noqa: S101
    if patient.node_filter or settings.discovery != "broadcast":
        return
    unheard = patient.trusted.difference(seen.nodes, seen.unverified, seen.absent, {settings.registry})
    if unheard:
        nodes = tuple(sorted(unheard, key=natural))
        text = f"{len(nodes)} of {len(patient.trusted)} whose keys are trusted, silent in {settings.collective}"
        yield found("node-unheard", f"{text}: {folded(nodes)}", nodes=nodes, folder=folder)


def _nobody(patient: Patient, seen: Discovered) -> Finding:
    assert patient.settings is not None  # noqa: S101
    settings = patient.settings
    if patient.node_filter:
        return found("nobody-matches", one_line(f"no node answered for the filter: {patient.node_filter}", 300))
    if seen.asking is not None and not seen.asking.is_nobody_there:
        text = (
            f"daemons are connected in collective {settings.collective}, and none answered "
            f"within {settings.discovery_timeout_s:g} s"
        )
        public = Path(settings.key_file).expanduser().with_suffix(".pub")
        return found("caller-untrusted", text, caller=settings.caller, public=public)
    return found("nobody-there", f"no daemon is connected to the broker in collective {settings.collective}")
