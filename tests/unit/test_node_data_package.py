# SPDX-License-Identifier: Apache-2.0
"""Installed packages: of a real dpkg with a database of its own, and from what rpm prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from mco_host import packages
from mco_node.data.package import Package, of_state
from mco_node.data.sources import Sources
from mco_rpc.command import Completed
from mco_rpc.errors import ActionAborted, ConfigError, FilterError

CONTROL = """\
Package: {name}
Version: {version}
Architecture: all
Provides: {provides}
Maintainer: Nobody <nobody@example.net>
Description: nothing
"""


def look(name: str, **settings: Any) -> dict[str, Any]:
    sources = Sources({"package": Package(settings=settings)})
    return dict(sources.query("package", (name,), time.monotonic() + 20))


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg here")
class TestDpkg:
    @pytest.fixture(autouse=True)
    def database(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A database of packages without any."""
        made = tmp_path / "dpkg"
        for folder in ("updates", "info", "triggers"):
            (made / folder).mkdir(parents=True)
        (made / "status").touch()
        (made / "available").touch()
        monkeypatch.setenv("DPKG_ADMINDIR", str(made))
        return made

    @staticmethod
    def dpkg(tmp_path: Path, *arguments: str) -> None:
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        command = ["dpkg", "--force-not-root", f"--instdir={tmp_path}", "--log=/dev/null", *arguments]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PATH": path})

    def install(self, tmp_path: Path, name: str, version: str, provides: str = "") -> None:
        folder = tmp_path / f"build-{name}"
        (folder / "DEBIAN").mkdir(parents=True)
        (folder / "etc").mkdir()
        (folder / "etc" / f"{name}.conf").touch()
        (folder / "DEBIAN" / "conffiles").write_text(f"/etc/{name}.conf\n")
        control = CONTROL.format(name=name, version=version, provides=provides)
        (folder / "DEBIAN" / "control").write_text(control.replace("Provides: \n", ""))
        deb = tmp_path / f"{name}.deb"
        subprocess.run(["dpkg-deb", "--build", str(folder), str(deb)], check=True, capture_output=True)
        self.dpkg(tmp_path, "-i", str(deb))

    def test_an_installed_package_is_all_that_dpkg_says(self, tmp_path: Path) -> None:
        self.install(tmp_path, "mcodata", "2:1.22.1-9+deb12u1", "httpd, httpd-cgi (= 3)")
        assert look("mcodata") == {
            "installed": True,
            "version": "2:1.22.1-9+deb12u1",
            "epoch": 2,
            "upstream": "1.22.1",
            "revision": "9+deb12u1",
            "status": "installed",
            "held": False,
            "architectures": ["all"],
            "provides": ["httpd", "httpd-cgi"],
            "manager": "dpkg",
        }

    @pytest.mark.parametrize(
        ("version", "epoch", "upstream", "revision"),
        [("1.0", 0, "1.0", None), ("1.0-rc1-2", 0, "1.0-rc1", "2"), ("1:20240101", 1, "20240101", None)],
    )
    def test_versions_are_taken_apart(
        self, tmp_path: Path, version: str, epoch: int, upstream: str, revision: str | None
    ) -> None:
        self.install(tmp_path, "mcodata", version)
        seen = look("mcodata")
        assert (seen["version"], seen["epoch"], seen["upstream"], seen["revision"]) == (
            version,
            epoch,
            upstream,
            revision,
        )
        assert seen["provides"] == []

    def test_a_package_that_is_not_there_is_not_installed(self) -> None:
        seen = look("mcodata")
        assert (seen["installed"], seen["status"], seen["manager"]) == (False, "not-installed", "dpkg")
        assert seen["version"] is None

    def test_a_removed_package_whose_configuration_is_left_is_not_installed(self, tmp_path: Path) -> None:
        self.install(tmp_path, "mcodata", "1.0")
        self.dpkg(tmp_path, "-r", "mcodata")
        seen = look("mcodata")
        assert (seen["installed"], seen["status"], seen["version"]) == (False, "config-files", "1.0")

    def test_a_held_package_is_told(self, tmp_path: Path) -> None:
        self.install(tmp_path, "mcodata", "1.0")
        subprocess.run(["dpkg", "--set-selections"], input=b"mcodata hold\n", check=True, capture_output=True)
        assert (look("mcodata")["installed"], look("mcodata")["held"]) == (True, True)

    def test_a_name_stands_for_no_other(self, tmp_path: Path) -> None:
        self.install(tmp_path, "mcodata2", "1.0")
        assert look("mcodata")["installed"] is False

    def test_a_broken_database_is_an_error_and_not_a_missing_package(self, database: Path) -> None:
        (database / "status").write_text("nonsense\n\n")
        with pytest.raises(FilterError, match=r"package\('mcodata'\): dpkg-query did not answer as expected: "):
            look("mcodata")


def test_several_architectures_are_one_package() -> None:
    printed = (
        "install\tconfig-files\ti386\t1.0\t\t\t\tlibx\ninstall\tinstalled\tamd64\t2.0-1\tx\t\t\tlibx\n"
        "install\tinstalled\tarm64\t2.0-1\tx\t\t\tlibx\n"
    )
    seen = of_state(packages.of_dpkg(Completed(("dpkg-query",), 0, printed, ""), "libx"))
    assert (seen["version"], seen["architectures"]) == ("2.0-1", ["amd64", "arm64"])


def test_a_selection_that_was_never_installed_has_no_version() -> None:
    seen = of_state(
        packages.of_dpkg(Completed(("dpkg-query",), 0, "install\tnot-installed\tamd64\t\t\t\t\tlibx\n", ""), "libx")
    )
    assert (seen["installed"], seen["version"], seen["upstream"], seen["status"]) == (
        False,
        None,
        None,
        "not-installed",
    )


class TestRpm:
    """As rpm 4.18 prints it."""

    @pytest.mark.parametrize(
        ("printed", "version", "epoch", "provides"),
        [
            ("3\t1.2.3\t4.el9\tnoarch\tmcotest thing \tmcotest\n", "3:1.2.3-4.el9", 3, ["thing"]),
            ("0\t1.2.3\t4.el9\tx86_64\tmcotest mcotest(x86-64) \tmcotest\n", "1.2.3-4.el9", 0, ["mcotest(x86-64)"]),
            ("0\t5.14\t1\tx86_64\t\tmcotest\n0\t5.14\t2\tx86_64\t\tmcotest\n", "5.14-2", 0, []),
        ],
    )
    def test_an_installed_package(self, printed: str, version: str, epoch: int, provides: list[str]) -> None:
        seen = of_state(packages.of_rpm(Completed(("rpm",), 0, printed, ""), "mcotest"))
        assert (seen["installed"], seen["version"], seen["epoch"], seen["provides"]) == (True, version, epoch, provides)
        assert (seen["status"], seen["manager"]) == ("installed", "rpm")

    def test_a_package_that_is_not_there(self) -> None:
        done = Completed(("rpm",), 1, "package mcotest is not installed\n", "")
        assert packages.of_rpm(done, "mcotest").is_installed is False

    @pytest.mark.parametrize(
        "done",
        [
            Completed(("rpm",), 1, "package x is not installed\n", "error: cannot open Packages index"),
            Completed(("rpm",), 2, "", "oops"),
            Completed(("rpm",), 0, "", ""),
            Completed(("rpm",), 0, "one\ttwo\n", ""),
        ],
    )
    def test_anything_else_is_an_error_and_not_a_missing_package(self, done: Completed) -> None:
        with pytest.raises(ActionAborted, match="rpm did not answer as expected: "):
            packages.of_rpm(done, "x")

    def test_rpm_is_asked_with_the_name_after_all_options(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a command that notes how it is called
        (tmp_path / "rpm").write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/called\nprintf "0\\t1\\t2\\tx86_64\\t\\tbash\\n"\n'
        )
        (tmp_path / "rpm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        assert look("bash", manager="rpm")["version"] == "1-2"
        called = (tmp_path / "called").read_text().split("\n")
        assert called[0] == "--query"
        assert called[-3:] == ["--", "bash", ""]


def test_which_manager_is_asked_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Package.activate_when({"manager": "rpm"}) is None
    with pytest.raises(ConfigError, match="data: package: manager: 'yum' is not one of dpkg, rpm"):
        Package(settings={"manager": "yum"})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Package.activate_when({}) == "none of dpkg-query, rpm is installed"


@pytest.mark.parametrize(
    "name", ["", "-h", "--all", "../x", "a/b", "*", "lib*", "a b", "x\n", "[a]", "a?", "${x}", "a:*"]
)
def test_what_is_no_name_is_said_so(name: str) -> None:
    with pytest.raises(FilterError, match=r"expected the name of a package such as openssl or libc6:amd64, got "):
        look(name, manager="dpkg")


def test_a_long_name_is_refused() -> None:
    with pytest.raises(FilterError, match="10000 characters; at most 255 are allowed"):
        look("x" * 10_000, manager="dpkg")
