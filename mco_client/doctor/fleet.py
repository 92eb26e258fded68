# SPDX-License-Identifier: Apache-2.0
"""How the nodes fare by their own word: what is slow, hangs, is drained, did not load, or differs."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mco_client.doctor.answers import AGENTS, INVENTORY, PING, STATS
from mco_client.doctor.finding import Finding, fine, found, skipped
from mco_client.doctor.illnesses import AGENTS as AGENTS_AREA
from mco_client.doctor.illnesses import NODES
from mco_client.doctor.patient import Patient
from mco_client.folding import folded
from mco_client.text import natural, one_line

# A node is slow if it takes so long, and so many times as long as most.
SLOW_S, SLOWER = 0.25, 5.0
# So often in an hour is no longer an accident of the network.
RECONNECTS_AN_HOUR = 3
_MAX_PROBLEM = 400
# What nodes say of their facts and of their configuration; their other problems are those of plug-ins.
_OF_FACTS = ("the last good values are kept", "registration: ")
_OF_CONFIGURATION = "the configuration could not be read again"


def speed(patient: Patient) -> Iterator[Finding]:
    """See who takes much longer than the others for next to nothing."""
    if not patient.answers:
        return
    results = patient.answers.get(PING)
    took_s = {} if results is None else {result.sender: result.took_s for result in results if result.is_ok}
    if not took_s:
        yield skipped(NODES, "how fast they are: nobody answered")
        return
    middle_s = statistics.median(took_s.values())
    slow = {node: took for node, took in took_s.items() if took > max(SLOW_S, SLOWER * middle_s)}
    if slow:
        most_s = max(slow.values())
        yield _of_some(
            "node-slow", slow, f"up to {most_s * 1000:.0f} ms to answer; half of all {middle_s * 1000:.0f} ms"
        )
    else:
        yield fine(
            NODES, f"half of them answer within {middle_s * 1000:.1f} ms, all within {max(took_s.values()):.3f} s"
        )


def health(patient: Patient) -> Iterator[Finding]:
    """See what their counters say."""
    told = _told(patient, STATS)
    said: dict[tuple[str, str], list[str]] = {}
    for node, stats in told.items():
        for ill in _by_counters(stats):
            said.setdefault(ill, []).append(node)
    for (code, text), nodes in said.items():
        yield _of_some(code, nodes, text)
    yield from _versions(told)


def _by_counters(stats: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a node has by its counters, as code and text, in words in which others have the same."""
    if hanging := _number(stats, "hanging_actions"):
        yield "node-hanging", f"{hanging:g} actions run past their deadline"
    drained = stats.get("drained")
    if isinstance(drained, Mapping):
        why = f": {drained['reason']}" if drained.get("reason") else ""
        yield "node-drained", f"drained by {drained.get('by')}{why}"
    rivals = stats.get("rivals")
    if isinstance(rivals, Mapping) and (times := _number(rivals, "count")):
        yield "identity-taken", f"another daemon wants to be this node, {times:g} times: {rivals.get('last')}"
    connection = stats.get("connection")
    reconnects = _number(connection, "reconnects") if isinstance(connection, Mapping) else 0.0
    hours = max(_number(stats, "uptime_s") / 3600, 1.0)
    if reconnects / hours >= RECONNECTS_AN_HOUR:
        yield "node-reconnects", f"connection to the broker lost {RECONNECTS_AN_HOUR} times an hour, or more often"


def _versions(told: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    versions: dict[str, list[str]] = {}
    for node, stats in told.items():
        versions.setdefault(one_line(str(stats.get("version"))), []).append(node)
    if len(versions) > 1:
        text = "; ".join(f"{version}: {folded(nodes)}" for version, nodes in sorted(versions.items()))
        usual = max(versions, key=lambda version: len(versions[version]))
        odd = tuple(node for version, nodes in versions.items() if version != usual for node in nodes)
        yield found("version-difference", f"different versions of the daemon: {text}", nodes=odd)
    elif versions:
        yield fine(NODES, f"all run version {next(iter(versions))}")


def problems(patient: Patient) -> Iterator[Finding]:
    """See what the nodes say is wrong with them, those that say the same together."""
    if not patient.answers:
        return
    told = _told(patient, INVENTORY)
    if not told:
        yield skipped(AGENTS_AREA, "no node said what it offers")
        return
    said: dict[str, list[str]] = {}
    for node, inventory in told.items():
        listed = inventory.get("problems")
        for problem in listed if isinstance(listed, list) else ():
            said.setdefault(str(problem), []).append(node)
    for problem, nodes in said.items():
        yield _of_some(_code_of(problem), nodes, problem)
    if not said:
        yield fine(AGENTS_AREA, f"everything loaded on {len(told)}")


def schemas(patient: Patient) -> Iterator[Finding]:
    """See which agents are not the same everywhere."""
    told = _told(patient, AGENTS)
    versions: dict[str, dict[tuple[str, str], list[str]]] = {}
    for node, data in told.items():
        agents = data.get("agents")
        for agent in agents if isinstance(agents, list) else ():
            if isinstance(agent, Mapping):
                name, what = str(agent.get("name")), (str(agent.get("version")), str(agent.get("digest") or ""))
                versions.setdefault(name, {}).setdefault(what, []).append(node)
    differing = {name: kinds for name, kinds in versions.items() if len(kinds) > 1}
    for name, kinds in sorted(differing.items()):
        numbers = Counter(version for version, _ in kinds)
        texts = []
        for (version, digest), nodes in sorted(kinds.items()):
            mark = f" ({digest[:8]})" if numbers[version] > 1 else ""  # the same number on different agents
            texts.append(f"{version}{mark}: {folded(nodes)}")
        text = one_line(f"{name} is not the same everywhere: {'; '.join(texts)}", _MAX_PROBLEM)
        usual = max(kinds, key=lambda kind: len(kinds[kind]))
        odd = tuple(node for kind, nodes in kinds.items() if kind != usual for node in nodes)
        yield found("schema-difference", text, nodes=odd, agent=name)
    if versions and not differing:
        yield fine(AGENTS_AREA, f"{len(versions)}, each the same wherever it is offered")


def _of_some(code: str, nodes: Iterable[str], text: str) -> Finding:
    """Return an illness that some nodes have alike."""
    names = tuple(sorted(nodes, key=natural))
    text = f"{folded(names)}: {one_line(text, _MAX_PROBLEM)}"
    return found(code, text, nodes=names, node=names[0] if len(names) == 1 else "NODE")


def _code_of(problem: str) -> str:
    if problem.startswith(_OF_CONFIGURATION):
        return "node-config-broken"
    return "facts-broken" if any(words in problem for words in _OF_FACTS) else "agent-broken"


def _told(patient: Patient, action: str) -> dict[str, Mapping[str, Any]]:
    results = patient.answers.get(action, ())
    told = {result.sender: result.data for result in results if result.is_ok}
    return {node: told[node] for node in sorted(told, key=natural)}


def _number(data: Mapping[str, Any], name: str) -> float:
    seen = data.get(name)
    return float(seen) if isinstance(seen, int | float) else 0.0
