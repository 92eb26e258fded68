# SPDX-License-Identifier: Apache-2.0
"""Which recorded answers a question gets, and what to say of one that has none.

Questions are the same if everything in them is but ids, times and who asks. Each node gives its answers to a question
in the order in which it was asked, then the last one again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mco_client.recording import Came, Event, Lost, RecordedCall, Recording, Returned, redact
from mco_client.text import listed, one_line
from mco_rpc import names
from mco_rpc.errors import NotRecorded

# Of what differs, so much is told.
_MAX_DIFFERENCES = 5
_MAX_VALUE = 80
_HINT = "record anew with `mco record FILE -- COMMAND`, or ask what was recorded"

Question = dict[str, Any]


@dataclass(slots=True)
class _Turns:
    """What one node, or everybody, did each time that it was asked the same."""

    calls: list[tuple[RecordedCall, list[Event]]] = field(default_factory=list)
    taken: int = 0

    @property
    def is_spent(self) -> bool:
        return self.taken >= len(self.calls)

    def take(self) -> tuple[RecordedCall, list[Event]]:
        """Return what comes next, or the last once more."""
        turn = self.calls[min(self.taken, len(self.calls) - 1)]
        self.taken += 1
        return turn


class RecordedAnswers:
    """The answers of a recording, and how many of them were given.

    Args:
        is_strict: whether a node that was not asked this, or not so often, is an error.
    """

    def __init__(self, recording: Recording, *, is_strict: bool = False) -> None:
        self._recording, self._is_strict = recording, is_strict
        self._lock = threading.Lock()
        self._turns: dict[bytes, dict[str | None, _Turns]] = {}
        for call in recording.calls:
            by_node = self._turns.setdefault(_key(call.asked.question), {})
            for node, events in _by_node(call).items():
                by_node.setdefault(node, _Turns()).calls.append((call, events))

    def take(self, question: Question) -> tuple[list[Event], list[Event]]:
        """Return what follows a question while its answers are awaited, and what came when they were no more.

        Raises:
            NotRecorded: nobody was asked this; if strict, somebody was not, or not so often.
        """
        question = redact(question, self._recording.header.redacted)
        nodes = _nodes(question)
        with self._lock:
            turns = self._turns.get(_key(question), {})
            asked = [node for node in nodes if node in turns]
            strangers = [str(node) for node in nodes if node not in turns]
            if not asked or (strangers and self._is_strict):
                raise NotRecorded(self._unknown(question))
            spent = [node for node in asked if turns[node].is_spent]
            if spent and self._is_strict:
                raise NotRecorded(self._spent(question, spent))
            taken = [turns[node].take() for node in asked]
        calls = {call.asked.id: call for call, _ in taken}
        followed = [(call, event) for call, own in taken for event in own]
        followed += [(call, event) for call in calls.values() for event in _of_nobody(call)]
        followed.sort(key=lambda pair: pair[1].after_s)
        over_s = {name: call.over_after_s() for name, call in calls.items()}
        on_time = [event for call, event in followed if event.after_s <= over_s[call.asked.id]]
        late = [event for call, event in followed if event.after_s > over_s[call.asked.id]]
        why = "it was not asked this when the answers were recorded"
        return on_time + [Came(id="", after_s=0.0, signer=node, doubt=why) for node in strangers], late

    def _spent(self, question: Question, nodes: Iterable[str | None]) -> str:
        who = "everybody" if None in nodes else listed(str(node) for node in nodes)
        return (
            f"{_name(question)}: {who} gave no more answers when {self._recording.path} was recorded, "
            f"and this is a strict replay; {_HINT}"
        )

    def _unknown(self, question: Question) -> str:
        """Return that nobody was asked this, and what comes nearest."""
        text = f"{_name(question)}: {self._recording.path} holds no answer to this question; "
        asked = _parts(question)
        nearest: tuple[tuple[bool, int], Question, list[str]] | None = None
        for call in self._recording.calls:
            known = _parts(call.asked.question)
            differing = [name for name in {**asked, **known} if _differs(asked.get(name), known.get(name))]
            score = ("agent" in differing or "action" in differing, len(differing))
            if nearest is None or score < nearest[0]:
                nearest = score, call.asked.question, differing
        if nearest is None:
            return f"{text}nothing was asked when it was recorded; {_HINT}"
        known = _parts(nearest[1])
        told = [_difference(name, asked, known) for name in nearest[2][:_MAX_DIFFERENCES]]
        more = len(nearest[2]) - len(told)
        differences = "; ".join(told) + (f"; and {more} more" if more > 0 else "")
        return f"{text}the nearest that it holds is {_name(nearest[1])}, which differs in {differences}; {_HINT}"


def _by_node(call: RecordedCall) -> dict[str | None, list[Event]]:
    """Return what each node that was asked did; under None what happened, if everybody was asked."""
    nodes = _nodes(call.asked.question)
    if nodes == [None]:
        return {None: call.events}
    of: dict[str | None, list[Event]] = {node: [] for node in nodes}
    everybody = names.agent_key(str(call.asked.question.get("agent")))
    for event in call.events:
        if isinstance(event, Returned) and event.key == everybody:  # a broadcast that reached nobody
            for node in nodes:
                of[node].append(msgspec.structs.replace(event, key=str(node)))
        elif (node := _node_of(event)) in of:
            of[node].append(event)
    return of


def _of_nobody(call: RecordedCall) -> list[Event]:
    """Return what happened after a question to named nodes, and is the doing of none of them."""
    nodes = _nodes(call.asked.question)
    if nodes == [None]:
        return []
    known = {*nodes, names.agent_key(str(call.asked.question.get("agent")))}
    return [event for event in call.events if _node_of(event) not in known]


def _node_of(event: Event) -> str | None:
    match event:
        case Came():
            return event.principal or event.signer
        case Returned():
            return event.key
        case Lost():
            return None


def _nodes(question: Question) -> list[str | None]:
    """Return who is asked by name, or None alone for everybody."""
    targets = question.get("targets")
    return list(dict.fromkeys(map(str, targets))) if isinstance(targets, list) else [None]


def _key(question: Question) -> bytes:
    """Return what is the same for the same question, whoever is asked.

    A field that says nothing is as good as none: a later version may have more of them.
    """
    said = {name: value for name, value in question.items() if name != "targets" and value}
    return msgspec.json.encode(said, order="deterministic")


def _parts(question: Question) -> dict[str, Any]:
    """Return the parts of a question by name: ``data.ipaddr``, ``filter.classes``, ``targets``."""
    parts: dict[str, Any] = {}
    for name, value in question.items():
        if name in ("data", "filter") and isinstance(value, dict):
            parts.update({f"{name}.{part}": said for part, said in value.items()})
        elif value:
            parts[name] = value
    return parts


def _differs(one: Any, other: Any) -> bool:
    return msgspec.json.encode(one, order="deterministic") != msgspec.json.encode(other, order="deterministic")


def _difference(name: str, asked: dict[str, Any], known: dict[str, Any]) -> str:
    return f"{one_line(name, _MAX_VALUE)}: {_shown(name, asked)}, recorded {_shown(name, known)}"


def _shown(name: str, parts: dict[str, Any]) -> str:
    if name not in parts:
        return "everybody" if name == "targets" else "nothing"
    value = parts[name]
    is_list_of_nodes = name == "targets" and isinstance(value, list)
    return one_line(listed(map(str, value)) if is_list_of_nodes else msgspec.json.encode(value).decode(), _MAX_VALUE)


def _name(question: Question) -> str:
    return one_line(f"{question.get('agent')}#{question.get('action')}", _MAX_VALUE)
