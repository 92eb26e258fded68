# SPDX-License-Identifier: Apache-2.0
"""The shipped lab, up: what its hosts share and do not share, and how it is used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from mco_lab import await_amqp, spec
from mco_lab.errors import LabError
from mco_lab.lab import Lab
from mco_rpc.errors import ConfigError

from .conftest import MCO, until

pytestmark = pytest.mark.lab

NODES = ["dev1", "dev2", "dev3", "dev4", "web1"]
WEB1 = "192.168.1.21:8080"


def output(fleet: Lab, host: str, *argv: str) -> str:
    done = fleet.exec(host, argv)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def connects(fleet: Lab, host: str, *targets: str) -> dict[str, str | None]:
    lines = output(fleet, host, "python", "-m", "mco_lab.probe", *targets, "--timeout", "0.3").splitlines()
    return {found["target"]: found["reason"] for found in map(json.loads, lines)}


def mco_lab(fleet: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MCO_LAB": fleet.name}
    return subprocess.run([*MCO, "lab", *arguments], capture_output=True, text=True, env=environment, check=False)


class TestHosts:
    def test_each_has_its_own_name_and_knows_the_others(self, fleet):
        assert output(fleet, "dev1", "hostname") == "dev1\n"
        assert output(fleet, "dev1", "getent", "hosts", "web1").split() == ["192.168.1.21", "web1"]

    def test_each_has_one_link_and_no_view_of_the_machines(self, fleet):
        for host in fleet.hosts:
            links = json.loads(output(fleet, host, "ip", "-j", "address"))
            assert [link["ifname"] for link in links] == ["lo", "eth0"]
            assert fleet.hosts[host].address in {found["local"] for found in links[1]["addr_info"]}
        assert output(fleet, "dev1", "ip", "netns", "list") == ""
        # One that is still mounted somewhere outlives its lab.
        assert "nsfs" not in output(fleet, "dev1", "cat", "/proc/self/mountinfo")

    @pytest.mark.parametrize("folder", ["/etc", "/run", "/run/lock", "/tmp", "/var/log", "/var/lib", "/dev/shm"])
    def test_files_written_by_one_are_seen_by_nobody_else(self, fleet, folder):
        file = Path(folder, f"written-by-dev1-in-{fleet.name}")

        output(fleet, "dev1", "touch", str(file))

        assert output(fleet, "dev1", "ls", str(file))
        assert fleet.exec("dev2", ["ls", str(file)]).returncode == 2
        assert not file.exists()

    def test_each_has_its_own_processes_of_which_the_first_reaps_orphans(self, fleet):
        orphan = "import os; os.fork() or os._exit(0)"

        output(fleet, "dev1", "python", "-c", orphan)

        states = output(fleet, "dev1", "ps", "-eo", "stat=,comm=").splitlines()
        assert len(states) < 10
        assert not [line for line in states if line.startswith("Z")]

    def test_commands_start_in_the_root_of_the_host(self, fleet):
        assert output(fleet, "dev2", "cat", "etc/hostname") == "dev2\n"

    def test_names_are_not_looked_up_outside(self, fleet):
        assert "nameserver" not in output(fleet, "dev1", "cat", "/etc/resolv.conf")

    def test_services_answer_until_a_packet_filter_says_no(self, fleet):
        dev1, dev2 = "192.168.1.11:8080", "192.168.1.12:8080"
        assert connects(fleet, "loadbalancer", dev1, dev2, WEB1) == {dev1: None, dev2: None, WEB1: None}

        for rule in (["DROP"], ["REJECT"]):
            words = ["INPUT", "-s", "192.168.1.1", "-j", *rule]
            output(fleet, "dev1", "iptables", "-I", *words)
            reason = {"DROP": "timed out", "REJECT": "refused"}[rule[0]]
            assert connects(fleet, "loadbalancer", dev1, dev2) == {dev1: reason, dev2: None}
            assert connects(fleet, "dev2", dev1) == {dev1: None}
            output(fleet, "dev1", "iptables", "-D", *words)

        assert connects(fleet, "loadbalancer", dev1, "192.168.1.1:8080") == {dev1: None, "192.168.1.1:8080": "refused"}

    def test_an_unknown_host_is_an_error_with_a_suggestion(self, fleet):
        with pytest.raises(ConfigError, match="no host 'dve1', did you mean dev1"):
            fleet.exec("dve1", ["true"])


class TestNodes:
    def test_every_host_has_one_but_the_load_balancer(self, fleet):
        pids = {host: fleet.node_pid(host) for host in NODES}
        assert len(set(pids.values())) == len(NODES)
        for host, pid in pids.items():
            assert b"/etc/mco/node.yaml" in Path(f"/proc/{pid}/cmdline").read_bytes()
            assert Path(f"/proc/{pid}/root/etc/hostname").read_text() == f"{host}\n"
        with pytest.raises(LabError, match=r"node loadbalancer of lab .* does not run"):
            fleet.node_pid("loadbalancer")

    def test_facts_and_classes_are_those_of_the_spec(self, fleet):
        assert yaml.safe_load(output(fleet, "dev4", "cat", "/etc/mco/facts.yaml")) == fleet.hosts["dev4"].facts
        assert yaml.safe_load(output(fleet, "dev2", "cat", "/etc/mco/classes.yaml")) == [
            "acme::dev_server",
            "monitored",
        ]
        assert output(fleet, "dev1", "stat", "-c", "%a", "/etc/mco/node.key") == "600\n"

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_can_be_stopped_and_started(self, fleet, number):
        before = fleet.node_pid("dev3")

        fleet.stop_node("dev3", number)

        assert not Path(f"/proc/{before}/root/etc").exists()
        with pytest.raises(LabError, match=r"node dev3 of lab .* does not run"):
            fleet.stop_node("dev3")
        fleet.start_node("dev3")
        assert fleet.node_pid("dev3") != before
        with pytest.raises(LabError, match="node dev3 already runs"):
            fleet.start_node("dev3")

    def test_a_signal_that_does_not_end_them_is_only_sent(self, fleet):
        fleet.stop_node("dev3", signal.SIGSTOP)
        stat = Path(f"/proc/{fleet.node_pid('dev3')}/stat")
        try:
            until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the node stopping")
        finally:
            fleet.stop_node("dev3", signal.SIGCONT)
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] in "SR", "the node going on")


class TestUse:
    def test_a_command_runs_where_the_broker_answers(self, fleet):
        program = [sys.executable, await_amqp.__file__, "192.168.1.254", "5672"]
        assert fleet.run(program) == 0

    def test_a_command_sees_no_link_of_the_machine(self, fleet, capfd):
        assert fleet.run(["ip", "-j", "link"]) == 0
        names = [link["ifname"] for link in json.loads(capfd.readouterr().out)]
        assert names[:2] == ["lo", "br0"]
        assert all(link.startswith("v") for link in names[2:])

    def test_the_status_is_the_commands_or_tells_the_signal(self, fleet):
        assert fleet.run(["sh", "-c", "exit 7"]) == 7
        assert fleet.run(["sh", "-c", "kill -TERM $$"]) == 128 + signal.SIGTERM

    def test_a_command_finds_the_clients_configuration(self, fleet, capfd):
        assert fleet.run(["sh", "-c", "echo $MCO_LAB; cat $MCO_CONFIG"]) == 0
        said = capfd.readouterr().out
        name, _, config = said.partition("\n")
        config = yaml.safe_load(config)
        assert name == fleet.name
        assert config["caller"] == "operator"
        assert sorted(path.name for path in Path(config["trusted_nodes"]).iterdir()) == [f"{n}.pub" for n in NODES]

    def test_the_broker_can_be_restarted(self, fleet):
        before = fleet.broker_process

        fleet.restart_broker()

        assert not before.is_running
        self.test_a_command_runs_where_the_broker_answers(fleet)

    def test_another_process_can_use_it(self, fleet):
        done = mco_lab(fleet, "run", "--name", fleet.name, "--", "sh", "-c", "echo $MCO_LAB; exit 3")
        assert (done.returncode, done.stdout) == (3, f"{fleet.name}\n")
        done = mco_lab(fleet, "exec", "web1", "--", "hostname")
        assert (done.returncode, done.stdout, done.stderr) == (0, "web1\n", "")
        done = mco_lab(fleet, "exec", "web1", "--", "sh", "-c", "kill -9 $$")
        assert done.returncode == 128 + signal.SIGKILL

        before = fleet.broker_process
        assert mco_lab(fleet, "kill", "broker").stdout == "broker: killed\n"
        assert mco_lab(fleet, "start", "broker").stdout == "broker: started\n"
        assert not before.is_running
        assert fleet.broker_process.is_running

    def test_its_status_tells_what_runs(self, fleet):
        fleet.stop_node("dev3", signal.SIGKILL)
        try:
            labs = json.loads(mco_lab(fleet, "status", "-j").stdout)
            text = mco_lab(fleet, "status").stdout
        finally:
            fleet.start_node("dev3")
        found = next(lab for lab in labs if lab["name"] == fleet.name)
        hosts = {host["name"]: host for host in found["hosts"]}
        assert found["state"] == f"up, held by process {os.getpid()}"
        assert found["broker"] is True
        assert [hosts[name]["node"] for name in ("loadbalancer", "dev2", "dev3")] == [None, True, False]
        assert hosts["dev2"]["node_pid"] == fleet.node_pid("dev2")
        assert f"{fleet.name}: up" in text
        assert "dev3             192.168.1.13     host up, node down" in text

    def test_its_name_is_taken_while_it_is_up(self, fleet):
        with pytest.raises(LabError, match=f"'{fleet.name}' is in use by process {os.getpid()}"):
            Lab(fleet.name, fleet.spec).up()
        fleet.node_pid("dev1")

    def test_a_second_one_with_the_same_addresses_is_another(self, fleet, name):
        twin = spec.parse(
            yaml.safe_load(
                textwrap.dedent("""
                network: 192.168.1.0/24
                gateway: 192.168.1.254
                hosts:
                  - {name: loadbalancer, address: 192.168.1.1, node: false}
                  - {name: web1, address: 192.168.1.21, node: false, services: [9090]}
                """)
            )
        )
        with Lab(name, twin, private="copy") as second:
            targets = ["192.168.1.21:9090", WEB1]
            assert connects(second, "loadbalancer", *targets) == {targets[0]: None, WEB1: "refused"}
            assert connects(fleet, "loadbalancer", *targets) == {targets[0]: "refused", WEB1: None}
            # Without overlays: folders are copies, or empty.
            for folder in ("/etc", "/run", "/var/log", "/var/tmp"):
                file = Path(folder, name)
                output(second, "web1", "touch", str(file))
                assert second.exec("loadbalancer", ["ls", str(file)]).returncode == 2
                assert not file.exists()
            assert output(second, "web1", "cat", "/etc/hostname") == "web1\n"
