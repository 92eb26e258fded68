# SPDX-License-Identifier: Apache-2.0
"""What a lab shall look like: the network, the hosts, and who has a node; read from one YAML file.

Reads and judges; starts nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from mco_rpc import names
from mco_rpc.errors import ConfigError
from mco_rpc.suggestion import did_you_mean
from mco_rpc.yaml_text import read_yaml

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

CONTROL = "control"
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z")
_PACKAGE_VERSION = re.compile(r"[0-9][A-Za-z0-9.+~-]*\Z")
_DEPENDENCY = re.compile(r"[a-z0-9][a-z0-9+.-]+( \((<<|<=|=|>=|>>) [0-9][A-Za-z0-9.+~:-]*\))?\Z")
_PORTS = range(1, 65536)


class PackageSpec(msgspec.Struct, forbid_unknown_fields=True):
    """One version of a package in the lab's repository.

    Attributes:
        depends: what must be installed with it, as a package's control file says it: ``acme-lib (>= 2)``.
        service: whether it brings a service of its name, which does nothing.
    """

    name: str
    version: str
    depends: list[str] = []
    service: bool = False


class HostSpec(msgspec.Struct, forbid_unknown_fields=True):
    """One host.

    Attributes:
        node: whether it runs a node; a mapping is merged over the node's configuration.
        services: TCP ports on which something answers.
        installed: packages of the lab's repository that are there from the start: ``name`` or ``name=version``.
        kind: ``plain``: a small first process and what one starts; ``systemd``: booted, with the node as a unit.
    """

    name: str
    address: str
    kind: Literal["plain", "systemd"] = "plain"
    node: bool | dict[str, Any] = True
    classes: list[str] = []
    facts: dict[str, Any] = {}
    services: list[int] = []
    installed: list[str] = []

    @property
    def is_systemd(self) -> bool:
        """Whether the host is booted by systemd."""
        return self.kind == "systemd"

    @property
    def has_node(self) -> bool:
        """Whether this host runs a node; a plain one only has an address."""
        return self.node is not False

    @property
    def identity(self) -> str:
        """The identity of the host's node: its name, if the node's configuration does not say otherwise."""
        return str(self.node.get("identity", self.name)) if isinstance(self.node, dict) else self.name


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """A whole lab.

    Attributes:
        network: what the hosts share, for instance ``192.168.1.0/24``.
        gateway: the address of the bridge; the broker listens there.
        node: merged over the configuration of every node.
        packages: a repository that every host has, instead of the machine's; none if there are none.
    """

    network: str
    gateway: str
    hosts: list[HostSpec]
    node: dict[str, Any] = {}
    packages: list[PackageSpec] = []

    @property
    def prefix_length(self) -> int:
        """The number of bits of an address that name the network."""
        return ipaddress.ip_network(self.network).prefixlen

    def host(self, name: str) -> HostSpec:
        """Return the host with this name.

        Raises:
            ConfigError: there is none.
        """
        for host in self.hosts:
            if host.name == name:
                return host
        known = [host.name for host in self.hosts]
        raise ConfigError(f"this lab has no host {name!r}{did_you_mean(name, known)} (it has {', '.join(known)})")


def find(name: str) -> Path:
    """Return the file of a lab: a path, or the name of one that is shipped.

    Raises:
        ConfigError: there is neither.

    >>> find("firewall").name
    'firewall.yaml'
    """
    here = Path(__file__).parent
    # A bare name is the shipped lab's even where somebody left a file of this name: labs run as root.
    shipped_file = here / f"{name}.yaml"
    for file in (shipped_file, Path(name)) if "/" not in name else (Path(name),):
        if file.is_file():
            return file
    shipped = sorted(file.stem for file in here.glob("*.yaml"))
    raise ConfigError(f"lab file {name}: there is no such file (shipped with mco: {', '.join(shipped)})")


def read(file: Path) -> Spec:
    """Return the lab that a YAML file describes.

    Raises:
        ConfigError: it cannot be read, or describes no possible lab; the text says where and what is allowed.
    """
    try:
        return parse(read_yaml(file), str(file))
    except ConfigError as e:
        raise ConfigError(f"lab file {e}") from e


def parse(data: object, source: str = "the lab") -> Spec:
    """Return the lab that plain data describes; ``source`` names it in errors.

    Raises:
        ConfigError: it describes no possible lab.
    """
    _check_keys(data, Spec, source, "the file")
    for kind, key, each in ((HostSpec, "hosts", "host"), (PackageSpec, "packages", "package")):
        items = data.get(key) if isinstance(data, Mapping) else None
        for number, item in enumerate(items if isinstance(items, list) else []):
            name = item.get("name", f"number {number + 1}") if isinstance(item, Mapping) else f"number {number + 1}"
            _check_keys(item, kind, source, f"{each} {name}")
    try:
        spec = msgspec.convert(data, Spec)
    except msgspec.ValidationError as e:
        raise ConfigError(f"{source}: {e}") from e
    _check(spec, source)
    return spec


def _check_keys(data: object, kind: type[msgspec.Struct], source: str, where: str) -> None:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{source}: {where} must be a mapping, found {type(data).__name__}")
    allowed = kind.__struct_fields__
    for key in data:
        if key not in allowed:
            raise ConfigError(
                f"{source}: {where}: unknown key {key!r}{did_you_mean(key, allowed)} (allowed: {', '.join(allowed)})"
            )
    required = [field.name for field in msgspec.structs.fields(kind) if field.required]
    for key in required:
        if key not in data:
            raise ConfigError(f"{source}: {where}: key {key!r} is missing (required: {', '.join(required)})")


def _check(spec: Spec, source: str) -> None:
    try:
        network = ipaddress.ip_network(spec.network)
    except ValueError as e:
        raise ConfigError(f"{source}: network: {e}") from e
    users = {_address_in(network, spec.gateway, f"{source}: gateway"): "the gateway"}
    if not spec.hosts:
        raise ConfigError(f"{source}: hosts: a lab needs at least one host")
    known: set[str] = set()
    identities: set[str] = set()
    for host in spec.hosts:
        where = f"{source}: host {host.name}"
        if not _HOST_NAME.match(host.name) or host.name == CONTROL:
            raise ConfigError(
                f"{where}: {host.name!r} cannot be a host's name: 1 to 63 lower-case letters, digits and -, "
                f"not {CONTROL!r}, which is the lab's own"
            )
        if host.name in known:
            raise ConfigError(f"{where}: there are two hosts with this name")
        known.add(host.name)
        address = _address_in(network, host.address, f"{where}: address")
        if address in users:
            raise ConfigError(f"{where}: address {host.address} is already that of {users[address]}")
        users[address] = f"host {host.name}"
        if host.has_node:
            try:
                identity = names.check("identity", host.identity)
            except ConfigError as e:
                raise ConfigError(f"{where}: {e}") from e
            if identity in identities:
                raise ConfigError(f"{where}: identity {identity!r} is already that of another node")
            identities.add(identity)
        for port in host.services:
            if port not in _PORTS:
                raise ConfigError(f"{where}: services: {port} is not a TCP port (1 to 65535)")
    _check_packages(spec, source)


def _check_packages(spec: Spec, source: str) -> None:
    known: set[str] = set()
    for package in spec.packages:
        where = f"{source}: package {package.name}"
        if not _PACKAGE_NAME.match(package.name):
            raise ConfigError(f"{where}: a name has two or more lower-case letters, digits and + - .")
        if not _PACKAGE_VERSION.match(package.version):
            raise ConfigError(
                f"{where}: {package.version!r} is not a version: a digit, then letters, digits and . + ~ -; "
                'in quotes, as in version: "1.0"'
            )
        for dependency in package.depends:
            if not _DEPENDENCY.match(dependency):
                raise ConfigError(f"{where}: depends: {dependency!r} is not like `name` or `name (>= 1.0)`")
        if f"{package.name}={package.version}" in known:
            raise ConfigError(f"{where}: version {package.version} is there twice")
        known |= {package.name, f"{package.name}={package.version}"}
    for host in spec.hosts:
        for wanted in host.installed:
            if wanted not in known:
                raise ConfigError(
                    f"{source}: host {host.name}: installed: the lab's repository has no {wanted}"
                    f"{did_you_mean(wanted, known)}; it is filled by the key packages"
                )


def _address_in(network: Network, text: str, where: str) -> Address:
    if "%" in text:
        raise ConfigError(f"{where}: {text!r} has a zone, and a lab has only one network")
    try:
        address = ipaddress.ip_address(text)
    except ValueError as e:
        raise ConfigError(f"{where}: {e}") from e
    edges = (network.network_address, network.broadcast_address)
    if address not in network or (address.version == 4 and network.num_addresses > 2 and address in edges):
        raise ConfigError(f"{where}: {text} is not the address of a host in {network}")
    return address
