# SPDX-License-Identifier: Apache-2.0
"""Nothing of a lab is left behind, however it ends; the fixture ``name`` compares before and after."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mco_lab import broker_files, requirements, state
from mco_lab import lab as lab_module
from mco_lab.errors import LabError
from mco_lab.lab import Lab
from mco_lab.pytest_plugin import require
from mco_lab.spec import parse

from .conftest import MCO, PATIENCE_S, traces, until

pytestmark = pytest.mark.lab

HOSTS = {
    "network": "10.9.0.0/24",
    "gateway": "10.9.0.254",
    "hosts": [
        {"name": "a", "address": "10.9.0.1"},
        {"name": "b", "address": "10.9.0.2"},
        {"name": "plain", "address": "10.9.0.3", "node": False, "services": [80]},
    ],
}
PLAIN = {**HOSTS, "hosts": HOSTS["hosts"][2:]}
READY_NODE = "import os, sys, time; os.write(int(sys.argv[-1]), b'READY=1\\n'); time.sleep(600)"


def mco_lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MCO, "lab", *arguments], capture_output=True, text=True, check=False)


@contextlib.contextmanager
def holder(
    tmp_path: Path, name: str, *command: str, spec: dict[str, object] = PLAIN
) -> Iterator[subprocess.Popen[str]]:
    """Yield `mco lab run` of a lab without nodes, if nothing else is said."""
    file = tmp_path / "plain.yaml"
    file.write_text(yaml.safe_dump(spec))
    argv = [*MCO, "lab", "run", str(file), "--name", name, "--", *command]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def zombies() -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if fields[0] == "Z" and int(fields[1]) == os.getpid():
                found.append(process.name)
    return found


def test_a_lab_can_be_seen_while_it_is_up_and_not_after(name, script):
    before = zombies()
    with Lab(name, parse(HOSTS), node_command=script(READY_NODE)) as lab:
        seen = traces(name)
        assert len(seen["namespaces"]) == 4
        assert len(seen["processes"]) >= 2 + 3 * 2 + 2
        assert len(seen["folders"]) == 1
        forgotten = lab.popen(["sleep", "600"])
        with pytest.raises(LabError, match="is in use by process"):
            Lab(name, parse(HOSTS)).up()
    assert forgotten.wait(PATIENCE_S) == -signal.SIGKILL
    assert set(zombies()) <= set(before)
    lab.down()
    with pytest.raises(LabError, match="is not up; call up"):
        lab.run(["true"])


def test_nodes_that_end_or_are_late_are_all_named_with_their_logs(name, script, monkeypatch):
    monkeypatch.setattr(lab_module, "NODE_TIMEOUT_S", 1.0)
    program = "import os, time; host = os.uname().nodename; print('I am', host, flush=True)\n"
    program += "time.sleep(600) if host == 'a' else os._exit(3)"

    with pytest.raises(LabError) as caught:
        Lab(name, parse(HOSTS), node_command=script(program)).up()

    said = str(caught.value)
    assert "2 of 2 did not start" in said
    assert "node b ended with status 3 before it was ready; its log ends with:\n    I am b" in said
    assert "node a was not ready within 1 s; its log ends with:\n    I am a" in said


def test_a_broker_that_cannot_start_shows_its_log(name, monkeypatch):
    write = broker_files.write_files

    def write_nonsense(folder, *arguments):
        write(folder, *arguments)
        with (folder / "rabbitmq.conf").open("a") as file:
            file.write("no_such_setting = 1\n")

    monkeypatch.setattr(broker_files, "write_files", write_nonsense)

    with pytest.raises(LabError, match=r"(?s)rabbitmq-server ended with status 1 .*its errors:.*no_such_setting"):
        Lab(name, parse(PLAIN)).up()


def test_a_host_that_cannot_start_shows_its_log(name, monkeypatch):
    monkeypatch.setattr("mco_lab.node_files.NODE_ETC", "/proc/no/such/folder")

    with pytest.raises(LabError, match=r"(?s)host plain ended with status 1 before it was ready.*/proc/no"):
        Lab(name, parse(PLAIN)).up()


def test_a_failing_network_command_is_shown(name, monkeypatch):
    monkeypatch.setattr("mco_lab.network.BRIDGE", "a-name-that-is-much-too-long")

    with pytest.raises(LabError, match="`link add a-name-that-is-much-too-long type bridge` failed: Error"):
        Lab(name, parse(PLAIN)).up()


def test_after_kill_9_of_its_holder_down_removes_everything(name, tmp_path):
    with holder(tmp_path, name, "sh", "-c", "echo here; sleep 600") as process:
        assert process.stdout.readline() == "here\n"
        process.kill()
        process.wait()
    assert traces(name)["processes"]
    assert mco_lab("run", "--name", name, "--", "true").returncode == 0
    with pytest.raises(LabError, match="left behind by a process that was killed; remove it with `mco lab down"):
        Lab(name, parse(PLAIN)).up()

    done = mco_lab("down", "--name", name)

    assert (done.returncode, done.stderr) == (0, f"lab {name} is removed\n")
    done = mco_lab("down", "--name", name)
    assert (done.returncode, done.stderr) == (0, f"no lab named {name} is up\n")


@pytest.mark.parametrize("is_state_destroyed", [False, True])
@pytest.mark.parametrize("moment", ["namespaces", "processes"])
def test_after_kill_9_half_way_up_down_removes_everything(name, tmp_path, moment, is_state_destroyed):
    with holder(tmp_path, name, "true") as process:
        until(lambda: [seen for seen in traces(name)[moment] if str(process.pid) not in seen], moment)
        process.kill()
        process.wait()
    assert mco_lab("run", "--name", name, "--", "true").returncode == 1
    assert f"{name}: left half-way up" in mco_lab("status").stdout
    if is_state_destroyed:
        (state.folder_of(name) / "lab.json").write_text("{")
        assert f"the state of lab {name!r} in " in mco_lab("status").stdout

    assert mco_lab("down", "--name", name).returncode == 0


@pytest.mark.parametrize("is_state_destroyed", [False, True])
def test_after_kill_9_while_systemd_boots_down_removes_everything(name, tmp_path, is_state_destroyed):
    require(lambda: requirements.check(has_systemd=True))
    booted = {"name": "booted", "address": "10.9.0.4", "kind": "systemd"}
    spec = {**PLAIN, "hosts": [*PLAIN["hosts"], booted], "packages": [{"name": "acme", "version": "1"}]}
    with holder(tmp_path, name, "true", spec=spec) as process:
        until(lambda: any(Path(group, "payload").exists() for group in traces(name)["groups"]), "systemd")
        process.kill()
        process.wait()
    if is_state_destroyed:
        (state.folder_of(name) / "lab.json").write_text("{")

    assert mco_lab("down", "--name", name).returncode == 0


def test_a_systemd_host_that_cannot_start_shows_why_and_leaves_nothing(name, monkeypatch):
    require(lambda: requirements.check(has_systemd=True))
    monkeypatch.setattr("mco_lab.node_files.NODE_LOG", "/proc/no/such/folder")
    hosts = [{**PLAIN["hosts"][0], "kind": "systemd"}]

    with pytest.raises(LabError, match=r"(?s)host plain ended with status 1 before it was ready.*Child died"):
        Lab(name, parse({**PLAIN, "hosts": hosts})).up()


def test_a_signal_to_its_holder_ends_the_command_and_the_lab(name, tmp_path):
    with holder(tmp_path, name, "sh", "-c", "echo here; exec sleep 600") as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM


def test_a_signal_half_way_up_tears_down(name, tmp_path):
    with holder(tmp_path, name, "true") as process:
        until(lambda: traces(name)["namespaces"], "a namespace")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM


def test_one_that_stays_is_there_until_down(name, tmp_path):
    file = tmp_path / "plain.yaml"
    file.write_text(yaml.safe_dump(PLAIN))

    done = mco_lab("up", str(file), "--name", name)

    assert done.returncode == 0, done.stderr
    assert f"mco lab run --name {name} -- mco ping" in done.stdout
    again = mco_lab("up", str(file), "--name", name)
    assert again.returncode == 1
    assert f"a lab named {name!r} is already up" in again.stderr
    assert mco_lab("exec", "--name", name, "plain", "--", "true").returncode == 0
    assert mco_lab("down", "--name", name).returncode == 0
