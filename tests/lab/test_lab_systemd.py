# SPDX-License-Identifier: Apache-2.0
"""Hosts that systemd boots: what is theirs alone, their packages, and the node as the unit that is shipped."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from mco_lab import cgroups, spec
from mco_lab.errors import LabError
from mco_lab.lab import Lab
from mco_lab.pytest_plugin import LabFactory
from mco_lab.spec import PackageSpec

from .conftest import mco_ping, until

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab-services")]

HANGING = '''
from mco_rpc.agent import Agent, action

class Hanging(Agent):
    """Hangs where messages come in."""

    name = "hanging"

    @action("Hang", is_inline=True)
    def hang(self):
        import threading
        threading.Event().wait()
'''


@pytest.fixture(scope="module")
def services(lab: LabFactory) -> Lab:
    """Return the shipped lab with systemd hosts, up; tests leave its hosts as they were, but for packages."""
    return lab(spec.find("services"))


def output(lab: Lab, host: str, *argv: str) -> str:
    done = lab.exec(host, argv)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout).strip()


def shown(lab: Lab, host: str, *properties: str) -> list[str]:
    """Return properties of the node's unit."""
    lines = output(lab, host, "systemctl", "show", "mco-node", *(f"--property={name}" for name in properties))
    found = dict(line.split("=", 1) for line in lines.splitlines())
    return [found[name] for name in properties]


class TestHosts:
    def test_systemd_is_the_first_process_and_everything_started(self, services):
        assert output(services, "web1", "cat", "/proc/1/comm") == "systemd"
        assert output(services, "web1", "systemctl", "is-system-running") == "running"
        assert output(services, "web1", "hostname") == "web1"
        assert output(services, "web1", "getent", "hosts", "plain1").split() == ["192.168.2.21", "plain1"]

    def test_what_the_machine_starts_when_it_boots_is_not_started(self, services):
        wanted = [path.name for path in Path("/etc/systemd/system").glob("*.target.wants/*.service")]
        scripts = [f"{path.name[3:]}.service" for path in Path("/etc").glob("rc3.d/S*")]

        listed = output(services, "web1", "systemctl", "list-units", "--type=service", "--state=running", "-o", "json")
        running = {unit["unit"] for unit in json.loads(listed)}

        ours = {"acme-web.service", "mco-lab-ports.service", "mco-node.service", "systemd-journald.service"}
        assert running >= ours
        assert not running & {*wanted, *scripts} - ours - {"dbus.service"}

    @pytest.mark.parametrize("folder", ["/etc", "/usr", "/var/lib", "/root", "/run", "/tmp", "/opt"])
    def test_files_written_by_one_are_seen_by_nobody_else(self, services, folder):
        file = Path(folder, f"written-by-web1-in-{services.name}")

        output(services, "web1", "touch", str(file))

        for other in ("web2", "plain1"):
            assert services.exec(other, ["ls", str(file)]).returncode == 2
        assert not file.exists()

    def test_each_has_one_link_and_a_port_that_answers(self, services):
        links = json.loads(output(services, "web1", "ip", "-j", "address"))
        assert [link["ifname"] for link in links] == ["lo", "eth0"]
        assert "nsfs" not in output(services, "web1", "cat", "/proc/self/mountinfo")
        target = "192.168.2.11:8080"
        said = output(services, "plain1", "python", "-m", "mco_lab.probe", target, "--timeout", "1")
        assert json.loads(said)["connected"] is True

    def test_each_has_a_control_group_of_its_own(self, services):
        name = services.host_state("web1").namespace
        assert services.node_pid("web1") in {process.pid for process in cgroups.members([name])}
        assert services.node_pid("web2") not in {process.pid for process in cgroups.members([name])}

    def test_kernel_settings_of_the_machine_cannot_be_written(self, services):
        assert services.exec("web1", ["sh", "-c", "echo 1 > /proc/sys/vm/swappiness"]).returncode != 0

    def test_all_kinds_of_nodes_answer(self, services):
        assert mco_ping(services) == {"web1", "web2", "plain1"}


class TestPackages:
    """Whatever is installed is not installed on the machine."""

    @pytest.mark.parametrize("host", ["web1", "plain1"])
    def test_they_are_installed_upgraded_removed_and_purged(self, services, host):
        def apt(*words: str) -> str:
            return output(services, host, "apt-get", "-q", "-y", *words)

        def version() -> str:
            return services.exec(host, ["dpkg-query", "-W", "-f=${db:Status-Abbrev}${Version}", "acme-web"]).stdout

        state = "/run/acme-web.state"
        assert version() == "ii 1.0"
        assert output(services, host, "cat", "/usr/share/acme-web/version") == "1.0"
        output(services, host, "service", "acme-web", "status")

        apt("install", "acme-web=1.1")
        until(lambda: "version=1.1 reloads=0" in services.exec(host, ["cat", state]).stdout, "the upgraded service")
        output(services, host, "service", "acme-web", "reload")
        until(lambda: "version=1.1 reloads=1" in services.exec(host, ["cat", state]).stdout, "the reload")
        apt("install", "acme-web")
        assert version() == "ii 2.0"
        assert output(services, host, "cat", "/usr/share/acme-lib/version") == "2.0"
        apt("remove", "acme-web")
        assert services.exec(host, ["service", "acme-web", "status"]).returncode in (3, 4)
        output(services, host, "test", "-e", "/etc/acme-web.conf")
        output(services, host, "dpkg", "--purge", "acme-web")
        assert services.exec(host, ["test", "-e", "/etc/acme-web.conf"]).returncode == 1
        apt("install", "acme-web=1.0")
        output(services, host, "service", "acme-web", "status")

        assert not list(Path("/usr/lib").glob("acme*")) + list(Path("/etc").glob("acme*"))
        assert "acme" not in Path("/var/lib/dpkg/status").read_text()

    def test_further_versions_can_be_published(self, services):
        services.publish(PackageSpec("acme-tool", "4.0"))
        output(services, "web2", "apt-get", "-q", "update")

        assert "Candidate: 4.0" in output(services, "web2", "apt-cache", "policy", "acme-tool")

    def test_what_cannot_be_built_is_an_error_that_says_why(self, services):
        with pytest.raises(LabError, match=r"(?s)package acme-x 1 cannot be built: .*'Depends'"):
            services.publish(PackageSpec("acme-x", "1", depends=["!"]))
        assert not list((services.folder / "repository").glob(".*"))


class TestUnit:
    """The node as a unit of systemd, with the watchdog's time shortened for the tests that need it."""

    def test_status_shows_to_what_it_is_connected_and_what_it_offers(self, services):
        (text,) = shown(services, "web1", "StatusText")
        assert re.fullmatch(r"connected to amqp://lab@192\.168\.2\.254:5672/ as web1, \d+ agents", text)
        assert "exposure" in output(services, "web1", "systemd-analyze", "security", "mco-node", "--no-pager")

    def test_the_unit_has_no_mistakes(self, services):
        said = services.exec("web1", ["systemd-analyze", "verify", "mco-node.service"])
        assert "mco-node" not in said.stdout + said.stderr

    def test_stop_is_clean_and_start_waits_until_it_is_connected(self, services):
        output(services, "web1", "systemctl", "stop", "mco-node")
        assert shown(services, "web1", "ActiveState", "Result") == ["inactive", "success"]
        assert mco_ping(services) == {"web2", "plain1"}

        output(services, "web1", "systemctl", "start", "mco-node")
        assert shown(services, "web1", "StatusText")[0].startswith("connected to ")

    def test_reload_is_passed_on(self, services):
        before = services.node_pid("web1")
        output(services, "web1", "systemctl", "reload", "mco-node")
        assert services.node_pid("web1") == before

    def test_it_is_started_again_after_kill_9(self, services):
        before = services.node_pid("web1")
        services.stop_node("web1", signal.SIGKILL)

        until(lambda: shown(services, "web1", "ActiveState", "SubState") == ["active", "running"], "the restart")
        assert services.node_pid("web1") != before

    def test_a_configuration_that_is_wrong_is_not_tried_again_and_again(self, services):
        config = Path(services.folder, "hosts/web2/etc/node.yaml")
        good = config.read_text()
        try:
            config.write_text("nonsense: true\n")
            services.exec("web2", ["systemctl", "restart", "mco-node"])
            assert shown(services, "web2", "ActiveState", "Result", "NRestarts") == ["failed", "exit-code", "0"]
        finally:
            config.write_text(good)
            services.exec("web2", ["systemctl", "start", "mco-node"])

    def test_one_whose_thread_for_messages_hangs_is_started_again(self, services):
        config = Path(services.folder, "hosts/web2/etc/node.yaml")
        agents = config.parent / "agents"
        agents.mkdir()
        (agents / "hanging.py").write_text(HANGING)
        good = config.read_text()
        drop_in = "/etc/systemd/system/mco-node.service.d/quick.conf"
        restart = f"""
            printf '[Service]\\nWatchdogSec=2\\n' > {drop_in}
            systemctl daemon-reload && systemctl restart mco-node
        """
        try:
            config.write_text(f"{good}libdir: [/etc/mco/agents]\n")
            output(services, "web2", "sh", "-c", restart)
            before = services.node_pid("web2")

            call = services.popen(["mco", "rpc", "hanging", "hang", "-I", "web2"], stdout=-3, stderr=-3)

            until(lambda: shown(services, "web2", "NRestarts") == ["1"], "the watchdog")
            call.kill()
            call.wait()
            until(lambda: shown(services, "web2", "SubState") == ["running"], "the restart")
            assert services.node_pid("web2") != before
            journal = output(services, "web2", "journalctl", "-u", "mco-node", "-o", "cat", "--no-pager")
            assert "Watchdog timeout" in journal
            # Python says where each thread hung.
            assert "in hang" in journal
        finally:
            config.write_text(good)
            undo = f"rm -f {drop_in}; systemctl daemon-reload; systemctl restart mco-node"
            output(services, "web2", "sh", "-c", undo)
