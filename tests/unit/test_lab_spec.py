# SPDX-License-Identifier: Apache-2.0
"""What a lab's YAML file may say, and what is said when it says something else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from mco_lab import spec
from mco_rpc.errors import ConfigError

GOOD: dict[str, Any] = {
    "network": "10.0.0.0/29",
    "gateway": "10.0.0.6",
    "hosts": [
        {"name": "one", "address": "10.0.0.1", "classes": ["a::b"], "facts": {"x": 1}, "services": [80, 443]},
        {"name": "two", "address": "10.0.0.2", "node": False},
        {"name": "three", "address": "10.0.0.3", "node": {"identity": "III", "libdir": ["/opt"]}},
    ],
    "node": {"agents": {"iptables": {"backend": "auto"}}},
}

FILE_KEYS = "network, gateway, hosts, node, packages"
HOST_KEYS = "name, address, kind, node, classes, facts, services, installed"
BAD_PORT = "is not a TCP port (1 to 65535)"
BAD_IDENTITY = (
    "cannot be used: 1 to 128 letters, digits and _ . @ : + - are allowed, and the first is a letter or a digit"
)
BAD_NAME = "cannot be a host's name: 1 to 63 lower-case letters, digits and -, not 'control', which is the lab's own"


def with_changes(path: str, value: object) -> dict[str, Any]:
    """Return the good lab with the value at a path like ``hosts.0.name`` replaced."""
    data: Any = copy.deepcopy(GOOD)
    *parents, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
    target = data
    for key in parents:
        target = target[key]
    target[last] = value
    return data


def without(path: str) -> dict[str, Any]:
    data: Any = with_changes(path, None)
    *parents, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
    target = data
    for key in parents:
        target = target[key]
    del target[last]
    return data


def test_the_shipped_lab_has_three_development_servers_in_germany():
    lab = spec.read(spec.find("firewall"))

    nodes = [host for host in lab.hosts if host.has_node]
    wanted = [
        host.name
        for host in nodes
        if host.facts["country"] == "de" and any("dev_server" in name for name in host.classes)
    ]
    assert wanted == ["dev1", "dev2", "dev3"]
    assert len(nodes) == 5
    assert [(host.name, host.address) for host in lab.hosts if not host.has_node] == [("loadbalancer", "192.168.1.1")]


def test_a_good_lab():
    lab = spec.parse(GOOD)

    assert lab.prefix_length == 29
    assert [host.identity for host in lab.hosts] == ["one", "two", "III"]
    assert [host.has_node for host in lab.hosts] == [True, False, True]
    assert lab.host("one").services == [80, 443]


def test_addresses_of_the_sixth_version_are_fine():
    hosts = [{"name": "one", "address": "fd00::1"}]
    assert spec.parse({"network": "fd00::/64", "gateway": "fd00::ffff", "hosts": hosts}).prefix_length == 64


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "my.yaml: the file must be a mapping, found list"),
        (None, "my.yaml: the file must be a mapping, found NoneType"),
        (
            {**GOOD, "gatway": 1},
            f"my.yaml: the file: unknown key 'gatway', did you mean gateway? (allowed: {FILE_KEYS})",
        ),
        (
            with_changes("gateway", "fe80::1%eth0"),
            "my.yaml: gateway: 'fe80::1%eth0' has a zone, and a lab has only one network",
        ),
        (without("gateway"), "my.yaml: the file: key 'gateway' is missing (required: network, gateway, hosts)"),
        (
            with_changes("hosts.0.adress", "10.0.0.1"),
            f"my.yaml: host one: unknown key 'adress', did you mean address? (allowed: {HOST_KEYS})",
        ),
        (without("hosts.1.address"), "my.yaml: host two: key 'address' is missing (required: name, address)"),
        (without("hosts.1.name"), "my.yaml: host number 2: key 'name' is missing (required: name, address)"),
        (with_changes("hosts.1", "two"), "my.yaml: host number 2 must be a mapping, found str"),
        (with_changes("hosts", {}), "my.yaml: Expected `array`, got `object` - at `$.hosts`"),
        (with_changes("hosts", []), "my.yaml: hosts: a lab needs at least one host"),
        (
            with_changes("hosts.0.services", ["http"]),
            "my.yaml: Expected `int`, got `str` - at `$.hosts[0].services[0]`",
        ),
        (
            with_changes("hosts.0.services", [65536]),
            "my.yaml: host one: services: 65536 is not a TCP port (1 to 65535)",
        ),
        (with_changes("hosts.0.services", [0]), "my.yaml: host one: services: 0 is not a TCP port (1 to 65535)"),
        (with_changes("network", "10.0.0.1/29"), "my.yaml: network: 10.0.0.1/29 has host bits set"),
        (
            with_changes("gateway", "10.0.0.8"),
            "my.yaml: gateway: 10.0.0.8 is not the address of a host in 10.0.0.0/29",
        ),
        (
            with_changes("gateway", "fd00::1"),
            "my.yaml: gateway: fd00::1 is not the address of a host in 10.0.0.0/29",
        ),
        (
            with_changes("hosts.0.address", "10.0.0.7"),
            "my.yaml: host one: address: 10.0.0.7 is not the address of a host in 10.0.0.0/29",
        ),
        (
            with_changes("hosts.0.address", "10.0.0.0"),
            "my.yaml: host one: address: 10.0.0.0 is not the address of a host in 10.0.0.0/29",
        ),
        (
            with_changes("hosts.0.address", "ten"),
            "my.yaml: host one: address: 'ten' does not appear to be an IPv4 or IPv6 address",
        ),
        (
            with_changes("hosts.1.address", "10.0.0.1"),
            "my.yaml: host two: address 10.0.0.1 is already that of host one",
        ),
        (
            with_changes("hosts.1.address", "10.0.0.6"),
            "my.yaml: host two: address 10.0.0.6 is already that of the gateway",
        ),
        (with_changes("hosts.1.name", "one"), "my.yaml: host one: there are two hosts with this name"),
        (
            with_changes("hosts.0.node", {"identity": "III"}),
            "my.yaml: host three: identity 'III' is already that of another node",
        ),
        *(
            (
                with_changes("hosts.0.name", name),
                f"my.yaml: host {name}: {name!r} {BAD_NAME}",
            )
            for name in ("", "-x", "x-", "a.b", "A", "x/../y", "x" * 64, "control", "x\n")
        ),
        (
            with_changes("hosts.0.node", {"identity": "../x"}),
            f"my.yaml: host one: identity '../x' {BAD_IDENTITY}",
        ),
    ],
)
def test_a_wrong_one_is_told_where_and_what_is_allowed(data, message):
    with pytest.raises(ConfigError) as caught:
        spec.parse(data, "my.yaml")
    assert str(caught.value) == message


def test_a_host_without_node_may_have_the_name_of_anothers_identity():
    spec.parse(with_changes("hosts.1.name", "iii"))


def test_files(tmp_path):
    file = tmp_path / "my.yaml"
    with pytest.raises(ConfigError, match=r"lab file .*my.yaml: No such file or directory"):
        spec.read(file)
    file.write_text("hosts: [")
    with pytest.raises(ConfigError, match=r"lab file .*my.yaml: line 2, column 1: not YAML: "):
        spec.read(file)
    file.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match=r"lab file .*my.yaml: byte 0 is not UTF-8"):
        spec.read(file)
    assert spec.find(str(file)) == file
    with pytest.raises(
        ConfigError, match=r"lab file firewal: there is no such file \(shipped with mco: firewall, services\)"
    ):
        spec.find("firewal")


def test_an_unknown_host_is_an_error_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"no host 'tree', did you mean three\? \(it has one, two, three\)"):
        spec.parse(GOOD).host("tree")


def test_read_names_the_file(tmp_path: Path):
    file = tmp_path / "my.yaml"
    file.write_text("{}")
    with pytest.raises(ConfigError, match=f"{file}: the file: key 'network' is missing"):
        spec.read(file)


def test_a_file_that_lies_about_takes_not_the_place_of_a_shipped_lab(tmp_path, monkeypatch):
    # Given a folder in which somebody left a file with the name of a shipped lab
    monkeypatch.chdir(tmp_path)
    (tmp_path / "firewall").write_text("hosts: []\n")
    # When the lab is named, it is the shipped one; as a path, it is the file
    assert spec.find("firewall").parent != tmp_path
    assert spec.find("./firewall") == Path("./firewall")


PACKAGES: list[dict[str, Any]] = [
    {"name": "acme-web", "version": "1.0", "service": True, "depends": ["acme-lib (>= 2)", "acme-tool"]},
    {"name": "acme-web", "version": "2.0~rc1"},
]


def with_packages(packages: list[dict[str, Any]], installed: list[str] | None = None) -> dict[str, Any]:
    return {**with_changes("hosts.0.installed", installed or []), "packages": packages}


def test_packages_are_known_by_name_and_by_version():
    lab = spec.parse(with_packages(PACKAGES, ["acme-web=1.0", "acme-web"]))

    assert [package.service for package in lab.packages] == [True, False]
    assert lab.host("one").installed == ["acme-web=1.0", "acme-web"]


@pytest.mark.parametrize(
    ("packages", "installed", "message"),
    [
        ([{"name": "a b", "version": "1"}], [], "package a b: a name has two or more lower-case letters"),
        ([{"name": "-ab", "version": "1"}], [], "package -ab: a name has"),
        ([{"name": "acme", "version": "x1"}], [], "package acme: 'x1' is not a version"),
        ([{"name": "acme", "version": "1/../2"}], [], "package acme: '1/../2' is not a version"),
        ([{"name": "acme", "version": 1.0}], [], "Expected `str`, got `float` - at `$.packages[0].version`"),
        ([{"name": "acme", "verson": "1"}], [], "package acme: unknown key 'verson', did you mean version?"),
        ([{"name": "acme", "version": "1", "depends": ["b\nX: y"]}], [], "depends: 'b\\nX: y' is not like `name`"),
        (PACKAGES + PACKAGES[:1], [], "package acme-web: version 1.0 is there twice"),
        (PACKAGES, ["acme-wbe"], "host one: installed: the lab's repository has no acme-wbe, did you mean acme-web"),
        ([], ["acme"], "host one: installed: the lab's repository has no acme; it is filled by the key packages"),
    ],
)
def test_packages_that_cannot_be(packages, installed, message):
    with pytest.raises(ConfigError) as caught:
        spec.parse(with_packages(packages, installed), "my.yaml")
    assert message in str(caught.value)


def test_the_shipped_lab_of_services_has_both_kinds_of_hosts():
    lab = spec.read(spec.find("services"))
    assert [host.is_systemd for host in lab.hosts] == [True, True, False]
