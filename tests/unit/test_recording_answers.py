# SPDX-License-Identifier: Apache-2.0
"""Which recorded answer a question gets: the same question, node by node, in the recorded order."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mco_client.recording import Asked, Came, Event, Header, Lost, RecordedCall, Recording, Returned
from mco_client.recording.answers import RecordedAnswers
from mco_rpc.errors import NotRecorded

FILE = Path("fleet.rec")
PING: dict[str, Any] = {"collective": "mcollective", "agent": "rpcutil", "action": "ping"}
BLOCKED: dict[str, Any] = {**PING, "agent": "iptables", "action": "isblocked", "data": {"ipaddr": "192.168.1.1"}}


def question(to: str = "", **fields: Any) -> dict[str, Any]:
    return {**PING, **fields, **({"targets": to.split()} if to else {})}


def came(node: str, after_s: float = 0.1, **fields: Any) -> Came:
    return Came(id="", after_s=after_s, **{"signer": node, "principal": node, **fields})


def call(asked: dict[str, Any], *events: Event, ttl_s: float = 5.0) -> RecordedCall:
    # Each event says of which call it is
    name = f"{len(calls)}"
    calls.append(name)
    told = [msgspec.structs.replace(event, id=name) for event in events]
    return RecordedCall(Asked(id=name, at=1.0, question=asked, ttl_s=ttl_s, window_s=0.3), told)


calls: list[str] = []


@pytest.fixture(autouse=True)
def _from_zero() -> None:
    calls.clear()


def answers(*recorded: RecordedCall, redacted: tuple[str, ...] = (), is_strict: bool = False) -> RecordedAnswers:
    header = Header(version=1, at=1.0, mco="0.1.0", redacted=redacted)
    return RecordedAnswers(Recording(FILE, header, [], list(recorded)), is_strict=is_strict)


def told(found: tuple[list[Event], list[Event]]) -> str:
    """Return what came in time, and what came late behind a bar: of which call, and from whom."""
    return " | ".join(" ".join(map(_told, events)) for events in found if events)


def _told(event: Event) -> str:
    match event:
        case Came():
            return f"{event.id}:{event.signer}{'?' if event.principal is None else ''}"
        case Returned():
            return f"{event.id}:no-{event.key}"
        case Lost():
            return f"{event.id}:lost"


def test_the_same_question_gets_its_answers_in_order_and_then_the_last_again() -> None:
    of = answers(
        call(question("web1"), came("web1")), call(question("web1"), came("web1")), call(question(), came("web1"))
    )
    assert [told(of.take(question("web1"))) for _ in range(4)] == ["0:web1", "1:web1", "1:web1", "1:web1"]
    assert [told(of.take(question())) for _ in range(2)] == ["2:web1", "2:web1"]


def test_a_strict_replay_gives_no_answer_twice() -> None:
    of = answers(call(question("web1"), came("web1")), call(question(), came("web1")), is_strict=True)
    assert told(of.take(question("web1"))) == "0:web1"
    with pytest.raises(NotRecorded, match=r"^rpcutil#ping: web1 gave no more answers when fleet.rec was recorded"):
        of.take(question("web1"))
    assert told(of.take(question())) == "1:web1"
    with pytest.raises(NotRecorded, match=r"everybody gave no more answers"):
        of.take(question())


def test_each_node_has_its_own_turn_whoever_is_asked_with_it() -> None:
    # Given both nodes asked, then one of them, then both
    of = answers(
        call(question("web1 web2"), came("web2", 0.1), came("web1", 0.2)),
        call(question("web1"), came("web1", 0.3)),
        call(question("web1 web2"), came("web1", 0.1), came("web2", 0.2)),
    )
    # Then the same again gives the same, in the same order
    assert told(of.take(question("web2 web1"))) == "0:web2 0:web1"
    assert told(of.take(question("web1"))) == "1:web1"
    assert told(of.take(question("web1 web2"))) == "2:web1 2:web2"
    # And one alone goes on with what is its own
    of = answers(*of._recording.calls)
    assert told(of.take(question("web2"))) == "0:web2"
    assert told(of.take(question("web1 web2"))) == "0:web1 2:web2"


def test_who_was_not_asked_then_is_named_and_those_who_were_answer() -> None:
    of = answers(call(question("web1 web2"), came("web1"), came("web2")))
    assert told(of.take(question("web1 web9"))) == "0:web1 :web9?"
    # A node that was asked and kept silent is silent again
    of = answers(call(question("web1 web2"), came("web1")))
    assert told(of.take(question("web1 web2"))) == "1:web1"
    assert told(of.take(question("web2"))) == ""


def test_a_strict_replay_wants_to_know_all_nodes() -> None:
    of = answers(call(question("web1 web2"), came("web1"), came("web2")), is_strict=True)
    with pytest.raises(NotRecorded, match=r"differs in targets: web1, web9, recorded web1, web2; "):
        of.take(question("web9 web1"))
    assert told(of.take(question("web2"))) == "0:web2"


def test_what_became_of_a_node_is_its_own_and_the_rest_belongs_to_the_question() -> None:
    of = answers(
        call(
            question("web1 web2 web3"),
            came("web1", principal=None, doubt="unknown key"),
            Returned(id="", after_s=0.2, key="web2", type="request"),
            came("stranger", 0.3, principal=None, doubt="unknown key"),
            Returned(id="", after_s=0.4, key="web3", type="probe"),
            Lost(id="", after_s=0.5, why="gone"),
        )
    )
    assert told(of.take(question("web1"))) == "0:web1? 0:stranger? 0:lost"
    assert told(of.take(question("web2 web3"))) == "0:no-web2 0:stranger? 0:no-web3 0:lost"


def test_a_broadcast_to_named_nodes_that_reached_nobody_reached_none_of_them() -> None:
    of = answers(call(question("web1 web2"), Returned(id="", after_s=0.0, key="agent.rpcutil", type="request")))
    assert told(of.take(question("web2 web1"))) == "0:no-web2 0:no-web1"


def test_what_came_when_nobody_waited_any_more_comes_late() -> None:
    of = answers(
        call(question(), came("web1", 0.1), came("web2", 1.9)),
        call(question("web1 web2"), came("web1", 0.1), came("web2", 1.9), ttl_s=1.0),
    )
    assert told(of.take(question())) == "0:web1 | 0:web2"
    assert told(of.take(question("web1 web2"))) == "1:web1 | 1:web2"


@pytest.mark.parametrize(
    "same",
    [
        {"noop": False, "filter": {}, "data": {}},  # a field that says nothing is as good as none
        {"a_field_of_a_later_version": None},
    ],
)
def test_questions_are_the_same_if_they_say_the_same(same: dict[str, Any]) -> None:
    assert told(answers(call(question(), came("web1"))).take(question(**same))) == "0:web1"


def test_blanked_inputs_match_whatever_they_were() -> None:
    recorded = question(data={"user": "joe", "password": "(redacted)"})
    of = answers(call(recorded, came("web1")), redacted=("pass*",))
    assert told(of.take(question(data={"user": "joe", "password": "other"}))) == "0:web1"
    with pytest.raises(NotRecorded, match=r'differs in data\.user: "jim", recorded "joe"; '):
        of.take(question(data={"user": "jim", "password": "other"}))


@pytest.mark.parametrize(
    ("asked", "difference"),
    [
        ({**BLOCKED, "data": {"ipaddr": "10.0.0.1"}}, 'data.ipaddr: "10.0.0.1", recorded "192.168.1.1"'),
        ({**BLOCKED, "data": {}}, 'data.ipaddr: nothing, recorded "192.168.1.1"'),
        ({**BLOCKED, "data": {**BLOCKED["data"], "n": 1}}, "data.n: 1, recorded nothing"),
        ({**BLOCKED, "data": {"ipaddr": True}}, 'data.ipaddr: true, recorded "192.168.1.1"'),
        ({**BLOCKED, "action": "block"}, 'action: "block", recorded "isblocked"'),
        ({**BLOCKED, "collective": "eu"}, 'collective: "eu", recorded "mcollective"'),
        ({**BLOCKED, "noop": True}, "noop: true, recorded nothing"),
        ({**BLOCKED, "filter": {"classes": ["x"]}}, 'filter.classes: ["x"], recorded nothing'),
        ({**BLOCKED, "targets": ["web10", "web9"]}, "targets: web9, web10, recorded everybody"),
    ],
)
def test_an_unknown_question_is_told_with_the_nearest_and_what_differs(asked: dict[str, Any], difference: str) -> None:
    others = [{**PING, "action": "get_fact"}, {**PING, "data": {"x": 1}}]
    of = answers(*(call(each, came("web1")) for each in (others[0], BLOCKED, others[1])))
    with pytest.raises(NotRecorded) as e:
        of.take(asked)
    assert str(e.value) == (
        f"iptables#{asked['action']}: fleet.rec holds no answer to this question; the nearest that it holds is "
        f"iptables#isblocked, which differs in {difference}; "
        "record anew with `mco record FILE -- COMMAND`, or ask what was recorded"
    )


def test_of_many_differences_some_are_told() -> None:
    of = answers(call(question(data={f"x{n}": 1 for n in range(9)}), came("web1")))
    with pytest.raises(NotRecorded, match=r"x4: nothing, recorded 1; and 4 more; "):
        of.take(question())


def test_an_empty_recording_says_so() -> None:
    with pytest.raises(NotRecorded, match="nothing was asked when it was recorded"):
        answers().take(PING)


@pytest.mark.parametrize(
    "hostile",
    [
        {},
        {"agent": "\x1b[2J", "action": ["x" * 10_000], "targets": 5},
        {"agent": 1, "targets": {"web1": 1}, "data": [], "filter": "x"},
        {"agent": "rpcutil", "action": "ping", "targets": [[], {}, None, "\x1b[2J"]},
        {"agent": "rpcutil", "action": "ping", "data": {"\x1b[2J": "\u202e"}, "big": 10**40, "x": math.pi},
    ],
)
def test_a_hostile_recording_misleads_nobody(hostile: dict[str, Any]) -> None:
    of = answers(call(hostile, came("web1")))
    with pytest.raises(NotRecorded) as e:
        of.take(question("web1"))
    assert str(e.value).isprintable()
    assert len(str(e.value)) < 1000
