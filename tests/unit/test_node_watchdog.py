# SPDX-License-Identifier: Apache-2.0
"""What a node tells systemd, and when it tells it nothing."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from mco_node.watchdog import Watchdog

NEVER_S = 600.0
PATIENCE_S = 10.0
LISTENS = {"NOTIFY_SOCKET": "/run/systemd/notify"}
BEATS = {**LISTENS, "WATCHDOG_USEC": "30000"}  # one beat each 10 ms


class StubNode:
    """A node whose thread for messages can be made to hang."""

    identity = "web1"

    def __init__(self) -> None:
        self.is_connected = threading.Event()
        self.hangs = False
        self.names = ["a", "b"]

    def settings(self) -> dict[str, Any]:
        return {"brokers": ["amqp://mco@b:5672/"]}

    def agents(self) -> list[str]:
        return self.names

    def pulse(self, told: Callable[[], None]) -> None:
        if not self.hangs:
            told()


class Systemd:
    """Who listens."""

    def __init__(self) -> None:
        self.heard: queue.SimpleQueue[str] = queue.SimpleQueue()

    def hear(self, message: str) -> None:
        self.heard.put(message)

    def next(self, beginning: str) -> str:
        """Return the next message that begins so."""
        while not (message := self.heard.get(timeout=PATIENCE_S)).startswith(beginning):
            pass
        return message


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def node() -> StubNode:
    return StubNode()


@pytest.fixture
def systemd() -> Systemd:
    return Systemd()


@pytest.fixture
def watch(node, systemd):
    """Return what starts a watchdog that ends with the test."""
    started = []

    def start(environment: dict[str, str], patience_s: float = NEVER_S) -> Watchdog:
        watchdog = Watchdog(node, notify=systemd.hear, environment=environment, patience_s=patience_s)
        watchdog.start()
        started.append(watchdog)
        return watchdog

    yield start
    for watchdog in started:
        watchdog.stopping(0.0)


def test_it_is_ready_once_it_is_connected(node, systemd, watch):
    watchdog = watch(LISTENS)
    assert systemd.heard.get(timeout=PATIENCE_S) == "STATUS=not connected to amqp://mco@b:5672/, trying again; 2 agents"

    node.is_connected.set()
    node.names = ["a"]
    watchdog.changed()

    assert systemd.heard.get(timeout=PATIENCE_S) == "READY=1"
    assert systemd.heard.get(timeout=PATIENCE_S) == "STATUS=connected to amqp://mco@b:5672/ as web1, 1 agent"
    node.is_connected.clear()
    watchdog.changed()
    assert systemd.heard.get(timeout=PATIENCE_S).startswith("STATUS=not connected")


def test_a_broker_that_is_away_does_not_hold_up_a_boot(systemd, watch):
    watch(LISTENS, patience_s=0.01)

    told = sorted(systemd.heard.get(timeout=PATIENCE_S) for _ in range(2))
    assert told == ["READY=1", "STATUS=not connected to amqp://mco@b:5672/, trying again; 2 agents"]


def test_it_says_that_it_lives_again_and_again(node, systemd, watch):
    node.is_connected.set()
    watch(BEATS)

    for _ in range(3):
        assert systemd.next("WATCHDOG") == "WATCHDOG=1"


def test_it_does_not_when_its_thread_for_messages_hangs(node, systemd, watch, caplog):
    node.hangs = True
    watch(BEATS)

    assert systemd.heard.get(timeout=PATIENCE_S).startswith("STATUS=")
    wait_for(lambda: caplog.text.count("the connection's thread has not moved") >= 3)
    assert systemd.heard.empty()

    node.hangs = False
    assert systemd.next("WATCHDOG") == "WATCHDOG=1"


def test_a_thread_that_moves_again_is_looked_at_at_once(node, systemd, monkeypatch):
    # Given a thread for messages that does not move when it is looked at for the first time
    done, pulse = [], node.pulse

    def look(told: Callable[[], None]) -> None:
        done.append("look")
        node.hangs = len(done) == 1
        pulse(told)

    node.pulse = look
    watchdog = Watchdog(node, notify=systemd.hear, environment=BEATS, patience_s=NEVER_S)
    monkeypatch.setattr(watchdog._condition, "wait_for", lambda *_: done.append("wait"), raising=False)
    watchdog.start()

    # Then it is looked at again before anything is waited for: the time until systemd ends the node is nearly over
    assert systemd.next("WATCHDOG") == "WATCHDOG=1"
    watchdog.stopping(0.0)
    assert done[:3] == ["look", "look", "wait"]


def test_it_says_how_long_it_may_take_to_stop(systemd, watch):
    watchdog = watch(LISTENS)

    watchdog.stopping(20.0)

    assert systemd.next("STOPPING") == "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=25000000"


def test_it_says_nothing_where_nobody_listens(systemd, watch):
    watch({"WATCHDOG_USEC": "30000"}).stopping(1.0)

    assert systemd.heard.empty()


def test_a_limit_that_is_no_number_means_no_watchdog(node, systemd, watch):
    watchdog = watch({**LISTENS, "WATCHDOG_USEC": "soon"})
    systemd.next("STATUS")
    node.names = []
    watchdog.changed()
    assert systemd.heard.get(timeout=PATIENCE_S).endswith("0 agents")
