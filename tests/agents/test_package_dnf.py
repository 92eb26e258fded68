# SPDX-License-Identifier: Apache-2.0
"""The package agent with a real dnf and rpm, in a root of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from mco_agents.package import Package
from mco_agents.package.dnf import planned
from mco_rpc.errors import ActionAborted
from tests.agents.servers import need

from .asking import ask

LONG = "mcoweb-with-a-name-so-long-that-the-table-has-to-be-wider"
SPEC = """\
Name: {name}
Version: {version}
Release: 1.el9
Summary: nothing of use
License: none
BuildArch: noarch
{more}
%description
nothing of use
%files
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two versions of one package, and one that needs it."""
    for program, package in (("dnf", "dnf"), ("rpmbuild", "rpm"), ("createrepo_c", "createrepo-c")):
        need(program, package)
    folder = tmp_path_factory.mktemp("rpm")
    for name, version, more in (
        ("mcothing", "1.0", ""),
        ("mcothing", "2.0", "Epoch: 1"),
        (LONG, "1.0", "Requires: mcothing"),
    ):
        (folder / "one.spec").write_text(SPEC.format(name=name, version=version, more=more))
        places = [f"_topdir {folder}/work", f"_rpmdir {folder}/repository"]
        defines = [word for place in places for word in ("--define", place)]
        subprocess.run(["rpmbuild", "-bb", *defines, str(folder / "one.spec")], check=True, capture_output=True)
    subprocess.run(["createrepo_c", "--quiet", str(folder / "repository")], check=True, capture_output=True)
    return folder / "repository"


@pytest.fixture
def package(repository: Path, tmp_path: Path) -> Package:
    options = ["--setopt=reposdir=/nonexistent", f"--repofrompath=test,file://{repository}"]
    options += ["--setopt=test.gpgcheck=0", "--releasever=9"]
    return Package(None, {"manager": "dnf", "root": str(tmp_path / "root"), "options": options})


def told(answer: dict[str, Any]) -> tuple[Any, ...]:
    return answer["changed"], answer["before"], answer["after"]


def test_a_package_comes_is_updated_and_goes(package: Package) -> None:
    # Nothing is there, and noop leaves it so
    assert told(ask(package, "install", noop=True, package="mcothing", version="1.0")) == (True, None, "1.0-1.el9")
    assert ask(package, "status", package="mcothing")["installed"] is False

    # A version comes, with or without its revision, and is then there
    assert told(ask(package, "install", package="mcothing", version="1.0")) == (True, None, "1.0-1.el9")
    assert told(ask(package, "install", package="mcothing", version="1.0-1.el9"))[0] is False

    # A newer one is found
    outdated = {"package": "mcothing", "installed": "1.0-1.el9", "version": "1:2.0-1.el9", "repository": "test"}
    assert ask(package, "checkupdates")["outdated_packages"] == [outdated]
    assert told(ask(package, "update", package="mcothing")) == (True, "1.0-1.el9", "1:2.0-1.el9")
    assert told(ask(package, "update", package="mcothing"))[0] is False
    assert ask(package, "checkupdates")["count"] == 0

    # What needs it goes with it only if that is allowed
    assert ask(package, "install", package=LONG)["also"] == []
    with pytest.raises(ActionAborted, match=f"will not uninstall mcothing: that removes also {LONG}"):
        ask(package, "uninstall", package="mcothing")
    assert ask(package, "list")["count"] == 2
    gone = ask(package, "uninstall", package="mcothing", with_dependents=True)
    assert (told(gone), gone["also"]) == (
        (True, "1:2.0-1.el9", None),
        [{"package": LONG, "before": "1.0-1.el9", "after": None}],
    )
    assert told(ask(package, "purge", package="mcothing"))[0] is False
    assert ask(package, "list")["count"] == 0


def test_what_cannot_be_had_is_said_so(package: Package) -> None:
    assert ask(package, "refresh")["changed"] is True
    with pytest.raises(ActionAborted, match=r"has a package mcothng, did you mean mcothing\?"):
        ask(package, "install", package="mcothng")
    with pytest.raises(ActionAborted, match=r"has that version of mcothing; known are: 1.0-1.el9, 1:2.0-1.el9"):
        ask(package, "install", package="mcothing", version="3")
    with pytest.raises(ActionAborted, match=r"mcothing is not installed \(not-installed\)"):
        ask(package, "update", package="mcothing")


def test_a_table_is_read_with_lines_that_go_on() -> None:
    # As dnf 4.14 prints it
    printed = """\
Last metadata expiration check: 0:00:01 ago.
Dependencies resolved.
======================================================================
 Package         Arch    Version                         Repo
                                                               Size
======================================================================
Installing:
 new             noarch  1:2.0-1                         t    6.0 k
     replacing  old-one.noarch 1.0-1
Upgrading:
 a-name-that-takes-all-the-room
                 x86_64  3.0-1                           t    6.0 k
Installing dependencies:
 below           noarch  1-1                             t    6.0 k
Removing dependent packages:
 user            noarch  1.0-1                           @t     4

Transaction Summary
======================================================================
Install  2 Packages
"""
    assert planned(printed) == {
        "new": "1:2.0-1",
        "old-one": None,
        "a-name-that-takes-all-the-room": "3.0-1",
        "below": "1-1",
        "user": None,
    }
    assert planned("Nothing to do.\nComplete!\n") == {}
