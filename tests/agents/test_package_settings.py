# SPDX-License-Identifier: Apache-2.0
"""What a node's configuration may say of its package manager."""

from __future__ import annotations

from typing import Any

import pytest

from mco_agents.package import Package
from mco_agents.package.apt import Apt
from mco_agents.package.apt_trouble import explained
from mco_agents.package.dnf import Dnf
from mco_rpc.command import Completed
from mco_rpc.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"manager": "atp"}, "manager: 'atp' is no package manager that is known here, did you mean apt?"),
        ({"root": "here"}, "root: expected an absolute path, got 'here'"),
        ({"options": "-o"}, "options: expected a list of arguments, got '-o'"),
        ({"options": [1]}, r"options: expected a list of arguments, got \[1\]"),
        ({"recommends": "yes"}, "recommends: expected true or false, got 'yes'"),
        ({"lock_timeout_s": -1}, "lock_timeout_s: expected whole seconds from 0 to 500, got -1"),
        ({"lock_timeout_s": True}, "lock_timeout_s: expected whole seconds"),
        ({"mirror": "x"}, "unknown setting 'mirror'"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Package(None, settings)


def test_the_manager_is_the_one_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(Package(None, {"manager": "apt"})._manager, Apt)
    assert isinstance(Package(None, {"manager": "dnf"})._manager, Dnf)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert Package.activate_when({}) == "none of apt-get, dnf is installed"
    assert Package.activate_when({"manager": "dnf"}) == "dnf is not installed"


@pytest.mark.parametrize(("recommends", "option"), [(True, "--install-recommends"), (False, "--no-install-recommends")])
def test_recommended_packages_are_as_set(recommends: bool, option: str) -> None:
    made = Package(None, {"manager": "apt", "recommends": recommends})._manager
    assert isinstance(made, Apt)
    assert made._words("install", made.look("mconever"), "1")[0] == option


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.\n",
            "an earlier run was cut short: `dpkg --configure -a` on the node ends it",
        ),
        (
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (unattended-upgr)\n",
            "another package tool is at work, and process 7 (unattended-upgr) holds the lock; try again later",
        ),
        (
            "W: GPG error: http://x InRelease\nE: The repository 'http://x InRelease' is not signed.\n",
            "is not signed. (a repository's signature cannot be checked: its key is missing on the node)",
        ),
        ("E: You don't have enough free space\nE: No space left on device\n", "(the disk is full)"),
        ("", "install x: status 100"),
        (f"E: {'x' * 5000}\n", "xxx"),
    ],
)
def test_an_error_of_apt_is_explained(said: str, message: str) -> None:
    text = explained(Completed(("apt-get",), 100, "", said), "install x")
    assert message in text
    assert len(text) < 1000
