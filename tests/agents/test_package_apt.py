# SPDX-License-Identifier: Apache-2.0
"""The package agent with a real apt-get and dpkg, in a root of its own."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mco_agents.package import Package
from mco_agents.package import apt as apt_module
from mco_agents.package.apt import planned
from mco_agents.package.planning import Change
from mco_rpc.agent import deadline
from mco_rpc.current import Cancellation, Current, working_for
from mco_rpc.errors import ActionAborted, Cancelled, InvalidData, TimedOut

from .asking import ask
from .debian import OPTIONS, Repository, make_root, settings

pytestmark = pytest.mark.skipif(not shutil.which("apt-get"), reason="no apt here")
EVERYTHING = ("mcothing", "mcobase", "mcoweb", "mcorival", "mcovital", "mcoprovider", "mcofails", "mcolost")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root that knows a repository, with lists of it; tests work in copies."""
    folder = tmp_path_factory.mktemp("debian")
    repository = Repository(folder)
    repository.add("mcothing", "1.0", conffile="first")
    repository.add("mcothing", "2.0", conffile="second")
    repository.add("mcobase")
    repository.add("mcoweb", Depends="mcobase")
    repository.add("mcorival", Conflicts="mcobase")
    repository.add("mcovital", Essential="yes")
    repository.add("mcoprovider", Provides="mcovirtual")
    repository.add("mcofails", postinst=f"echo this will not do; test -e {folder}/mended")
    repository.add("mcolost", Depends="mcomissing (>= 2)")
    made = make_root(folder, repository)
    ask(Package(None, settings(made)), "refresh")
    return made


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    """A root with nothing installed."""
    return Path(shutil.copytree(template, tmp_path / "root"))


@pytest.fixture
def package(root: Path) -> Package:
    return Package(None, settings(root, lock_timeout_s=20))


def status_file(root: Path) -> str:
    return (root / "var/lib/dpkg/status").read_text()


def told(answer: dict[str, Any]) -> tuple[Any, ...]:
    return answer["changed"], answer["before"], answer["after"]


class TestInstall:
    def test_what_is_missing_is_installed_once(self, package: Package, root: Path) -> None:
        assert told(ask(package, "install", package="mcothing")) == (True, None, "2.0")
        assert (root / "usr/share/mcothing/version").read_text() == "2.0"
        assert told(ask(package, "install", package="mcothing")) == (False, "2.0", "2.0")

    def test_a_version_is_reached_from_below_and_from_above(self, package: Package, root: Path) -> None:
        assert told(ask(package, "install", package="mcothing", version="1.0")) == (True, None, "1.0")
        assert told(ask(package, "install", package="mcothing", version="1.0")) == (False, "1.0", "1.0")
        assert told(ask(package, "install", package="mcothing")) == (False, "1.0", "1.0")
        assert told(ask(package, "install", package="mcothing", version="2.0")) == (True, "1.0", "2.0")
        assert told(ask(package, "install", package="mcothing", version="1.0")) == (True, "2.0", "1.0")
        assert (root / "usr/share/mcothing/version").read_text() == "1.0"

    def test_what_comes_with_it_is_told(self, package: Package) -> None:
        planned = ask(package, "install", package="mcoweb", noop=True)
        also = [{"package": "mcobase", "before": None, "after": "1.0"}]
        assert (told(planned), planned["also"], planned["installed"]) == ((True, None, "1.0"), also, False)
        done = ask(package, "install", package="mcoweb")
        assert (told(done), done["also"], done["installed"]) == ((True, None, "1.0"), also, True)

    @pytest.mark.parametrize(
        ("name", "version", "message"),
        [
            ("mcothng", "", "no repository of this node has a package mcothng, did you mean mcothing\\?"),
            ("mcothing-", "", "no repository of this node has a package mcothing-, did you mean mcothing\\?"),
            ("mcothing", "1.1", "has mcothing 1.1, did you mean 1.0\\?; known are: 2.0, 1.0; `refresh` gets new lists"),
            ("mcovirtual", "", "mcovirtual is only a name that other packages provide: name one of mcoprovider"),
            ("mcolost", "", r"mcolost : Depends: mcomissing \(>= 2\) but it is not installable; .*cannot be had here"),
        ],
    )
    def test_what_cannot_be_had_is_said_so(
        self, package: Package, root: Path, name: str, version: str, message: str
    ) -> None:
        wanted = {"version": version} if version else {}
        with pytest.raises(ActionAborted, match=message):
            ask(package, "install", package=name, **wanted)
        assert status_file(root) == ""

    def test_nothing_else_is_removed_for_it_unless_that_is_allowed(self, package: Package) -> None:
        ask(package, "install", package="mcoweb")
        with pytest.raises(
            ActionAborted, match="will not install mcorival: that removes also mcobase, mcoweb; with_dep"
        ):
            ask(package, "install", package="mcorival")
        assert ask(package, "status", package="mcoweb")["installed"] is True
        done = ask(package, "install", package="mcorival", with_dependents=True)
        assert [(change["package"], change["after"]) for change in done["also"]] == [
            ("mcobase", None),
            ("mcoweb", None),
        ]
        assert ask(package, "status", package="mcoweb")["installed"] is False

    def test_one_whose_script_fails_is_an_error_and_is_mended_by_asking_again(
        self, package: Package, template: Path
    ) -> None:
        mended = template.parent / "mended"
        with pytest.raises(ActionAborted, match=r"this will not do \| dpkg: error processing package mcofails"):
            ask(package, "install", package="mcofails")
        assert ask(package, "status", package="mcofails")["status"] == "half-configured"
        mended.touch()
        try:
            assert told(ask(package, "install", package="mcofails")) == (True, None, "1.0")
        finally:
            mended.unlink()


class TestUpdate:
    def test_an_old_one_is_brought_to_the_newest(self, package: Package) -> None:
        ask(package, "install", package="mcothing", version="1.0")
        assert told(ask(package, "update", package="mcothing")) == (True, "1.0", "2.0")
        assert told(ask(package, "update", package="mcothing")) == (False, "2.0", "2.0")

    def test_what_is_not_installed_is_an_error(self, package: Package, root: Path) -> None:
        with pytest.raises(ActionAborted, match=r"mcothing is not installed \(not-installed\); `install` installs it"):
            ask(package, "update", package="mcothing")
        assert status_file(root) == ""

    def test_configuration_that_somebody_edited_stays(self, package: Package, root: Path) -> None:
        ask(package, "install", package="mcothing", version="1.0")
        (root / "etc/mcothing.conf").write_text("edited")
        ask(package, "update", package="mcothing")
        assert (root / "etc/mcothing.conf").read_text() == "edited"

    def test_a_held_one_is_left_alone(self, package: Package, root: Path) -> None:
        ask(package, "install", package="mcothing", version="1.0")
        held = ["dpkg", f"--root={root}", "--set-selections"]
        subprocess.run(held, input=b"mcothing hold\n", check=True, capture_output=True)
        for name, wanted in (("update", {}), ("install", {"version": "2.0"})):
            with pytest.raises(ActionAborted, match=r"mcothing is held at 1.0: `apt-mark unhold mcothing`"):
                ask(package, name, package="mcothing", **wanted)
        assert ask(package, "status", package="mcothing")["held"] is True


class TestRemove:
    def test_configuration_is_kept_and_then_purged(self, package: Package, root: Path) -> None:
        ask(package, "install", package="mcothing", version="1.0")
        assert told(ask(package, "uninstall", package="mcothing")) == (True, "1.0", None)
        assert told(ask(package, "uninstall", package="mcothing")) == (False, None, None)
        assert (root / "etc/mcothing.conf").exists()
        assert ask(package, "status", package="mcothing")["status"] == "config-files"
        assert told(ask(package, "purge", package="mcothing")) == (True, None, None)
        assert not (root / "etc/mcothing.conf").exists()
        assert told(ask(package, "purge", package="mcothing")) == (False, None, None)

    def test_what_needs_it_is_removed_only_if_that_is_allowed(self, package: Package) -> None:
        ask(package, "install", package="mcoweb")
        with pytest.raises(
            ActionAborted, match="will not uninstall mcobase: that removes also mcoweb; with_dependents"
        ):
            ask(package, "uninstall", package="mcobase")
        assert ask(package, "status", package="mcobase")["installed"] is True
        done = ask(package, "uninstall", package="mcobase", with_dependents=True)
        assert done["also"] == [{"package": "mcoweb", "before": "1.0", "after": None}]

    @pytest.mark.parametrize("verb", ["uninstall", "purge"])
    def test_what_the_host_needs_is_never_removed(self, package: Package, verb: str) -> None:
        ask(package, "install", package="mcovital")
        with pytest.raises(ActionAborted, match=f"{verb} mcovital: .*the host would not work without it"):
            ask(package, verb, package="mcovital", with_dependents=True)
        assert ask(package, "status", package="mcovital")["installed"] is True

    def test_what_was_never_there_is_left_alone(self, package: Package) -> None:
        for verb in ("uninstall", "purge"):
            assert told(ask(package, verb, package="mconever")) == (False, None, None)


@pytest.mark.parametrize("verb", ["install", "update", "uninstall", "purge"])
def test_noop_says_what_would_be_and_changes_nothing(package: Package, root: Path, verb: str) -> None:
    if verb != "install":
        ask(package, "install", package="mcothing", version="1.0")
    before = status_file(root)
    after = {"install": "2.0", "update": "2.0"}.get(verb)
    answer = ask(package, verb, package="mcothing", noop=True)
    assert (answer["changed"], answer["after"]) == (True, after)
    assert status_file(root) == before


@pytest.mark.parametrize(
    "name", ["-o", "--help", "mco*", "a b", "../x", "x;id", "x\n", "", "ä", "x" * 10_000, "a/b", "a=1"]
)
@pytest.mark.parametrize("verb", ["install", "uninstall", "status"])
def test_what_is_no_name_reaches_no_command(package: Package, verb: str, name: str) -> None:
    with pytest.raises(InvalidData):
        ask(package, verb, package=name)


@pytest.mark.parametrize("version", ["-o", "1 2", "1;id", "1/2", "1=2", "*", "ä"])
def test_what_is_no_version_reaches_no_command(package: Package, version: str) -> None:
    with pytest.raises(InvalidData):
        ask(package, "install", package="mcothing", version=version)


class TestLists:
    def test_outdated_packages_are_listed_with_both_versions(self, package: Package) -> None:
        assert ask(package, "checkupdates")["count"] == 0
        ask(package, "install", package="mcothing", version="1.0")
        ask(package, "install", package="mcobase")
        found = ask(package, "checkupdates")
        outdated = {"package": "mcothing", "installed": "1.0", "version": "2.0", "repository": "localhost"}
        assert (found["outdated_packages"], found["count"]) == ([outdated], 1)
        assert found["lists_age_s"] >= 0

    def test_new_lists_are_new_only_once(self, template: Path, tmp_path: Path) -> None:
        root = make_root(tmp_path, Repository(tmp_path))
        (tmp_path / "repository/Packages").write_text("")
        package = Package(None, settings(root))
        assert ask(package, "checkupdates")["lists_age_s"] is None
        assert ask(package, "refresh")["changed"] is True
        assert ask(package, "refresh")["changed"] is False

    @pytest.mark.parametrize("gone", ["file:/nonexistent", "http://127.0.0.1:9/nonexistent"])
    def test_a_repository_that_is_gone_is_an_error(self, root: Path, gone: str) -> None:
        direct = ["-o", "Acquire::http::Proxy=DIRECT", "-o", "Acquire::Retries=0"]
        (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] {gone} ./\n")
        with pytest.raises(ActionAborted, match=r"refresh: .*/nonexistent"):
            ask(Package(None, settings(root, options=OPTIONS + direct)), "refresh")

    def test_installed_packages_are_listed(self, package: Package) -> None:
        ask(package, "install", package="mcothing")
        ask(package, "install", package="mcoweb")
        ask(package, "uninstall", package="mcothing")
        assert [it["name"] for it in ask(package, "list")["packages"]] == ["mcobase", "mcoweb"]
        assert ask(package, "list", pattern="^mcow")["count"] == 1
        with pytest.raises(InvalidData, match="input pattern"):
            ask(package, "list", pattern="(")

    def test_a_broken_database_is_no_empty_one(self, package: Package, root: Path) -> None:
        (root / "var/lib/dpkg/status").write_text("nonsense\n\n")
        for name, inputs in (("list", {}), ("status", {"package": "mcothing"})):
            with pytest.raises(ActionAborted, match="dpkg"):
                ask(package, name, **inputs)


class TestOthersAtWork:
    @staticmethod
    def lock(root: Path) -> int:
        fd = os.open(root / "var/lib/dpkg/lock-frontend", os.O_RDWR | os.O_CREAT, 0o640)
        fcntl.fcntl(fd, fcntl.F_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        return fd

    def test_who_holds_the_lock_is_told(self, root: Path) -> None:
        fd = self.lock(root)
        try:
            with pytest.raises(ActionAborted, match=f"another package tool is at work, and process {os.getpid()} "):
                ask(Package(None, settings(root, lock_timeout_s=0)), "install", package="mcothing")
        finally:
            os.close(fd)
        assert status_file(root) == ""

    def test_it_is_waited_for_and_what_apt_says_is_streamed(self, package: Package, root: Path) -> None:
        # Given somebody who lets go of the lock as soon as apt says that it waits for it
        fd = self.lock(root)
        heard: list[str] = []

        def tell(_stream: str, text: str, _data: object) -> None:
            if not any("Waiting for cache lock" in before for before in heard) and "Waiting for cache lock" in text:
                os.close(fd)
            heard.append(text)

        with working_for(Current(is_followed=True, tell=tell)):
            assert told(package.install("mcothing")) == (True, None, "2.0")
        assert "Setting up mcothing (2.0)" in "".join(heard)

    def test_two_at_once_both_succeed(self, package: Package, root: Path) -> None:
        answers: dict[str, Any] = {}

        def install(agent: Package, name: str) -> None:
            answers[name] = agent.install(name)

        other = Package(None, settings(root, lock_timeout_s=60))
        asked = [(package, "mcothing"), (package, "mcoweb"), (other, "mcoprovider")]
        threads = [threading.Thread(target=install, args=who) for who in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {name: answer["changed"] for name, answer in answers.items()} == {name: True for _, name in asked}

    def test_a_caller_does_not_wait_for_ever_for_another(self, package: Package) -> None:
        token = deadline.set(time.monotonic() + 0.2)
        try:
            with (
                package._turns.one("a change", 1),
                pytest.raises(ActionAborted, match="another change of this agent is still at work; nothing was done"),
            ):
                ask(package, "install", package="mcothing")
        finally:
            deadline.reset(token)


class TestTime:
    def test_nothing_is_begun_that_cannot_end(
        self, package: Package, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(apt_module, "SPARE_S", 1e6)
        with pytest.raises(TimedOut, match="install mcothing: no time was left to begin; nothing was changed"):
            ask(package, "install", package="mcothing")
        assert status_file(root) == ""

    def test_who_cancels_before_dpkg_is_obeyed(self, package: Package, root: Path) -> None:
        wish = Cancellation()
        wish.cancel("enough")
        with working_for(Current(cancellation=wish)), pytest.raises(Cancelled, match="enough"):
            package.install("mcothing")
        assert status_file(root) == ""


def test_a_simulation_is_read() -> None:
    # As apt-get 2.6 prints it
    printed = """\
Reading package lists...
Remv nginx-light [1.22.1-9]
Inst libc6 [2.36-9] (2.36-9+deb12u9 Debian:12.9/stable, Debian-Security:12/stable-security [amd64]) [libc-bin:amd64 ]
Inst base-files [12.4+deb12u5] (12.4+deb12u12 Debian:12.12/oldstable [amd64])
Inst new (1:1.0 localhost [all])
Conf new (1:1.0 localhost [all])
Conf half (3 localhost [all])
Purg old [2]
"""
    assert planned(printed) == (
        Change("base-files", "12.4+deb12u5", "12.4+deb12u12"),
        Change("half", None, "3"),
        Change("libc6", "2.36-9", "2.36-9+deb12u9"),
        Change("new", None, "1:1.0"),
        Change("nginx-light", "1.22.1-9", None),
        Change("old", "2", None),
    )
