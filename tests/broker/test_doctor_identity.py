# SPDX-License-Identifier: Apache-2.0
"""``mco doctor`` and two machines with one identity: real daemons, and who wants a name that is taken is heard."""

from __future__ import annotations

import queue
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_client.connection import Connection
from mco_client.doctor.examination import examine
from mco_client.doctor.finding import Finding
from mco_client.doctor.patient import Patient
from mco_lab.broker import Broker
from mco_rpc.config import BrokerSettings, ClientSettings
from mco_rpc.connector import Packet, node_endpoint
from mco_rpc.connector.rabbitmq import RabbitmqConnector
from mco_rpc.errors import BrokerError, BrokerRefused
from tests.broker.test_daemon import EXIT_IDENTITY_TAKEN, WAIT_S, Fleet

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]
causes = pytest.mark.causes
# As the security guide has them, and as it had them before nodes could hear of their rivals.
CONFIGURE, WRITE = (
    r"^(mco\.(node|handover)|mcollective)\..*",
    r"^(mco\.(node|handover)\..*|mcollective\.(reply|event))$",
)
READ = r"^(mco\.(node|handover)\..*|mcollective\.(broadcast|node%s))$"


@pytest.fixture
def fleet(tmp_path: Path, broker_url: str) -> Iterator[Fleet]:
    made = Fleet(tmp_path, broker_url)
    yield made
    made.close()


def illnesses(fleet: Fleet) -> dict[str, Finding]:
    """Return what doctor finds, by code."""
    folder = fleet.folder
    settings = ClientSettings(
        brokers=(fleet.url,), caller="operator", key_file=f"{folder}/operator.key", trusted_nodes=f"{folder}/nodes"
    )
    with Connection(settings) as connection:
        return {found.code: found for found in examine(Patient(lambda *_: connection)) if found.code}


def rivals(fleet: Fleet) -> dict[str, Any]:
    (result,) = fleet.client("controller", "web1").call("stats").require_ok()
    told: dict[str, Any] = result.data["rivals"]
    return told


@causes("identity-taken")
def test_two_machines_with_one_identity(fleet: Fleet) -> None:
    # Given a daemon, and nobody else
    first = fleet.start().await_ready()
    assert "identity-taken" not in illnesses(fleet)

    # When another one comes of its name, and gives up
    second = fleet.start(identity_grace_s=0.2)
    assert second.status() == EXIT_IDENTITY_TAKEN

    # Then doctor knows who it was, and the one that has the name works on
    found = illnesses(fleet)["identity-taken"]
    assert found.nodes == ("web1",)
    assert re.search(rf"another daemon wants to be .* pid {second.process.pid} on host \S+ at 20", found.text)
    assert "another daemon claims to be web1" in first.text()
    assert first.text().count("claims to be") == 1


def test_a_new_process_of_the_same_node_is_no_rival(fleet: Fleet) -> None:
    daemon = fleet.start().await_ready()
    for _ in range(2):
        fleet.client("controller", "web1", timeout_s=70).restart().require_ok()
        assert rivals(fleet) == {"count": 0, "last": ""}
    assert "claims to be" not in daemon.text()
    fleet.client("controller", "web1").exit().require_ok()


@pytest.mark.parametrize(("more", "is_heard"), [("|event", True), ("", False)])
def test_with_few_rights_at_the_broker_a_node_works(fleet: Fleet, broker: Broker, more: str, is_heard: bool) -> None:
    # Given a user of the nodes who may do little
    vhost = fleet.url.rpartition("/")[2]
    name = f"nodes-{vhost}"
    user = {"user": name, "vhost": vhost}
    broker.add_user(name, "secret")
    topics = {"exchange": "mcollective.event", "write": ".*", "read": r"^rival\.[^*#]+$"}
    rights = {"configure": CONFIGURE, "write": WRITE, "read": READ % more}
    broker.define({"permissions": [{**user, **rights}], "topic_permissions": [{**user, **topics}]})
    own = {"brokers": [broker.url_for(vhost, name)]}

    # When two daemons want one name, then the first one works, and has heard of the other if it may
    first = fleet.start(**own).await_ready()
    second = fleet.start(identity_grace_s=0.2, **own)
    assert second.status() == EXIT_IDENTITY_TAKEN
    assert bool(rivals(fleet)["count"]) is is_heard
    if not is_heard:
        first.await_log("the broker does not let us hear of other daemons")
    assert "connection failed or lost" not in first.text()

    # And nobody hears with these rights what nodes register
    listener = Refused()
    connector = RabbitmqConnector(BrokerSettings(brokers=tuple(own["brokers"])))
    connector.open(node_endpoint("web2", ("mcollective",), (), ("registration",)), listener)
    try:
        assert isinstance(listener.told.get(timeout=WAIT_S), BrokerRefused)
    finally:
        connector.close()


class Refused:
    """Keeps why there is no connection."""

    def __init__(self) -> None:
        self.told: queue.SimpleQueue[BrokerError | None] = queue.SimpleQueue()

    def on_packet(self, packet: Packet) -> None: ...

    def on_returned(self, packet: Packet) -> None: ...

    def on_connected(self) -> None:
        self.told.put(None)

    def on_disconnected(self, reason: BrokerError) -> None:
        self.told.put(reason)
