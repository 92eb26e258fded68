# SPDX-License-Identifier: Apache-2.0
"""The examples of discovery sources that come with the project find what they should."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from mco_client.discovery.source import Known, make
from mco_rpc.config import ClientSettings
from mco_rpc.errors import DiscoveryError
from mco_rpc.filters import from_options
from tests.docs_examples import ROOT

EXAMPLES = ROOT / "examples" / "discovery"
PATIENCE_S = 60.0
HOSTS = """\
127.0.0.1 localhost
::1 localhost ip6-localhost
ff02::1 ip6-allnodes
192.168.1.1 web1 web1.example.net  # the first
#192.168.1.2 web2
192.168.1.3\tdb1

192.168.1.4 $(id) "quoted"
192.168.1.5
"""
CMDB = [
    {"name": "web1", "roles": ["nginx", "base"], "site": "berlin"},
    {"name": "db1", "roles": ["postgresql", "base"], "site": "paris"},
]


def ask(kind: str, *words: str, **options: list[str]) -> Known:
    command = [shlex.join(words)] if kind == "external" else list(words)
    return make(kind, command, ClientSettings()).known(from_options(**options), PATIENCE_S)


def test_every_example_is_tried_here() -> None:
    assert {file.name for file in EXAMPLES.iterdir()} == {"cmdb.py", "hosts_file.sh", "inventory.yaml"}


def test_the_shell_example(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    script = str(EXAMPLES / "hosts_file.sh")
    assert ask("external", script, str(hosts)).nodes == ("web1", "db1")
    known = ask("external", script, str(hosts), identities=["/^db/"], classes=["postgresql"])
    assert (known.nodes, known.residual) == (("db1",), from_options(classes=["postgresql"]))
    with pytest.raises(DiscoveryError, match="the hosts file cannot be read"):
        ask("external", script, str(tmp_path / "nothing"))


def test_the_python_example(tmp_path: Path) -> None:
    data = tmp_path / "cmdb.json"
    data.write_text(json.dumps(CMDB))
    command = (sys.executable, str(EXAMPLES / "cmdb.py"), str(data))
    assert ask("external", *command).nodes == ("web1", "db1")
    known = ask("external", *command, classes=["nginx"], facts=["site=berlin"])
    assert (known.nodes, known.residual) == (("web1",), from_options(facts=["site=berlin"]))
    known = ask("external", *command, classes=["/sql/"])
    assert (known.nodes, known.residual) == (("web1", "db1"), from_options(classes=["/sql/"]))
    with pytest.raises(DiscoveryError, match=r"nothing.json: .*No such file"):
        ask("external", *command[:2], "nothing.json")


def test_the_inventory() -> None:
    inventory = str(EXAMPLES / "inventory.yaml")
    assert len(ask("inventory", inventory).nodes) == 4
    assert ask("inventory", inventory, identities=["group:germany"], facts=["tier=back"]).nodes == ("db1.example.net",)
