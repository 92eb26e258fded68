# SPDX-License-Identifier: Apache-2.0
"""A replay as connector and as security: it vouches for its own recording, and for nothing else in the world."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_client.connection import Connection
from mco_client.recording import Asked, Came, Header, Lost, RecordedCall, Recording, Session
from mco_client.recording.replay import Replay, ReplayConnector, replay_of
from mco_rpc import names
from mco_rpc.config import ClientSettings, client_settings
from mco_rpc.connector import Packet, client_endpoint
from mco_rpc.errors import BrokerError, ConfigError, NotRecorded, RecordingError, SecurityError
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import for_caller, for_node

PING = {"collective": "mcollective", "agent": "rpcutil", "action": "ping"}
OPERATOR = Session(at=1_795_340_040.0, collective="mcollective", caller="key=operator")
RECORDED = "answers recorded 2026-11-22 09:34 UTC from"
CUT = "the last line of the recording is cut off; redacted: pass\\x1b*, x"
WAIT_S = 20.0


def recording(*calls: RecordedCall, sessions: tuple[Session, ...] = (OPERATOR,), **more: Any) -> Recording:
    header = Header(version=1, at=0.0, mco="0.1.0", redacted=more.pop("redacted", ()))
    return Recording(Path("fleet.rec"), header, sessions, calls, **more)


def call(*events: Any) -> RecordedCall:
    return RecordedCall(Asked(id="old", at=1.0, question=PING, ttl_s=5.0, window_s=0.3), list(events))


def came(**fields: Any) -> Came:
    return Came(id="old", **{"after_s": 0.1, "signer": "web1", "principal": "web1", **fields})


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def on_packet(self, packet: Packet) -> None:
        self.events.put(("packet", packet))

    def on_returned(self, packet: Packet) -> None:
        self.events.put((packet.type, packet))

    def on_connected(self) -> None:
        self.events.put(("connected", None))

    def on_disconnected(self, reason: BrokerError) -> None:
        self.events.put(("disconnected", reason))

    def next(self) -> tuple[str, Any]:
        return self.events.get(timeout=WAIT_S)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def opened(heard: Heard) -> Iterator[Any]:
    """Open connectors, and close them after the test."""
    connectors: list[ReplayConnector] = []

    def open_(replay: Replay) -> ReplayConnector:
        connectors.append(ReplayConnector(replay))
        connectors[-1].open(client_endpoint("operator.x", "mcollective"), heard)
        assert heard.next() == ("connected", None)
        return connectors[-1]

    yield open_
    for connector in connectors:
        connector.close()


def request(name: str = "new", kind: str = "request", **fields: Any) -> Packet:
    body = json.dumps({"kind": "request", "id": name, "sent_at": 2.0, "ttl_s": 5.0, **PING, **fields}).encode()
    exchange = names.exchange("mcollective", names.BROADCAST)
    return Packet(exchange, "agent.rpcutil", body, kind, name, "operator", b"", name)


# As a connector.


def test_answers_come_in_order_for_the_new_request_and_then_it_is_over(heard: Heard, opened: Any) -> None:
    message = b'{"kind":"reply","id":"old","data":{"of":"old","as text":"my old shoe"}}'
    replay = Replay(recording(call(came(raw=message), came(signer="web2", principal="web2", raw=b"\xff"))))
    opened(replay).publish([request()])
    kind, packet = heard.next()
    assert (kind, packet.correlation_id, packet.key, packet.signer) == ("packet", "new", "operator.x", "web1")
    assert json.loads(packet.body) == {"kind": "reply", "id": "new", "data": {"of": "new", "as text": "my old shoe"}}
    assert heard.next()[1].body == b"\xff"
    kind, packet = heard.next()
    assert (kind, packet.message_id) == ("over", "new")


def test_who_asks_whether_somebody_is_still_there_gets_no_answer(heard: Heard, opened: Any) -> None:
    connector = opened(Replay(recording()))
    connector.publish([request("probe", kind="probe")])
    with pytest.raises(NotRecorded, match="nothing was asked when it was recorded"):
        connector.publish([request()])
    assert heard.events.empty()


def test_the_packets_of_one_request_are_one_question(heard: Heard, opened: Any) -> None:
    connector = opened(Replay(recording(call(came(raw=b"1"))), is_strict=True))
    connector.publish([request(), request()])
    connector.publish([request()])
    assert [heard.next()[0] for _ in range(2)] == ["packet", "over"]
    assert heard.events.empty()


def test_a_connection_that_was_lost_is_lost_again(heard: Heard, opened: Any) -> None:
    lost = Lost(id="old", after_s=0.2, why="the broker\x1b[2J went")
    replay = Replay(recording(call(came(raw=b"1"), lost)))
    opened(replay).publish([request()])
    assert heard.next()[0] == "packet"
    kind, reason = heard.next()
    assert (kind, str(reason)) == ("disconnected", "the broker\\x1b[2J went")
    # Whoever connects anew goes on
    opened(replay).publish([request()])
    assert heard.next()[0] == "packet"


def test_answers_come_as_fast_as_is_wished(heard: Heard, opened: Any) -> None:
    slow = call(came(after_s=1e9, raw=b"slow"), came(after_s=0.001, raw=b"fast"))
    connector = opened(Replay(recording(slow), speed=1.0))
    connector.publish([request()])
    assert heard.next()[1].body == b"fast"
    assert heard.next()[0] == "over"
    connector.close()  # though the other one is due in many years
    assert heard.events.empty()
    opened(Replay(recording(slow), speed=1e12)).publish([request()])
    assert {heard.next()[1].body for _ in range(3)} == {b"fast", b"slow", b""}


def test_a_mistake_of_the_listener_ends_nothing(heard: Heard, opened: Any, caplog: pytest.LogCaptureFixture) -> None:
    connector = opened(Replay(recording(call(came(raw=b"1")))))
    heard.on_packet = lambda packet: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    connector.publish([request()])
    assert heard.next()[0] == "over"
    assert "a callback failed" in caplog.text
    assert connector.addresses() == []


def test_a_listener_hears_nothing_more_when_it_is_closed(heard: Heard, opened: Any) -> None:
    is_hearing, has_heard = threading.Event(), threading.Event()

    def hear(_: Packet) -> None:
        is_hearing.set()
        has_heard.wait(0.2)  # nobody sets it: the callback takes its time
        has_heard.set()

    heard.on_packet = hear  # type: ignore[method-assign]
    connector = opened(Replay(recording(call(came(raw=b"1"), came(raw=b"2")))))
    connector.publish([request()])
    assert is_hearing.wait(WAIT_S)
    connector.close()
    assert has_heard.is_set()
    assert heard.events.empty()


def test_it_can_be_closed_before_it_is_open_and_from_its_own_thread(heard: Heard, opened: Any) -> None:
    ReplayConnector(Replay(recording())).close()
    connector = opened(Replay(recording(call(came(raw=b"1"), came(raw=b"2")))))
    heard.on_packet = lambda packet: (connector.close(), heard.events.put(("closed", None)))[1]  # type: ignore[method-assign, func-returns-value]
    connector.publish([request()])
    assert heard.next()[0] == "closed"
    connector.close()
    assert heard.events.empty()


# As a security.


def sealed(replay: Replay, event: Came, body: bytes = b"{}") -> tuple[bytes, str, bytes]:
    return body, event.signer, replay.sealed(event, body)


def test_what_was_believed_is_believed_and_what_was_not_is_not() -> None:
    replay = Replay(recording())
    assert replay.verify(*sealed(replay, came())) == "web1"
    with pytest.raises(SecurityError, match=r"^unknown key 'web1'$"):
        replay.verify(*sealed(replay, came(principal=None, doubt="unknown key 'web1'")))


@pytest.mark.parametrize("change", ["body", "signer", "signature", "says", "another", "ed25519"])
def test_nothing_else_is_believed(change: str) -> None:
    replay = Replay(recording())
    body, signer, signature = sealed(replay, came())
    match change:
        case "body":
            body += b" "
        case "signer":
            signer = "web2"
        case "signature":
            signature = b""
        case "says":
            signature = signature[:-1] + b"2"
        case "another":
            signature = Replay(recording()).sealed(came(), body)
        case _:
            signature = for_node("web1", keys.new_seed(), {}).sign(body)
    with pytest.raises(SecurityError, match="not from the recording: this is a replay, and believes nobody else"):
        replay.verify(body, signer, signature)


def test_a_doubt_cannot_be_turned_into_trust() -> None:
    replay = Replay(recording())
    body, signer, signature = sealed(replay, came(principal=None, doubt="web1"))
    with pytest.raises(SecurityError, match="not from the recording"):
        replay.verify(body, signer, signature[:16] + b"+" + signature[17:])


def test_nothing_is_signed_so_no_node_believes_a_question() -> None:
    replay = Replay(recording())
    assert (replay.principal, replay.signer) == ("key=operator", "operator")
    node = for_node("web1", keys.new_seed(), {"operator": keys.public_of(keys.new_seed())})
    with pytest.raises(SecurityError, match="signature of 0 bytes"):
        node.verify(b"{}", replay.signer, replay.sign(b"{}"))


def test_another_security_cannot_be_put_in_its_place() -> None:
    settings = ClientSettings(connector="replay", replay="fleet.rec")
    connection = Connection(settings, security=for_caller("operator", keys.new_seed(), {}))
    with pytest.raises(ConfigError, match="connector: replay has a security of its own"):
        connection.open()


@pytest.mark.parametrize(
    ("made", "notice"),
    [
        (
            recording(),
            f"{RECORDED} collective mcollective by key=operator; nothing was asked now",
        ),
        (
            recording(sessions=(OPERATOR, Session(at=2e12 / 2, collective="eu", caller="key=alice"))),
            f"{RECORDED} collective eu, mcollective by key=alice, key=operator; nothing was asked now",
        ),
        (
            recording(sessions=(), is_cut=True, redacted=("pass\x1b*", "x")),
            f"answers recorded 1970-01-01 00:00 UTC from collective - by nobody; nothing was asked now; {CUT}",
        ),
        (
            recording(sessions=(Session(at=1e12, collective="eu", caller="key=alice"),)),
            "answers recorded at an impossible time from collective eu by key=alice; nothing was asked now",
        ),
    ],
)
def test_the_notice_says_when_where_and_by_whom(made: Recording, notice: str) -> None:
    assert Replay(made).notice == notice


# As the settings say.


def test_settings_choose_it(tmp_path: Path) -> None:
    file = tmp_path / "fleet.rec"
    file.write_text('{"kind":"recording","version":1,"at":1.0,"mco":"0.1.0"}\n')
    told = {"HOME": "/", "MCO_CONNECTOR": "replay", "MCO_REPLAY": str(file), "MCO_REPLAY_SPEED": "2"}
    settings = client_settings(environment=told)
    assert replay_of(settings).speed == 2.0
    with Connection(settings) as connection:
        assert connection.notice.startswith("answers recorded 1970-01-01")
        assert connection.open()
    assert Replay(recording()).principal == "key=operator"
    assert Replay(recording(sessions=())).principal == "key=nobody"


@pytest.mark.parametrize(
    "told",
    [{"MCO_REPLAY": "fleet.rec"}, {"MCO_CONNECTOR": "replay"}, {"MCO_CONNECTOR": "rabbitmq", "MCO_REPLAY": "x"}],
)
def test_who_thinks_that_he_asks_a_recording_never_asks_the_fleet(told: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"a recording is answered from by `connector: replay`"):
        client_settings(environment={"HOME": "/", **told})


@pytest.mark.parametrize("speed", ["-1", ".nan", ".inf"])
def test_a_speed_that_is_none_is_refused(speed: str) -> None:
    told = {"HOME": "/", "MCO_CONNECTOR": "replay", "MCO_REPLAY": "x", "MCO_REPLAY_SPEED": speed}
    with pytest.raises(ConfigError, match="replay_speed: "):
        client_settings(environment=told)


def test_a_recording_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(RecordingError, match=r"recording none\.rec: No such file"):
        Connection(ClientSettings(connector="replay", replay="none.rec"))
    with pytest.raises(ConfigError, match="MCO_REPLAY=FILE"):
        Connection(ClientSettings(connector="replay"))


def test_a_replay_is_not_recorded_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCO_RECORD", str(tmp_path / "new.rec"))
    settings = ClientSettings(connector="replay", replay="fleet.rec")
    with pytest.raises(ConfigError, match="MCO_RECORD: a replay cannot be recorded once more"):
        Connection(settings, security=Replay(recording())).open()
    assert not (tmp_path / "new.rec").exists()
