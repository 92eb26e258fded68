# SPDX-License-Identifier: Apache-2.0
"""Real daemons told by signals and by requests what to do, and replaced while they are asked all the time."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mco_lab.process import ProcessId
from mco_rpc import names
from mco_rpc.config import BrokerSettings
from mco_rpc.connector import Packet, client_endpoint
from mco_rpc.connector.rabbitmq import RabbitmqConnector
from mco_rpc.errors import BrokerError
from mco_rpc.messages import Reply, Request, decode_reply, encode, new_id
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import for_caller
from mco_rpc.status import Status
from tests.broker.test_daemon import EXIT_OK, EXIT_STILL_RUNNING, WAIT_S, Daemon, Fleet, eventually

pytestmark = pytest.mark.broker

COLLECTIVE = "mcollective"
COUNTER = '''
import os

from mco_rpc.agent import Agent, Input, Output, action


class Counter(Agent):
    """Write each call to a file."""

    version = "1"

    @action("Count", inputs={"text": Input("string", "what")}, outputs={"pid": Output("integer", "who")})
    def count(self, text):
        fd = os.open(os.environ["COUNTED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, (text + "\\n").encode())
        os.close(fd)
        return {"pid": os.getpid()}
'''


@pytest.fixture
def fleet(tmp_path: Path, broker_url: str) -> Iterator[Fleet]:
    made = Fleet(tmp_path, broker_url)
    (tmp_path / "libdir" / "counter.py").write_text(COUNTER)
    yield made
    made.close()


def start(fleet: Fleet, **settings: Any) -> Daemon:
    return fleet.start(environment={"COUNTED": str(fleet.folder / "counted")}, **settings).await_ready()


class Stream:
    """Asks all the time, each request once, and keeps every answer."""

    def __init__(self, fleet: Fleet) -> None:
        self.security = for_caller("operator", keys.read_private(fleet.folder / "operator.key"), {})
        self.reply_key = names.reply_key(self.security.principal, "stream")
        self.sent: list[str] = []
        self.returned: list[str] = []
        self._first: Packet | None = None
        self._answers: list[Reply] = []
        self._changed = threading.Condition()
        self._is_connected, self._is_over = threading.Event(), threading.Event()
        self._connector = RabbitmqConnector(BrokerSettings(brokers=(fleet.url,)))
        self._connector.open(client_endpoint(self.reply_key, COLLECTIVE), self)
        assert self._is_connected.wait(WAIT_S)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def on_packet(self, packet: Packet) -> None:
        with self._changed:
            self._answers.append(decode_reply(packet.body))
            self._changed.notify_all()

    def on_returned(self, packet: Packet) -> None:
        self.returned.append(packet.message_id)

    def on_connected(self) -> None:
        self._is_connected.set()

    def on_disconnected(self, reason: BrokerError) -> None: ...

    def answers(self) -> list[Reply]:
        """End, and return every answer, once there are as many as requests."""
        self._is_over.set()
        self._thread.join(WAIT_S)
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._answers) >= len(self.sent), WAIT_S), (
                f"{len(self.sent) - len(self._answers)} of {len(self.sent)} were not answered, "
                f"{len(self.returned)} found nobody"
            )
        return self._answers

    def replay(self) -> None:
        """Send the first request again."""
        assert self._first is not None
        self._connector.publish([self._first])

    def close(self) -> None:
        """End."""
        self._is_over.set()
        self._thread.join(WAIT_S)
        self._connector.close()

    def _run(self) -> None:
        while not self._is_over.wait(0.002):
            to_all = len(self.sent) % 2
            request = Request(
                id=new_id(), collective=COLLECTIVE, agent="counter", action="count",
                caller=self.security.principal, sender="stream", sent_at=time.time(), ttl_s=30.0,
                reply_to=self.reply_key, data={"text": str(len(self.sent))},
            )  # fmt: skip
            body = encode(request)
            where = (names.BROADCAST, names.agent_key("counter")) if to_all else (names.NODE, "web1")
            self.sent.append(request.id)
            packet = Packet(
                exchange=names.exchange(COLLECTIVE, where[0]), key=where[1], body=body, type="request",
                message_id=request.id, correlation_id=request.id, signer=self.security.signer,
                signature=self.security.sign(body), expiration_s=30.0, mandatory=True,
            )  # fmt: skip
            self._first = self._first or packet
            self._connector.publish([packet])


@pytest.fixture
def successors() -> Iterator[list[int]]:
    """The numbers of processes that were started by others; ended at the end."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if found := ProcessId.of(pid):
            found.send(signal.SIGKILL)
            found.wait(WAIT_S)


def test_nothing_is_lost_and_nothing_runs_twice_while_a_daemon_is_replaced(fleet: Fleet, successors: list[int]) -> None:
    # Given a daemon that is asked all the time, by name and by broadcast
    daemon = start(fleet)
    stream = Stream(fleet)
    pids = [daemon.process.pid]

    # When it is replaced three times
    for _ in range(3):
        (result,) = fleet.client("controller", "web1", timeout_s=70).restart().require_ok()
        assert result.data["before"]["pid"] == pids[-1]
        pids.append(result.data["after"]["pid"])
        successors.append(pids[-1])
    assert daemon.status() == EXIT_OK

    # Then each request has one answer, of whichever process, and ran once
    answers = stream.answers()
    assert stream.returned == []
    assert {reply.status for reply in answers} == {Status.OK}
    assert Counter(reply.id for reply in answers) == Counter(stream.sent)
    counted = (fleet.folder / "counted").read_text().split()
    assert Counter(counted) == Counter(map(str, range(len(stream.sent))))
    assert {reply.data["pid"] for reply in answers} == set(pids)

    # And each has one record, and no message was taken for a replay
    records = [entry for entry in fleet.audit() if entry.get("agent") == "counter" or entry["outcome"] == "rejected"]
    assert Counter(entry["outcome"] for entry in records) == {"ok": len(stream.sent)}

    # And a replay is refused by the process that never saw the first one
    for replayed in (0, 1):
        (stats,) = fleet.client("controller", "web1").call("stats").require_ok()
        assert (stats.data["pid"], stats.data["rungs"]["replayed"]) == (pids[-1], replayed)
        stream.replay()
    stream.close()
    assert daemon.text().count("took over") == 3


def test_what_runs_in_the_old_process_ends_and_is_answered(fleet: Fleet, successors: list[int]) -> None:
    daemon = start(fleet, drain_timeout_s=60)
    held = fleet.hold("web1")
    (result,) = fleet.client("controller", "web1", timeout_s=70).restart().require_ok()
    successors.append(result.data["after"]["pid"])
    assert daemon.process.poll() is None
    (answer,) = fleet.client("counter", "web1").count(text="new").require_ok()
    assert answer.data["pid"] == successors[0]
    held.end()
    held.results().require_all(ended=True)
    assert daemon.status() == EXIT_OK


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        pytest.param({"workers": 0}, "workers: expected more than 0", id="setting"),
        pytest.param({"key_file": "/none/node.key"}, "/none/node.key", id="key"),
        pytest.param({"brokers": ["amqp://guest:guest@127.0.0.1:1/"]}, "connection refused", id="broker"),
    ],
)
def test_a_successor_that_cannot_start_leaves_the_old_one_at_work(
    fleet: Fleet, break_it: dict[str, Any], why: str
) -> None:
    # Given a daemon whose configuration is broken since it started
    daemon = start(fleet)
    config = fleet.folder / "web1.0.yaml"
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **break_it}))
    stream = Stream(fleet)

    # When it is to be replaced, then the answer says why it is not
    (result,) = fleet.client("controller", "web1", timeout_s=70).restart()
    assert result.status == Status.ABORTED
    assert "the old process works on" in result.message
    assert why in result.message

    # And nobody has noticed
    answers = stream.answers()
    stream.close()
    assert {(reply.status, reply.data["pid"]) for reply in answers} == {(Status.OK, daemon.process.pid)}
    assert len(answers) == len(set(stream.sent))


# Where a successor is stopped: what is replaced there, and by what.
STEPS = {
    "started": "Node.start",
    "bound": "Node.take_over",
    "given": "Handover.take",
    "taken": "Predecessor._tell_taken",
}
STOPPED = """
import os, sys
if "--handover-fd" in sys.orig_argv:
    from mco_node.daemon import Node
    from mco_node.handover import Handover
    from mco_node.succession import Predecessor

    def stopped(*arguments, **named):
        if "{how}" == "dies":
            os._exit(9)
        with open("{folder}/begun", "w") as begun:
            begun.write(str(os.getpid()))
        with open("{folder}/end") as end:
            end.read()
        return go_on(*arguments, **named)

    go_on = {step}
    {step} = stopped
"""


def start_whose_successor(how: str, step: str, fleet: Fleet, folder: Path) -> Daemon:
    """Start a daemon whose successor dies at a step, or waits there."""
    (folder / "site").mkdir()
    text = STOPPED.format(how=how, folder=folder, step=STEPS[step])
    (folder / "site" / "sitecustomize.py").write_text(text)
    environment = {"COUNTED": str(fleet.folder / "counted"), "PYTHONPATH": str(folder / "site")}
    return fleet.start(environment=environment).await_ready()


class Waiting:
    """A successor that waits at a step until it may go on."""

    def __init__(self, fleet: Fleet, folder: Path, step: str) -> None:
        for name in ("begun", "end"):
            os.mkfifo(folder / name)
        self.daemon = start_whose_successor("waits", step, fleet, folder)
        self._folder = folder
        self.daemon.process.send_signal(signal.SIGRTMIN)
        begun = os.open(folder / "begun", os.O_RDWR)
        try:
            assert select.select([begun], [], [], WAIT_S)[0], self.daemon.text()
            found = ProcessId.of(int(os.read(begun, 100)))
        finally:
            os.close(begun)
        assert found is not None
        self.successor = found

    def go_on(self) -> None:
        (self._folder / "end").write_text("")

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        self.successor.send(signal.SIGKILL)
        self.successor.wait(WAIT_S)


@pytest.mark.parametrize("step", STEPS)
def test_a_successor_that_dies_on_the_way_leaves_the_old_one_at_work(fleet: Fleet, tmp_path: Path, step: str) -> None:
    # Given a daemon, and a package that kills every process that is to take over
    daemon = start_whose_successor("dies", step, fleet, tmp_path)

    # When it is to be replaced, and again
    for _ in range(2):
        (result,) = fleet.client("controller", "web1", timeout_s=WAIT_S).restart()

        # Then the old one has its queue again, and works
        assert result.status == Status.ABORTED
        expected = "bound" if step == "started" else "taken"
        assert f"ended before it was {expected}, with status 9" in result.message
        (answer,) = fleet.client("counter", "web1").count(text="again").require_ok()
        assert answer.data["pid"] == daemon.process.pid
        (answer,) = fleet.client("counter").count(text="everybody").require_ok()


@pytest.mark.parametrize("step", ["started", "given"])
def test_a_daemon_that_is_told_to_end_while_it_is_replaced_leaves_nobody_behind(
    fleet: Fleet, tmp_path: Path, step: str
) -> None:
    # Given a daemon that is being replaced
    with Waiting(fleet, tmp_path, step) as waiting:
        # When it is told to end
        daemon = waiting.daemon
        daemon.process.send_signal(signal.SIGTERM)
        daemon.await_log("INFO mco_node.running_daemon: stopping")
        waiting.go_on()

        # Then both end
        assert daemon.status() == EXIT_OK
        waiting.successor.wait(WAIT_S)
        assert not waiting.successor.is_running


@pytest.mark.parametrize(("step", "is_there"), [("started", False), ("given", True)])
def test_a_daemon_that_is_killed_while_it_is_replaced(fleet: Fleet, tmp_path: Path, step: str, is_there: bool) -> None:
    with Waiting(fleet, tmp_path, step) as waiting:
        waiting.daemon.close()
        waiting.go_on()
        if is_there:
            assert eventually(lambda: not fleet.client("rpcutil", "web1").ping().missing)
        else:
            waiting.successor.wait(WAIT_S)


class TestSignals:
    """What signals do is in the log."""

    def test_hup_reloads_all_and_says_what_needs_a_restart(self, fleet: Fleet) -> None:
        # Given a daemon whose agent, facts and configuration change
        daemon = start(fleet, libdir_interval_s=0)
        (fleet.folder / "libdir" / "counter.py").write_text(COUNTER.replace('version = "1"', 'version = "2"'))
        config = fleet.folder / "web1.0.yaml"
        changes = {"log_level": "debug", "workers": 3, "agents": {"iptables": {"enabled": False}}}
        config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **changes}))

        # When it gets the signal
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_log("INFO mco_node.control: reloaded")

        # Then it is as they say, as far as that is possible, and the log says the rest
        text = daemon.text()
        assert "settings that changed and need a restart: workers" in text
        assert "log level debug, was info" in text
        assert "removed iptables" in text
        versions = {each["name"]: each["version"] for each in self._agents(fleet)}
        assert versions["counter"] == "2"
        assert "iptables" not in versions

        # When the configuration is broken, then the old one stays
        config.write_text("workers: [\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_log("the configuration could not be read again, the old one is kept")
        (inventory,) = fleet.client("rpcutil", "web1").inventory().require_ok()
        assert any("could not be read again" in problem for problem in inventory.data["problems"])

    def test_usr1_reloads_agents_and_usr2_goes_through_the_levels(self, fleet: Fleet) -> None:
        daemon = start(fleet, libdir_interval_s=0)
        (fleet.folder / "libdir" / "counter.py").write_text("broken(\n")
        daemon.process.send_signal(signal.SIGUSR1)
        daemon.await_log("reload agents: ", "SyntaxError", "the one that was loaded before is kept")
        (answer,) = fleet.client("counter", "web1").count(text="x").require_ok()
        assert answer.data["pid"] == daemon.process.pid
        for before, after in (("info", "warning"), ("warning", "error"), ("error", "debug"), ("debug", "info")):
            daemon.process.send_signal(signal.SIGUSR2)
            daemon.await_log(f"log level {after}, was {before}")

    def test_a_storm_of_hups_is_two_reloads_at_most(self, fleet: Fleet, tmp_path: Path) -> None:
        # Given a daemon whose reload takes until the test lets it
        facts = tmp_path / "facts.d"
        facts.mkdir()
        (facts / "slow").write_text(
            f"#!/bin/sh\necho x >> {tmp_path}/gathered\ntest ! -e {tmp_path}/go || cat {tmp_path}/go\n"
        )
        (facts / "slow").chmod(0o755)
        daemon = start(fleet, libdir_interval_s=0, facts_dir=str(facts), log_level="debug")
        assert eventually((tmp_path / "gathered").exists)
        os.mkfifo(tmp_path / "go")

        # When it gets one HUP after the other, each before the next one
        threads = []
        for number in range(1, 21):
            daemon.process.send_signal(signal.SIGHUP)
            daemon.process.send_signal(signal.SIGUSR2)
            assert eventually(lambda: daemon.text().count("mco_node.control: log level") >= number), daemon.text()  # noqa: B023
            threads.append(len(list(Path(f"/proc/{daemon.process.pid}/task").iterdir())))

        # Then no thread waits for each, and it reloads once more at the end
        assert max(threads) - threads[0] <= 2
        (tmp_path / "go").rename(tmp_path / "gone")
        (tmp_path / "gone").write_text("")
        assert eventually(lambda: daemon.text().count("INFO mco_node.control: reloaded") == 2)

    def test_rtmin_has_a_new_process_take_over(self, fleet: Fleet, successors: list[int]) -> None:
        daemon = start(fleet)
        daemon.process.send_signal(signal.SIGRTMIN)
        assert daemon.status() == EXIT_OK
        (answer,) = fleet.client("counter", "web1").count(text="x").require_ok()
        successors.append(answer.data["pid"])
        assert answer.data["pid"] != daemon.process.pid

    def test_a_second_term_does_not_wait(self, fleet: Fleet) -> None:
        # Given an action that runs, and a daemon that was told to end and waits for it
        daemon = start(fleet, drain_timeout_s=600)
        held = fleet.hold("web1")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.await_log("stopping")

        # When it is told again, then it ends, and the caller is told so
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.status() == EXIT_STILL_RUNNING
        (result,) = held.results()
        assert "stopped before holder#hold ended" in result.message
        with contextlib.suppress(OSError):
            os.close(os.open(fleet.folder / "pipes" / "end", os.O_WRONLY | os.O_NONBLOCK))

    def test_who_tells_it_to_exit_is_answered_first(self, fleet: Fleet) -> None:
        daemon = start(fleet)
        fleet.client("controller", "web1").exit().require_all(still_running=[])
        assert daemon.status() == EXIT_OK

    @staticmethod
    def _agents(fleet: Fleet) -> list[dict[str, Any]]:
        (result,) = fleet.client("rpcutil", "web1").agent_inventory().require_ok()
        agents: list[dict[str, Any]] = result.data["agents"]
        return agents
