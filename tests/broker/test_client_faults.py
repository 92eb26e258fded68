# SPDX-License-Identifier: Apache-2.0
"""The client over a real RabbitMQ, and what may go wrong: the broker, the nodes, and who only claims to be one."""

from __future__ import annotations

import base64
import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from mco_client.connection import Connection
from mco_client.discovery.broadcast import BroadcastDiscovery
from mco_client.rpc import RpcClient
from mco_lab.broker import Broker, free_port
from mco_node.daemon import Node
from mco_rpc import names
from mco_rpc.config import ClientSettings, NodeSettings
from mco_rpc.connector import Packet, node_endpoint
from mco_rpc.connector.rabbitmq import RabbitmqConnector
from mco_rpc.errors import BrokerError, BrokerRefused, BrokerUnreachable, DiscoveryError
from mco_rpc.filters import Filter
from mco_rpc.messages import Reply, Request, decode_request, encode
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import Ed25519Security, for_caller, for_node

LIBDIR = Path(__file__).parents[1] / "collective" / "libdir"
LONG_S = 60.0  # a test that waits for so long has failed
SHORT_S = 0.3  # a call that is to end without all its answers

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]

Answer = Callable[["Scripted", Request], list[Packet]]


class Scripted:
    """A node of the test's own making: it answers what the test says."""

    def __init__(self, world: World, identity: str, answer: Answer) -> None:
        self.world, self.identity, self._answer = world, identity, answer
        self.requests: list[Request] = []
        self._is_there = threading.Event()
        self.connector = RabbitmqConnector(ClientSettings(brokers=(world.url,)))
        self.connector.open(node_endpoint(identity, ("mcollective",), ("rpcutil", "discovery")), self)
        assert self._is_there.wait(LONG_S)

    def reply(self, request: Request, *, by: str | None = None, **fields: Any) -> Packet:
        """Return a good reply, with ``fields`` in the place of its own, signed by ``by``."""
        values = {"id": request.id, "sender": self.identity, "sent_at": time.time(), **fields}
        security = self.world.security(by or self.identity)
        body = encode(Reply(collective=request.collective, agent=request.agent, action=request.action, **values))
        return Packet(
            exchange=names.exchange("mcollective", names.REPLY),
            key=request.reply_to or "",
            body=body,
            type="reply",
            message_id=request.id,
            correlation_id=request.id,
            signer=security.signer,
            signature=security.sign(body),
        )

    def on_packet(self, packet: Packet) -> None:
        request = decode_request(packet.body)
        self.requests.append(request)
        self.connector.publish(self._answer(self, request))

    def on_returned(self, packet: Packet) -> None: ...

    def on_connected(self) -> None:
        self._is_there.set()

    def on_disconnected(self, reason: BrokerError) -> None: ...


class World:
    """A virtual host, its nodes, and one caller whom they trust; all keys are made here."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self._caller = keys.new_seed()
        self._seeds = {identity: keys.new_seed() for identity in ("web1", "web2", "odd", "other")}
        self._connections: list[Connection] = []
        self._nodes: list[Node] = []
        self._scripted: list[Scripted] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def security(self, identity: str) -> Ed25519Security:
        """Return the security of a node that the caller trusts, or of one that nobody knows."""
        trusted = {"alice": keys.public_of(self._caller)}
        return for_node(identity, self._seeds.get(identity, keys.new_seed()), trusted)

    def connection(self, *brokers: str, **values: Any) -> Connection:
        settings: dict[str, Any] = {
            "caller": "alice", "timeout_s": LONG_S, "discovery_timeout_s": LONG_S, "connect_timeout_s": 5.0,
        }  # fmt: skip
        made = Connection(
            ClientSettings(**{**settings, "brokers": brokers or (self.url,), **values}),
            security=for_caller(
                "alice", self._caller, {name: keys.public_of(seed) for name, seed in self._seeds.items()}
            ),
        )
        self._connections.append(made)
        return made

    def client(self, *nodes: str, **values: Any) -> RpcClient:
        """Return a client for nodes that are given, or that it finds."""
        made = RpcClient("rpcutil", self.connection(**values))
        if nodes:
            made.discover(nodes=nodes)
        return made

    def _values(self, identity: str) -> dict[str, Any]:
        facts = self.folder / f"{identity}.yaml"
        facts.write_text("country: de\n")
        return {
            "identity": identity,
            "brokers": [self.url],
            "facts_file": str(facts),
            "facts_dir": str(self.folder / "facts.d"),
            "classes_file": str(facts.with_suffix(".classes")),
            "libdir": [str(LIBDIR)],
            "agents": {"iptables": {"backend": "memory"}},
        }

    def node(self, identity: str) -> Node:
        """Return a real node that runs in this process."""
        (self.folder / f"{identity}.classes").write_text("dev_server\n")
        settings = msgspec.convert(self._values(identity), NodeSettings)
        made = Node(settings, RabbitmqConnector(settings), self.security(identity))
        self._nodes.append(made)
        made.start()
        assert made.is_connected.wait(LONG_S)
        return made

    def process(self, identity: str) -> subprocess.Popen[bytes]:
        """Return a real node that runs as a process."""
        (self.folder / f"{identity}.classes").write_text("dev_server\n")
        callers = self.folder / "callers"
        _write_key(callers / "alice.pub", "public", keys.public_of(self._caller))
        _write_key(self.folder / f"{identity}.key", "private", self._seeds[identity])
        config = self.folder / f"{identity}.node.yaml"
        values = {"key_file": str(self.folder / f"{identity}.key"), "trusted_callers": str(callers)}
        config.write_text(yaml.safe_dump({**self._values(identity), **values}))
        ready, say = os.pipe()
        with os.fdopen(ready, "rb") as answer:
            command = [sys.executable, "-m", "mco_node", "run", "--config", str(config), "--ready-fd", str(say)]
            made = subprocess.Popen(command, pass_fds=(say,), stderr=subprocess.DEVNULL)
            self._processes.append(made)
            os.close(say)
            assert answer.read()
        return made

    def scripted(self, answer: Answer, identity: str = "odd") -> Scripted:
        """Return a node that answers what the test says."""
        made = Scripted(self, identity, answer)
        self._scripted.append(made)
        return made

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        for scripted in self._scripted:
            scripted.connector.close()
        for process in self._processes:
            process.kill()
            process.wait()
        for node in self._nodes:
            node.agent("faulty").gate.set()  # type: ignore[attr-defined]
            node.stop()


@pytest.fixture
def world(broker_url: str, tmp_path: Path) -> Iterator[World]:
    made = World(broker_url, tmp_path)
    yield made
    made.close()


def amqp_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("amqp mco.reply.")]


class TestBroker:
    def test_nobody_listens_there(self, world: World) -> None:
        url = f"amqp://alice:secret@127.0.0.1:{free_port()}/"
        client = RpcClient("rpcutil", world.connection(url))
        with pytest.raises(BrokerUnreachable) as told:
            client.ping()
        assert str(told.value) == (
            f"broker {url.replace(':secret', '')}: connection refused; does RabbitMQ run there, on this port?"
        )
        # And nothing goes on trying
        assert amqp_threads() == []

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda url: url.replace("lab:", "lab:x"), "refused the user name or password"),
            (lambda url: url.replace("lab:", "bob:"), "refused the user name or password"),
            (lambda url: url + "x", "has no such virtual host, or we may not use it"),
        ],
        ids=["wrong password", "unknown user", "unknown virtual host"],
    )
    def test_it_says_no(self, world: World, change: Callable[[str], str], message: str) -> None:
        client = RpcClient("rpcutil", world.connection(change(world.url)))
        with pytest.raises(BrokerRefused, match=message) as told:
            client.ping()
        # And the password is nobody's business
        assert world.url.split(":")[2].partition("@")[0] not in str(told.value)
        assert amqp_threads() == []

    def test_the_next_one_of_a_list_is_taken(self, world: World) -> None:
        world.node("web1")
        connection = world.connection(f"amqp://a:b@127.0.0.1:{free_port()}/", world.url)
        client = RpcClient("rpcutil", connection)
        client.discover(nodes=["web1"])
        assert len(client.ping().require_ok()) == 1


@pytest.mark.xdist_group("client-broker-dies")
class TestBrokerThatDies:
    @pytest.fixture
    def mortal(self, own_broker: Broker, tmp_path: Path) -> Iterator[World]:
        made = World(own_broker.url, tmp_path)
        yield made
        made.close()
        own_broker.start()

    @pytest.mark.parametrize("death", ["kill", "stop"])
    def test_in_the_middle_of_a_call(self, mortal: World, own_broker: Broker, death: str) -> None:
        # Given a call of which one answer has come, and one is awaited
        mortal.node("web1")
        odd = mortal.scripted(lambda node, request: [])
        client = mortal.client("web1", "odd")
        answers = client.stream("ping")
        assert next(answers).sender == "web1"
        # When the broker dies
        getattr(own_broker, death)()
        # Then the call ends, and says what is known
        with pytest.raises(BrokerUnreachable) as told:
            next(answers)
        assert re.match(
            r"rpcutil#ping: the connection was lost while replies were awaited \(1 of 2 had answered; "
            r"what became of it is unknown on \S+\): broker amqp://lab@127.0.0.1:",
            str(told.value),
        )
        # And while it is away every call says so at once
        with pytest.raises(BrokerUnreachable, match="connection refused"):
            client.ping()
        # And when it is back, the same client works again
        own_broker.start()
        back(client, "web1")
        client.discover(nodes=["web1"])
        assert len(client.ping().require_ok()) == 1
        assert odd.requests[0].agent == "rpcutil"

    def test_between_two_calls(self, mortal: World, own_broker: Broker) -> None:
        node = mortal.node("web1")
        client = mortal.client("web1")
        client.ping().require_ok()
        own_broker.stop()
        own_broker.start()
        assert node.is_connected.wait(LONG_S)
        back(client, "web1")
        client.discover(nodes=["web1"])
        assert len(client.ping().require_ok()) == 1


def back(client: RpcClient, node: str) -> None:
    """Wait until a node can be found again after the broker was away."""
    until = time.monotonic() + LONG_S
    while time.monotonic() < until:
        try:
            if node in BroadcastDiscovery(client.connection).discover(Filter(), 1, 1.0).nodes:
                return
        except BrokerError:
            continue  # our own connection was lost with the broker, and this told us so
    pytest.fail(f"{node} did not come back")


class TestNodes:
    def test_several_are_found_and_asked(self, world: World) -> None:
        world.node("web1")
        world.node("web2")
        client = world.client()
        client.fact_filter("country", "de")
        assert client.discovered == ["web1", "web2"]
        assert client.get_fact(fact="country").require_all(value="de").expected == ("web1", "web2")

    def test_nobody_at_all_is_known_at_once(self, world: World) -> None:
        # Given a virtual host without nodes, and limits that would be noticed
        with pytest.raises(DiscoveryError, match="no node with agent rpcutil was discovered"):
            world.client(discovery_window_s=LONG_S).ping()

    def test_an_agent_that_nobody_has_is_known_at_once_by_a_broadcast(self, world: World) -> None:
        world.node("web1")
        client = RpcClient("nosuch", world.connection(direct_limit=0))
        client.discover(nodes=["web1"])
        assert client.ping().offline == ("web1",)

    def test_one_that_is_offline_is_known_at_once(self, world: World) -> None:
        world.node("web1")
        results = world.client("web1", "web2").ping()
        assert ([r.sender for r in results], results.offline, results.silent) == (["web1"], ("web2",), [])

    def test_more_than_are_asked_one_by_one_are_asked_by_a_broadcast_that_names_them(self, world: World) -> None:
        world.node("web1")
        other = world.node("web2")
        results = world.client("web1", "odd", direct_limit=1, timeout_s=SHORT_S).ping()
        assert [result.sender for result in results] == ["web1"]
        assert (results.silent, results.offline, results.unexpected) == (["odd"], (), ())
        assert other.stats()["counters"].get("ok", 0) == 0

    def test_one_that_dies_with_a_request_in_hand_is_known(self, world: World) -> None:
        # Given a node that works on a request
        world.node("web1")
        process = world.process("web2")
        client = RpcClient("faulty", world.connection())
        client.discover(nodes=["web1", "web2"])
        world._nodes[0].agent("faulty").gate.set()  # type: ignore[attr-defined]
        answers = client.stream("wait")
        assert next(answers).sender == "web1"
        # When it is killed
        process.send_signal(signal.SIGKILL)
        # Then the call ends long before its time is over, and says what is known
        assert list(answers) == []
        assert (client.stats.lost, client.stats.offline, client.stats.noresponsefrom) == (["web2"], [], ["web2"])

    def test_one_that_was_started_again_is_asked_as_before(self, world: World) -> None:
        process = world.process("web1")
        client = world.client("web1")
        client.ping().require_ok()
        process.terminate()
        assert process.wait(LONG_S) == 0
        assert client.ping().offline == ("web1",)
        world.process("web1")
        client.ping().require_ok()


LIES: list[Any] = [
    pytest.param(lambda n, r: n.reply(r, by="stranger"), "stranger", "unknown key 'stranger'", id="an unknown key"),
    pytest.param(lambda n, r: n.reply(r, by="other"), "other", "signed by other, but claims", id="another node's key"),
    pytest.param(
        lambda n, r: dataclasses.replace(n.reply(r, by="other"), signer="odd"), "odd", "signature does not fit",
        id="another node's key in its name",
    ),
    pytest.param(
        lambda n, r: dataclasses.replace(n.reply(r), body=n.reply(r, message="x").body), "odd",
        "signature does not fit", id="altered",
    ),
    pytest.param(lambda n, r: n.reply(r, id="0" * 32), "odd", "a reply to another request", id="another request's"),
]  # fmt: skip


class TestAnswers:
    @pytest.mark.parametrize(("lie", "blamed", "why"), LIES)
    def test_one_that_cannot_be_believed_is_none(self, world: World, lie: Any, blamed: str, why: str) -> None:
        world.node("web1")
        world.scripted(lambda node, request: [lie(node, request)])
        # When the liar is asked with a good node
        results = world.client("web1", "odd", timeout_s=SHORT_S).ping()
        # Then it has not answered, and why is told
        assert ([result.sender for result in results], results.missing) == (["web1"], ["odd"])
        assert list(results.unverified) == [blamed]
        assert why in results.unverified[blamed]
        # And a discovery that hears it is not complete
        with pytest.raises(DiscoveryError, match=f"were not believed: {blamed} "):
            world.client().require_discovered()

    def test_a_reply_of_an_earlier_request_is_not_taken_twice(self, world: World) -> None:
        first: list[Packet] = []

        def replay(node: Scripted, request: Request) -> list[Packet]:
            first.append(first[0] if first else node.reply(request))
            return [dataclasses.replace(first[-1], key=request.reply_to or "", correlation_id=request.id)]

        world.scripted(replay)
        client = world.client("odd", timeout_s=SHORT_S)
        assert len(client.ping()) == 1
        assert client.ping().unverified == {"odd": "a reply to another request"}

    def test_duplicates_and_strangers_take_no_part(self, world: World) -> None:
        # Given a node that answers twice, in between for another one, and last what ends the call
        world.scripted(lambda node, request: [], "other")

        def answer(node: Scripted, request: Request) -> list[Packet]:
            return [
                node.reply(request, status=1, message="first"),
                node.reply(request),
                node.reply(request, by="web1", sender="web1"),
                node.reply(request, by="other", sender="other"),
            ]

        world.scripted(answer)
        results = world.client("odd", "other").ping()
        assert [(result.sender, result.status) for result in results] == [("odd", 1), ("other", 0)]
        assert [result.sender for result in results.unexpected] == ["web1"]

    def test_one_that_comes_after_the_end_of_its_call_disturbs_nobody(self, world: World) -> None:
        world.scripted(
            lambda node, request: [node.reply(each) for each in node.requests] if len(node.requests) > 1 else []
        )
        client = world.client("odd", timeout_s=SHORT_S)
        assert client.ping().silent == ["odd"]
        client.timeout_s = LONG_S
        results = client.ping().require_ok()
        assert (len(results), results.unexpected, results.unverified) == (1, (), {})


class TestSharing:
    def test_threads_and_clients_share_one_connection(self, world: World) -> None:
        world.node("web1")
        connection = world.connection()
        wrong: list[Any] = []

        def ask(number: int) -> None:
            client = RpcClient("rpcutil", connection)
            client.discover(nodes=["web1"])
            for turn in range(20):
                try:
                    client.get_fact(fact=f"{number}-{turn}").require_all(fact=f"{number}-{turn}")
                except BaseException as e:
                    wrong.append(e)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG_S)
        assert wrong == []
        assert len(amqp_threads()) == 1

    def test_a_stream_that_is_abandoned_leaves_nothing_behind(self, world: World) -> None:
        world.node("web1")
        world.node("web2")
        client = world.client("web1", "web2")
        answers = client.stream("ping")
        next(answers)
        answers.close()
        assert client.connection._inboxes == {}
        assert len(client.ping().require_ok()) == 2

    def test_a_close_ends_a_call_of_another_thread(self, world: World) -> None:
        # Given a thread that waits for an answer
        asked = threading.Event()
        world.scripted(lambda node, request: asked.set() or [])  # type: ignore[func-returns-value]
        client = world.client("odd")
        told: list[BaseException] = []

        def ask() -> None:
            try:
                client.ping()
            except BrokerUnreachable as e:
                told.append(e)

        thread = threading.Thread(target=ask)
        thread.start()
        assert asked.wait(LONG_S)
        # When the connection is closed here, the thread goes on
        client.connection.close()
        thread.join(LONG_S)
        assert "it was closed here" in str(told[0])
        assert amqp_threads() == []


class TestFeatures:
    FEATURE = """\
Feature: over a real broker
    Background:
        Given the load balancer has ip address 192.168.1.1
        And I want to update hosts with class dev_server

    Scenario: blocking
        When I undo my changes at the end of the scenario
        And I block the load balancer
        Then traffic from the load balancer should be blocked

    @lab
    Scenario: real traffic
        Then the load balancer can connect to port 80 of every node
"""

    def run(self, world: World, **values: Any) -> subprocess.CompletedProcess[str]:
        """Run a feature as a user with a configuration would."""
        folder = world.folder
        for name, seed in world._seeds.items():
            _write_key(folder / "nodes" / f"{name}.pub", "public", keys.public_of(seed))
        _write_key(folder / "alice.key", "private", world._caller)
        configured = {
            "brokers": [world.url],
            "key_file": str(folder / "alice.key"),
            "trusted_nodes": str(folder / "nodes"),
            **values,
        }
        (folder / "client.yaml").write_text(yaml.safe_dump(configured))
        (folder / "x.feature").write_text(self.FEATURE)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MCO_")}
        return subprocess.run(
            [sys.executable, "-m", "mco_client.bdd", "--no-color", "-D", "config=client.yaml", "x.feature"],
            cwd=folder,
            env=clean,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_they_run_with_a_user_s_configuration(self, world: World) -> None:
        world.node("web1")
        world.node("web2")
        ran = self.run(world)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "SKIPPED real traffic: needs a lab: mco lab run lab/firewall.yaml -- behave" in ran.stdout
        assert "UNDONE unblock 192.168.1.1 on web1, web2" in ran.stdout
        assert "1 scenario passed, 0 failed, 1 skipped" in ran.stdout

    def test_a_broker_that_refuses_is_told_in_words(self, world: World) -> None:
        ran = self.run(world, brokers=[world.url.replace("lab:", "lab:x")])
        assert ran.returncode == 1
        assert "HOOK-ERROR in before_all: BrokerRefused: broker " in ran.stdout
        assert "refused the user name or password" in ran.stdout
        assert "Traceback" not in ran.stdout + ran.stderr

    def test_a_node_that_is_not_trusted_keeps_a_fleet_from_being_judged(self, world: World) -> None:
        world.node("web1")
        world.scripted(lambda node, request: [node.reply(request, by="stranger", sender="stranger")])
        ran = self.run(world)
        assert ran.returncode == 1
        assert "could not judge: answers to the discovery were not believed: stranger (unknown key" in ran.stdout
        assert "1 failed" in ran.stdout


def _write_key(file: Path, kind: str, key: bytes) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"mco-ed25519-{kind} {base64.b64encode(key).decode()}\n")
    file.chmod(0o600)
