# SPDX-License-Identifier: Apache-2.0
"""The order in which everything is looked at: from here to the broker, to the nodes, to what is on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mco_client.doctor import answers, broker, clocks, fleet, local, population
from mco_client.doctor.finding import Finding
from mco_client.doctor.patient import Patient

Look = Callable[[Patient], Iterator[Finding]]
LOOKS: tuple[Look, ...] = (
    local.configuration,
    local.cache,
    local.key,
    local.trusted_nodes,
    broker.brokers,
    population.population,
    answers.ask,
    clocks.clocks,
    fleet.speed,
    fleet.health,
    fleet.problems,
    fleet.schemas,
)


def examine(patient: Patient) -> Iterator[Finding]:
    """Look at everything, and yield what is found as it is found."""
    try:
        for look in LOOKS:
            yield from look(patient)
    finally:
        if patient.connection is not None:
            patient.connection.close()
