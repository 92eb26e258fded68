# SPDX-License-Identifier: Apache-2.0
"""What a node says unasked: that it is there, what it is, and that it goes; for whoever keeps a registry.

It never waits for anybody and does not know whether somebody listens. When many nodes connect at once, as after
a restart of the broker, each of them says at once only the few bytes that it is there.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from mco_rpc import __version__, names
from mco_rpc.agent import NodeView
from mco_rpc.config import NodeSettings
from mco_rpc.connector import Packet
from mco_rpc.errors import MessageError
from mco_rpc.messages import Event, encode, new_id
from mco_rpc.security import Security

_log = logging.getLogger(__name__)

PRESENCE, REGISTRATION = "presence", "registration"

# A new node is known soon, and a rack that gets its power back is not one burst.
FIRST_SPLAY_S = 2.0
LOOK_EVERY_S = 15.0
# Facts may change at every look, and nobody needs to hear of each change.
CHANGES_EVERY_S = 60.0


class Registration:
    """Says what `node` is, on connecting, every interval, and soon after its facts or classes changed.

    Args:
        send: publishes, from any thread.
        clock: seconds since the epoch.
        monotonic: seconds of a clock that nobody sets.
        splay: gives a random number between two.
        drained: says since when, by whom and why the node takes no work; None if it does.
    """

    def __init__(
        self,
        settings: NodeSettings,
        node: NodeView,
        security: Security,
        send: Callable[[Packet], None],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        splay: Callable[[float, float], float] = random.uniform,
        drained: Callable[[], dict[str, Any] | None] = lambda: None,
    ) -> None:
        self._settings, self._node, self._security, self._send = settings, node, security, send
        self._clock, self._monotonic, self._splay = clock, monotonic, splay
        self._drained = drained
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._saying = threading.Lock()
        self._is_connected = self._is_over = False
        self._due: float | None = None
        self._sent_at: float | None = None
        self._sent: tuple[frozenset[str], Mapping[str, Any]] = (frozenset(), {})
        self.problem: str | None = None

    def start(self) -> None:
        """Begin to register, once there is a connection."""
        if self._settings.registration:
            threading.Thread(target=self._run, name="registration", daemon=True).start()

    def connected(self) -> None:
        """Say that the node is there; what it is comes a little later."""
        self._say_presence("start")
        with self._lock:
            interval_s = self._settings.registration_interval_s
            latest_s = min(FIRST_SPLAY_S, interval_s) if self._due is None else interval_s
            self._due = self._monotonic() + self._splay(0.0, latest_s)
            self._is_connected = True
        self._wake.set()

    def again(self) -> None:
        """Say what the node is soon, for it is another one now."""
        with self._lock:
            self._due = self._monotonic() + self._splay(0.0, min(FIRST_SPLAY_S, self._settings.registration_interval_s))
        self._wake.set()

    def disconnected(self) -> None:
        """Say nothing until there is a connection again."""
        self._is_connected = False

    def stop(self) -> None:
        """Say that the node goes, and nothing more."""
        with self._saying:
            self._is_over = True
        self._wake.set()
        self._say_presence("stop")

    def step(self) -> float | None:
        """Register if it is time to; return the seconds to the next look, None to be woken."""
        if not self._is_connected:
            return None
        now = self._monotonic()
        with self._lock:
            due = now if self._due is None else self._due
        if due > now and self._sent_at is not None and self._is_changed():
            due = max(now, min(due, self._sent_at + CHANGES_EVERY_S))
        if due <= now:
            self._register()
            # Never in step with others that began at the same moment.
            due = now + self._settings.registration_interval_s * self._splay(0.9, 1.0)
            self._sent_at = now
            with self._lock:
                self._due = due
        return min(LOOK_EVERY_S, due - now)

    def _run(self) -> None:
        while not self._is_over:
            try:
                wait_s = self.step()
            except Exception:
                _log.exception("the node could not be registered; trying again")
                wait_s = LOOK_EVERY_S
            self._wake.wait(wait_s)
            self._wake.clear()

    def _is_changed(self) -> bool:
        classes, facts = self._sent
        return self._node.classes() != classes or self._facts() != facts

    def _facts(self) -> Mapping[str, Any]:
        wanted, facts = self._settings.registration_facts, self._node.facts()
        if isinstance(wanted, bool):
            return facts if wanted else {}
        return {name: facts[name] for name in wanted if name in facts}

    def _register(self) -> None:
        self._sent = self._node.classes(), self._facts()
        why: list[str] = []
        for left_out in _LEFT_OUT:
            try:
                self._say(REGISTRATION, self._content(left_out))
            except MessageError as e:
                why.append(str(e))
            else:
                break
        problem = f"registration: {why[0]}; {_without(why)}" if why else None
        if problem != self.problem and problem:
            _log.error("%s", problem)
        self.problem = problem

    def _content(self, left_out: tuple[str, ...]) -> dict[str, Any]:
        """Return what the node is, without some parts; whoever keeps it must know that they are missing."""
        classes, facts = self._sent
        content = {
            "version": __version__,
            "interval_s": self._settings.registration_interval_s,
            "collectives": list(self._node.collectives),
            "agents": {
                name: {"version": schema.version, "schema": schema.digest}
                for name, schema in self._node.agents().items()
            },
            "classes": sorted(classes),
            "facts": facts,
            "drained": self._drained(),
        }
        some = () if self._settings.registration_facts is True else ("facts",)
        kept = {name: value for name, value in content.items() if name not in left_out}
        return {**kept, "incomplete": sorted({*left_out, *some})}

    def _say_presence(self, state: str) -> None:
        if not self._settings.registration:
            return
        agents, interval_s = sorted(self._node.agents()), self._settings.registration_interval_s
        try:
            self._say(PRESENCE, {"state": state, "version": __version__, "agents": agents, "interval_s": interval_s})
        except MessageError as e:
            _log.error("presence: %s; nothing was said", e)

    def _say(self, topic: str, data: dict[str, Any]) -> None:
        """Publish an event in every collective.

        Raises:
            MessageError: it is too large, or cannot be said in JSON.
        """
        with self._saying:
            if self._is_over and topic == REGISTRATION:
                return  # the farewell is the last word
            sent_at = self._clock()
            for packet in [self._packet(topic, collective, sent_at, data) for collective in self._node.collectives]:
                self._send(packet)

    def _packet(self, topic: str, collective: str, sent_at: float, data: dict[str, Any]) -> Packet:
        event = Event(topic=topic, collective=collective, sender=self._node.identity, sent_at=sent_at, data=data)
        packet = event_packet(event, self._security)
        if len(packet.body) > self._settings.max_body_bytes:
            raise MessageError(f"{len(packet.body)} bytes; at most {self._settings.max_body_bytes} can be sent")
        return packet


def event_packet(event: Event, security: Security) -> Packet:
    """Return an event as it is sent.

    Raises:
        MessageError: its data holds something that JSON cannot say.
    """
    body = encode(event)
    return Packet(
        exchange=names.exchange(event.collective, names.EVENT),
        key=names.event_key(event.topic, event.sender),
        body=body,
        type="event",
        message_id=new_id(),
        signer=security.signer,
        signature=security.sign(body),
    )


# What is left out, the largest first, until a registration can be sent.
_LEFT_OUT = ((), ("facts",), ("classes", "facts"))


def _without(why: list[str]) -> str:
    if len(why) == len(_LEFT_OUT):
        return "this node is not registered"
    return f"it is registered without its {' and '.join(_LEFT_OUT[len(why)])}"
