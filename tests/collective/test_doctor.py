# SPDX-License-Identifier: Apache-2.0
"""``mco doctor`` and the illnesses of a caller and of nodes: each is caused, and found."""

from __future__ import annotations

import errno
import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from mco_client.cli.main import main
from mco_client.connection import Connection
from mco_client.doctor.clocks import clocks
from mco_client.doctor.examination import examine
from mco_client.doctor.finding import Finding, Grade
from mco_client.doctor.patient import Patient
from mco_client.rpc import RpcClient
from mco_lab.memory import CALLER, MemoryFleet
from mco_node.daemon import Node
from mco_node.workers import Job
from mco_rpc.config import ClientSettings, NodeSettings
from mco_rpc.errors import ConfigError, SecurityError
from mco_rpc.filters import Filter
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import for_caller, for_node

WAIT_S = 20.0
RPCUTIL = """
import time
from typing import Any
from mco_agents import rpcutil
from mco_rpc.agent import Output, action

class Rpcutil(rpcutil.Rpcutil):
    "Ask a node about itself."
"""
OTHER = """
from mco_rpc.agent import Agent, Output, action

class Other(Agent):
    "An agent of the site's own."
    version = "{version}"

    @action("Say something", outputs={{"{output}": Output("string", "a word")}})
    def say(self):
        return {{"{output}": "x"}}
"""
causes = pytest.mark.causes


def fleet(tmp_path: Path, *names: str, **settings: Mapping[str, Any]) -> MemoryFleet:
    """Return a fleet of real nodes; ``settings`` by name."""
    hosts = {name: {"settings": dict(settings.get(name, {}))} for name in names}
    client = ClientSettings(connector="memory", caller=CALLER, discovery_window_s=0.3, discovery_timeout_s=2.0)
    return MemoryFleet(hosts, client)


def libdir(folder: Path, **sources: str) -> dict[str, Any]:
    """Return the settings of a node with files of its own."""
    folder.mkdir()
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    return {"libdir": [str(folder)]}


def examined(made: MemoryFleet | Connection, **changes: Any) -> dict[str, list[Finding]]:
    """Return what is found to be ill, by code."""
    patient = Patient(lambda *_: made.connection() if isinstance(made, MemoryFleet) else made, **changes)
    found: dict[str, list[Finding]] = {}
    for finding in examine(patient):
        if finding.code:
            found.setdefault(finding.code, []).append(finding)
    return found


def test_a_healthy_fleet_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fleet(tmp_path, "web1", "web2") as made:
        assert main(["doctor", "-j"], lambda *_: made.connection()) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["statistics"]["ill"] == said["statistics"]["warning"] == 0
    assert {finding["area"] for finding in said["findings"] if finding["grade"] == "ok"} >= {
        "configuration", "nodes", "clocks", "agents",
    }  # fmt: skip


def test_what_is_ill_is_said_with_what_to_do_and_a_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = libdir(tmp_path / "lib", broken="import nothing_of_this_name\n")
    with fleet(tmp_path, "web1", "web2", web2=broken) as made:
        assert main(["doctor", "-v"], lambda *_: made.connection()) == 2
    out = capsys.readouterr().out
    assert "[agent-broken]" in out
    assert "nothing_of_this_name" in out
    assert "-> Correct what is named, then `mco controller reload-agents -I web2`" in out


class TestOfACaller:
    """What can be seen without a network."""

    @pytest.fixture
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A caller whose files are as they should be, and whose broker nobody runs."""
        for variable in [name for name in os.environ if name.startswith("MCO_")]:
            monkeypatch.delenv(variable)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        folder = tmp_path / "mco"
        keys.generate(folder / "alice.key", folder / "nodes" / "web1.pub")
        values = {"key_file": str(folder / "alice.key"), "trusted_nodes": str(folder / "nodes"),
                  "brokers": ["amqp://mco:secret@127.0.0.1:1/"]}  # fmt: skip
        (folder / "client.yaml").write_text(yaml.safe_dump(values))
        (folder / "client.yaml").chmod(0o600)
        return folder

    def found(self, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
        assert main(["doctor", "-j"]) == 2
        said = json.loads(capsys.readouterr().out)["findings"]
        return {finding["code"]: finding for finding in said if finding["code"]}

    def test_the_rest_is_well(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert set(self.found(capsys)) == {"broker-refused"}

    @causes("config-invalid")
    def test_a_setting_with_a_typo(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (home / "client.yaml").write_text("broker: []\n")
        found = self.found(capsys)
        assert set(found) == {"config-invalid"}
        assert "did you mean brokers?" in found["config-invalid"]["text"]

    @causes("config-exposed")
    def test_a_password_that_others_can_read(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (home / "client.yaml").chmod(0o644)
        assert self.found(capsys)["config-exposed"]["advice"] == f"chmod 600 {home / 'client.yaml'}"

    @causes("key-unusable")
    @pytest.mark.parametrize("how", ["gone", "open"])
    def test_a_key_that_cannot_be_used(self, home: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
        key = home / "alice.key"
        key.unlink() if how == "gone" else key.chmod(0o644)
        assert str(key) in self.found(capsys)["key-unusable"]["text"]

    @causes("trust-unusable")
    @pytest.mark.parametrize("how", ["gone", "writable", "garbage"])
    def test_a_folder_of_keys_that_cannot_be_used(
        self, home: Path, how: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        nodes = home / "nodes"
        if how == "gone":
            (nodes / "web1.pub").unlink()
            nodes.rmdir()
        elif how == "writable":
            nodes.chmod(0o777)
        else:
            (nodes / "web2.pub").write_text("-----BEGIN\n")
        assert str(nodes) in self.found(capsys)["trust-unusable"]["text"]

    @causes("trust-empty")
    def test_a_folder_without_keys(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (home / "nodes" / "web1.pub").unlink()
        assert "trust-empty" in self.found(capsys)

    @causes("keys-alike")
    def test_two_machines_with_one_key(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (home / "nodes" / "web2.pub").write_bytes((home / "nodes" / "web1.pub").read_bytes())
        assert self.found(capsys)["keys-alike"]["nodes"] == ["web1", "web2"]

    @causes("cache-unwritable")
    def test_a_cache_that_cannot_be_written(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (home / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
        assert str(home / "file") in self.found(capsys)["cache-unwritable"]["text"]

    def test_a_cache_that_cannot_even_be_looked_at(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", f"{home}/{'x' * 300}")
        assert "broker-refused" in self.found(capsys)

    def test_a_configuration_that_others_only_may_read(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def refused(_: Path | None) -> ClientSettings:
            raise PermissionError(errno.EACCES, "Permission denied", str(home / "client.yaml"))

        monkeypatch.setattr("mco_rpc.config.client_settings", refused)
        assert self.found(capsys)["config-invalid"]["text"] == f"{home / 'client.yaml'}: Permission denied"

    def test_where_no_broker_lets_us_in_it_is_not_tried_again(self, home: Path) -> None:
        def never(*_: object) -> Connection:
            raise SecurityError("nobody connects")

        said = [finding.text for finding in examine(Patient(never)) if finding.area == "nodes"]
        assert said[0] == "a broker must let us in first"
        assert len(said) == 2


class TestOfAPopulation:
    @causes("nobody-there")
    def test_no_daemon_at_all(self, tmp_path: Path) -> None:
        with fleet(tmp_path) as made:
            assert set(examined(made)) == {"nobody-there"}

    @causes("caller-untrusted")
    def test_nodes_that_do_not_know_us(self, tmp_path: Path) -> None:
        with fleet(tmp_path, "web1") as made:
            made._caller_seed = keys.new_seed()
            found = examined(made)
        assert set(found) == {"caller-untrusted"}
        assert f"/etc/mco/callers/{CALLER}.pub" in found["caller-untrusted"][0].advice

    @causes("nobody-matches")
    def test_a_filter_that_nobody_matches(self, tmp_path: Path) -> None:
        with fleet(tmp_path, "web1") as made:
            found = examined(made, node_filter=Filter(classes=("nobody_has_it",)))
        assert set(found) == {"nobody-matches"}
        assert "mco filter explain" in found["nobody-matches"][0].advice

    @causes("source-unsure")
    def test_a_list_that_is_not_there_keeps_no_node_from_being_looked_at(self, tmp_path: Path) -> None:
        settings = ClientSettings(
            connector="memory", caller=CALLER, discovery="flatfile", discovery_options=(str(tmp_path / "gone.txt"),)
        )
        patient = Patient(lambda *_: made.connection())
        with MemoryFleet({"web1": {}}, settings) as made:
            found = list(examine(patient))
        assert [finding.code for finding in found if finding.code] == ["source-unsure"]
        assert any(finding.text == "1 answer: web1" for finding in found)

    @causes("node-unheard")
    def test_a_node_whose_key_is_trusted_and_that_nobody_misses(self, tmp_path: Path) -> None:
        trusted = frozenset({"web1", "web2", "registry"})
        with fleet(tmp_path, "web1", "web2") as made:
            assert not examined(made, trusted=trusted)
            made.stop("web2")
            found = examined(made, trusted=trusted)
            assert not examined(made, trusted=trusted, node_filter=Filter(identities=("web1",)))
        assert found["node-unheard"][0].nodes == ("web2",)
        assert found["node-unheard"][0].grade is Grade.WARNING

    @causes("broker-lost")
    def test_a_broker_that_goes_while_nodes_are_asked(self, tmp_path: Path) -> None:
        codes = []
        with fleet(tmp_path, "web1") as made:
            for finding in examine(Patient(lambda *_: made.connection(), timeout_s=0.5)):
                codes.append(finding.code)
                if finding.text == "1 answer: web1":
                    made.broker.stop()
        assert [code for code in codes if code] == ["broker-lost"]

    @causes("broker-lost")
    def test_a_broker_that_goes_before_nodes_are_looked_for_is_no_health(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with fleet(tmp_path, "web1") as made:
            connection = made.connection()
            made.broker.stop()
            assert main(["doctor", "-j"], lambda *_: connection) == 2
            made.broker.start()
        assert "broker-lost" in [finding["code"] for finding in json.loads(capsys.readouterr().out)["findings"]]

    @causes("node-untrusted")
    def test_a_node_whose_key_is_another_than_we_trust(self, tmp_path: Path) -> None:
        with fleet(tmp_path, "web1", "web2") as made:
            made._node_seeds["web2"] = keys.new_seed()
            found = examined(made)
        assert set(found) == {"node-untrusted"}
        assert found["node-untrusted"][0].nodes == ("web2",)

    @causes("node-missing")
    def test_a_node_that_should_be_there(self, tmp_path: Path) -> None:
        (tmp_path / "nodes.txt").write_text("web1\nweb2\n")
        settings = ClientSettings(
            connector="memory", caller=CALLER, discovery="flatfile", discovery_options=(str(tmp_path / "nodes.txt"),)
        )
        with MemoryFleet({"web1": {}, "web2": {}}, settings) as made:
            made.stop("web2")
            found = examined(made)
        assert set(found) == {"node-missing"}
        assert found["node-missing"][0].nodes == ("web2",)

    @causes("node-denies")
    def test_a_node_that_knows_us_and_does_not_let_us_ask(self, tmp_path: Path) -> None:
        denying = RPCUTIL + (
            "    @action('Count', outputs={})\n    def daemon_stats(self):\n"
            "        from mco_rpc.errors import Denied\n        raise Denied('not you')\n"
        )
        with fleet(tmp_path, "web1", "web2", web2=libdir(tmp_path / "lib", rpcutil=denying)) as made:
            found = examined(made)
        assert found["node-denies"][0].nodes == ("web2",)
        assert found["node-denies"][0].grade is Grade.WARNING


class TestOfNodes:
    @causes("node-silent")
    def test_a_node_that_answers_the_discovery_and_nothing_else(self, tmp_path: Path) -> None:
        with fleet(tmp_path, "web1", "web2", web2={"workers": 1}) as made:
            gate, begun = threading.Event(), threading.Event()
            # Given a node whose one worker is held by what does not end
            made.nodes["web2"]._workers.submit(_holding(begun, gate))
            assert begun.wait(WAIT_S)
            try:
                found = examined(made, timeout_s=0.5)
            finally:
                gate.set()
        assert found["node-silent"][0].nodes == ("web2",)

    @causes("node-slow")
    def test_a_node_that_takes_longer_than_the_others(self, tmp_path: Path) -> None:
        slow = RPCUTIL + (
            "    @action('Say that this node answers', outputs={'pong': Output('float', 'time')})\n"
            "    def ping(self):\n        time.sleep(0.4)\n        return {'pong': time.time()}\n"
        )
        with fleet(tmp_path, "web1", "web2", "web3", web3=libdir(tmp_path / "lib", rpcutil=slow)) as made:
            found = examined(made)
        assert found["node-slow"][0].nodes == ("web3",)

    @causes("node-hanging")
    def test_a_node_with_an_action_that_cannot_be_ended(self, tmp_path: Path) -> None:
        hanging = (
            "import threading\nfrom mco_rpc.agent import Agent, action\nGATE = threading.Event()\n"
            "class Hanging(Agent):\n    'Hangs.'\n    gate = GATE\n    @action('Hang', timeout_s=0.05)\n"
            "    def hang(self):\n        GATE.wait(20)\n"
        )
        with fleet(tmp_path, "web1", web1=libdir(tmp_path / "lib", hanging=hanging)) as made:
            try:
                (result,) = RpcClient("hanging", made.connection(), timeout_s=WAIT_S).hang()
                assert result.status_text == "timed out"
                found = examined(made)
            finally:
                made.nodes["web1"].agent("hanging").gate.set()  # type: ignore[attr-defined]
        assert found["node-hanging"][0].nodes == ("web1",)

    @causes("node-drained")
    def test_a_node_that_somebody_drained(self, tmp_path: Path) -> None:
        with fleet(tmp_path, "web1", "web2") as made:
            client = RpcClient("controller", made.connection(), timeout_s=WAIT_S)
            client.discover(nodes=["web2"])
            client.drain(reason="new disks").require_ok()
            found = examined(made)
        assert found["node-drained"][0].nodes == ("web2",)
        assert f"by key={CALLER}: new disks" in found["node-drained"][0].text

    @causes("node-reconnects")
    def test_a_node_that_loses_its_connection_again_and_again(self, tmp_path: Path) -> None:
        with fleet(tmp_path, "web1", "web2") as made:
            for _ in range(3):
                made.broker.stop()
                made.broker.start(list(made.connectors.values()))
                assert all(node.is_connected.wait(WAIT_S) for node in made.nodes.values())
            found = examined(made)
        # It is the same for both, and said once.
        assert [finding.nodes for finding in found["node-reconnects"]] == [("web1", "web2")]
        assert "web1, web2: " in found["node-reconnects"][0].text

    @causes("version-difference")
    def test_daemons_of_different_versions(self, tmp_path: Path) -> None:
        older = RPCUTIL + (
            "    @action('Fare', outputs={'version': Output('string', 'v')})\n"
            "    def daemon_stats(self):\n        return {'version': '0.0.9'}\n"
        )
        with fleet(tmp_path, "web1", "web2", "web3", web3=libdir(tmp_path / "lib", rpcutil=older)) as made:
            found = examined(made)
        assert found["version-difference"][0].nodes == ("web3",)
        assert "0.0.9: web3" in found["version-difference"][0].text

    @causes("agent-broken")
    def test_an_agent_that_did_not_load(self, tmp_path: Path) -> None:
        with fleet(tmp_path, "web1", web1=libdir(tmp_path / "lib", broken="x = (\n")) as made:
            found = examined(made)
        assert "broken.py" in found["agent-broken"][0].text

    @causes("facts-broken")
    def test_facts_that_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "facts.yaml").write_text("country: [de\n")
        with fleet(tmp_path, "web1", web1={"facts_file": str(tmp_path / "facts.yaml")}) as made:
            found = examined(made)
        assert str(tmp_path / "facts.yaml") in found["facts-broken"][0].text
        assert "agent-broken" not in found

    @causes("node-config-broken")
    def test_a_configuration_that_could_not_be_read_again(self, tmp_path: Path) -> None:
        with fleet(tmp_path, "web1") as made:
            control = made.nodes["web1"]._control
            control._reread = _unreadable
            control.reload()
            found = examined(made)
        assert set(found) == {"node-config-broken"}
        assert "agents.d/agent.yaml" in found["node-config-broken"][0].text

    @causes("schema-difference")
    @pytest.mark.parametrize("version", ["1.1", "1.0"])
    def test_two_kinds_of_one_agent(self, version: str, tmp_path: Path) -> None:
        first = libdir(tmp_path / "a", other=OTHER.format(version="1.0", output="word"))
        second = libdir(tmp_path / "b", other=OTHER.format(version=version, output="text"))
        with fleet(tmp_path, "web1", "web2", "web3", web1=first, web2=first, web3=second) as made:
            found = examined(made)
        assert found["schema-difference"][0].nodes == ("web3",)
        assert "other is not the same everywhere" in found["schema-difference"][0].text


class TestOfClocks:
    def test_a_recording_tells_no_time(self) -> None:
        replayed = ClientSettings(connector="replay", replay="fleet.rec")
        patient = Patient(lambda *_: pytest.fail("no need"), settings=replayed, answers={"ping": None})  # type: ignore[dict-item]
        (finding,) = clocks(patient)
        assert finding.grade is Grade.SKIPPED
        assert "a recording" in finding.text

    def node(self, made: MemoryFleet, identity: str, clock: Any) -> None:
        """Put a node with another clock in the place of one of the fleet."""
        old = made.nodes[identity]
        settings = msgspec.convert(old.settings(), NodeSettings)
        made.stop(identity)
        security = for_node(identity, made._node_seeds[identity], {CALLER: keys.public_of(made._caller_seed)})
        node = made.nodes[identity] = Node(settings, made.broker.connector(), security, clock=clock)
        node.start()
        assert node.is_connected.wait(WAIT_S)

    @causes("clock-node")
    def test_a_node_so_far_off_that_it_refuses_us(self, tmp_path: Path) -> None:
        with fleet(tmp_path, "web1", "web2") as made:
            self.node(made, "web2", lambda: time.time() - 60)
            found = examined(made)
        assert found["clock-node"][0].nodes == ("web2",)

    @causes("clock-node")
    def test_a_node_that_is_a_little_off(self, tmp_path: Path) -> None:
        ahead = RPCUTIL + (
            "    @action('Say that this node answers', outputs={'pong': Output('float', 'time')})\n"
            "    def ping(self):\n        return {'pong': time.time() + 4}\n"
        )
        with fleet(tmp_path, "web1", "web2", "web3", web3=libdir(tmp_path / "lib", rpcutil=ahead)) as made:
            found = examined(made)
        assert set(found) <= {"clock-node", "schema-difference"}
        assert found["clock-node"][0].nodes == ("web3",)
        assert "web3 " in found["clock-node"][0].text
        assert "s ahead" in found["clock-node"][0].text

    @causes("clock-here")
    @pytest.mark.parametrize("behind_s", [5.0, -1.5], ids=["refused by all", "a little ahead"])
    def test_our_own_clock(self, behind_s: float, tmp_path: Path) -> None:
        with fleet(tmp_path, "web1", "web2", "web3") as made:
            security = for_caller(
                CALLER, made._caller_seed, {n: keys.public_of(s) for n, s in made._node_seeds.items()}
            )
            connection = Connection(
                made._settings, connector=made.broker.connector, security=security, clock=lambda: time.time() - behind_s
            )
            found = examined(connection)
        assert set(found) == {"clock-here"}
        assert "3 nodes" in found["clock-here"][0].text


def test_a_connection_that_cannot_be_made_is_said_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*_: object) -> Connection:
        raise SecurityError("no key")

    assert main(["doctor"], fails) in (1, 2)
    assert "Traceback" not in capsys.readouterr().err


def _unreadable() -> NodeSettings:
    raise ConfigError("/etc/mco/agents.d/agent.yaml: line 1: unknown key")


def _holding(begun: threading.Event, gate: threading.Event) -> Job:
    """Return a job that ends when the gate is opened."""

    def work(_: float) -> Callable[[], None]:
        begun.set()
        gate.wait(WAIT_S)
        return lambda: None

    return Job(math.inf, WAIT_S, work, lambda: None, lambda: None, lambda _: None)
