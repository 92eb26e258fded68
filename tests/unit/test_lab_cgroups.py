# SPDX-License-Identifier: Apache-2.0
"""Control groups as the kernel's different hierarchies show them, with folders in their place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mco_lab import cgroups
from mco_lab.errors import LabError
from mco_lab.process import ProcessId

HYBRID = """\
30 29 0:26 / {0}/cpu rw,nosuid - cgroup cgroup rw,cpu
31 29 0:27 / {0}/memory rw,nosuid - cgroup cgroup rw,memory
32 29 0:28 / {0}/systemd rw,nosuid shared:9 - cgroup cgroup rw,name=systemd
33 29 0:29 / {0}/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
34 29 0:30 / {0}/x rw - tmpfs tmpfs rw
"""
UNIFIED = "33 29 0:29 / {0} rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return what gives the machine hierarchies, as ``/proc/self/mountinfo`` tells them."""

    def have(mounts: str) -> Path:
        (tmp_path / "mountinfo").write_text(mounts.format(tmp_path / "cgroup"))
        monkeypatch.setattr(cgroups, "_MOUNTS", tmp_path / "mountinfo")
        for line in (tmp_path / "mountinfo").read_text().splitlines():
            Path(line.split()[4]).mkdir(parents=True, exist_ok=True)
        return tmp_path / "cgroup"

    return have


def me() -> ProcessId:
    found = ProcessId.of(os.getpid())
    assert found
    return found


def test_systemd_gets_a_group_in_the_hierarchies_it_works_with(machine):
    root = machine(HYBRID)

    assert cgroups.create("mco-x-one") == [root / "systemd/mco-x-one", root / "unified/mco-x-one"]

    (root / "cpu/mco-x-two/below").mkdir(parents=True)
    assert cgroups.named("mco-x-") == ["mco-x-one", "mco-x-two"]
    cgroups.remove(cgroups.named("mco-x-"))
    assert cgroups.named("mco-x-") == []
    cgroups.remove(["mco-x-one"])


def test_a_machine_without_control_groups_is_told_so(machine):
    machine("34 29 0:30 / {0}/x rw - tmpfs tmpfs rw\n")

    with pytest.raises(LabError, match="none is mounted"):
        cgroups.create("mco-x-one")
    with pytest.raises(LabError, match="can limit CPU time"):
        cgroups.limit_cpu("mco-x-one", list, 0.5)


def test_members_are_those_of_all_groups_below(machine):
    root = machine(UNIFIED)
    (root / "one/payload/init.scope").mkdir(parents=True)
    (root / "one/payload/init.scope/cgroup.procs").write_text(f"{os.getpid()}\n")
    (root / "one/cgroup.procs").write_text("")

    assert cgroups.members(["one", "two"]) == [me()]


def test_the_main_process_of_a_unit_is_the_oldest_child_of_the_first(machine):
    root = machine(UNIFIED)
    unit = root / "one/payload/system.slice/mco-node.service"
    unit.mkdir(parents=True)
    sleep = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(sleep) as first, subprocess.Popen(sleep) as second:
        (unit / "cgroup.procs").write_text(f"{os.getpid()}\n{second.pid}\n{first.pid}\n")
        try:
            found = cgroups.main_process("one", "mco-node.service", me())
            assert found is not None
            assert found.start_ticks <= min(p.start_ticks for p in map(ProcessId.of, (first.pid, second.pid)) if p)
            assert found.pid != os.getpid()
            assert cgroups.main_process("one", "other.service", me()) is None
        finally:
            first.kill()
            second.kill()


@pytest.mark.parametrize(
    ("mounts", "where", "limited", "unlimited"),
    [
        (UNIFIED, "one", {"cpu.max": "2000 100000"}, {"cpu.max": "max 100000"}),
        (
            HYBRID,
            "cpu/one",
            {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "2000"},
            {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "-1"},
        ),
    ],
)
def test_cpu_time_is_limited_and_given_back(machine, mounts, where, limited, unlimited):
    root = machine(mounts)
    group = root / where
    group.mkdir()
    # Files that the kernel would have made.
    for name, text in unlimited.items():
        (group / name).write_text(text)
    (group / "cgroup.procs").write_text("")
    if mounts == UNIFIED:
        (root / "cgroup.controllers").write_text("cpuset cpu io\n")
    assert not cgroups.has_cpu_limit("one")

    # While the first is moved, another one is started.
    later = ProcessId.of(os.getppid())
    rounds = iter([[me()], [me(), later], [me(), later]])
    cgroups.limit_cpu("one", lambda: next(rounds), 0.02)

    assert {name: (group / name).read_text() for name in limited} == limited
    assert (group / "cgroup.procs").read_text() == str(os.getppid())
    assert cgroups.has_cpu_limit("one")
    assert cgroups.unlimit_cpu("one")
    assert {name: (group / name).read_text() for name in unlimited} == unlimited
    assert not cgroups.unlimit_cpu("one")
