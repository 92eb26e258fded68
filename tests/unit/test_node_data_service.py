# SPDX-License-Identifier: Apache-2.0
"""The state of services: from real init scripts, and from what systemd prints."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from mco_host import init_scripts, systemd
from mco_node.data.service import Service, of_state
from mco_node.data.sources import Sources
from mco_rpc.errors import ActionAborted, FilterError


def look(name: str, **settings: Any) -> dict[str, Any]:
    sources = Sources({"service": Service(settings=settings)})
    return dict(sources.query("service", (name,), time.monotonic() + 20))


class TestInitScripts:
    @pytest.fixture(autouse=True)
    def scripts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A host of its own, without systemd."""
        made = tmp_path / "init.d"
        made.mkdir()
        monkeypatch.setattr(init_scripts, "SCRIPTS", made)
        monkeypatch.setattr(init_scripts, "RUN_LEVELS", tmp_path)
        monkeypatch.setattr(systemd, "RUNNING_HERE", tmp_path / "no-systemd")
        return made

    @staticmethod
    def write(scripts: Path, name: str, body: str, mode: int = 0o755) -> None:
        (scripts / name).write_text(f"#!/bin/sh\n{body}\n")
        (scripts / name).chmod(mode)

    @pytest.mark.parametrize(
        ("status", "state", "has_failed"),
        [(0, "running", False), (1, "stopped", True), (2, "stopped", True), (3, "stopped", False)],
    )
    def test_the_exit_status_is_the_state(self, scripts: Path, status: int, state: str, has_failed: bool) -> None:
        self.write(scripts, "web", f'[ "$1" = status ] && [ "$#" = 1 ] && exit {status}; exit 99')
        assert look("web") == {
            "present": True,
            "status": state,
            "failed": has_failed,
            "enabled": False,
            "state": f"exit status {status}",
            "manager": "init",
        }

    def test_a_script_that_cannot_say_is_an_error_and_not_a_stopped_service(self, scripts: Path) -> None:
        self.write(scripts, "web", "echo status of what? >&2; exit 4")
        with pytest.raises(
            FilterError, match=r"service\('web'\): it cannot say its status: .* status 4: status of what"
        ):
            look("web")

    def test_a_script_that_knows_no_status_is_not_run(self, scripts: Path, tmp_path: Path) -> None:
        self.write(scripts, "web", f"touch {tmp_path}/ran; exit 3")
        with pytest.raises(FilterError, match="has no word for its status"):
            look("web")
        assert not (tmp_path / "ran").exists()

    def test_a_service_that_starts_with_the_host_is_enabled(self, scripts: Path, tmp_path: Path) -> None:
        self.write(scripts, "web", "# status")
        for folder, link in (("rc0.d", "K01web"), ("rc3.d", "S20web-server"), ("rc4.d", "K01web"), ("rcS.d", "S01web")):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / link).symlink_to("../init.d/web")
        assert look("web")["enabled"] is False
        (tmp_path / "rc3.d" / "S01web").symlink_to("../init.d/web")
        assert Service().query("web")["enabled"] is True

    def test_no_script_is_no_service(self, scripts: Path) -> None:
        self.write(scripts, "notes", "# status", mode=0o644)
        (scripts / "folder").mkdir()
        for name in ("web", "notes", "folder"):
            seen = look(name)
            assert (seen["present"], seen["status"], seen["enabled"]) == (False, "missing", False)

    def test_a_script_sees_nothing_of_the_daemons_environment(
        self, scripts: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MCO_BROKERS", "amqp://lab:secret@broker/")
        self.write(scripts, "web", '# status\n[ -z "$MCO_BROKERS" ] && [ -n "$PATH" ] || exit 4')
        assert look("web")["status"] == "running"

    def test_a_script_that_hangs_is_killed(self, scripts: Path) -> None:
        self.write(scripts, "web", "# status\nsleep 600 & wait")
        with pytest.raises(FilterError, match="did not end before the deadline and was killed"):
            look("web", timeout_s=0.3)

    def test_it_is_offered_where_there_are_scripts(self, scripts: Path) -> None:
        assert Service.activate_when({}) == f"neither systemd runs here nor are there init scripts in {scripts}"
        self.write(scripts, "web", "")
        assert Service.activate_when({}) is None


@pytest.mark.skipif(not os.access("/etc/init.d/dbus", os.X_OK), reason="no init script of dbus here")
@pytest.mark.skipif(systemd.runs_here(), reason="systemd runs here")
def test_a_real_init_script_is_asked() -> None:
    seen = look("dbus")
    assert seen["present"] is True
    assert seen["status"] in ("running", "stopped")
    assert seen["enabled"] is any(Path("/etc").glob("rc[2-5].d/S??dbus"))


def fields(printed: str, name: str) -> dict[str, Any]:
    return of_state(systemd.of_unit(printed, name))


class TestSystemd:
    @pytest.mark.parametrize(
        ("load", "active", "unit_file", "expected"),
        [
            ("loaded", "active", "enabled", ("running", True, False, True)),
            ("loaded", "reloading", "enabled-runtime", ("running", True, False, True)),
            ("loaded", "active", "static", ("running", True, False, False)),
            ("loaded", "activating", "disabled", ("starting", True, False, False)),
            ("loaded", "deactivating", "disabled", ("stopping", True, False, False)),
            ("loaded", "inactive", "disabled", ("stopped", True, False, False)),
            ("loaded", "failed", "enabled", ("stopped", True, True, True)),
            ("masked", "inactive", "masked", ("stopped", True, False, False)),
            ("masked", "active", "masked", ("running", True, False, False)),
            ("not-found", "inactive", "", ("missing", False, False, False)),
            ("not-found", "active", "", ("running", False, False, False)),
        ],
    )
    def test_what_it_prints_is_the_state(
        self, load: str, active: str, unit_file: str, expected: tuple[str, bool, bool, bool]
    ) -> None:
        printed = f"LoadState={load}\nActiveState={active}\nUnitFileState={unit_file}\n"
        seen = fields(printed, "web")
        assert (seen["status"], seen["present"], seen["failed"], seen["enabled"]) == expected
        assert (seen["state"], seen["manager"]) == (active, "systemd")

    def test_an_init_script_under_systemd_is_enabled_by_its_links(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(init_scripts, "RUN_LEVELS", tmp_path)
        printed = "LoadState=loaded\nActiveState=active\nUnitFileState=generated\n"
        assert fields(printed, "web.service")["enabled"] is False
        (tmp_path / "rc2.d").mkdir()
        (tmp_path / "rc2.d" / "S01web").touch()
        assert fields(printed, "web.service")["enabled"] is True

    @pytest.mark.parametrize("printed", ["", "nonsense", "LoadState=loaded\n"])
    def test_anything_else_is_an_error(self, printed: str) -> None:
        with pytest.raises(ActionAborted, match="systemctl did not say the state of web, but"):
            fields(printed, "web")

    def test_systemctl_is_asked_with_the_name_after_all_options(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a host that systemd runs, as far as can be seen, and a command that notes how it is called
        (tmp_path / "systemctl").write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/called\n'
            'printf "LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n"\n'
        )
        (tmp_path / "systemctl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setattr(systemd, "RUNNING_HERE", tmp_path)

        assert look("getty@tty1.service")["status"] == "running"
        assert (tmp_path / "called").read_text().split() == [
            "show",
            f"--property={systemd.PROPERTIES}",
            "--",
            "getty@tty1.service",
        ]
        assert Service.activate_when({}) is None

    def test_a_systemd_that_does_not_answer_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "systemctl").write_text("#!/bin/sh\necho no bus >&2; exit 1\n")
        (tmp_path / "systemctl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setattr(systemd, "RUNNING_HERE", tmp_path)
        with pytest.raises(FilterError, match="ended with status 1: no bus"):
            look("web")


@pytest.mark.parametrize(
    "name", ["", "-h", "--all", "../passwd", "a/b", "*", "a b", "x\n", ".", "..", "[a]", "$(x)", "é"]
)
def test_what_is_no_name_is_said_so(name: str) -> None:
    with pytest.raises(FilterError, match="expected the name of a service such as cron or getty@tty1, got "):
        look(name)


def test_a_long_name_is_refused() -> None:
    with pytest.raises(FilterError, match="10000 characters; at most 255 are allowed"):
        look("x" * 10_000)
