# SPDX-License-Identifier: Apache-2.0
"""The host agent against what the usual commands say of the same machine at the same moment."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mco_agents.host import Host
from mco_client.rpc import RpcClient
from mco_host import disks, kernel, machine, mounts, network
from mco_host.sysctl_file import SysctlFile
from mco_lab.memory import MemoryFleet
from mco_rpc.current import Current, working_for
from mco_rpc.errors import ActionAborted, InvalidData
from mco_rpc.messages import Reply, encode
from tests.agents.servers import need

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def ask(action: str, /, settings: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    """Call an action as a node does: inputs and outputs are checked, and the answer can be sent."""
    agent = Host(settings=settings or {})
    schema = agent.schema().action(action)
    made = schema.check_outputs("host", getattr(agent, action)(**schema.check_inputs("host", data)))
    encode(Reply(id="1", collective="c", agent="host", action=action, sender="s", sent_at=0.0, data=made))
    return made


def said(*command: str) -> str:
    need(command[0], "iproute2 procps util-linux")
    return subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}).stdout


def test_the_load_is_the_kernels() -> None:
    told = ask("load")
    now = Path("/proc/loadavg").read_text().split()
    for key, number in zip(("load1", "load5", "load15"), now, strict=False):
        assert told[key] == pytest.approx(float(number), abs=0.5)
    assert told["cpus"] == os.cpu_count()
    assert told["per_cpu"] == pytest.approx(told["load1"] / told["cpus"], abs=0.01)
    assert told["threads"] >= told["running"] >= 1


def test_the_memory_is_what_free_says() -> None:
    told = ask("memory")
    lines = {line.split()[0]: line.split()[1:] for line in said("free", "-b").splitlines()[1:]}
    assert told["total_bytes"] == int(lines["Mem:"][0])
    assert told["available_bytes"] == pytest.approx(int(lines["Mem:"][5]), rel=0.1)
    assert told["swap_total_bytes"] == int(lines["Swap:"][0])
    assert told["used_percent"] == pytest.approx(100 - 100 * told["available_bytes"] / told["total_bytes"], abs=0.1)


def test_the_disks_are_what_df_says() -> None:
    told = ask("disks", path=str(Path.cwd()))
    (disk,) = told["disks"]
    lines = said(
        "df", "-B1", "--output=target,source,fstype,size,used,avail,pcent,itotal", str(Path.cwd())
    ).splitlines()
    target, source, kind, size, used, available, percent, inodes = lines[1].split()
    assert [disk["mount"], disk["device"], disk["type"], disk["size_bytes"]] == [target, source, kind, int(size)]
    assert disk["used_bytes"] == pytest.approx(int(used), rel=0.02)
    assert disk["available_bytes"] == pytest.approx(int(available), rel=0.02)
    assert disk["used_percent"] == pytest.approx(float(percent.rstrip("%")), abs=1.1)
    assert disk["inodes"] == int(inodes)
    assert (told["fullest_mount"], told["fullest_percent"]) == (target, disk["used_percent"])


def test_disks_of_this_machine_are_told_once_and_others_only_if_asked_for() -> None:
    own, all_of_them = ask("disks")["disks"], ask("disks", all=True)["disks"]
    assert {disk["mount"] for disk in own} <= {disk["mount"] for disk in all_of_them}
    assert not {"tmpfs", "proc", "sysfs", "nfs4", "squashfs"} & {disk["type"] for disk in own}
    assert ask("disks")["fullest_percent"] == max(disk["used_percent"] for disk in own)


def test_what_is_mounted_is_what_findmnt_says() -> None:
    told = ask("mounts", mount="/proc/")
    (mount,) = told["mounts"]
    one = json.loads(said("findmnt", "-J", "-o", "target,source,fstype,vfs-options", "/proc"))["filesystems"][0]
    assert [mount["mount"], mount["device"], mount["type"]] == [one["target"], one["source"], one["fstype"]]
    assert ",".join(mount["options"]) == one["vfs-options"]
    every = {mount["mount"] for mount in ask("mounts")["mounts"]}
    assert every == set(said("findmnt", "-l", "-n", "-o", "target").splitlines())
    missing = ask("mounts", mount="/no/where")
    assert (missing["exists"], missing["mounts"]) == (False, [])


def test_a_name_with_spaces_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "mountinfo"
    info.write_text("36 35 98:0 /mnt1 /a\\040b\\134c rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n")
    monkeypatch.setattr(mounts, "MOUNT_INFO", info)
    (mount,) = mounts.mounts()
    assert (mount.path, mount.kind, mount.source, mount.root) == ("/a b\\c", "ext3", "/dev/root", "/mnt1")


def test_a_file_system_that_does_not_answer_is_unknown_and_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_path: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(disks.os, "statvfs", broken)
    told = ask("disks")
    assert (told["disks"], told["fullest_percent"]) == ([], None)
    assert "/" in told["unknown"]


def test_block_devices_are_what_lsblk_says() -> None:
    devices = {each["name"]: each for each in ask("block_devices")["block_devices"]}
    command = ["lsblk", "-J", "-b", "-l", "-o", "name,size,ro,rm,rota,type"]
    for one in json.loads(said(*command))["blockdevices"]:
        if int(one["size"]):
            told = devices[one["name"]]
            assert [told["size_bytes"], told["is_readonly"]] == [int(one["size"]), one["ro"]]
            assert told["is_rotational"] == one["rota"]
    assert ask("block_devices", device="no-such-disk") == {"block_devices": [], "exists": False}


def test_interfaces_are_what_ip_says() -> None:
    told = {each["interface"]: each for each in ask("interfaces")["interfaces"]}
    for one in json.loads(said("ip", "-j", "addr")):
        seen = told.pop(one["ifname"])
        assert seen["mtu"] == one["mtu"]
        assert seen["mac"] == one["address"]
        addresses = {f"{each['local']}/{each['prefixlen']}" for each in one["addr_info"]}
        assert set(seen["addresses"]) == addresses
    assert told == {}
    lo = ask("interfaces", interface="lo")
    assert (lo["exists"], lo["is_up"], lo["addresses"]) == (True, True, [])
    assert ask("interfaces", interface="eth77")["exists"] is False


# The routes, and whether forwarding is on, of a namespace of its own with a pair of interfaces.
IN_NAMESPACE = """
import json, sys
from mco_agents.host import Host
host = Host(settings={})
asked = json.load(sys.stdin)
answers = []
for action, data in asked:
    try:
        answers.append(getattr(host, action)(**data))
    except Exception as e:
        answers.append({"error": str(e)})
print(json.dumps(answers))
"""
MAKE = """
set -e
ip link set lo up
ip link add one type veth peer name two
ip link set one up mtu 1400
ip link set two up
ip addr add 192.0.2.1/28 dev one
ip -6 addr add 2001:db8::1/64 dev one nodad
ip route add default via 192.0.2.2 metric 50
ip route add 198.51.100.0/24 via 192.0.2.3
ip route add unreachable 203.0.113.0/24
ip -6 route add default via 2001:db8::2
exec "$0" -c "$1"
"""


def in_namespace(*asked: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Ask the agent in a network namespace of its own, which goes when it is done."""
    command = ["unshare", "-n", "sh", "-c", MAKE, sys.executable, IN_NAMESPACE]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


@needs_root
def test_routes_and_interfaces_of_a_namespace_are_its_own() -> None:
    told, one = in_namespace(("routes", {}), ("interfaces", {"interface": "one"}))
    assert (told["gateway"], told["gateway6"]) == ("192.0.2.2", "2001:db8::2")
    routes = {route["destination"]: route for route in told["routes"] if route["family"] == "ipv4"}
    assert sorted(routes) == ["192.0.2.0/28", "198.51.100.0/24", "203.0.113.0/24", "default"]
    assert routes["default"] | {"family": ""} == {
        "destination": "default",
        "family": "",
        "gateway": "192.0.2.2",
        "interface": "one",
        "metric": 50,
        "is_rejected": False,
    }
    assert routes["203.0.113.0/24"]["is_rejected"]
    six = {route["destination"] for route in told["routes"] if route["family"] == "ipv6"}
    assert {"default", "2001:db8::/64"} <= six
    assert "2001:db8::1/128" not in six  # that is how the host reaches itself
    (interface,) = one["interfaces"]
    assert (interface["mtu"], interface["is_up"]) == (1400, True)
    assert {"192.0.2.1/28", "2001:db8::1/64"} <= set(interface["addresses"])


@needs_root
def test_a_setting_of_the_kernel_is_changed_once() -> None:
    # When forwarding is switched on in a namespace of its own, twice, and off again, in either spelling
    name, path = "net.ipv4.ip_forward", "net/ipv4/ip_forward"
    before, first, second, other, now = in_namespace(
        ("sysctl", {"name": name}),
        ("set_sysctl", {"name": name, "value": "1"}),
        ("set_sysctl", {"name": path, "value": " 1 "}),
        ("set_sysctl", {"name": name, "value": "perhaps"}),
        ("sysctl", {"name": path}),
    )

    # Then it is on, after one change
    off = before["value"]
    assert first == {"changed": off != "1", "before": off, "after": "1", "persisted": None}
    assert second == {"changed": False, "before": "1", "after": "1", "persisted": None}
    assert "the kernel does not take 'perhaps'" in other["error"]
    assert now["value"] == "1"


class TestSettings:
    """A setting of the kernel that stands in for one in a folder of our own."""

    @pytest.fixture
    def proc_sys(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        made = tmp_path / "sys"
        (made / "vm").mkdir(parents=True)
        (made / "vm" / "swappiness").write_text("60\n")
        (made / "vm" / "group").mkdir()
        monkeypatch.setattr(kernel, "SETTINGS", made)
        return made

    @pytest.fixture
    def settings(self, tmp_path: Path) -> dict[str, Any]:
        return {"sysctl_file": str(tmp_path / "90-mco.conf")}

    def test_noop_changes_nothing(self, proc_sys: Path, settings: dict[str, Any]) -> None:
        with working_for(Current(is_noop=True)):
            told = ask("set_sysctl", settings, name="vm.swappiness", value="10", persist=True)
        assert told == {"changed": True, "before": "60", "after": "10", "persisted": None}
        assert (proc_sys / "vm" / "swappiness").read_text() == "60\n"
        assert not Path(settings["sysctl_file"]).exists()

    def test_it_is_kept_for_the_next_start(self, proc_sys: Path, settings: dict[str, Any]) -> None:
        # Given a file that sets it to something else, and what it says besides
        file = Path(settings["sysctl_file"])
        file.write_text("# mine\nvm/swappiness = 30\n-vm.overcommit_memory=1\nbroken\n")

        # When it is set, then its line is replaced, and nothing else
        told = ask("set_sysctl", settings, name="vm.swappiness", value="10", persist=True)
        assert told == {"changed": True, "before": "60", "after": "10", "persisted": "10"}
        assert file.read_text() == "# mine\n-vm.overcommit_memory=1\nbroken\nvm.swappiness = 10\n"
        again = ask("set_sysctl", settings, name="vm.swappiness", value="10", persist=True)
        assert (again["changed"], again["persisted"]) == (False, "10")

    def test_a_file_that_cannot_be_written_is_an_error(self, proc_sys: Path, tmp_path: Path) -> None:
        with pytest.raises(ActionAborted, match="cannot be written: No such file or directory; the kernel has 10"):
            ask(
                "set_sysctl",
                {"sysctl_file": str(tmp_path / "none" / "x")},
                name="vm.swappiness",
                value="10",
                persist=True,
            )

    def test_what_the_kernel_makes_of_it_is_not_passed_over(
        self, proc_sys: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kernel, "set_value", lambda file, _value: file.write_text("200\n"))
        with pytest.raises(ActionAborted, match="the kernel made 200 of 900, and it was 60 before"):
            ask("set_sysctl", name="vm.swappiness", value="900")

    def test_what_is_not_there_is_not_made(self, proc_sys: Path) -> None:
        assert ask("sysctl", name="vm.none") == {"value": None, "exists": False}
        with pytest.raises(ActionAborted, match=r"has no setting vm\.none"):
            ask("set_sysctl", name="vm.none", value="1")
        assert not (proc_sys / "vm" / "none").exists()

    def test_a_group_and_what_only_root_may_read_are_not_told(self, proc_sys: Path) -> None:
        with pytest.raises(ActionAborted, match="is a group of settings"):
            ask("sysctl", name="vm.group")
        secret = proc_sys / "vm" / "key"
        secret.write_text("x")
        secret.chmod(0o600)
        with pytest.raises(ActionAborted, match="only root may read it"):
            ask("sysctl", name="vm.key")

    def test_what_starts_programs_is_not_set_whoever_asks(self, proc_sys: Path) -> None:
        (proc_sys / "kernel").mkdir()
        file = proc_sys / "kernel" / "core_pattern"
        file.write_text("core\n")
        with pytest.raises(ActionAborted, match="will not set"):
            kernel.set_value(file, "|/tmp/x")
        with pytest.raises(ActionAborted, match="will not set"):
            ask("set_sysctl", name="kernel.core_pattern", value="|/tmp/x")
        assert file.read_text() == "core\n"

    def test_a_link_leads_nowhere(self, proc_sys: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("secret")
        (proc_sys / "vm" / "link").symlink_to(tmp_path / "file")
        with pytest.raises(ActionAborted, match="cannot be read"):
            ask("sysctl", name="vm.link")


@pytest.mark.parametrize("name", ["kernel.core_pattern", "kernel/modprobe", "kernel.poweroff_cmd", "kernel.sysrq"])
def test_settings_that_start_programs_are_never_set(name: str) -> None:
    with working_for(Current(is_noop=True)), pytest.raises(ActionAborted, match=r"will not set|has no setting"):
        ask("set_sysctl", name=name, value="|/tmp/x")


@pytest.mark.parametrize(
    "name",
    ["x", "../../etc/passwd", "net..ipv4", "net/../../x", "/etc/passwd", "-a", "net.ipv4.", "net/ipv4/.", "a\nb"],
)
def test_what_is_no_setting_is_refused(name: str) -> None:
    for action, data in (("sysctl", {}), ("set_sysctl", {"value": "1"})):
        with pytest.raises(InvalidData):
            ask(action, name=name, **data)


def test_names_with_dots_in_them_are_those_of_sysctl() -> None:
    lo = said("sysctl", "-n", "net.ipv4.conf.lo.forwarding").strip()
    assert ask("sysctl", name="net.ipv4.conf.lo.forwarding")["value"] == lo
    assert ask("sysctl", name="net/ipv4/conf/lo/forwarding")["value"] == lo
    assert ask("sysctl", name="net.ipv4.tcp_rmem")["value"].split() == said("sysctl", "-n", "net.ipv4.tcp_rmem").split()


def test_a_user_is_what_id_says() -> None:
    told = ask("users", user="root")
    (root,) = told["users"]
    assert (told["exists"], told["count"]) == (True, 1)
    assert root["groups"] == sorted(said("id", "-nG", "root").split())
    assert [root["uid"], root["home"]] == [0, said("getent", "passwd", "root").split(":")[5]]
    assert ask("users", user="no-such-user")["exists"] is False


def test_all_users_and_groups_are_listed() -> None:
    users = {each["user"]: each for each in ask("users")["users"]}
    assert set(users) == {line.split(":")[0] for line in said("getent", "passwd").splitlines()}
    for name in list(users)[:5]:
        assert users[name]["groups"] == sorted(set(said("id", "-nG", name).split()))
    groups = {each["group"]: each["gid"] for each in ask("groups")["groups"]}
    assert groups == {line.split(":")[0]: int(line.split(":")[2]) for line in said("getent", "group").splitlines()}
    assert ask("groups", group="root")["groups"][0]["gid"] == 0
    assert ask("groups", group="no-such-group")["exists"] is False


def test_the_clock_is_that_of_date() -> None:
    before = time.time()
    told = ask("clock")
    assert before <= told["time"] <= time.time()
    sign, hours, minutes = (lambda text: (text[0], int(text[1:3]), int(text[3:5])))(said("date", "+%z").strip())
    assert told["utc_offset_s"] == (hours * 3600 + minutes * 60) * (-1 if sign == "-" else 1)
    assert told["timezone"]
    assert isinstance(told["is_synchronised"], bool)
    # What nobody keeps right has no offset that could be believed
    assert (told["offset_s"] is None) is (not told["is_synchronised"])


def test_the_system_and_the_kernel_are_what_uname_says() -> None:
    system = ask("os")
    release = platform.freedesktop_os_release()
    assert (system["id"], system["name"]) == (release["ID"], release["PRETTY_NAME"])
    assert [system["architecture"], system["hostname"]] == said("uname", "-mn").split()[::-1]
    told = ask("kernel")
    assert told["release"] == said("uname", "-r").strip()
    assert told["command_line"] == Path("/proc/cmdline").read_text().strip()


def test_a_reboot_that_is_required_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "reboot-required"
    monkeypatch.setattr(kernel, "_REBOOT_MARKS", (mark,))
    assert ask("kernel")["is_reboot_required"] is False
    mark.touch()
    (tmp_path / "reboot-required.pkgs").write_text("linux-base\nlibc6\nlibc6\n")
    told = ask("kernel")
    assert (told["is_reboot_required"], told["reboot_required_by"]) == (True, ["libc6", "linux-base"])


def test_the_uptime_is_since_the_boot() -> None:
    told = ask("uptime")
    assert told["uptime_s"] == pytest.approx(float(Path("/proc/uptime").read_text().split()[0]), abs=30)
    assert told["uptime_s"] + told["booted_at"] == pytest.approx(time.time(), abs=30)


class TestPressure:
    @pytest.mark.skipif(not Path("/proc/pressure/cpu").exists(), reason="this kernel tells no pressure")
    def test_it_is_the_kernels(self) -> None:
        told = ask("pressure")
        for resource in ("cpu", "memory", "io"):
            lines = Path(f"/proc/pressure/{resource}").read_text().splitlines()
            assert {f"{line.split()[0]}_avg300" for line in lines} <= told[resource].keys()
            total = int(lines[0].rpartition("=")[2])
            assert 0 <= told[resource]["some_total_us"] <= total
        assert told["cpu_some_avg10"] == told["cpu"]["some_avg10"]

    def test_one_of_a_cgroup_is_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # Given a hierarchy of cgroups
        group = tmp_path / "system.slice" / "a.service"
        group.mkdir(parents=True)
        (group / "cpu.pressure").write_text("some avg10=1.50 avg60=0.00 avg300=0.00 total=7\n")
        (group / "cpu.stat").write_text("usage_usec 9\nnr_throttled 2\n")
        mount = mounts.Mount("0:1", "/", str(tmp_path), (), "cgroup2", "cgroup2", ())
        monkeypatch.setattr(machine, "mounts", lambda: iter([mount]))

        # Then one is told, what it does not say is not, and nothing outside is looked at
        told = ask("pressure", cgroup="/system.slice/a.service")
        assert (told["cpu_some_avg10"], told["io_full_avg10"]) == (1.5, None)
        assert told["cpu_stat"] == {"usage_usec": 9, "nr_throttled": 2}
        with pytest.raises(ActionAborted, match="there is no cgroup"):
            ask("pressure", cgroup="none")
        with pytest.raises(InvalidData, match=r"a path without \.\."):
            ask("pressure", cgroup="/system.slice/../../x")
        with pytest.raises(ActionAborted, match="the kernel tells no pressure"):
            ask("pressure", cgroup="/system.slice")

    def test_where_there_are_no_cgroups_that_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "mounts", lambda: iter([]))
        with pytest.raises(ActionAborted, match="no hierarchy of cgroups"):
            ask("pressure", cgroup="self")


@pytest.mark.parametrize(
    ("action", "data"),
    [
        ("interfaces", {"interface": "-a"}),
        ("interfaces", {"interface": "a b"}),
        ("mounts", {"mount": "relative"}),
        ("disks", {"path": "a\0b"}),
        ("block_devices", {"device": "../../x y"}),
        ("users", {"user": "-x"}),
        ("users", {"user": "a:b"}),
        ("groups", {"group": "\n"}),
        ("pressure", {"cgroup": "a\nb"}),
        ("set_sysctl", {"name": "vm.swappiness", "value": "1\n2"}),
        ("set_sysctl", {"name": "vm.swappiness", "value": ""}),
    ],
)
def test_what_cannot_be_meant_is_refused(action: str, data: dict[str, Any]) -> None:
    with pytest.raises(InvalidData):
        ask(action, **data)


@pytest.mark.parametrize(
    ("part", "call", "text"),
    [
        (network, "_ipv4_routes", "Iface\tDestination\n"),
        (network, "_ipv6_routes", ""),
    ],
)
def test_no_routes_are_no_error(
    part: Any, call: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "ROUTES", tmp_path)
    routes: Callable[[], list[Any]] = getattr(part, call)
    assert routes() == []
    (tmp_path / "route").write_text(text)
    assert routes() == []


def test_a_fleet_is_judged_by_numbers() -> None:
    with MemoryFleet({"web1": {}, "web2": {}}) as fleet:
        client = RpcClient("host", fleet.connection())
        loads = client.load()
        assert len(loads) == 2
        assert all(result.data["load1"] >= 0 for result in loads)
        client.users(user="root").require_all(exists=True)


def test_the_file_of_settings_may_hold_anything(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(
        b"\xff\n = \n=\nnet.=1\n; vm.swappiness = 1\n..a = 2\nnet.ipv4.conf.*.rp_filter = 1\nvm.swappiness\n"
        b"vm.swappiness=5\n"
    )
    assert SysctlFile(str(file)).value_of("vm.swappiness") == "5"
