# SPDX-License-Identifier: Apache-2.0
"""``mco`` against nodes that lie, are silent, or say what no node should: nothing of it fools the user."""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from mco_client.cli.main import main
from mco_client.connection import Connection
from mco_client.progress import Progress
from mco_lab.memory import MemoryFleet
from mco_rpc import names
from mco_rpc.config import ClientSettings
from mco_rpc.connector import Packet, node_endpoint
from mco_rpc.errors import BrokerError
from mco_rpc.messages import Reply, Request, decode_request, encode
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import Ed25519Security, for_node

SETTINGS = ClientSettings(
    connector="memory", caller="operator", discovery_window_s=0.25, discovery_timeout_s=20.0, timeout_s=20.0
)
EVIL = "\x1b[2J\x1b]0;title\x07\u202e\x9b31m\r\x00\x7f\u2028\nforged line"
SCHEMA = {
    "name": "toy",
    "description": "A toy",
    "version": "1",
    "actions": {
        "play": {
            "name": "play",
            "description": "Play",
            "inputs": {"how": {"type": "string", "description": "How", "optional": True}},
            "timeout_s": 7.5,
        },
        "wind": {"name": "wind", "description": "Wind it up", "mutating": True},
    },
}

Answer = Callable[[Request], dict[str, Any] | None]


class Scripted:
    """A node that answers what the test says; None is silence.

    Attributes:
        requests: what it was asked.
        signs_as: how replies are signed and by whom they claim to be; several give several replies.
    """

    def __init__(self, fleet: MemoryFleet, identity: str, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.signs_as: list[Ed25519Security] = [security_of(fleet, identity)]
        self._connector = fleet.broker.connector()
        self._connector.open(node_endpoint(identity, ["mcollective"], ["discovery"]), self)

    def on_packet(self, packet: Packet) -> None:
        request = decode_request(packet.body)
        if request.reply_to is None:  # only a look whether we are still there
            return
        self.requests.append(request)
        fields = self.answer(request)
        for security in self.signs_as if fields is not None else ():
            made = {
                "id": request.id,
                "collective": request.collective,
                "agent": request.agent,
                "action": request.action,
                "sender": security.principal,
                "sent_at": request.sent_at,
                **(fields or {}),
            }
            body = encode(Reply(**made))
            exchange = names.exchange(request.collective, names.REPLY)
            signature = security.sign(body)
            self._connector.publish(
                [Packet(exchange, request.reply_to or "", body, "reply", "", security.signer, signature, request.id)]
            )

    def on_returned(self, packet: Packet) -> None:
        """Do nothing."""

    def on_connected(self) -> None:
        """Do nothing."""

    def on_disconnected(self, reason: BrokerError) -> None:
        """Do nothing."""

    def close(self) -> None:
        self._connector.close()


def security_of(fleet: MemoryFleet, identity: str) -> Ed25519Security:
    """Return how a node of the fleet signs."""
    return for_node(identity, fleet._node_seeds[identity], {})


def forged(signer: str) -> Ed25519Security:
    """Return how somebody signs whom nobody knows."""
    return for_node(signer, keys.new_seed(), {})


class Ran(NamedTuple):
    """What a run of ``mco`` left."""

    status: int
    out: str
    err: str


Mco = Callable[..., Ran]


@pytest.fixture
def fleet() -> Iterator[MemoryFleet]:
    """One good node, and two keys for nodes that the test makes."""
    with MemoryFleet.of_hosts(good={"country": "de"}, evil={}, other={}) as fleet:
        fleet.stop("evil")
        fleet.stop("other")
        yield fleet


@pytest.fixture
def scripted(fleet: MemoryFleet) -> Iterator[Callable[[Answer], Scripted]]:
    made: list[Scripted] = []

    def make(answer: Answer) -> Scripted:
        made.append(Scripted(fleet, "evil", answer))
        return made[-1]

    yield make
    for node in made:
        node.close()


@pytest.fixture
def mco(fleet: MemoryFleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mco:
    base = fleet.connection()

    def connect(_: Path | None, changes: Mapping[str, Any]) -> Connection:
        settings = msgspec.structs.replace(SETTINGS, **changes)
        return Connection(settings, connector=fleet.broker.connector, security=base.security)

    def run(line: str, stdin: str = "") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = main(shlex.split(line), connect)
        said = capsys.readouterr()
        return Ran(status, said.out, said.err)

    return run


def toy(request: Request) -> dict[str, Any] | None:
    """Answer as a node with the agent `toy` would."""
    return {"data": {"schema": SCHEMA}} if request.action == "schema_of" else {"data": {}}


def assert_harmless(text: str) -> None:
    """Make sure that a terminal takes nothing in the text for a command, and a person nothing for a line of ours."""
    assert [c for c in text if not c.isprintable() and c != "\n"] == []
    assert [line for line in text.splitlines() if line.startswith("forged")] == []


# What may come from a node that is trusted, one answer to everything.
ANSWERS: dict[str, dict[str, Any]] = {
    "message": {"status": 1, "message": EVIL, "data": {EVIL: EVIL}},
    "status": {"status": 99, "message": EVIL},
    "values": {"data": {EVIL: EVIL, "value": {EVIL: [EVIL]}, "exists": True, "fact": EVIL}},
    "long": {"data": {"value": EVIL * 100, "exists": True}},
    "lines": {"data": {"value": f"{EVIL}\n{EVIL}\n", "exists": True}},
    "inventory": {
        "data": {
            "identity": EVIL,
            "agents": [EVIL, {"name": EVIL}],
            "inactive_agents": {EVIL: EVIL},
            "classes": EVIL,
            "facts": {EVIL: {EVIL: EVIL}},
            "collectives": {EVIL: EVIL},
            "problems": [EVIL],
            "version": EVIL,
            "started_at": 1e300,
            "uptime_s": -1e300,
            "counters": {EVIL: EVIL},
        }
    },
    "schema": {"data": {"schema": {"name": EVIL}}},
    "headings": {
        "data": {
            "schema": {
                "name": "toy",
                "description": "A toy",
                "version": "1",
                "actions": {
                    "play": {
                        "name": "play",
                        "description": "Play",
                        "outputs": {"x": {"type": "any", "description": "X", "display_as": EVIL}},
                    }
                },
            },
            "x": 1,
        }
    },
    "schema texts": {
        "data": {
            "schema": {
                "name": "toy",
                "description": EVIL,
                "version": EVIL,
                "actions": {
                    "play": {
                        "name": EVIL,
                        "description": EVIL,
                        "inputs": {EVIL: {"type": "list", "description": EVIL, "choices": [EVIL]}},
                        "outputs": {"x": {"type": "any", "description": EVIL, "display_as": EVIL}},
                    }
                },
            }
        }
    },
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize(
    "line",
    [
        "ping",
        "find",
        "inventory evil",
        "facts country -v --nodes -",
        "rpc toy play -v --nodes -",
        "rpc toy paly -v --nodes -",
        f"rpc toy play how={EVIL!r} -v --nodes -",
    ],
)
@pytest.mark.parametrize("json_too", ["", " -j"])
def test_no_control_character_reaches_the_terminal(
    line: str, answer: str, json_too: str, mco: Mco, scripted: Callable[[Answer], Scripted]
) -> None:
    scripted(lambda _: ANSWERS[answer])
    ran = mco(line + json_too, stdin="evil\n")
    assert_harmless(ran.out)
    assert_harmless(ran.err)
    assert "this is a fault in mco" not in ran.err
    assert ran.out or ran.err
    if json_too and ran.out:
        json.loads(ran.out)


# Answers that are not believed.


@pytest.mark.parametrize("line", ["ping", "find", "rpc rpcutil collective_info", "facts country"])
def test_answers_that_are_not_believed_are_warned_about_and_spoil_the_status(
    line: str, mco: Mco, scripted: Callable[[Answer], Scripted]
) -> None:
    scripted(toy).signs_as = [forged(f"stranger{EVIL}")]
    ran = mco(line)
    assert ran.status == 2
    assert "good" in ran.out or "de  found on 1 node" in ran.out
    assert ran.err.startswith("mco: the answer of stranger\\x1b[2J")
    assert "was not believed: unknown key" in ran.err
    assert ran.err.count("\n") == 1
    assert_harmless(ran.err)
    told = json.loads(mco(f"{line} -j").out)
    assert isinstance(told, list) or len(told["statistics"]["unverified"]) == 1


def test_somebody_else_s_name_is_not_believed(mco: Mco, fleet: MemoryFleet, scripted: Any) -> None:
    node = scripted(lambda _: {"sender": "good"})
    ran = mco("ping -I evil --dt 1")
    assert (ran.status, ran.out) == (2, "")
    assert "the answer of evil was not believed: signed by evil, but claims to be from 'good'" in ran.err
    assert node.requests


def test_nobody_but_strangers_is_no_population(
    mco: Mco, fleet: MemoryFleet, scripted: Callable[[Answer], Scripted]
) -> None:
    fleet.stop("good")
    scripted(toy).signs_as = [forged(f"stranger{EVIL}")]
    assert mco("ping --dt 1").status == 2
    assert mco("find --dt 1").status == 2
    ran = mco("rpc toy play --dt 1")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("mco: answers to the discovery were not believed: stranger\\x1b[2J")
    assert_harmless(ran.err)
    ran = mco("inventory evil -t 1")
    assert (ran.status, ran.out) == (2, "")
    assert "the answer of stranger\\x1b[2J" in ran.err
    assert_harmless(ran.err)


def test_who_was_not_asked_is_named_and_not_counted(
    mco: Mco, fleet: MemoryFleet, scripted: Callable[[Answer], Scripted]
) -> None:
    node = scripted(toy)
    node.signs_as = [security_of(fleet, "other"), security_of(fleet, "evil")]
    ran = mco("rpc toy play --nodes -", stdin="evil\n")
    assert ran.status == 0
    assert ran.err == "mco: answered without being asked: other\n"
    assert "Finished processing 1 / 1 hosts" in ran.out


# Silence.


def test_a_silent_node_is_named(mco: Mco, scripted: Callable[[Answer], Scripted]) -> None:
    scripted(lambda request: {} if request.agent == "discovery" else None)
    ran = mco("rpc rpcutil collective_info -t 1 --dt 1 --yes")
    assert ran.status == 2
    assert "\nno reply within 1 s from 1 of 2: evil\n" in ran.out
    assert "Finished processing 1 / 2 hosts" in ran.out
    assert json.loads(mco("rpc rpcutil ping -t 1 --dt 1 -j --yes").out)["statistics"]["noresponsefrom"] == ["evil"]


def test_a_silent_node_has_no_inventory(mco: Mco, scripted: Callable[[Answer], Scripted]) -> None:
    node = scripted(lambda _: None)
    ran = mco("inventory evil -t 0.3")
    assert (ran.status, ran.out) == (3, "")
    assert ran.err == "mco: rpcutil#inventory: no reply from evil within 0.3 s; it is connected\n"
    assert len(node.requests) == 1, "who is silent is not waited for twice"


def test_an_inventory_without_the_daemon_s_numbers_is_shown_and_is_a_failure(
    mco: Mco, scripted: Callable[[Answer], Scripted]
) -> None:
    scripted(
        lambda r: {"data": {"identity": "evil"}} if r.action == "inventory" else {"status": 6, "message": "not you"}
    )
    ran = mco("inventory evil")
    assert ran.status == 2
    assert ran.out.startswith("Inventory of evil\n")
    assert ran.err == "mco: rpcutil#daemon_stats on evil: denied: not you\n"


def test_a_refused_inventory_is_a_failure(mco: Mco, scripted: Callable[[Answer], Scripted]) -> None:
    scripted(lambda _: {"status": 6, "message": "not you"})
    ran = mco("inventory evil")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("mco: rpcutil#inventory on evil: denied: not you\n")


def test_a_refused_ping_is_no_success(mco: Mco, scripted: Callable[[Answer], Scripted]) -> None:
    scripted(lambda _: {"status": 6, "message": "not you"})
    ran = mco("ping")
    assert ran.status == 2
    assert "evil                                     denied: not you\n" in ran.out
    assert mco("facts country --nodes -", stdin="evil\n").out.startswith("country:\n\nevil: denied: not you\n")


# Schemas.


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"status": 2, "message": "no agent"}, "evil: unknown action: no agent"),
        ({"data": {"schema": "rubbish"}}, "evil: not an agent schema: Expected `object`"),
        ({"data": {}}, "evil: not an agent schema"),
        (None, "no reply from evil"),
    ],
)
def test_without_a_schema_text_is_sent_unchecked_and_nothing_is_taken_for_harmless(
    schema: dict[str, Any] | None, why: str, mco: Mco, fleet: MemoryFleet, scripted: Callable[[Answer], Scripted]
) -> None:
    fleet.stop("good")
    node = scripted(lambda request: schema if request.action == "schema_of" else {})
    assert mco("rpc toy play count=3 --dt 1 --nodes -", stdin="evil\n")[0::2] == (0, "")
    assert node.requests[-1].data == {"count": "3"}
    assert node.requests[-1].ttl_s == SETTINGS.timeout_s
    ran = mco("rpc toy play count=3 -v --dt 1 --nodes -", stdin="evil\n")
    assert ran.err.startswith(f"mco: the inputs are sent as text and unchecked: no schema of agent toy: {why}")
    ran = mco("rpc toy play count=3 --dt 1")
    assert ran.status == 1
    assert "toy#play may change nodes (its schema could not be had), and no filter says which: " in ran.err
    assert "refused to ask evil, the only node there is." in ran.err
    assert "block" not in {request.action for request in node.requests}


def test_a_node_that_hangs_keeps_no_schema_from_us(mco: Mco, scripted: Callable[[Answer], Scripted]) -> None:
    scripted(lambda _: None)
    ran = mco("rpc rpcutil get_fact fct=x --nodes -", stdin="evil\ngood\n")
    assert ran.status == 1
    assert "unknown input 'fct', did you mean fact?" in ran.err


@pytest.mark.parametrize(("declared_s", "option", "ttl_s"), [(7.5, "", 8.5), (7.5, "-t 0.25", 0.25), (1e12, "", 120.0)])
def test_the_action_says_how_long_to_wait(
    declared_s: float, option: str, ttl_s: float, mco: Mco, scripted: Callable[[Answer], Scripted]
) -> None:
    play = {**SCHEMA["actions"]["play"], "timeout_s": declared_s}  # type: ignore[index]
    schema = {**SCHEMA, "actions": {"play": play}}
    node = scripted(lambda request: {"data": {"schema": schema} if request.action == "schema_of" else {}})
    assert mco(f"rpc toy play {option}").status == 0
    assert node.requests[-1].ttl_s == ttl_s


def test_what_a_node_says_it_offers_need_make_no_sense(mco: Mco, scripted: Callable[[Answer], Scripted]) -> None:
    def answer(request: Request) -> dict[str, Any] | None:
        if request.agent == "discovery" and request.data.get("agent") == "toys":
            return {"data": {"schema": ""}}
        why = {"toys": f"none{EVIL}", 7: 8}
        return {"data": {"agents": ["text", {"no": "name"}, f"toy{EVIL}"], "inactive_agents": why}}

    scripted(answer)
    ran = mco("rpc toys play -I evil --dt 1")
    assert ran.status == 1
    assert "evil offers text, toy\\x1b" in ran.err
    assert "; evil: none\\x1b" in ran.err
    assert_harmless(ran.err)


@pytest.mark.parametrize("agents", [5, None])
def test_a_node_that_offers_no_list_explains_nothing(
    agents: object, mco: Mco, scripted: Callable[[Answer], Scripted]
) -> None:
    def answer(request: Request) -> dict[str, Any] | None:
        if request.agent == "discovery":
            return {"data": {"schema": ""}} if request.data.get("agent") == "toys" else {}
        return {"data": {"agents": agents}} if agents else None

    scripted(answer)
    ran = mco("rpc toys play -I evil --dt 1")
    assert ran.status == 1
    assert ran.err == "mco: expected, and not found: evil (it does not offer agent toys)\n"


def test_one_that_calls_a_change_harmless_is_outvoted(mco: Mco, scripted: Callable[[Answer], Scripted]) -> None:
    # Given a good node, and one that answers first and says that blocking changes nothing
    lie = {"name": "block", "description": "x", "inputs": {"ipaddr": {"type": "string", "description": "x"}}}
    schema = {"name": "iptables", "description": "x", "version": "1", "actions": {"block": lie}}
    node = scripted(lambda request: {"data": {"schema": schema} if request.action == "schema_of" else {}})
    # Then everybody is not asked without consent
    ran = mco("rpc iptables block ipaddr=10.0.0.1")
    assert (ran.status, ran.out) == (1, "")
    assert "iptables#block changes nodes, and no filter says which: " in ran.err
    assert "block" not in {request.action for request in node.requests}


@pytest.mark.parametrize("pattern", ["(a+)+$", "(?=a)a+", "x" * 2000])
def test_an_expression_of_a_node_does_not_keep_us_busy(
    pattern: str, mco: Mco, scripted: Callable[[Answer], Scripted]
) -> None:
    # Given a schema whose expression would take Python for ever, that RE2 does not take, or that is too long
    how = {"type": "string", "description": "How", "validate": f"/{pattern}/", "default": "a" * 60 + "!"}
    play = {**SCHEMA["actions"]["play"], "inputs": {"how": how}}  # type: ignore[index]
    schema = {**SCHEMA, "actions": {"play": play}}
    scripted(lambda request: {"data": {"schema": schema} if request.action == "schema_of" else {}})
    ran = mco(f"rpc toy play how={'a' * 60}! --nodes -", stdin="evil\n")
    assert ("does not match" in ran.err) == (pattern == "(a+)+$")


def test_an_interruption_shows_what_came_and_names_the_rest(
    mco: Mco, scripted: Callable[[Answer], Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(lambda request: {} if request.agent == "discovery" else None)
    advance = Progress.advance

    def interrupt(progress: Progress) -> None:
        advance(progress)
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "advance", interrupt)
    ran = mco("rpc rpcutil collective_info -I good -I evil")
    assert ran.status == 130
    assert "no reply from 1 of 2: evil" in ran.out
    assert ran.err.endswith(
        "mco: rpcutil#collective_info: interrupted: 1 of 2 had answered; what became of it is unknown on evil\n"
    )


# The broker.


def test_a_broker_that_goes_away_in_the_middle_is_an_error(
    mco: Mco, fleet: MemoryFleet, scripted: Callable[[Answer], Scripted]
) -> None:
    def answer(request: Request) -> dict[str, Any] | None:
        if request.action == "play":
            fleet.broker.stop()
            return None
        return toy(request)

    scripted(answer)
    ran = mco("rpc toy play --nodes -", stdin="evil\n")
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith(
        "mco: toy#play: the connection was lost while replies were awaited (0 of 1 had answered; "
        "what became of it is unknown on "
    )
