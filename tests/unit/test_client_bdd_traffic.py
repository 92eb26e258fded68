# SPDX-License-Identifier: Apache-2.0
"""Connections that a lab's hosts try, and what can go wrong with asking for them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mco_client.bdd import traffic
from mco_client.bdd.fleet import Fleet
from mco_client.bdd.session import Options, Session
from mco_client.bdd.traffic import require_connections
from mco_rpc.errors import ConfigError, ExpectationFailed

HOSTS = [("loadbalancer", "192.168.1.1"), ("dev1", "192.168.1.11"), ("dev2", "192.168.1.12")]
STATUS = [{"name": "other", "hosts": []}, {"name": "x", "hosts": [{"name": n, "address": a} for n, a in HOSTS]}]


class Lab:
    """A command ``mco`` that says what the test says, and remembers what it was asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        program = folder / "mco"
        program.write_text(
            f"#!{sys.executable}\n"
            "import json, pathlib, sys\n"
            f"folder = pathlib.Path({str(folder)!r})\n"
            "with (folder / 'asked').open('a') as asked:\n"
            "    print(json.dumps(sys.argv[1:]), file=asked)\n"
            "status, out, err = json.loads((folder / sys.argv[2]).read_text())\n"
            "print(out, end='')\n"
            "print(err, end='', file=sys.stderr)\n"
            "sys.exit(status)\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.says("status", json.dumps(STATUS))

    def says(self, command: str, out: str, status: int = 0, err: str = "") -> None:
        (self._folder / command).write_text(json.dumps([status, out, err]))

    def probe(self, **ends: str) -> None:
        """Let the probe report how the connection to each address ended, an empty text for one that was made."""
        rows = [
            {"target": f"{dict(HOSTS)[name]}:8080", "connected": not end, "reason": end} for name, end in ends.items()
        ]
        self.says("exec", "".join(f"{json.dumps(row)}\n" for row in rows))

    @property
    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in (self._folder / "asked").read_text().splitlines()]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return Lab(tmp_path)


@pytest.fixture
def fleet() -> Fleet:
    made = Fleet(Session(Options(lab="x")))
    made.add_device("load balancer", "192.168.1.1")
    return made


def require(fleet: Fleet, *nodes: str, can_connect: bool, device: str = "load balancer") -> None:
    require_connections(fleet, device, 8080, nodes, can_connect=can_connect)


def test_the_device_itself_tries_every_node(lab: Lab, fleet: Fleet) -> None:
    lab.probe(dev1="", dev2="")
    require(fleet, "dev1", "dev2", can_connect=True)
    probe = ["python", "-m", "mco_lab.probe", "192.168.1.11:8080", "192.168.1.12:8080", "--timeout", "1.0"]
    assert lab.asked == [
        ["lab", "status", "-j"],
        ["lab", "exec", "--name", "x", "loadbalancer", "--", *probe],
    ]


@pytest.mark.parametrize(
    ("ends", "can_connect", "message"),
    [
        ({"dev1": "", "dev2": "timed out"}, True, "cannot connect to port 8080 on 1 of 2: dev2 (timed out)"),
        ({"dev1": "refused", "dev2": "timed out"}, True, "cannot .* 2 of 2: dev1 (refused), dev2 (timed out)"),
        ({"dev1": "timed out", "dev2": ""}, False, "can connect to port 8080 on 1 of 2: dev2 (connected)"),
        ({"dev1": "timed out", "dev2": "refused"}, False, "can connect to port 8080 on 1 of 2: dev2 (refused)"),
        ({"dev1": "", "dev2": ""}, False, "can connect to port 8080 on 2 of 2: dev1 (connected), dev2 (connected)"),
    ],
)
def test_every_connection_that_is_not_as_it_should_be_is_named(
    lab: Lab, fleet: Fleet, ends: dict[str, str], can_connect: bool, message: str
) -> None:
    lab.probe(**ends)
    pattern = message.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ExpectationFailed, match=f"^the load balancer {pattern}$"):
        require(fleet, "dev1", "dev2", can_connect=can_connect)


def test_all_blocked_is_fine_if_that_is_wanted(lab: Lab, fleet: Fleet) -> None:
    lab.probe(dev1="timed out")
    require(fleet, "dev1", can_connect=False)


@pytest.mark.parametrize("can_connect", [True, False])
def test_no_node_is_never_a_pass(lab: Lab, fleet: Fleet, can_connect: bool) -> None:
    with pytest.raises(ExpectationFailed, match="no node to connect to from the load balancer"):
        require(fleet, can_connect=can_connect)


@pytest.mark.parametrize("ends", [{}, {"dev1": "timed out"}, {"dev1": "", "dev2": "", "loadbalancer": ""}])
def test_a_probe_that_did_not_try_every_target_says_nothing(lab: Lab, fleet: Fleet, ends: dict[str, str]) -> None:
    # Given fewer connections than were asked for: that none was made proves nothing
    lab.probe(**ends)
    with pytest.raises(ConfigError, match="the probe on loadbalancer did not try every target"):
        require(fleet, "dev1", "dev2", can_connect=False)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (("", 1, "it exploded\n"), r"`mco lab exec .*` ended with status 1: it exploded\\n"),
        (('{"target"', 0, ""), r"`mco lab exec .*` ended with status 0: {\"target\""),
        (('{"target": "192.168.1.11:8080", "connected": true, "reason": ""}\n', 3, ""), "ended with status 3: "),
    ],
    ids=["failed", "no JSON", "JSON, and failed"],
)
def test_a_probe_that_fails_is_no_verdict(lab: Lab, fleet: Fleet, said: tuple[str, int, str], message: str) -> None:
    lab.says("exec", *said)
    with pytest.raises(ConfigError, match=message):
        require(fleet, "dev1", can_connect=False)


def test_a_probe_that_hangs_is_no_verdict(lab: Lab, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, 30)

    monkeypatch.setattr(traffic.subprocess, "run", hang)
    with pytest.raises(ConfigError, match=r"`mco lab status -j` did not end within 30 s"):
        require(fleet, "dev1", can_connect=True)


def test_a_lab_that_is_not_up_is_told(lab: Lab, fleet: Fleet) -> None:
    lab.says("status", "[]")
    with pytest.raises(ConfigError, match="lab 'x' is not up; `mco lab status` says what is"):
        require(fleet, "dev1", can_connect=True)


def test_a_node_that_is_no_host_of_the_lab_is_told(lab: Lab, fleet: Fleet) -> None:
    with pytest.raises(ConfigError, match="node web9 is no host of this lab; its hosts are dev1, dev2, loadbalancer"):
        require(fleet, "web9", can_connect=True)


def test_a_device_that_is_no_host_of_the_lab_is_told(lab: Lab, fleet: Fleet) -> None:
    fleet.add_device("router", "10.0.0.1")
    with pytest.raises(ConfigError, match=r"the router \(10\.0\.0\.1\) is no host of this lab; its hosts are dev1, "):
        require(fleet, "dev1", can_connect=True, device="router")


def test_without_a_lab_it_is_told_what_to_run(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fleet = Fleet(Session(Options()))
    with pytest.raises(ConfigError, match=r"this step needs a lab: mco lab run lab/firewall\.yaml -- behave"):
        require(fleet, "dev1", can_connect=True)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="this step needs a lab"):
        require(Fleet(Session(Options(lab="x"))), "dev1", can_connect=True)
