# SPDX-License-Identifier: Apache-2.0
"""What a recorder writes down of what goes through a connector, and what it leaves out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from mco_client.recording import Lost, Recording, Returned, recorder
from mco_client.recording.file import RecordingFile
from mco_client.recording.recorder import RecordingConnector
from mco_client.schema.cache import default_folder
from mco_rpc.config import ClientSettings
from mco_rpc.connector import Endpoint, Listener, Packet, client_endpoint
from mco_rpc.errors import BrokerError, BrokerUnreachable, RecordingError
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import for_caller


class Nowhere:
    """A connector to nobody, and who listens to it."""

    def __init__(self) -> None:
        self.published: list[Packet] = []
        self.heard: list[str] = []

    def open(self, endpoint: Endpoint, listener: Listener) -> None: ...

    def publish(self, packets: Sequence[Packet]) -> None:
        self.published += packets

    def addresses(self) -> list[str]:
        return []

    def close(self) -> None: ...

    def on_packet(self, packet: Packet) -> None:
        self.heard.append("packet")

    def on_returned(self, packet: Packet) -> None:
        self.heard.append("returned")

    def on_connected(self) -> None: ...

    def on_disconnected(self, reason: BrokerError) -> None:
        self.heard.append("disconnected")


@pytest.fixture
def nowhere() -> Nowhere:
    return Nowhere()


@pytest.fixture
def connector(nowhere: Nowhere, tmp_path: Path) -> RecordingConnector:
    security = for_caller("operator", keys.new_seed(), {})
    made = RecordingConnector(nowhere, tmp_path / "fleet.rec", ClientSettings(), security)
    made.open(client_endpoint("operator.x", "mcollective"), nowhere)
    return made


def request(
    name: str, to: str = "", *, kind: str = "request", key: str = "agent.rpcutil", ttl_s: float = 5.0
) -> Packet:
    asked = {"kind": "request", "id": name, "agent": "rpcutil", "action": "ping", "ttl_s": ttl_s}
    body = json.dumps({**asked, **({"targets": to.split()} if to else {})}).encode()
    return Packet("mcollective.broadcast", key, body, kind, name, "operator", b"", name)


def test_who_asks_whether_somebody_is_still_there_asks_no_question(
    connector: RecordingConnector, nowhere: Nowhere, tmp_path: Path
) -> None:
    connector.publish([request("probe", "web1", kind="probe")])
    connector.close()
    assert len(nowhere.published) == 1
    assert Recording.read(tmp_path / "fleet.rec").calls == []


def test_a_lost_connection_ends_what_was_under_way_and_nothing_else(
    connector: RecordingConnector, nowhere: Nowhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a question whose time is over, one that reached nobody, one to everybody, and three that have no end yet
    now_s = 100.0
    monkeypatch.setattr(recorder.time, "monotonic", lambda: now_s)
    connector.publish([request("old", "web1", ttl_s=0.5)])
    now_s += 1.0
    connector.publish([request("nobody", "web1 web2"), request("everybody"), request("node", "web1 web2")])
    connector.on_returned(request("nobody", key="agent.rpcutil"))
    connector.on_returned(request("node", key="web2"))
    connector.publish([request("last")])
    now_s += 1.0
    connector.on_disconnected(BrokerUnreachable("gone\x1b[2J"))
    connector.on_returned(request("strange"))
    connector.on_packet(request("strange"))
    connector.close()
    # Then those are lost that may have had an answer to come
    calls = {call.asked.id: call.events for call in Recording.read(tmp_path / "fleet.rec").calls}
    assert {name: [type(event) for event in events] for name, events in calls.items()} == {
        "old": [],
        "nobody": [Returned],
        "everybody": [],
        "node": [Returned, Lost],
        "last": [Lost],
    }
    assert calls["node"][-1] == Lost(id="node", after_s=1.0, why="gone\\x1b[2J")
    # And all of it is passed on
    assert nowhere.heard == ["returned", "returned", "disconnected", "returned", "packet"]


def test_what_cannot_be_written_is_tried_once_and_passed_on_always(
    connector: RecordingConnector, nowhere: Nowhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector.publish([request("a", "web1 web2")])
    tried: list[object] = []

    def held(_: RecordingFile, entry: object) -> NoReturn:
        tried.append(entry)
        raise RecordingError("held")

    monkeypatch.setattr(RecordingFile, "write", held)
    for _ in range(3):
        connector.on_returned(request("a", key="web1"))
    assert (len(tried), nowhere.heard) == (1, ["returned"] * 3)
    with pytest.raises(RecordingError, match="held"):
        connector.publish([request("b")])
    assert len(nowhere.published) == 1


def test_a_recording_needs_the_schemas_that_a_cache_would_keep_out_of_it() -> None:
    assert default_folder({"HOME": "/home/x"}) is not None
    assert default_folder({"HOME": "/home/x", "MCO_RECORD": "fleet.rec"}) is None
