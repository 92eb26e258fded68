# SPDX-License-Identifier: Apache-2.0
"""The cron agent in a root of its own: what it shows of what others wrote, and what it writes itself."""

from __future__ import annotations

import os
import pwd
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mco_agents.cron import MARK, Cron
from mco_host import cron as host_cron
from mco_host import cron_schedule
from mco_rpc.errors import ActionAborted, InvalidData, MissingData

from .asking import ask

ME = pwd.getpwuid(os.getuid()).pw_name
NIGHTLY = {"name": "backup", "schedule": "30 2 * * *", "user": ME, "command": "/usr/bin/backup --to '100%'"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host without jobs."""
    monkeypatch.setattr(host_cron, "ROOT", tmp_path)
    monkeypatch.setattr(host_cron, "OWNER_UID", os.getuid())
    (tmp_path / "etc/cron.d").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def cron() -> Cron:
    return Cron(None, {})


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


class TestEnsure:
    def test_a_job_is_written_once(self, root: Path, cron: Cron) -> None:
        text = f"{MARK}\n30 2 * * * {ME} /usr/bin/backup --to '100\\%'\n"
        first = ask(cron, "ensure", **NIGHTLY)
        assert (first["changed"], first["before"], first["after"]) == (True, None, text)
        assert first["next_run_at"]
        file = root / "etc/cron.d/backup"
        assert (file.read_text(), file.stat().st_mode & 0o7777) == (text, 0o644)
        assert [path.name for path in file.parent.iterdir()] == ["backup"]
        second = ask(cron, "ensure", **NIGHTLY)
        assert (second["changed"], second["before"], second["after"]) == (False, text, text)

    def test_what_it_wrote_is_read_as_cron_reads_it(self, root: Path, cron: Cron) -> None:
        ask(cron, "ensure", **NIGHTLY)
        seen = ask(cron, "status", name="backup")
        assert (seen["present"], seen["is_ours"], len(seen["jobs"])) == (True, True, 1)
        job = seen["jobs"][0]
        assert (job["schedule"], job["user"], job["problem"]) == ("30 2 * * *", ME, "")
        assert job["next_run_at"] == seen["next_run_at"]

    @pytest.mark.parametrize("harm", ["text", "mode"])
    def test_what_somebody_changed_is_put_right(self, root: Path, cron: Cron, harm: str) -> None:
        ask(cron, "ensure", **NIGHTLY)
        file = root / "etc/cron.d/backup"
        right = file.read_text()
        if harm == "text":
            file.write_text(f"{right}* * * * * root id\n")
        else:
            file.chmod(0o666)
        assert ask(cron, "ensure", **NIGHTLY)["changed"] is True
        assert (file.read_text(), file.stat().st_mode & 0o7777) == (right, 0o644)

    def test_what_others_wrote_is_left_alone_unless_forced(self, root: Path, cron: Cron) -> None:
        write(root / "etc/cron.d/backup", "0 1 * * * root of-a-package\n")
        for name, inputs in (("ensure", NIGHTLY), ("remove", {"name": "backup"})):
            with pytest.raises(ActionAborted, match="this agent did not write it, and a package may have; force=true"):
                ask(cron, name, **inputs)
        assert ask(cron, "status", name="backup")["is_ours"] is False
        assert ask(cron, "ensure", **NIGHTLY, force=True)["before"] == "0 1 * * * root of-a-package\n"

    def test_a_link_is_not_followed(self, root: Path, cron: Cron) -> None:
        write(root / "secret", f"{MARK}\n")
        (root / "etc/cron.d/backup").symlink_to(root / "secret")
        for name, inputs in (("ensure", NIGHTLY), ("remove", {"name": "backup"}), ("status", {"name": "backup"})):
            with pytest.raises(ActionAborted, match="it may be a link"):
                ask(cron, name, **inputs)
        assert (root / "secret").read_text() == f"{MARK}\n"

    def test_what_is_no_file_does_not_hang(self, root: Path, cron: Cron) -> None:
        os.mkfifo(root / "etc/cron.d/backup")
        with pytest.raises(ActionAborted, match="is no file of jobs"):
            ask(cron, "ensure", **NIGHTLY)

    @pytest.mark.parametrize("rest", [".backup.mco-new"])
    def test_what_an_earlier_run_left_is_no_trouble(self, root: Path, cron: Cron, rest: str) -> None:
        (root / "etc/cron.d" / rest).symlink_to(root / "elsewhere")
        assert ask(cron, "ensure", **NIGHTLY)["changed"] is True
        assert not (root / "elsewhere").exists()
        assert [path.name for path in (root / "etc/cron.d").iterdir()] == ["backup"]

    def test_noop_writes_nothing(self, root: Path, cron: Cron) -> None:
        answer = ask(cron, "ensure", noop=True, **NIGHTLY)
        assert (answer["changed"], answer["present"], answer["before"]) == (True, False, None)
        assert "backup" in answer["after"]
        assert not list((root / "etc/cron.d").iterdir())

    def test_an_unknown_user_is_an_error_with_the_nearest(self, root: Path, cron: Cron) -> None:
        with pytest.raises(ActionAborted, match=r"there is no user roto on this node, did you mean root\?"):
            ask(cron, "ensure", **{**NIGHTLY, "user": "roto"})

    @pytest.mark.parametrize(
        "harm",
        [
            {"command": "id\n* * * * * root reboot"},
            {"command": "id\r"},
            {"command": "id\0"},
            {"command": "id\u2028x"},
            {"command": "   "},
            {"command": "date +\\%F"},
            {"command": "x" * 901},
            {"user": "root\n"},
            {"user": "root id;"},
            {"user": "-u"},
            {"name": "../x"},
            {"name": "a.b"},
            {"name": "-x"},
            {"name": "x\n"},
            {"name": ""},
            {"name": "ä"},
            {"name": "x" * 101},
            {"schedule": "* * * * *\n* * * * * root id"},
            {"schedule": "* * * *"},
            {"schedule": "@often"},
            {"schedule": ""},
        ],
    )
    def test_what_would_be_another_line_or_another_file_is_refused(
        self, root: Path, cron: Cron, harm: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidData):
            ask(cron, "ensure", **{**NIGHTLY, **harm})
        assert not list((root / "etc/cron.d").iterdir())

    def test_all_of_it_is_needed(self, cron: Cron) -> None:
        with pytest.raises(MissingData):
            ask(cron, "ensure", name="x", schedule="@daily")


class TestRemove:
    def test_a_job_is_removed_once(self, root: Path, cron: Cron) -> None:
        text = ask(cron, "ensure", **NIGHTLY)["after"]
        assert ask(cron, "remove", noop=True, name="backup")["changed"] is True
        assert (root / "etc/cron.d/backup").exists()
        answer = ask(cron, "remove", name="backup")
        assert (answer["changed"], answer["before"], answer["after"]) == (True, text, None)
        assert not (root / "etc/cron.d/backup").exists()
        assert ask(cron, "remove", name="backup")["changed"] is False
        assert ask(cron, "status", name="backup")["present"] is False


class TestList:
    def test_jobs_are_found_wherever_they_are_written(self, root: Path, cron: Cron) -> None:
        write(
            root / "etc/crontab",
            "SHELL=/bin/sh\n# m h dom mon dow user command\n17 *\t* * *\troot  cd / && run-parts /etc/cron.daily\n",
        )
        write(root / "etc/cron.d/pkg", "MAILTO = ops\n@reboot root at-start\n*/5 * * * * www-data five --x  y\n")
        write(root / "var/spool/cron/crontabs/alice", "0 9 * * mon-fri work\n", 0o600)
        write(root / "etc/cron.daily/rotate", "#!/bin/sh\n", 0o755)
        found = ask(cron, "list")
        assert [(job["kind"], job["name"], job["schedule"], job["user"], job["command"]) for job in found["jobs"]] == [
            ("system", "crontab", "17 * * * *", "root", "cd / && run-parts /etc/cron.daily"),
            ("drop-in", "pkg", "@reboot", "root", "at-start"),
            ("drop-in", "pkg", "*/5 * * * *", "www-data", "five --x  y"),
            ("user", "alice", "0 9 * * mon-fri", "alice", "work"),
            ("periodic", "rotate", "17 * * * *", "root", "/etc/cron.daily/rotate"),
        ]
        assert (found["count"], found["passed_over"]) == (5, 0)
        assert [bool(job["next_run_at"]) for job in found["jobs"]] == [True, False, True, True, True]
        assert [job["name"] for job in ask(cron, "list", user="alice")["jobs"]] == ["alice"]

    @pytest.mark.parametrize(
        ("name", "text", "mode", "problem"),
        [
            ("a.dpkg-dist", "@daily root x\n", 0o644, "the name of its file has other characters"),
            ("a", "@daily root x\n", 0o666, "others than its owner may write to its file"),
            ("a", "@daily root x", 0o644, "its last line does not end"),
            ("a", "61 * * * * root x\n", 0o644, "it has a wrong minute"),
            ("a", "0 0 30 2 * root x\n", 0o644, "it has a wrong day-of-month"),
            ("a", "* * * * * root\n", 0o644, "the line is too short"),
            ("a", "nonsense\n", 0o644, "the line is too short"),
        ],
    )
    def test_why_cron_passes_a_job_over_is_told(
        self, root: Path, cron: Cron, name: str, text: str, mode: int, problem: str
    ) -> None:
        write(root / "etc/cron.d" / name, text, mode)
        found = ask(cron, "list")
        assert found["passed_over"] == 1
        assert problem in found["jobs"][0]["problem"]
        assert found["jobs"][0]["next_run_at"] is None

    def test_a_script_that_nothing_runs_is_told(self, root: Path, cron: Cron) -> None:
        for name, mode in (("fine", 0o755), ("off", 0o644), ("x.sh", 0o755)):
            write(root / "etc/cron.hourly" / name, "", mode)
        assert [job["problem"] for job in ask(cron, "list")["jobs"]] == [
            "nothing in /etc/crontab runs /etc/cron.hourly",
            "it is not executable",
            "its name has other characters than letters, digits, - and _",
        ]

    def test_a_file_that_is_none_hides_no_other(self, root: Path, cron: Cron) -> None:
        os.mkfifo(root / "etc/crontab")
        write(root / "etc/cron.d/binary", "\0\xff\n")
        write(root / "etc/cron.d/fine", "@daily root x\n")
        assert "fine" in [job["name"] for job in ask(cron, "list")["jobs"]]


def test_it_is_offered_where_cron_is(root: Path) -> None:
    assert Cron.activate_when({}) is None
    (root / "etc/cron.d").rmdir()
    assert Cron.activate_when({}) == f"there is no folder {root}/etc/cron.d: is cron installed?"


class TestSchedule:
    NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("schedule", "due"),
        [
            ("* * * * *", "2026-03-10T12:01"),
            ("30 2 * * *", "2026-03-11T02:30"),
            ("*/20 * * * *", "2026-03-10T12:20"),
            ("0 0 13 * 5", "2026-03-13T00:00"),
            ("0 0 * * sun", "2026-03-15T00:00"),
            ("0 0 * * 7", "2026-03-15T00:00"),
            ("0 0 29 feb *", "2028-02-29T00:00"),
            ("5-10/5,40 0 1 1-3,12 *", "2026-12-01T00:05"),
            ("@hourly", "2026-03-10T13:00"),
            ("@yearly", "2027-01-01T00:00"),
        ],
    )
    def test_the_next_run_is_found(self, schedule: str, due: str) -> None:
        cron_schedule.check(schedule)
        assert cron_schedule.next_run(schedule, self.NOW) == datetime.fromisoformat(f"{due}+00:00")

    @pytest.mark.parametrize(
        "schedule",
        [
            "* * * * * *", "L * * * *", "0 0 L * *", "0 0 * * 5L", "0 0 * * mon#2", "0 0 31 2 *", "60 * * * *",
            "* 24 * * *", "5/10 * * * *", "*/0 * * * *", "9-5 * * * *", "a * * * *", "1,,2 * * * *", "@", "@Daily",
            "-1 * * * *", "* * * 13 *", "* * * foo *", "\u0663 * * * *", "* * * * 8",
        ],
    )  # fmt: skip
    def test_what_cron_would_not_take_is_refused(self, schedule: str) -> None:
        with pytest.raises(ValueError):
            cron_schedule.check(schedule)

    def test_the_hour_that_is_left_out_in_spring_is_not_promised(self, monkeypatch: pytest.MonkeyPatch) -> None:
        berlin = ZoneInfo("Europe/Berlin")
        before = datetime(2026, 3, 28, 12, 0, tzinfo=berlin)
        due = cron_schedule.next_run("30 2 * * *", before)
        assert due is not None
        assert due.utcoffset() == timedelta(hours=2)
        assert due.isoformat() == "2026-03-29T03:00:00+02:00"

    def test_the_host_without_a_zone_goes_by_utc(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cron_schedule, "LOCAL_TIME", tmp_path / "none")
        assert cron_schedule.local_zone().key == "UTC"
