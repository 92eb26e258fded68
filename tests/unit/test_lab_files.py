# SPDX-License-Identifier: Apache-2.0
"""The files of a lab: its state, its nodes' and its caller's configuration, its broker's."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from mco_lab import broker_files, hosts, network, node_files, process, removal, requirements, spec, state
from mco_lab.errors import LabError
from mco_lab.process import ProcessId
from mco_rpc.errors import ConfigError
from mco_rpc.security import keys

URL = "amqp://lab:secret@10.0.0.6:5672/"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the labs of a test apart from those of the machine."""
    monkeypatch.setattr(state, "root", lambda: tmp_path / "labs")
    monkeypatch.setattr(network, "_NAMES", tmp_path / "netns")
    return tmp_path / "labs"


@pytest.fixture
def small() -> spec.Spec:
    return spec.parse(
        {
            "network": "10.0.0.0/29",
            "gateway": "10.0.0.6",
            "node": {"libdir": ["/all"], "agents": {"iptables": {"backend": "auto", "chain": "MCO"}}},
            "hosts": [
                {"name": "one", "address": "10.0.0.1", "classes": ["web"], "facts": {"country": "de"}},
                {
                    "name": "two",
                    "address": "10.0.0.2",
                    "node": {"identity": "II", "agents": {"iptables": {"backend": "nftables"}}, "libdir": ["/own"]},
                },
                {"name": "plain", "address": "10.0.0.3", "node": False},
            ],
        }
    )


def public_keys(folder: Path) -> dict[str, bytes]:
    return {file.stem: keys.read_public(file) for file in folder.iterdir()}


class TestState:
    def test_what_is_claimed_can_be_loaded_until_it_is_forgotten(self, root, small):
        claimed = state.claim("one", small, stays=True)

        assert claimed.owner == ProcessId.of(os.getpid())
        assert claimed.namespaces == ["mco-one-control", "mco-one-one", "mco-one-two", "mco-one-plain"]
        assert claimed.processes == []
        assert state.load("one") == claimed
        assert (root / "one").stat().st_mode & 0o777 == 0o700
        claimed.hosts[0].init = claimed.hosts[1].node = claimed.owner
        claimed.broker = [claimed.owner]
        state.save(claimed)
        assert state.load("one").processes == [claimed.owner] * 3
        state.claim("two", small, stays=False)
        assert state.names() == ["one", "two"]
        state.forget("one")
        assert state.names() == ["two"]
        state.forget("two")
        state.forget("two")
        assert state.names() == []
        assert not root.exists()

    def test_a_name_is_claimed_once(self, root, small):
        known = state.claim("x", small, stays=True)
        for changes, message in [
            (
                {"is_up": True},
                "a lab named 'x' is already up; remove it with `mco lab down --name x`",
            ),
            ({}, f"a lab named 'x' is in use by process {os.getpid()}; choose another --name"),
            (
                {"owner": ProcessId(os.getpid(), 1)},
                "a lab named 'x' was left behind by a process that was killed",
            ),
        ]:
            state.save(msgspec.structs.replace(known, **changes))
            with pytest.raises(LabError) as caught:
                state.claim("x", small, stays=False)
            assert str(caught.value).startswith(message)
        (root / "x/lab.json").unlink()
        with pytest.raises(LabError, match="what is left of a lab named 'x' is in the way; remove it with"):
            state.claim("x", small, stays=False)

    def test_a_claim_that_fails_leaves_nothing(self, root, small, monkeypatch):
        monkeypatch.setattr(process, "_stat", lambda _pid: [])
        with pytest.raises(LabError, match="needs a mounted /proc"):
            state.claim("x", small, stays=False)
        assert state.names() == []

    @pytest.mark.parametrize("name", ["", ".", "..", "-x", "X", "a/b", "a" * 33, "a\n"])
    def test_a_name_cannot_leave_the_folder(self, root, name):
        with pytest.raises(ConfigError, match="cannot be a lab's name"):
            state.folder_of(name)

    def test_a_missing_or_broken_one_is_told(self, root, small):
        with pytest.raises(LabError, match=r"no lab named 'x' is up \(none is\); `mco lab up SPEC --name x` starts"):
            state.load("x")
        state.claim("y", small, stays=False)
        with pytest.raises(LabError, match=r"no lab named 'x' is up \(there are: y\)"):
            state.load("x")
        (root / "y/lab.json").write_text("[]")
        with pytest.raises(LabError, match=r"the state of lab 'y' in .* cannot be read: Expected `object`"):
            state.load("y")

    def test_a_later_lab_of_the_same_name_is_not_ours(self, root, small):
        ours = state.claim("x", small, stays=False)
        assert state.is_current(ours)
        state.save(msgspec.structs.replace(ours, owner=ProcessId(1, 1)))
        assert not state.is_current(ours)
        state.forget("x")
        assert state.is_current(ours)

    def test_labs_live_below_run_or_else_the_temporary_folder(self, monkeypatch, tmp_path):
        monkeypatch.setattr(state.tempfile, "gettempdir", lambda: str(tmp_path))
        monkeypatch.setattr(state.os, "access", lambda *_: True)
        assert state.root() == Path("/run/mco-lab")
        monkeypatch.setattr(state.os, "access", lambda *_: False)
        assert state.root() == tmp_path / f"mco-lab-{os.getuid()}"

    def test_removal_takes_what_nobody_else_claims(self, root, small, monkeypatch):
        removed: list[str] = []
        monkeypatch.setattr(network, "remove", lambda names: removed.extend(sorted(names)))
        state.claim("a-b", small, stays=False)
        names = root.parent / "netns"
        names.mkdir()
        for name in ("mco-a-one", "mco-a-b-one", "mco-other-one"):
            (names / name).touch()

        removal.remove("a")

        assert removed == ["mco-a-one"]
        assert state.names() == ["a-b"]

    def test_what_cannot_be_ended_is_told(self, root, small, monkeypatch):
        state.claim("x", small, stays=False)
        monkeypatch.setattr(network, "members", lambda _names: [ProcessId(7, 1)])
        monkeypatch.setattr(removal, "end", list)
        with pytest.raises(LabError, match="lab 'x': processes 7 cannot be ended; try `mco lab down --name x` again"):
            removal.remove("x")
        assert state.names() == ["x"]


class TestNodeFiles:
    @pytest.fixture
    def folder(self, tmp_path: Path, small: spec.Spec) -> Path:
        for host in small.hosts:
            node_files.make_folders(tmp_path, host.name)
        node_files.write(tmp_path, small, URL)
        return tmp_path

    def test_caller_and_nodes_know_each_others_keys(self, folder):
        client = yaml.safe_load(node_files.client_config(folder).read_text())
        trusted = public_keys(Path(client["trusted_nodes"]))
        one = node_files.etc_of(folder, "one")

        assert client["caller"] == "operator"
        assert client["brokers"] == [URL]
        assert set(trusted) == {"one", "II"}
        assert trusted["one"] == keys.public_of(keys.read_private(one / "node.key"))
        operator = keys.public_of(keys.read_private(Path(client["key_file"])))
        assert public_keys(one / "callers") == {"operator": operator}
        assert not (node_files.etc_of(folder, "plain") / "node.yaml").exists()

    def test_what_holds_the_password_is_for_its_owner_only(self, folder):
        for file in (node_files.client_config(folder), node_files.etc_of(folder, "one") / "node.yaml"):
            assert "secret" in file.read_text()
            assert file.stat().st_mode & 0o077 == 0

    def test_facts_and_classes(self, folder):
        one = node_files.etc_of(folder, "one")
        assert yaml.safe_load((one / "facts.yaml").read_text()) == {"country": "de"}
        assert yaml.safe_load((one / "classes.yaml").read_text()) == ["web"]

    def test_a_nodes_own_settings_win_over_those_of_all_and_those_over_the_labs(self, folder):
        config: dict[str, Any] = yaml.safe_load((node_files.etc_of(folder, "two") / "node.yaml").read_text())
        assert config == {
            "identity": "II",
            "collectives": ["mcollective"],
            "brokers": [URL],
            "key_file": "/etc/mco/node.key",
            "trusted_callers": "/etc/mco/callers",
            "facts_file": "/etc/mco/facts.yaml",
            "classes_file": "/etc/mco/classes.yaml",
            "audit_file": "/var/log/mco/audit.jsonl",
            "libdir": ["/own"],
            "agents": {"iptables": {"backend": "nftables", "chain": "MCO"}},
        }


class TestBrokerFiles:
    def test_users_and_virtual_hosts(self):
        made = broker_files.definitions({"a": "x", "b": "y"}, ["/", "t0"])

        assert [user["name"] for user in made["users"]] == ["a", "b"]
        raw = base64.b64decode(made["users"][1]["password_hash"])
        assert raw[4:] == hashlib.sha256(raw[:4] + b"y").digest()
        assert [(p["user"], p["vhost"]) for p in made["permissions"]] == [
            ("a", "/"),
            ("a", "t0"),
            ("b", "/"),
            ("b", "t0"),
        ]

    def test_nothing_is_inherited_and_everything_is_in_the_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("RABBITMQ_NODENAME", "the-machines-own")
        server = tmp_path / "opt/sbin/rabbitmq-server"
        for application, needs in {
            "rabbit-3.10.8": "rabbit_common, 'ranch'",
            "rabbit_common-3.10.8": "kernel, stdlib",
            "ranch-2.1.0": "",
            "rabbitmq_prelaunch-3.10.8": "rabbit",
            "rabbitmq_management-3.10.8": "rabbit",
        }.items():
            ebin = tmp_path / "opt/plugins" / application / "ebin"
            ebin.mkdir(parents=True)
            name = application.rpartition("-")[0]
            (ebin / f"{name}.app").write_text(f"{{application, {name}, [\n {{applications, [{needs}]}}]}}.")
        folder = tmp_path / "lab"

        environment = broker_files.environment(folder, server, 1, 2)

        assert environment["RABBITMQ_NODENAME"] == "lab@localhost"
        linked = sorted(path.name for path in Path(environment["RABBITMQ_PLUGINS_DIR"]).iterdir())
        assert linked == ["rabbit-3.10.8", "rabbit_common-3.10.8", "rabbitmq_prelaunch-3.10.8", "ranch-2.1.0"]
        assert broker_files.environment(folder, server, 1, 2) == environment
        paths = [value for name, value in environment.items() if value.startswith("/") and name != "PATH"]
        assert all(value.startswith(str(folder)) for value in paths)

    def test_a_server_packed_in_another_way_gets_all_its_plug_ins(self, tmp_path):
        plugins = tmp_path / "opt/plugins"
        plugins.mkdir(parents=True)
        (plugins / "rabbit-4.9.ez").touch()

        environment = broker_files.environment(tmp_path / "lab", tmp_path / "opt/sbin/rabbitmq-server", 1, 2)

        assert [path.name for path in Path(environment["RABBITMQ_PLUGINS_DIR"]).iterdir()] == ["rabbit-4.9.ez"]

    def test_a_server_is_found_on_the_path_too(self, tmp_path, monkeypatch):
        monkeypatch.setattr(broker_files, "_DEBIAN_SERVER", tmp_path / "nothing")
        server = tmp_path / "rabbitmq-server"
        server.touch(mode=0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        assert broker_files.find_server() == server


class TestRequirements:
    def test_without_root_the_error_says_sudo(self, monkeypatch):
        monkeypatch.setattr(requirements.os, "geteuid", lambda: 1000)
        monkeypatch.setattr(requirements.sys, "argv", ["/opt/mco", "lab", "run", "my file.yaml", "--", "mco", "ping"])
        with pytest.raises(LabError, match=r"needs root; run: sudo /opt/mco lab run 'my file.yaml' -- mco ping"):
            requirements.check()

    def test_all_that_is_missing_is_named_with_its_packages(self, monkeypatch):
        monkeypatch.setattr(requirements.os, "geteuid", lambda: 0)
        monkeypatch.setattr(requirements, "find_program", lambda name: None if name in ("ip", "nsenter") else name)

        def not_found() -> None:
            raise LabError("no server")

        monkeypatch.setattr(broker_files, "find_server", not_found)
        with pytest.raises(LabError) as caught:
            requirements.check()
        assert str(caught.value) == (
            "not installed: ip, nsenter, rabbitmq-server; run `make setup`, or install the Debian packages: "
            "apt-get install iproute2 util-linux rabbitmq-server"
        )

    def test_with_everything_there_is_no_error(self, monkeypatch):
        monkeypatch.setattr(requirements.os, "geteuid", lambda: 0)
        monkeypatch.setattr(requirements, "find_program", lambda name: name)
        monkeypatch.setattr(broker_files, "find_server", lambda: Path("/x"))
        requirements.check()


def test_our_programs_are_found_first(monkeypatch):
    monkeypatch.setattr(hosts.sysconfig, "get_path", lambda _name: "/venv/bin")
    for before in ("/bin", "/venv/bin:/bin", "/bin:/venv/bin"):
        assert hosts.with_our_programs({"PATH": before})["PATH"] == "/venv/bin:/bin:/usr/sbin:/sbin"


def test_the_installed_node_is_preferred_to_the_module(monkeypatch, tmp_path):
    monkeypatch.setattr(hosts.sysconfig, "get_path", lambda _name: str(tmp_path))
    assert hosts.default_node_command()[1:] == ["-m", "mco_node"]
    (tmp_path / "mco-node").touch()
    assert hosts.default_node_command() == [str(tmp_path / "mco-node")]


def test_names_of_links_fit_the_kernel():
    assert network.link_of(12, "a-host-with-a-long-name") == "v12-a-host-with"
