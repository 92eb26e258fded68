# SPDX-License-Identifier: Apache-2.0
"""Things that are broken on purpose: who answers then, what the lab's status says, and that mending mends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from mco_lab import cgroups, network, spec
from mco_lab.errors import LabError
from mco_lab.lab import Lab
from mco_lab.pytest_plugin import LabFactory
from mco_rpc.errors import ConfigError

from .conftest import MCO, PATIENCE_S, mco_ping, until

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab-services")]

ALL = {"web1", "web2", "plain1"}
KINDS = pytest.mark.parametrize("host", ["plain1", "web1"])


@pytest.fixture(scope="module")
def whole(lab: LabFactory) -> Lab:
    return lab(spec.find("services"))


@pytest.fixture
def services(whole: Lab) -> Iterator[Lab]:
    """Yield the lab with systemd hosts; whatever a test broke is mended."""
    yield whole
    for target in whole.faults.conditions():
        whole.faults.heal(target)
        whole.faults.start(target)
    assert whole.faults.conditions() == {}


def mco_lab(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MCO_LAB": lab.name}
    return subprocess.run([*MCO, "lab", *arguments], capture_output=True, text=True, env=environment, check=False)


def status(lab: Lab) -> dict[str, list[str]]:
    """Return the conditions of hosts as ``mco lab status`` tells them."""
    labs = json.loads(mco_lab(lab, "status", "-j").stdout)
    found = next(each for each in labs if each["name"] == lab.name)
    return {host["name"]: host["conditions"] for host in found["hosts"] if host["conditions"]}


def test_a_killed_node_of_a_plain_host_is_gone_until_it_is_started(services):
    assert services.faults.kill("plain1") == "plain1: its node was killed"
    assert services.faults.kill("plain1") == "plain1: its node does not run"

    assert status(services) == {"plain1": ["node down"]}
    assert mco_ping(services) == ALL - {"plain1"}
    assert services.faults.start("plain1") == "plain1: its node was started"
    assert services.faults.start("plain1") == "plain1: its node runs already"
    assert mco_ping(services) == ALL


def test_a_killed_node_of_a_systemd_host_is_started_by_systemd(services):
    before = services.node_pid("web1")

    assert services.faults.kill("web1") == "web1: its node was killed; its systemd will start it again"

    until(lambda: services.node_of("web1"), "the node's return")
    assert services.node_pid("web1") != before


@KINDS
def test_a_killed_host_starts_with_the_files_and_the_packet_filter_of_its_first_start(services, host):
    before = services.host_state(host).init
    services.exec(host, ["touch", "/etc/left-behind"], check=True)
    services.exec(host, ["iptables", "-I", "INPUT", "-s", "192.0.2.1", "-j", "DROP"], check=True)
    services.faults.partition(host)

    assert services.faults.kill(host, is_host=True) == f"{host}: the whole host was killed"
    assert services.faults.kill(host, is_host=True) == f"{host}: is down"

    namespace = services.host_state(host).namespace
    assert network.members([namespace]) + cgroups.members([namespace]) == []
    assert status(services) == {host: ["down"]}
    with pytest.raises(LabError, match=f"host {host} of lab .* is not up"):
        services.exec(host, ["true"])
    assert services.faults.start(host) == f"{host}: started"
    assert services.host_state(host).init != before
    assert services.exec(host, ["ls", "/etc/left-behind"]).returncode == 2
    assert "192.0.2.1" not in services.exec(host, ["iptables", "-S"]).stdout
    assert services.exec(host, ["cat", "/usr/share/acme-web/version"]).stdout == "1.0\n"
    assert services.node_of(host)


@pytest.mark.parametrize(("host", "is_host"), [("plain1", False), ("web1", False), ("plain1", True), ("web1", True)])
def test_what_is_paused_does_not_answer_and_goes_on_where_it_was(services, host, is_host):
    before = services.node_pid(host)
    what = "" if is_host else "its node "

    assert services.faults.pause(host, is_host=is_host) == f"{host}: {what}was paused"
    assert services.faults.pause(host, is_host=is_host) == f"{host}: {what}was paused already"

    assert services.faults.conditions() == {host: ["paused" if is_host else "node paused"]}
    if host == "plain1":
        assert mco_ping(services) == ALL - {host}
    assert services.faults.resume(host) == f"{host}: goes on"
    assert services.faults.resume(host) == f"{host}: was not paused"
    assert services.faults.conditions() == {}
    assert services.node_pid(host) == before


def test_a_host_that_is_cut_off_hears_nothing_and_its_rules_stay(services):
    host = "web1"
    services.exec(host, ["iptables", "-I", "INPUT", "-s", "192.0.2.1", "-j", "ACCEPT"], check=True)

    assert services.faults.partition(host) == f"{host}: was cut from the network"
    assert services.faults.partition(host) == f"{host}: was cut from the network already"

    assert status(services) == {host: ["partitioned"]}
    assert mco_ping(services) == ALL - {host}
    assert services.faults.heal(host) == f"{host}: joined to the network"
    assert services.faults.heal(host) == f"{host}: nothing to heal"
    until(lambda: mco_ping(services) == ALL, "its answer")
    assert "192.0.2.1" in services.exec(host, ["iptables", "-S"]).stdout
    services.exec(host, ["iptables", "-D", "INPUT", "-s", "192.0.2.1", "-j", "ACCEPT"], check=True)


@KINDS
def test_a_host_that_is_short_of_cpu_time_is_held_back(services, host):
    namespace = services.host_state(host).namespace

    assert services.faults.slow(host, cpu_share=0.01) == f"{host}: slowed down to 1.0% of a processor"

    assert services.faults.conditions() == {host: ["slow"]}
    assert set(network.members([namespace])) <= set(cgroups.members([namespace]))
    # What somebody starts there later is held back, too, if it is started by what is there.
    burn = ["python", "-I", "-S", "-c", "import os, time; [0 for _ in range(10 ** 9)]"]
    with services.start_on(host, burn) as process:
        services.faults.slow(host, cpu_share=0.01)
        until(lambda: throttled(namespace) > 0, "a process that had to wait")
        process.kill()
    assert services.faults.heal(host) == f"{host}: fast again"


def throttled(namespace: str) -> int:
    """Return how often the processes of a host had to wait for their next share."""
    found = 0
    for path in cgroups.folders([namespace]):
        if (file := path / "cpu.stat").exists():
            words = dict(line.split() for line in file.read_text().splitlines())
            found += int(words.get("nr_throttled", 0))
    return found


def test_a_slow_link_holds_packets_back_in_both_directions(services):
    assert services.faults.slow("plain1", rate="64kbit") == "plain1: slowed down to 64kbit/s on its link"

    assert status(services) == {"plain1": ["slow"]}
    both_ends = services.faults.ends("plain1")
    services.exec("plain1", ["ping", "-q", "-c", "3", "-i", "0.01", "-s", "1400", "192.168.2.254"], check=True)
    words = [("tc", "-n", namespace, "-j", "-s", "qdisc", "show", "dev", device) for namespace, device in both_ends]
    queues = [queue for argv in words for queue in json.loads(network.ask(*argv))]
    assert [queue["kind"] for queue in queues] == ["tbf", "tbf"]
    assert sum(queue["overlimits"] for queue in queues) > 0
    assert services.faults.heal("plain1") == "plain1: fast again"


def test_the_broker_can_be_paused_killed_and_started(services):
    assert services.faults.pause("broker") == "broker: was paused"
    assert "broker paused" in mco_lab(services, "status").stdout
    assert services.faults.heal("broker") == "broker: goes on"

    assert services.faults.kill("broker") == "broker: killed"
    assert services.faults.kill("broker") == "broker: does not run"
    assert "broker down" in mco_lab(services, "status").stdout
    argv = ["systemctl", "show", "mco-node", "-P", "StatusText"]
    until(lambda: services.exec("web2", argv).stdout.startswith("not connected to "), "a status without a broker")
    # Another process than the one that brought it up.
    assert mco_lab(services, "start", "broker").stdout == "broker: started\n"
    assert services.faults.start("broker") == "broker: runs already"
    until(lambda: mco_ping(services) == ALL, "everybody's return")


def test_commands_do_the_same_for_many_and_fail_for_what_is_unknown(services):
    done = mco_lab(services, "partition", "web1", "nobody", "plain1", "web1")
    assert done.stdout.splitlines() == ["web1: was cut from the network", "plain1: was cut from the network"]
    assert done.returncode == 1
    assert "this lab has no 'nobody' (it has web1, web2, plain1, broker)" in done.stderr
    assert services.faults.conditions() == {"web1": ["partitioned"], "plain1": ["partitioned"]}

    said = mco_lab(services, "status").stdout
    assert "plain1           192.168.2.21     host up, node up, partitioned" in said
    assert mco_lab(services, "heal", "web1", "plain1").returncode == 0


def test_for_a_time_mends_after_it_and_on_a_signal(services):
    done = mco_lab(services, "pause", "plain1", "--for", "100ms")
    assert done.stdout.splitlines() == ["plain1: its node was paused", "plain1: goes on"]
    assert done.returncode == 0

    argv = [*MCO, "lab", "partition", "plain1", "--name", services.name, "--for", "10m"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "plain1: was cut from the network\n"
        assert "partitioned" in services.faults.conditions()["plain1"]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGINT
    assert services.faults.conditions() == {}


REFUSED: list[tuple[Callable[[Lab], object], str]] = [
    (lambda lab: lab.faults.partition("broker"), "the broker has no cable of its own"),
    (lambda lab: lab.faults.slow("web1", rate="fast"), "'fast' is not a rate"),
    (lambda lab: lab.faults.slow("web1", rate="0kbit"), "'0kbit' is not a rate"),
    (lambda lab: lab.faults.slow("web1", cpu_share=0), "0 is not a share of a processor"),
    (lambda lab: lab.faults.kill("wbe1"), "this lab has no 'wbe1', did you mean web1"),
    (lambda lab: lab.start_host("web1"), "host web1 of lab .* is up"),
]


@pytest.mark.parametrize(("act", "why"), REFUSED)
def test_what_makes_no_sense_is_refused_and_changes_nothing(services, act, why):
    with pytest.raises((LabError, ConfigError), match=why):
        act(services)
    assert services.faults.conditions() == {}
