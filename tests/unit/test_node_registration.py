# SPDX-License-Identifier: Apache-2.0
"""What a node says unasked, and when; the clock and chance are the test's."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from mco_node.registration import CHANGES_EVERY_S, FIRST_SPLAY_S, LOOK_EVERY_S, Registration
from mco_rpc import __version__
from mco_rpc.agent import Agent, action
from mco_rpc.config import NodeSettings, node_settings
from mco_rpc.connector import Packet
from mco_rpc.errors import ConfigError
from mco_rpc.messages import Event, decode_event
from mco_rpc.schema import AgentSchema
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import for_node, for_registry

INTERVAL_S = 300.0


class Greeter(Agent):
    """Say hello."""

    @action("Greet")
    def greet(self) -> dict[str, Any]:
        return {}


class View:
    """What `Registration` asks of its node."""

    identity = "web1.example.net"
    collectives: tuple[str, ...] = ("mcollective", "dmz")

    def __init__(self) -> None:
        self.now_facts: Mapping[str, Any] = {"country": "de", "cores": 4}
        self.now_classes = frozenset({"web", "base"})

    def facts(self) -> Mapping[str, Any]:
        return self.now_facts

    def classes(self) -> frozenset[str]:
        return self.now_classes

    def agents(self) -> Mapping[str, AgentSchema]:
        return {"greeter": Greeter.schema()}


class Bench:
    """A registration whose time stands still, and whose chance is what `share` says: 0 the least, 1 the most."""

    def __init__(self, **settings: Any) -> None:
        self.now_s, self.epoch_s, self.share = 1000.0, 1_800_000_000.0, 1.0
        self.view, self.packets = View(), list[Packet]()
        self.seed = keys.new_seed()
        self.registration = Registration(
            NodeSettings(identity=self.view.identity, **settings),
            self.view,  # type: ignore[arg-type]
            for_node(self.view.identity, self.seed, {}),
            self.packets.append,
            clock=lambda: self.epoch_s,
            monotonic=lambda: self.now_s,
            splay=lambda low, high: low + (high - low) * self.share,
        )

    def step(self, seconds: float = 0.0) -> float | None:
        self.now_s += seconds
        return self.registration.step()

    def said(self, topic: str = "registration") -> list[Event]:
        """Return what was said about a topic since the last time, in the first collective."""
        events = [decode_event(packet.body) for packet in self.packets]
        self.packets.clear()
        return [event for event in events if event.topic == topic and event.collective == "mcollective"]

    def connect(self) -> None:
        """Connect and register, so that a test begins with a registered node."""
        self.registration.connected()
        self.step(FIRST_SPLAY_S)
        assert len(self.said()) == 1


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_connected_node_says_at_once_that_it_is_there_and_soon_what_it_is(bench: Bench) -> None:
    assert bench.step() is None  # nothing without a connection
    bench.registration.connected()
    (presence,) = bench.said("presence")
    assert presence.data == {
        "state": "start", "version": __version__, "agents": ["greeter"], "interval_s": INTERVAL_S,
    }  # fmt: skip
    assert bench.step() == pytest.approx(FIRST_SPLAY_S)
    assert bench.said() == []
    bench.step(FIRST_SPLAY_S)
    (event,) = bench.said()
    assert event.sender == "web1.example.net"
    assert event.data == {
        "version": __version__,
        "interval_s": INTERVAL_S,
        "collectives": ["mcollective", "dmz"],
        "agents": {"greeter": {"version": "1.0", "schema": Greeter.schema().digest}},
        "classes": ["base", "web"],
        "facts": {"country": "de", "cores": 4},
        "drained": None,
        "incomplete": [],
    }


def test_it_says_so_in_every_collective_signed_and_under_its_own_key(bench: Bench) -> None:
    bench.registration.connected()
    trusted = for_registry("registry", keys.new_seed(), {"web1.example.net": keys.public_of(bench.seed)})
    assert [(p.exchange, p.key) for p in bench.packets] == [
        ("mcollective.event", "presence.web1.example.net"),
        ("dmz.event", "presence.web1.example.net"),
    ]
    for packet in bench.packets:
        assert trusted.verify(packet.body, packet.signer, packet.signature) == "web1.example.net"


def test_it_registers_every_interval(bench: Bench) -> None:
    bench.connect()
    for _ in range(3):
        waited_s = 0.0
        while not (said := bench.said()):
            waited_s += LOOK_EVERY_S
            bench.step(LOOK_EVERY_S)
        assert len(said) == 1
        assert waited_s == INTERVAL_S


def test_who_began_together_does_not_stay_together() -> None:
    dues = set()
    for share in (0.0, 0.5, 1.0):
        bench = Bench()
        bench.connect()
        bench.share = share
        bench.step(INTERVAL_S)  # the second one is planned with another chance
        assert bench.said()
        due_s = 0.0
        while not bench.said():
            due_s += 1
            bench.step(1.0)
        dues.add(due_s)
    assert dues == {0.9 * INTERVAL_S, 0.95 * INTERVAL_S, INTERVAL_S}


@pytest.mark.parametrize(("share", "wait_s"), [(0.0, 0.0), (0.4, 120.0), (1.0, 300.0)])
def test_after_a_restart_of_the_broker_the_fleet_spreads_over_the_interval(share: float, wait_s: float) -> None:
    bench = Bench()
    bench.connect()
    bench.share = share
    bench.registration.disconnected()
    assert bench.step(1000.0) is None
    assert bench.said() == []
    bench.registration.connected()
    assert len(bench.said("presence")) == 1
    if wait_s:
        bench.step(wait_s - 1)
        assert bench.said() == []
        bench.step(1)
    else:
        bench.step()
    assert len(bench.said()) == 1


def test_changed_facts_or_classes_are_said_soon_and_not_each_time(bench: Bench) -> None:
    bench.connect()
    # When the facts change just after a registration, then it waits
    bench.view.now_facts = {"country": "fr"}
    bench.step(LOOK_EVERY_S)
    assert bench.said() == []
    bench.view.now_facts = {"country": "es"}
    bench.step(CHANGES_EVERY_S - LOOK_EVERY_S)
    (event,) = bench.said()
    assert event.data["facts"] == {"country": "es"}
    # When nothing was said for a while, then a change is said at the next look
    bench.step(CHANGES_EVERY_S)
    assert bench.said() == []
    bench.view.now_classes = frozenset({"db"})
    bench.step(LOOK_EVERY_S)
    (event,) = bench.said()
    assert event.data["classes"] == ["db"]


def test_equal_facts_are_no_change(bench: Bench) -> None:
    bench.connect()
    bench.view.now_facts = dict(bench.view.now_facts)
    bench.step(CHANGES_EVERY_S + LOOK_EVERY_S)
    assert bench.said() == []


@pytest.mark.parametrize(
    ("wanted", "facts"),
    [(("country", "absent"), {"country": "de"}), (False, {}), ((), {})],
)
def test_only_some_facts_are_said_and_that_there_are_more(wanted: Any, facts: dict[str, Any]) -> None:
    bench = Bench(registration_facts=wanted)
    bench.registration.connected()
    bench.step(FIRST_SPLAY_S)
    (event,) = bench.said()
    assert event.data["facts"] == facts
    assert event.data["incomplete"] == ["facts"]


def test_a_change_of_facts_that_are_not_said_is_none() -> None:
    bench = Bench(registration_facts=("country",))
    bench.connect()
    bench.view.now_facts = {"country": "de", "uptime": 17}
    bench.step(CHANGES_EVERY_S + LOOK_EVERY_S)
    assert bench.said() == []


def test_facts_that_are_too_large_are_left_out_and_that_is_said(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.view.now_facts = {"country": "de", "blob": "x" * 10_000_000}
    bench.registration.connected()
    bench.step(FIRST_SPLAY_S)
    (event,) = bench.said()
    assert "facts" not in event.data
    assert event.data["classes"] == ["base", "web"]
    assert event.data["incomplete"] == ["facts"]
    assert bench.registration.problem is not None
    assert "at most 1048576 can be sent; it is registered without its facts" in bench.registration.problem
    # Once, not at every registration
    bench.step(INTERVAL_S)
    assert len(bench.said()) == 1
    assert len([r for r in caplog.records if "registered without its facts" in r.getMessage()]) == 1
    # And no longer when they fit
    bench.view.now_facts = {"country": "de"}
    bench.step(INTERVAL_S)
    assert bench.said()[0].data["incomplete"] == []
    assert bench.registration.problem is None


def test_classes_that_are_too_large_are_left_out_as_well(bench: Bench) -> None:
    bench.view.now_classes = frozenset({"x" * 2_000_000})
    bench.registration.connected()
    bench.step(FIRST_SPLAY_S)
    (event,) = bench.said()
    assert event.data["incomplete"] == ["classes", "facts"]
    assert event.data["agents"].keys() == {"greeter"}
    assert "without its classes and facts" in str(bench.registration.problem)


def test_what_cannot_be_said_at_all_is_a_problem_and_keeps_nobody_from_connecting(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    Bench(max_body_bytes=10).registration.connected()
    assert "presence: 1" in caplog.text
    bench.connect()
    bench.view.agents = lambda: {"greeter" * 1_000_000: Greeter.schema()}  # type: ignore[method-assign]
    bench.step(INTERVAL_S)
    assert bench.said() == []
    assert str(bench.registration.problem).endswith("this node is not registered")


def test_facts_that_json_cannot_say_are_left_out(bench: Bench) -> None:
    bench.view.now_facts = {"odd": object()}
    bench.registration.connected()
    bench.step(FIRST_SPLAY_S)
    assert bench.said()[0].data["incomplete"] == ["facts"]


def test_who_goes_says_so(bench: Bench) -> None:
    bench.connect()
    bench.registration.stop()
    (event,) = bench.said("presence")
    assert event.data["state"] == "stop"
    # And nothing after that, whatever is due
    bench.step(2 * INTERVAL_S)
    assert bench.said() == []


def test_a_node_may_keep_silent() -> None:
    bench = Bench(registration=False)
    bench.registration.start()
    bench.registration.connected()
    bench.registration.stop()
    assert bench.packets == []
    assert not [thread for thread in threading.enumerate() if thread.name == "registration"]


def test_the_thread_survives_a_mistake_and_ends_with_the_node(caplog: pytest.LogCaptureFixture) -> None:
    # Given a node whose facts cannot be asked once
    bench = Bench(registration_interval_s=1.0)
    bench.share = 0.0
    failed, registered = threading.Event(), threading.Event()

    def facts() -> Mapping[str, Any]:
        if not failed.is_set():
            failed.set()
            raise OSError("gone")
        registered.set()
        return {}

    bench.view.facts = facts  # type: ignore[method-assign]
    bench.registration.start()
    bench.registration.connected()
    assert failed.wait(20)
    # Then it goes on when it is woken
    bench.registration.connected()
    assert registered.wait(20)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "registration"]
    bench.registration.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert "could not be registered" in caplog.text


@pytest.mark.parametrize("seconds", ["0", "0.5", "-1", "86401", ".nan", ".inf"])
def test_an_interval_that_nobody_can_mean_is_refused(seconds: str) -> None:
    with pytest.raises(ConfigError, match="registration_interval_s"):
        node_settings(None, {"MCO_REGISTRATION_INTERVAL_S": seconds})


def test_the_facts_that_are_told_are_all_none_or_named() -> None:
    assert node_settings(None, {}).registration_facts is True
    assert node_settings(None, {"MCO_REGISTRATION_FACTS": "false"}).registration_facts is False
    assert node_settings(None, {"MCO_REGISTRATION_FACTS": "[country, cores]"}).registration_facts == (
        "country",
        "cores",
    )
    with pytest.raises(ConfigError, match=r"(?i)registration_facts"):
        node_settings(None, {"MCO_REGISTRATION_FACTS": "3"})
