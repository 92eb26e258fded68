# SPDX-License-Identifier: Apache-2.0
"""How far the nodes' clocks are from ours, as far as the time of an answer lets one see."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from mco_client.doctor.answers import PING
from mco_client.doctor.finding import Finding, fine, found, skipped
from mco_client.doctor.illnesses import CLOCKS
from mco_client.doctor.patient import Patient
from mco_client.doctor.population import MANY
from mco_client.results import Results
from mco_client.text import natural, one_line

# Nodes allow ten times as much unless their configuration says otherwise.
TOLERATED_S = 1.0


def clocks(patient: Patient) -> Iterator[Finding]:
    """Compare the times that the nodes told with the time at which they were asked."""
    if not patient.answers:  # and `answers` has said why
        return
    if patient.settings is not None and patient.settings.connector == "replay":
        yield skipped(CLOCKS, "a recording tells the time at which it was made")
        return
    results = patient.answers.get(PING)
    skews = {} if results is None else _skews(patient.asked_at[PING], results)
    if not skews:
        yield skipped(CLOCKS, "no node told its time")
        return
    wrong = {node: skew for node, skew in skews.items() if abs(skew) > TOLERATED_S}
    middle = statistics.median(skews.values())
    if abs(middle) > TOLERATED_S and len(skews) >= MANY and _agree(skews, middle):
        word = "behind" if middle > 0 else "ahead of"
        text = f"this machine's clock is {abs(middle):.1f} s {word} those of {len(skews)} nodes, which agree"
        yield found("clock-here", text)
        wrong = {node: skew for node, skew in skews.items() if abs(skew - middle) > TOLERATED_S}
    if wrong:
        nodes = tuple(sorted(wrong, key=natural))
        each = (f"{node} {abs(wrong[node]):.1f} s {'ahead' if wrong[node] > 0 else 'behind'}" for node in nodes)
        text = one_line(f"not as this machine: {', '.join(each)}", 1000)
        yield found("clock-node", text, nodes=nodes, node=nodes[0] if len(nodes) == 1 else "each of them")
    if not wrong and abs(middle) <= TOLERATED_S:
        yield fine(CLOCKS, f"{len(skews)} within {TOLERATED_S:g} s of this machine's")


def _skews(asked_at: float, results: Results) -> dict[str, float]:
    """Return by node how far its clock is ahead of ours for certain: what the way took is in its favour."""
    skews = {}
    for result in results:
        pong = result.data.get("pong")
        if not result.is_ok or not isinstance(pong, int | float):
            continue
        skew, doubt = float(pong) - (asked_at + result.took_s / 2), result.took_s / 2
        skews[result.sender] = skew - doubt if skew > doubt else skew + doubt if skew < -doubt else 0.0
    return skews


def _agree(skews: dict[str, float], middle: float) -> bool:
    """Say whether most of the nodes have the same time."""
    return sum(abs(skew - middle) <= TOLERATED_S for skew in skews.values()) * 2 > len(skews)
