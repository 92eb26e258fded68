# SPDX-License-Identifier: Apache-2.0
"""A real registry process with real nodes on a real broker and real databases; all of them are lost in turn."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_client.connection import Connection
from mco_client.discovery.registry import Registry, ask
from mco_client.rpc import RpcClient
from mco_lab.broker import Broker
from mco_registry.settings import registry_settings
from mco_rpc.config import ClientSettings
from mco_rpc.errors import McoError
from mco_rpc.filters import Filter, from_options
from mco_rpc.security import keys
from tests.docs_examples import ROOT, page
from tests.postgresql import PostgreSql, postgresql

__all__ = ["postgresql"]

pytestmark = pytest.mark.broker

PROGRAMS = Path(sysconfig.get_path("scripts"))
RABBITMQCTL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
WAIT_S = 60.0


class Process:
    """A daemon; killed at the end if it still runs."""

    def __init__(self, command: list[str | Path], log: Path, environment: dict[str, str]) -> None:
        self.log = log
        self._ready, ready = os.pipe()
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [*command, "--ready-fd", str(ready)],
                pass_fds=(ready,),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment,
            )
        os.close(ready)

    def await_ready(self) -> Process:
        assert select.select([self._ready], [], [], WAIT_S)[0], self.log.read_text()
        assert os.read(self._ready, 100) == b"READY=1\n", self.log.read_text()
        return self

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ready)


class Fleet:
    """Processes and files of one collective."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self._stack = contextlib.ExitStack()
        keys.generate(folder / "operator.key", folder / "callers/operator.pub")
        keys.generate(folder / "registry.key", folder / "nodes/registry.pub")
        client = {
            "brokers": [url],
            "key_file": f"{folder}/operator.key",
            "trusted_nodes": f"{folder}/nodes",
            "timeout_s": 20,
        }
        self.client_file = self.write("client.yaml", client)

    def write(self, name: str, values: dict[str, Any]) -> Path:
        (self.folder / name).write_text(json.dumps(values))
        return self.folder / name

    @property
    def environment(self) -> dict[str, str]:
        own = {name: text for name, text in os.environ.items() if not name.startswith(("MCO_", "NOTIFY_"))}
        return {**own, "MCO_CONFIG": str(self.client_file), "NO_COLOR": "1"}

    def node(self, identity: str, **settings: Any) -> Process:
        """Start a node that registers every second."""
        if not (self.folder / f"{identity}.key").exists():
            keys.generate(self.folder / f"{identity}.key", self.folder / f"nodes/{identity}.pub")
            (self.folder / f"{identity}.facts.yaml").write_text("country: de\n")
            (self.folder / f"{identity}.classes.yaml").write_text("[web]\n")
        file = self.write(
            f"{identity}.yaml",
            {
                "identity": identity,
                "brokers": [self.url],
                "key_file": f"{self.folder}/{identity}.key",
                "trusted_callers": f"{self.folder}/callers",
                "facts_file": f"{self.folder}/{identity}.facts.yaml",
                "classes_file": f"{self.folder}/{identity}.classes.yaml",
                "registration_interval_s": 1,
                "agents": {"iptables": {"backend": "memory"}},
                **settings,
            },
        )
        return self._started([PROGRAMS / "mco-node", "run", "--config", file], f"{identity}.log", self.environment)

    def registry_file(self, **settings: Any) -> Path:
        return self.write(
            "registry.yaml",
            {
                "brokers": [self.url],
                "key_file": f"{self.folder}/registry.key",
                "trusted_callers": f"{self.folder}/callers",
                "trusted_nodes": f"{self.folder}/nodes",
                "database": f"{self.folder}/registry.sqlite",
                "drain_timeout_s": 5,
                **settings,
            },
        )

    def registry(self, environment: dict[str, str] | None = None, **settings: Any) -> Process:
        """Start the registry."""
        command = [PROGRAMS / "mco", "registry", "serve", "--config", self.registry_file(**settings)]
        return self._started(command, "registry.log", {**self.environment, **(environment or {})})

    def _started(self, command: list[str | Path], log: str, environment: dict[str, str]) -> Process:
        made = Process(command, self.folder / log, environment)
        self._stack.callback(made.close)
        return made.await_ready()

    def mco(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `mco` as its user would."""
        return subprocess.run(
            [PROGRAMS / "mco", *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_S,
        )

    def connection(self) -> Connection:
        settings = ClientSettings(
            brokers=(self.url,),
            caller="operator",
            key_file=f"{self.folder}/operator.key",
            trusted_nodes=f"{self.folder}/nodes",
            timeout_s=20,
        )
        return self._stack.enter_context(Connection(settings))

    def await_answer(self, is_right: Callable[[Registry], bool], node_filter: Filter | None = None) -> Registry:
        """Ask until the answer is right."""
        connection, seen = self.connection(), ""
        ends, pause = time.monotonic() + WAIT_S, threading.Event()
        while time.monotonic() < ends:
            try:
                answer = ask(connection, node_filter or Filter(), 5.0)
                if is_right(answer):
                    connection.close()
                    return answer
                seen = str(answer)
            except McoError as e:
                seen = str(e)
            pause.wait(0.05)
        raise AssertionError(f"{seen}\n{(self.folder / 'registry.log').read_text()}")

    def await_states(self, **wanted: str) -> Registry:
        return self.await_answer(lambda answer: {node.identity: node.state for node in answer.nodes} == wanted)

    def stats(self) -> dict[str, Any]:
        client = RpcClient("registry", self.connection())
        client.discover(nodes=["registry"])
        return dict(client.call("stats")[0].data)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def fleet(tmp_path: Path, broker_url: str) -> Iterator[Fleet]:
    made = Fleet(tmp_path, broker_url)
    yield made
    made.close()


def test_nodes_that_start_stop_and_die_are_told_apart(fleet: Fleet) -> None:
    # Given three nodes
    registry = fleet.registry()
    web1, web2, _ = (fleet.node(name) for name in ("web1", "web2", "web3.example.net"))
    fleet.await_states(web1="present", web2="present", **{"web3.example.net": "present"})
    de = fleet.await_answer(
        lambda a: len(a.nodes) == 3 and all(n.is_sure for n in a.nodes), from_options(classes=["web"])
    )
    assert len(de.nodes) == 3
    assert fleet.mco("nodes").returncode == 0
    # When one is stopped and one killed
    assert web1.end(signal.SIGTERM) == 0
    web2.end(signal.SIGKILL)
    # Then the one has stopped and the other is silent
    fleet.await_states(web1="stopped", web2="silent", **{"web3.example.net": "present"})
    told = fleet.mco("nodes", "--silent")
    assert told.returncode == 2, told
    assert "web2    silent since " in told.stdout
    assert "web3.example.net" not in told.stdout
    # When both are back, then they are there
    fleet.node("web1")
    fleet.node("web2")
    fleet.await_states(web1="present", web2="present", **{"web3.example.net": "present"})
    assert registry.end(signal.SIGTERM) == 0


def test_facts_and_classes_that_change_are_known_soon(fleet: Fleet) -> None:
    fleet.registry()
    fleet.node("web1")
    fleet.await_answer(lambda answer: len(answer.nodes) == 1, from_options(facts=["country=de"]))
    (fleet.folder / "web1.facts.yaml").write_text("country: fr\n")
    (fleet.folder / "web1.classes.yaml").write_text("[db]\n")
    fleet.await_answer(lambda answer: len(answer.nodes) == 1, from_options(facts=["country=fr"], classes=["db"]))


def test_a_registry_that_was_killed_knows_who_was_there(fleet: Fleet) -> None:
    registry = fleet.registry()
    web1, _ = fleet.node("web1"), fleet.node("web2")
    fleet.await_states(web1="present", web2="present")
    # When it is killed, and a node dies meanwhile
    registry.end(signal.SIGKILL)
    web1.end(signal.SIGKILL)
    fleet.registry()
    # Then the node is missed
    fleet.await_states(web1="silent", web2="present")


def test_a_broker_that_restarts_costs_nobody_his_place(tmp_path: Path, own_broker: Broker) -> None:
    fleet = Fleet(tmp_path, own_broker.url)
    try:
        fleet.registry()
        fleet.node("web1")
        before = fleet.await_states(web1="present")
        own_broker.stop()
        own_broker.start()
        fleet.await_answer(
            lambda answer: (
                answer.listening_since > before.listening_since
                and [node.state for node in answer.nodes] == ["present"]
                and answer.nodes[0].last_seen > before.nodes[0].last_seen
            )
        )
    finally:
        fleet.close()


def test_the_rights_that_the_guides_give_are_enough_and_a_host_cannot_listen(
    tmp_path: Path, own_broker: Broker
) -> None:
    # Given the users of the guides to security and to the registry
    own_broker.add_vhost("mco")
    lines = [
        command.line
        for name in ("security", "registry")
        for block in page(ROOT / f"docs/guides/{name}.md").blocks
        for command in (block.commands() if block.language == "console" else ())
        if command.line.startswith("sudo rabbitmqctl")
    ]
    assert len(lines) == 7
    for line in lines:
        command = [RABBITMQCTL, "-n", "lab@localhost", *shlex.split(line)[2:]]
        environment = {**own_broker._environment, "PATH": os.environ["PATH"]}
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=WAIT_S)

    def url(user: str, password: str) -> str:
        return f"amqp://{user}:{password}@{own_broker.host}:{own_broker.port}/mco"

    nodes, registry = url("nodes", "PASSWORD1"), url("registry", "PASSWORD")
    fleet = Fleet(tmp_path, url("callers", "PASSWORD2"))
    try:
        # Then a registry and a node with no more than these rights do their work
        fleet.registry(brokers=[registry])
        fleet.node("web1", brokers=[nodes])
        fleet.await_states(web1="present")
        # And with the rights of a host nobody listens to what hosts say
        file = fleet.registry_file(brokers=[nodes], identity="reg2", database=f"{tmp_path}/other.sqlite")
        command = [PROGRAMS / "mco", "registry", "serve", "--config", file]
        spy = Process(list(command), tmp_path / "spy.log", fleet.environment)
        try:
            ends, pause = time.monotonic() + WAIT_S, threading.Event()
            while "ACCESS_REFUSED" not in spy.log.read_text():
                assert time.monotonic() < ends, spy.log.read_text()
                pause.wait(0.05)
        finally:
            spy.close()
    finally:
        fleet.close()


def test_the_configuration_in_the_guide_is_one(tmp_path: Path) -> None:
    files = {block.file: block.text for block in page(ROOT / "docs/guides/registry.md").blocks if block.file}
    (tmp_path / "registry.yaml").write_text(files["registry.yaml"])
    assert registry_settings(tmp_path / "registry.yaml").database == "/var/lib/mco/registry.sqlite"
    assert "registration_facts" in files["node.yaml"]


def test_a_second_registry_of_the_same_name_gives_up(fleet: Fleet) -> None:
    fleet.registry()
    file = fleet.registry_file(identity_grace_s=0, database=f"{fleet.folder}/other.sqlite")
    done = fleet.mco("registry", "serve", "--config", str(file))
    assert done.returncode == 1
    assert "mco: queue mco.node.registry" in done.stderr
    assert "is held by another connection" in done.stderr


def test_systemd_learns_that_it_is_ready_and_alive(fleet: Fleet) -> None:
    address = str(fleet.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(address)
        notified.settimeout(WAIT_S)
        registry = fleet.registry({"NOTIFY_SOCKET": address})
        told = set()
        while not told >= {b"READY=1", b"WATCHDOG=1"}:
            told.add(notified.recv(100))
        assert registry.end(signal.SIGTERM) == 0
        while b"STOPPING=1" not in told:
            told.add(notified.recv(100))


@pytest.mark.xdist_group("postgresql")
def test_postgresql_may_be_lost_and_come_back(fleet: Fleet, postgresql: PostgreSql) -> None:
    registry = fleet.registry(database=postgresql.new_database())
    fleet.node("web1")
    fleet.await_states(web1="present")
    # When the database is lost
    postgresql.stop()
    try:
        done = fleet.mco("nodes")
        assert done.returncode == 1
        assert "registry 'registry': aborted: database postgresql" in done.stderr
        # Then the registry still runs, hears who comes, and says what is wrong
        fleet.node("web2")
        ends = time.monotonic() + WAIT_S
        while not (stats := fleet.stats())["unwritten"] >= 2:
            assert time.monotonic() < ends, stats
        assert stats["known"] == -1
        assert any("could not write" in warning for warning in stats["warnings"])
    finally:
        postgresql.start()
    # And when it is back, nothing is missing
    fleet.await_states(web1="present", web2="present")
    assert registry.end(signal.SIGTERM) == 0
    log = (fleet.folder / "registry.log").read_text()
    assert "the database can be written again" in log
    assert "Traceback" not in log


@pytest.mark.xdist_group("postgresql")
def test_a_database_that_is_not_there_yet_keeps_nobody_from_starting(fleet: Fleet, postgresql: PostgreSql) -> None:
    url = postgresql.new_database()
    postgresql.stop()
    try:
        fleet.registry(database=url)
    finally:
        postgresql.start()
    fleet.node("web1")
    fleet.await_states(web1="present")


def test_what_is_wrong_with_a_configuration_is_said_in_a_line(fleet: Fleet) -> None:
    for settings, words in (
        ({"database": "mysql://x/y"}, "database: mysql is not supported"),
        ({"databse": "x"}, "unknown key 'databse', did you mean database?"),
        ({"max_nodes": 0}, "max_nodes: expected more than 0, got 0"),
        ({"trusted_nodes": "/nowhere"}, "folder of trusted keys /nowhere"),
        ({"key_file": "/nowhere"}, "private key /nowhere: No such file"),
        ({"connector": "memory"}, "a daemon of its own needs rabbitmq"),
        ({"collectives": []}, "collectives: at least one is needed"),
    ):
        done = fleet.mco("registry", "serve", "--config", str(fleet.registry_file(**settings)))
        assert done.returncode == 1, done
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_a_key_is_made_and_a_configuration_checked(fleet: Fleet) -> None:
    file = fleet.registry_file(key_file=f"{fleet.folder}/new.key", identity="reg2")
    made = fleet.mco("registry", "keygen", "--config", str(file))
    assert made.returncode == 0, made
    assert (fleet.folder / "reg2.pub").exists()
    again = fleet.mco("registry", "keygen", "--config", str(file))
    assert again.returncode == 1
    assert "exists" in again.stderr
    checked = fleet.mco("registry", "check", "--config", str(file))
    assert checked.returncode == 0, checked
    assert "identity reg2, collectives mcollective" in checked.stdout
    assert f"database sqlite:///{fleet.folder}/registry.sqlite: 0 nodes are known" in checked.stdout
