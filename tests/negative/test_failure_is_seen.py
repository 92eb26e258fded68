# SPDX-License-Identifier: Apache-2.0
"""Features that must fail, on real hosts, each for the right reason: a green one here would be a false green."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from mco_lab import requirements
from mco_lab.lab import Lab
from mco_lab.pytest_plugin import require
from mco_lab.spec import read

HERE = Path(__file__).parent
NODES = ("dev1", "dev2", "dev3")
BACKGROUND = """\
Feature: must fail
    Background:
    Given the load balancer has ip address 192.168.1.1
    And I want to update hosts with class /dev_server/
    And I want to update hosts with fact country=de
    And I want to pre-discover the nodes to manage

    Scenario: this one
"""
BLOCK = """
        When I block the load balancer
        Then traffic from the load balancer should be blocked
"""

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("negative"), pytest.mark.timeout(180)]


@dataclass
class Ran:
    status: int
    output: str

    def assert_failed_with(self, *texts: str) -> None:
        assert self.status == 1, self.output
        for text in texts:
            assert text in self.output, f"{text!r} is not in\n{self.output}"


class Suite:
    """A feature of the test's own, with its own steps beside the bundled ones."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        (folder / "steps").mkdir()
        shutil.copy(HERE / "fault_steps.py", folder / "steps")

    def run(self, steps: str, background: str = BACKGROUND, *options: str) -> Ran:
        feature = self.folder / "must_fail.feature"
        feature.write_text(background + steps)
        pids = [f"pid_{node}={self.lab.node_pid(node)}" for node in NODES]
        pids += [f"pid_broker={process.pid}" for process in self.lab.broker.processes[:1]] if self.lab.broker else []
        defined = [word for pid in pids for word in ("-D", pid)]
        command = [sys.executable, "-m", "mco_client.bdd", "--no-color", *options, *defined, str(feature)]
        process = self.lab.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        output, _ = process.communicate(timeout=60)
        return Ran(process.returncode, output)

    def fault(self, host: str, fault: str) -> None:
        self.lab.exec(host, ["sh", "-c", 'printf %s "$1" > /run/mco-fault', "sh", fault], check=True)

    def blocked_on(self) -> list[str]:
        rules = {node: self.lab.exec(node, ["iptables", "-S"]).stdout for node in NODES}
        return [node for node, text in rules.items() if "192.168.1.1/32" in text]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Lab]:
    require(requirements.check)
    spec = read(HERE / "fleet.yaml")
    for host in spec.hosts:
        if host.has_node:
            host.node = {"libdir": [str(HERE / "faulty")]}
    with Lab(None, spec) as lab:
        yield lab


@pytest.fixture
def suite(fleet: Lab, tmp_path: Path) -> Iterator[Suite]:
    made = Suite(fleet, tmp_path)
    yield made
    if fleet.broker is not None and not fleet.broker.is_running:
        fleet.restart_broker()
    for node in NODES:
        fleet.exec(node, ["sh", "-ec", "rm -f /run/mco-fault; iptables -w -F; iptables -w -X"], check=True)
    assert made.blocked_on() == []
    for node in NODES:
        try:
            fleet.node_pid(node)
        except Exception:  # it was killed
            fleet.start_node(node)


def test_the_feature_passes_when_nothing_is_wrong(suite: Suite) -> None:
    # Given a healthy fleet, and the same suite that fails in every other test here
    ran = suite.run(BLOCK)
    # Then it passes, so that the others fail for their own reasons
    assert ran.status == 0, ran.output
    assert suite.blocked_on() == list(NODES)


@pytest.mark.parametrize("node", NODES)
def test_a_node_that_only_claims_to_have_blocked(suite: Suite, node: str) -> None:
    suite.fault(node, "claims")
    ran = suite.run(BLOCK)
    assert suite.blocked_on() == [other for other in NODES if other != node], ran.output
    ran.assert_failed_with(f"iptables#isblocked: not blocked on 1 of 3: {node}")


@pytest.mark.parametrize("node", NODES)
def test_one_of_three_is_not_blocked_any_more(suite: Suite, node: str) -> None:
    steps = BLOCK.replace(
        "        Then", f'        And somebody empties the packet filter of "{node}"\n        Then', 1
    )
    ran = suite.run(steps)
    ran.assert_failed_with(f"iptables#isblocked: not blocked on 1 of 3: {node}")


def test_two_of_three_are_not_blocked(suite: Suite) -> None:
    suite.fault("dev1", "claims")
    suite.fault("dev3", "claims")
    ran = suite.run(BLOCK)
    ran.assert_failed_with("iptables#isblocked: not blocked on 2 of 3: dev1, dev3")


def test_a_node_that_lies_twice_is_caught_by_real_traffic(suite: Suite) -> None:
    # Given a node that claims to have blocked, and swears to it when it is asked
    suite.fault("dev2", "claims and swears")
    # When the load balancer itself tries
    ran = suite.run(BLOCK + "        And the load balancer cannot connect to port 8080 of any node\n")
    # Then its connection tells
    ran.assert_failed_with("the load balancer can connect to port 8080 on 1 of 3: dev2 (connected)")


def test_still_blocked_on_one_node(suite: Suite) -> None:
    steps = BLOCK + "        Then traffic from the load balancer should be unblocked\n"
    suite.run(steps).assert_failed_with("iptables#isblocked: blocked on 3 of 3: dev1, dev2, dev3")


def test_a_node_killed_before_the_call_is_known_to_be_offline(suite: Suite) -> None:
    ran = suite.run('        When the node on "dev2" is killed\n' + BLOCK)
    # The broker may need a moment to see that the connection is gone.
    ran.assert_failed_with("iptables#block: ", ", 1 of 3: dev2")
    assert "offline" in ran.output or "went away after they were asked" in ran.output


def test_a_node_that_is_gone_before_the_discovery_is_missed_by_name(suite: Suite) -> None:
    # Given a feature that says who must be there: a discovery alone cannot know whom it did not find
    background = BACKGROUND.replace("    And I want to pre-discover the nodes to manage\n", "")
    table = "".join(f"            | {name} |\n" for name in ("node", *NODES))
    ran = suite.run(
        '        When the node on "dev2" is killed\n        Then exactly these nodes should be discovered\n'
        + table + BLOCK, background,
    )  # fmt: skip
    ran.assert_failed_with("not discovered, 1 of 3: dev2")
    assert suite.blocked_on() == []


def test_a_node_whose_key_is_not_trusted_keeps_the_others_from_being_judged(suite: Suite, tmp_path: Path) -> None:
    # Given a caller who does not know the key of one node
    config = yaml.safe_load(suite.lab.client_config.read_text())
    trusted = shutil.copytree(config["trusted_nodes"], tmp_path / "trusted")
    (trusted / "dev2.pub").unlink()
    (tmp_path / "client.yaml").write_text(yaml.safe_dump({**config, "trusted_nodes": str(trusted)}))
    # Then the two others, whom it believes, are not taken for the fleet
    ran = suite.run(BLOCK, BACKGROUND, "-D", f"config={tmp_path}/client.yaml")
    ran.assert_failed_with("could not judge: answers to the discovery were not believed: dev2 (unknown key 'dev2'")
    assert suite.blocked_on() == []


def test_a_node_killed_while_it_works_is_named(suite: Suite) -> None:
    suite.fault("dev3", "dies")
    ran = suite.run(BLOCK)
    ran.assert_failed_with("iptables#block: went away after they were asked, 1 of 3: dev3")


def test_an_agent_that_hangs_is_answered_for(suite: Suite) -> None:
    suite.fault("dev1", "hangs")
    ran = suite.run(BLOCK, BACKGROUND, "-D", "timeout=20")
    ran.assert_failed_with("iptables#block: dev1: timed out: iptables#block did not end within 10 s")


def test_an_agent_that_raises(suite: Suite) -> None:
    suite.fault("dev1", "raises")
    ran = suite.run(BLOCK)
    ran.assert_failed_with("dev1: unknown error: iptables#block failed: RuntimeError: the packet filter is on fire")


def test_an_agent_that_breaks_its_schema(suite: Suite) -> None:
    suite.fault("dev2", "wrong type")
    ran = suite.run(BLOCK)
    ran.assert_failed_with("dev2: unknown error: iptables#block returned 'blocked'", "expected boolean, got 'yes'")


def test_no_node_matches_the_filter(suite: Suite) -> None:
    ran = suite.run(BLOCK, BACKGROUND.replace("country=de", "country=xx"))
    ran.assert_failed_with("did not find any nodes to manage: 0 answered", "class=/dev_server/, fact country=xx")


def test_an_unknown_device(suite: Suite) -> None:
    ran = suite.run(BLOCK.replace("load balancer", "lode balancer"))
    ran.assert_failed_with("unknown device 'lode balancer', did you mean load balancer?; known are: load balancer")
    assert suite.blocked_on() == []


def test_an_undefined_step_runs_nothing(suite: Suite) -> None:
    ran = suite.run(BLOCK + "        Then trafic from the load balancer should be blocked\n")
    ran.assert_failed_with("undefined step: Then trafic from the load balancer", "Nothing was run")
    assert suite.blocked_on() == []


def test_an_empty_selection_is_no_success(suite: Suite) -> None:
    suite.run(BLOCK, BACKGROUND, "--name", "no such scenario").assert_failed_with("no scenario was selected")


@pytest.mark.parametrize(
    "death", ["the scenario dies", "the user presses Ctrl-C", "the run is terminated", "the terminal is closed"]
)
def test_a_scenario_that_dies_half_way_leaves_the_firewall_as_it_was(suite: Suite, death: str) -> None:
    # Given a node where the load balancer was blocked before, and two where it was not
    suite.run(BLOCK)
    for node in ("dev1", "dev3"):
        suite.lab.exec(node, ["iptables", "-F", "MCO-BLOCK"], check=True)
    # When a scenario that undoes its changes blocks everywhere, and dies
    undo = "        When I undo my changes at the end of the scenario\n"
    ran = suite.run(undo + BLOCK + f"        When {death}\n")
    # Then it failed, and each firewall is as it was
    ran.assert_failed_with("UNDONE unblock 192.168.1.1 on dev1, dev3")
    assert suite.blocked_on() == ["dev2"]


def test_an_undo_that_fails_is_told(suite: Suite) -> None:
    undo = "        When I undo my changes at the end of the scenario\n"
    ran = suite.run(undo + BLOCK + '        When the node on "dev2" is killed\n')
    ran.assert_failed_with("could not undo: the firewall's rule for 192.168.1.1: ", ", 1 of 3: dev2")
    assert suite.blocked_on() == ["dev2"]


def test_a_broker_that_dies_is_no_failure_of_the_fleet_and_no_success(suite: Suite) -> None:
    ran = suite.run("        When the broker dies\n" + BLOCK)
    ran.assert_failed_with("could not judge:", "connection")
    assert "Traceback" not in ran.output
