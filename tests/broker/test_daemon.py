# SPDX-License-Identifier: Apache-2.0
"""Real ``mco-node`` processes on a real RabbitMQ: how they start, are killed, lose the broker, and leave."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mco_client.connection import Connection
from mco_client.results import Results
from mco_client.rpc import RpcClient
from mco_lab.broker import Broker, free_port
from mco_rpc.config import BrokerSettings, ClientSettings
from mco_rpc.connector import Endpoint, Packet, node_endpoint
from mco_rpc.connector.rabbitmq import RabbitmqConnector
from mco_rpc.errors import BrokerError
from mco_rpc.security import keys
from mco_rpc.status import Status

pytestmark = pytest.mark.broker

WAIT_S = 60.0
EXIT_OK, EXIT_IDENTITY_TAKEN, EXIT_CONFIG, EXIT_STILL_RUNNING = 0, 1, 2, 3

# Holds on until the test lets go, both through named pipes: no side waits for a time.
HOLDER = '''
from mco_rpc.agent import Agent, Input, Output, action

FOLDER = Input("string", "where the pipes are")


class Holder(Agent):
    """Work as long as the test wants."""

    timeout_s = 600.0

    @action("Work until told to end", inputs={"folder": FOLDER}, outputs={"ended": Output("boolean", "whether it did")})
    def hold(self, folder):
        with open(f"{folder}/begun", "w") as begun:
            begun.write("x")
        with open(f"{folder}/end") as end:
            end.read()
        return {"ended": True}

    @action("Hang past the deadline", timeout_s=0.1)
    def hang(self):
        with open("/dev/zero", "rb", buffering=0) as endless:
            while endless.read(1 << 24):  # busy for ever, and not with the interpreter's lock in hand
                pass

    @action("Print 10 MB, and what the caller says", inputs={"text": Input("string", "what")})
    def shout(self, text):
        print("x" * 10_000_000)
        for _ in range(100):
            print("y" * 1000)
        print(text, end="")
        raise OSError(text)
'''


class Daemon:
    """One ``mco-node run``; killed at the end if it still runs."""

    def __init__(
        self, identity: str, config: Path, log: Path, environment: dict[str, str], *, has_ready_fd: bool
    ) -> None:
        self.identity, self.log = identity, log
        self._ready, ready = os.pipe()
        command = [sys.executable, "-m", "mco_node", "run", "--config", str(config)]
        if has_ready_fd:
            command += ["--ready-fd", str(ready)]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, pass_fds=(ready,), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment
            )
        os.close(ready)

    def await_ready(self) -> Daemon:
        """Wait until it says that requests can come."""
        assert self.says() == b"READY=1\n", self.text()
        return self

    def says(self, timeout_s: float = WAIT_S) -> bytes:
        """Return what it writes to its readiness pipe: nothing if it ends first."""
        assert select.select([self._ready], [], [], timeout_s)[0], f"{self.identity} says nothing: {self.text()}"
        return os.read(self._ready, 100)

    def text(self) -> str:
        """Return its log so far."""
        return self.log.read_text()

    def await_log(self, *words: str) -> str:
        """Wait until its log has some words."""
        until, pause = time.monotonic() + WAIT_S, threading.Event()
        while not all(word in self.text() for word in words):
            assert self.process.poll() is None, f"{self.identity} has ended: {self.text()}"
            assert time.monotonic() < until, f"{self.identity} does not say {words}: {self.text()}"
            pause.wait(0.01)
        return self.text()

    def status(self) -> int:
        """Wait for its end and return its exit status."""
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1


class Fleet:
    """Daemons and clients on one virtual host."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self._stack = contextlib.ExitStack()
        keys.generate(folder / "operator.key", folder / "callers" / "operator.pub")
        (folder / "nodes").mkdir()
        (folder / "libdir").mkdir()
        (folder / "libdir" / "holder.py").write_text(HOLDER)

    def start(
        self,
        identity: str = "web1",
        *,
        environment: dict[str, str] | None = None,
        has_ready_fd: bool = True,
        **settings: Any,
    ) -> Daemon:
        """Start a daemon; a second one of the same identity gets the same key."""
        folder = self.folder
        if not (folder / f"{identity}.key").exists():
            keys.generate(folder / f"{identity}.key", folder / "nodes" / f"{identity}.pub")
            (folder / f"{identity}.facts.yaml").write_text("country: de\n")
        values = {
            "identity": identity,
            "brokers": [self.url],
            "key_file": str(folder / f"{identity}.key"),
            "trusted_callers": str(folder / "callers"),
            "facts_file": str(folder / f"{identity}.facts.yaml"),
            "audit_file": str(folder / f"{identity}.audit"),
            "libdir": [str(folder / "libdir")],
            "agents": {"iptables": {"backend": "memory"}},
            **settings,
        }
        number = len(list(folder.glob(f"{identity}.*.log")))
        config = folder / f"{identity}.{number}.yaml"
        config.write_text(yaml.safe_dump(values))
        own = {name: value for name, value in os.environ.items() if not name.startswith(("MCO_", "NOTIFY_"))}
        log = folder / f"{identity}.{number}.log"
        daemon = Daemon(identity, config, log, {**own, **(environment or {})}, has_ready_fd=has_ready_fd)
        self._stack.callback(daemon.close)
        return daemon

    def client(self, agent: str, *nodes: str, timeout_s: float = 30.0) -> RpcClient:
        """Return a client that asks the given nodes."""
        settings = ClientSettings(
            brokers=(self.url,),
            caller="operator",
            key_file=str(self.folder / "operator.key"),
            trusted_nodes=str(self.folder / "nodes"),
            timeout_s=timeout_s,
        )
        connection = self._stack.enter_context(Connection(settings))
        client = RpcClient(agent, connection)
        if nodes:
            client.discover(nodes=nodes)
        return client

    def audit(self, identity: str = "web1") -> list[dict[str, Any]]:
        """Return a node's audit records."""
        return [json.loads(line) for line in (self.folder / f"{identity}.audit").read_text().splitlines()]

    def hold(self, *nodes: str, timeout_s: float = 60.0) -> Held:
        """Ask nodes for an action that runs until the test ends it; return when it has begun."""
        return Held(self, nodes, timeout_s)

    def close(self) -> None:
        self._stack.close()


class Held:
    """A call of ``holder#hold`` in a thread, which has begun on its node."""

    def __init__(self, fleet: Fleet, nodes: tuple[str, ...], timeout_s: float) -> None:
        self._pipes = fleet.folder / "pipes"
        self._pipes.mkdir(exist_ok=True)
        for name in ("begun", "end"):
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self._pipes / name)
        client = fleet.client("holder", *nodes, timeout_s=timeout_s)
        self._results: list[Results] = []
        self._thread = threading.Thread(target=lambda: self._results.append(client.hold(folder=str(self._pipes))))
        self._thread.start()
        begun = os.open(self._pipes / "begun", os.O_RDWR)
        try:
            assert select.select([begun], [], [], WAIT_S)[0], "the action was not begun"
            os.read(begun, 1)
        finally:
            os.close(begun)

    def end(self) -> None:
        """Let the action end."""
        (self._pipes / "end").write_text("")

    def results(self) -> Results:
        """Wait for the call to end and return what came."""
        self._thread.join(WAIT_S * 2)
        assert self._results, "the call did not end"
        return self._results[0]


@pytest.fixture
def fleet(tmp_path: Path, broker_url: str) -> Iterator[Fleet]:
    """A fleet without nodes on the shared broker."""
    made = Fleet(tmp_path, broker_url)
    yield made
    made.close()


@pytest.fixture
def own_fleet(tmp_path: Path, own_broker: Broker) -> Iterator[Fleet]:
    """A fleet without nodes on a broker that may be stopped; it runs again afterwards."""
    made = Fleet(tmp_path, own_broker.url)
    yield made
    made.close()
    own_broker.start()


class QuietListener:
    """Notes when a connector is connected."""

    def __init__(self) -> None:
        self.is_connected = threading.Event()

    def on_packet(self, packet: Packet) -> None: ...

    def on_returned(self, packet: Packet) -> None: ...

    def on_connected(self) -> None:
        self.is_connected.set()

    def on_disconnected(self, reason: BrokerError) -> None: ...


@contextlib.contextmanager
def connected(url: str, endpoint: Endpoint) -> Iterator[RabbitmqConnector]:
    """Hold a queue."""
    connector, listener = RabbitmqConnector(BrokerSettings(brokers=(url,))), QuietListener()
    connector.open(endpoint, listener)
    try:
        assert listener.is_connected.wait(WAIT_S)
        yield connector
    finally:
        connector.close()


def eventually(ask: Callable[[], bool]) -> bool:
    """Try until it is so, or fail for good."""
    until, pause = time.monotonic() + WAIT_S, threading.Event()
    while not ask():
        if time.monotonic() > until:
            return False
        pause.wait(0.05)
    return True


class TestStart:
    """How a daemon says that it is there, or why it is not."""

    def test_ready_and_answering(self, fleet: Fleet) -> None:
        # Given two nodes that say they are ready
        daemons = [fleet.start("web1"), fleet.start("web2")]
        for daemon in daemons:
            daemon.await_ready()

        # When they are discovered and asked
        client = fleet.client("rpcutil")
        results = client.get_fact(fact="country").require_all(value="de")

        # Then both answer, with their daemon's process
        assert sorted(result.sender for result in results) == ["web1", "web2"]
        pids = {result.sender: result.data["pid"] for result in client.daemon_stats()}
        assert pids == {daemon.identity: daemon.process.pid for daemon in daemons}

        # When they are told to leave, then they do
        for daemon, number in zip(daemons, (signal.SIGTERM, signal.SIGINT), strict=True):
            daemon.process.send_signal(number)
        assert [daemon.status() for daemon in daemons] == [EXIT_OK, EXIT_OK]

        # And each request is in the audit
        records = [record["agent"] + "#" + record["action"] for record in fleet.audit("web1")]
        assert sorted(records) == ["discovery#ping", "rpcutil#daemon_stats", "rpcutil#get_fact"]

    def test_says_to_systemd_what_it_does(self, fleet: Fleet) -> None:
        # Given a socket as systemd gives one
        path = fleet.folder / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind(str(path))
            notified.settimeout(WAIT_S)

            # When a daemon starts
            daemon = fleet.start(environment={"NOTIFY_SOCKET": str(path)}, has_ready_fd=False)

            # Then it says that it is ready, once it answers
            while (said := notified.recv(1000)) != b"READY=1":
                assert said.startswith(b"STATUS="), said
            fleet.client("rpcutil", "web1").ping().require_ok()

            # When it is told to leave, then it says that, too
            daemon.process.terminate()
            while not (said := notified.recv(1000)).startswith(b"STOPPING=1"):
                assert said.startswith(b"STATUS="), said
            assert daemon.status() == EXIT_OK

    def test_a_reader_who_has_gone_is_no_problem(self, fleet: Fleet) -> None:
        # Given nobody who reads the readiness pipe
        daemon = fleet.start()
        os.close(daemon._ready)
        daemon._ready = -1

        # When the daemon is ready, then it works all the same
        daemon.await_log("ready")
        fleet.client("rpcutil", "web1").ping().require_ok()
        daemon.process.terminate()
        assert daemon.status() == EXIT_OK

    def test_while_it_cannot_connect_it_can_be_told_to_leave(self, fleet: Fleet) -> None:
        # Given a daemon without a broker
        fleet.url = f"amqp://lab:x@127.0.0.1:{free_port()}/"
        daemon = fleet.start()
        daemon.await_log("connection refused; does RabbitMQ run there, on this port?; trying again")

        # When it is told to leave, then it does
        daemon.process.terminate()
        assert daemon.status() == EXIT_OK
        assert daemon.says() == b""

    @pytest.mark.parametrize("kind", ["text", "json"])
    def test_a_wrong_password_is_a_clear_line_without_the_password(
        self, fleet: Fleet, broker: Broker, kind: str
    ) -> None:
        # Given a wrong password
        fleet.url = fleet.url.replace(broker.passwords[broker.user], "SECRET-AND-WRONG")

        # When a daemon tries to connect
        daemon = fleet.start(log_format=kind)
        text = daemon.await_log("refused the user name or password", "trying again")

        # Then it says so, keeps trying, and does not show the password
        assert "SECRET-AND-WRONG" not in text
        assert f"broker amqp://{broker.user}@127.0.0.1:{broker.port}/" in text
        assert daemon.process.poll() is None
        if kind == "json":
            entries = [json.loads(line) for line in text.splitlines()]
            assert {"time", "level", "logger", "message"} <= set(entries[0])
            assert any(entry["level"] == "error" and "password" in entry["message"] for entry in entries)

    @pytest.mark.parametrize(
        ("settings", "why"),
        [
            pytest.param({"colectives": ["x"]}, "unknown key 'colectives', did you mean collectives?", id="unknown"),
            pytest.param({"workers": "many"}, "workers: Expected `int`, got `str`", id="type"),
            pytest.param({"workers": 0}, "workers: expected more than 0, got 0", id="value"),
            pytest.param({"identity": "web 1"}, "identity 'web 1' cannot be used", id="identity"),
            pytest.param({"key_file": "/nowhere/node.key"}, "private key /nowhere/node.key: No such file", id="key"),
            pytest.param(
                {"trusted_callers": "/nowhere"}, "folder of trusted keys /nowhere: No such file", id="callers"
            ),
            pytest.param(
                {"connector": "memory"}, "connector: 'memory'; a daemon of its own needs rabbitmq", id="connector"
            ),
            pytest.param({"authorization": "x"}, "authorization: 'x' is not one of allow_all", id="authorization"),
            pytest.param({"brokers": ["http://x"]}, "brokers: http://x", id="URL"),
            pytest.param({"audit_file": "/proc/x/audit"}, "audit_file: /proc/x/audit: ", id="audit"),
        ],
    )
    def test_a_wrong_setting_is_one_clear_line(self, fleet: Fleet, settings: dict[str, Any], why: str) -> None:
        # When a daemon starts with a wrong setting
        daemon = fleet.start(**settings)

        # Then it says which, and ends
        assert daemon.status() == EXIT_CONFIG
        assert daemon.says() == b""
        lines = [line for line in daemon.text().splitlines() if line.startswith("mco-node: ")]
        assert len(lines) == 1
        assert why in lines[0]
        assert "Traceback" not in daemon.text()

    def test_what_is_wrong_with_a_node_is_in_its_inventory(self, fleet: Fleet) -> None:
        # Given a node that works
        daemon = fleet.start().await_ready()
        client = fleet.client("rpcutil", "web1")
        assert client.inventory().require_ok()[0].data["problems"] == []

        # When its facts file breaks
        facts = fleet.folder / "web1.facts.yaml"
        facts.write_text("country: [de\n")

        # Then it keeps the last good facts, and says so
        assert client.get_fact(fact="country").require_all(value="de")
        (problem,) = client.inventory().require_ok()[0].data["problems"]
        assert problem.startswith(f"{facts}: line 2, column 1: not YAML: ")
        assert problem.endswith("; the last good values are kept")
        assert problem in daemon.text()

        # And a filter by those facts still finds it
        found = fleet.client("rpcutil")
        found.fact_filter("country", "de")
        assert found.discovered == ["web1"]

    def test_an_audit_that_cannot_be_written_stops_nothing(self, fleet: Fleet) -> None:
        # Given a node whose audit is on a disk that is full
        daemon = fleet.start(audit_file="/dev/full").await_ready()

        # When it is asked, then it answers, and says that the record is lost
        client = fleet.client("rpcutil", "web1")
        client.ping().require_ok()
        client.ping().require_ok()
        daemon.await_log(
            f"ERROR mco_node.audit: audit record of request {client.stats.requestid} could not be written to "
            "/dev/full: [Errno 28] No space left on device"
        )

    def test_what_agents_print_and_callers_write_forges_no_log_line(self, fleet: Fleet) -> None:
        # Given a daemon
        daemon = fleet.start().await_ready()

        # When an agent prints a lot, and a caller asks for odd names
        forged = "x\n2026-01-31T12:00:00+0000 INFO all is well\x1b[2J"
        assert fleet.client("holder", "web1").shout(text=forged)[0].status == Status.UNKNOWN_ERROR
        client = fleet.client("rpcutil", "web1")
        assert client.get_fact(fact=forged).require_ok()
        assert client.call(forged)[0].status == Status.UNKNOWN_ACTION
        daemon.process.terminate()
        assert daemon.status() == EXIT_OK

        # Then its log is short, and every line is an entry of its own
        text = daemon.text()
        assert len(text) < 300_000
        assert all(line[:2] == "20" or line.startswith("    ") for line in text.splitlines())
        assert not any(line.startswith("2026-01-31T12:00:00+0000 INFO all") for line in text.splitlines())
        assert "\x1b" not in text


class TestIdentity:
    """Two daemons, one identity."""

    def test_the_second_is_refused_with_a_clear_message(self, fleet: Fleet) -> None:
        # Given a daemon
        first = fleet.start().await_ready()

        # When a second one with its identity starts
        second = fleet.start(identity_grace_s=0.2)

        # Then it says why not, and ends; the first works on
        assert second.status() == EXIT_IDENTITY_TAKEN
        assert second.says() == b""
        last = second.text().splitlines()[-1]
        assert last.startswith("mco-node: queue mco.node.web1 on amqp://")
        assert "is held by another connection: another daemon with this identity runs" in last
        (result,) = fleet.client("rpcutil", "web1").daemon_stats().require_ok()
        assert result.data["pid"] == first.process.pid

    def test_a_daemon_whose_old_connection_dies_gets_in(self, fleet: Fleet) -> None:
        # Given a connection that holds the queue of a node, as one of a daemon that was cut off does
        with connected(fleet.url, node_endpoint("web1", ("mcollective",), ("rpcutil",))):
            # When the daemon starts
            daemon = fleet.start(identity_grace_s=600)
            daemon.await_log("is held by another connection", "trying again")
            assert daemon.process.poll() is None

        # Then it gets in when that connection has died
        daemon.await_ready()
        fleet.client("rpcutil", "web1").ping().require_ok()

    def test_a_killed_daemon_can_be_started_again_at_once(self, fleet: Fleet) -> None:
        # Given a daemon that was killed
        fleet.start().await_ready().close()

        # When it is started again, then it gets in
        fleet.start().await_ready()
        fleet.client("rpcutil", "web1").ping().require_ok()


class TestKilled:
    """A node that dies while it works."""

    def test_the_client_names_it_within_its_timeout_and_the_next_call_at_once(self, fleet: Fleet) -> None:
        # Given two nodes, one of which works on something
        dies, lives = fleet.start("web1").await_ready(), fleet.start("web2").await_ready()
        held = fleet.hold("web1", timeout_s=30.0)

        # When that one is killed
        dies.process.kill()
        dies.status()

        # Then the call ends within its timeout, and names it: what it did is not known
        results = held.results()
        assert results.missing == ["web1"]
        assert [*results.lost, *results.silent] == ["web1"]
        assert results.offline == ()
        with pytest.raises(AssertionError, match=r"holder#hold: .* 1 of 1: web1"):
            results.require_ok()

        # And the next call knows at once that it is offline, though it might wait for very long
        client = fleet.client("rpcutil", "web1", "web2", timeout_s=3600)
        assert eventually(lambda: list(client.ping().offline) == ["web1"])
        again = client.ping()
        assert (again.missing, again.offline) == (["web1"], ("web1",))
        with pytest.raises(AssertionError, match=r"offline, 1 of 2: web1"):
            again.require_ok()
        assert lives.process.poll() is None


class TestLeaving:
    """TERM, while there is work."""

    def test_a_running_action_ends_and_answers_first(self, fleet: Fleet) -> None:
        # Given an action that runs
        daemon = fleet.start(drain_timeout_s=600).await_ready()
        held = fleet.hold("web1")

        # When the daemon is told to leave
        daemon.process.terminate()
        daemon.await_log("stopping")

        # Then a new request is refused with that reason
        client = fleet.client("rpcutil", "web1")
        assert eventually(lambda: client.ping()[0].status == Status.ABORTED)
        assert client.ping()[0].message == "this node is stopping"

        # When the action ends, then it is answered, and the daemon leaves
        held.end()
        held.results().require_all(ended=True)
        assert daemon.status() == EXIT_OK
        assert "aborted" in {record["outcome"] for record in fleet.audit()}

    def test_a_hanging_action_is_answered_for_and_left_behind(self, fleet: Fleet) -> None:
        # Given an action that does not end
        daemon = fleet.start(drain_timeout_s=0.2).await_ready()
        held = fleet.hold("web1")

        # When the daemon is told to leave
        daemon.process.terminate()

        # Then it leaves, and says that something still ran
        assert daemon.status() == EXIT_STILL_RUNNING
        assert "actions still run after 0.2 s; stopping all the same" in daemon.text()

        # And so learns the caller
        (result,) = held.results()
        assert result.status == Status.ABORTED
        assert result.message == "this node stopped before holder#hold ended; what it did is unknown"

    def test_a_lost_thread_does_not_keep_it(self, fleet: Fleet) -> None:
        # Given an action that hangs past its deadline
        daemon = fleet.start().await_ready()
        client = fleet.client("holder", "web1")
        assert client.hang()[0].status == Status.TIMED_OUT

        # When the daemon is told to leave, then it does
        daemon.process.terminate()
        assert daemon.status() == EXIT_OK


# They share a broker that they stop and start, so they stay on one worker when the tests run in parallel.
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("daemon")
class TestBroker:
    """A broker that is not there, and one that goes and comes."""

    def test_down_at_start(self, own_fleet: Fleet, own_broker: Broker) -> None:
        # Given a broker that does not run
        own_broker.stop()

        # When a daemon starts, then it says so and tries again and again
        daemon = own_fleet.start()
        assert eventually(lambda: daemon.text().count("connection refused; does RabbitMQ run there") >= 3)
        assert daemon.process.poll() is None

        # When the broker comes up, then it connects
        own_broker.start()
        daemon.await_ready()
        own_fleet.client("rpcutil", "web1").ping().require_ok()

    @pytest.mark.parametrize("how", ["stop", "kill"])
    def test_restarted_while_nodes_are_connected(self, own_fleet: Fleet, own_broker: Broker, how: str) -> None:
        # Given nodes that work
        daemons = [own_fleet.start("web1").await_ready(), own_fleet.start("web2").await_ready()]
        client = own_fleet.client("rpcutil", "web1", "web2")
        client.ping().require_ok()

        # When the broker ends and comes back
        getattr(own_broker, how)()
        for daemon in daemons:
            daemon.await_log("trying again")
        own_broker.start()

        # Then they come back by themselves, and calls work
        def are_there() -> bool:
            with contextlib.suppress(BrokerError):
                return client.ping().missing == []
            return False

        assert eventually(are_there)
        client.ping().require_ok()
        assert [daemon.process.poll() for daemon in daemons] == [None, None]

    def test_lost_while_an_action_runs(self, own_fleet: Fleet, own_broker: Broker) -> None:
        # Given an action that runs, asked for by nobody who waits long
        daemon = own_fleet.start().await_ready()
        own_fleet.client("rpcutil", "web1").ping().require_ok()
        client = own_fleet.client("holder", "web1")
        errors: list[BaseException] = []
        pipes = own_fleet.folder / "pipes"
        pipes.mkdir()
        for name in ("begun", "end"):
            os.mkfifo(pipes / name)

        def ask() -> None:
            try:
                client.hold(folder=str(pipes))
            except BrokerError as e:
                errors.append(e)

        thread = threading.Thread(target=ask)
        thread.start()
        (pipes / "begun").read_text()

        # When the broker is killed
        own_broker.kill()
        thread.join(WAIT_S)

        # Then the caller learns at once that it does not know what became of it
        assert "holder#hold: the connection was lost while replies were awaited (0 of 1 had answered" in str(errors[0])

        # And the node ends its work, and is there when the broker is
        (pipes / "end").write_text("")
        assert eventually(lambda: any(r["action"] == "hold" and r["outcome"] == "ok" for r in own_fleet.audit()))
        own_broker.start()
        again = own_fleet.client("rpcutil", "web1")
        assert eventually(lambda: again.ping().missing == [])
        assert daemon.process.poll() is None
