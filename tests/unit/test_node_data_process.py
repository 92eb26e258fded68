# SPDX-License-Identifier: Apache-2.0
"""Counting processes, real ones, by their names."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_host import processes
from mco_node.data.process import Process
from mco_node.data.sources import Sources
from mco_rpc.errors import FilterError

Start = Callable[..., subprocess.Popen[bytes]]
# Nobody else's, another worker of this suite included; a process name has at most 15 characters.
NAME = f"mcod{os.getpid()}_"


def look(name: str, **settings: Any) -> dict[str, Any]:
    sources = Sources({"process": Process(settings=settings)})
    return dict(sources.query("process", (name,), time.monotonic() + 20))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a program under a name of its own; it says a line when it runs."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        program = tmp_path / name
        if not program.exists():
            shutil.copy2(shutil.which("sh") or "/bin/sh", program)
        command = [str(program), "-c", "echo; read x", name, *arguments]
        made = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(made)
        assert made.stdout is not None
        made.stdout.readline()
        return made

    yield begin
    for process in started:
        with process:  # closes its pipes, and waits
            process.kill()


def test_processes_are_found_by_their_whole_name(start: Start) -> None:
    # Given two processes of a name, and one of a longer one
    pids = sorted(start(NAME).pid for _ in range(2))
    start(f"{NAME}x")

    # When the name is asked for
    seen = look(NAME)

    # Then the two are told
    assert (seen["count"], seen["exists"], seen["pids"]) == (2, True, pids)
    assert seen["users"] == [pwd.getpwuid(os.getuid()).pw_name]
    assert 0 <= seen["youngest_s"] <= seen["oldest_s"] < 120
    assert seen["rss_bytes"] >= 2 * os.sysconf("SC_PAGE_SIZE")


def test_an_expression_is_found_anywhere_in_the_name(start: Start) -> None:
    start(NAME)
    start(f"{NAME}x")
    assert look(f"/^{NAME}/")["count"] == 2
    assert look(f"/{NAME[1:]}x$/")["count"] == 1
    assert look(NAME[:-1])["count"] == 0


def test_nobody_is_a_count_of_zero() -> None:
    assert look("no-such-program") == {
        "count": 0,
        "exists": False,
        "pids": [],
        "users": [],
        "oldest_s": None,
        "youngest_s": None,
        "rss_bytes": 0,
    }


@pytest.mark.parametrize("name", ["a-name-that-the-kernel-cuts", "x) S 1 (y", "exactly15chars_", "with space"])
def test_any_name_is_found(start: Start, name: str) -> None:
    pid = start(name).pid
    assert look(name)["pids"] == [pid]


def test_who_has_ended_does_not_count(start: Start) -> None:
    # Given a process that has ended, and whose parent has not asked how
    process = start(NAME)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{process.pid}").exists()
    assert look(NAME)["count"] == 0


def test_command_lines_are_looked_at_only_where_that_is_allowed(start: Start) -> None:
    # Given a process with a secret among its arguments
    pid = start(NAME, "--password=hunter2").pid

    # Then an expression cannot find it out, unless the administrator lets it
    assert look("/hunter2/")["count"] == 0
    assert look("/--password=hunter2$/", command_lines=True)["pids"] == [pid]
    line = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").replace("\0", " ")
    assert look(line, command_lines=True)["count"] == 0


@pytest.mark.parametrize("expression", ["/(a+)+$/", "/(a|aa)+$/", "/(.*)*x/"])
def test_no_expression_takes_long(start: Start, expression: str) -> None:
    start(NAME, "a" * 50_000)
    assert isinstance(look(expression, command_lines=True)["count"], int)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/(/", "regular expression /(/ cannot be used: missing ): ("),
        ("/(?=x)/", "regular expression /(?=x)/ cannot be used: invalid perl operator"),
        ("/" + "(" * 400 + ")" * 400 + "/", "at most 512 are allowed"),
        ("/((((x{1,1000}){1,1000}){1,1000}){1,1000})/", " cannot be used: "),
    ],
)
def test_what_is_no_expression_is_said_so(name: str, why: str) -> None:
    with pytest.raises(FilterError) as raised:
        look(name)
    assert why in str(raised.value)


@pytest.mark.parametrize("name", ["/", "//", "-x", "../1", "*", "\n"])
def test_anything_else_is_a_name(name: str) -> None:
    assert look(name)["count"] == 0


class TestFakes:
    """What cannot be made here for real: a /proc that hides processes, and one whose processes end meanwhile."""

    @pytest.fixture
    def proc(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        made = tmp_path / "proc"
        (made / "1").mkdir(parents=True)
        (made / "uptime").write_text("1000.0 1.0\n")
        fields = ["S"] + ["0"] * 18 + ["5000", "0", "7"]
        (made / "1" / "stat").write_text(f"1 (init) {' '.join(fields)}\n")
        monkeypatch.setattr(processes, "PROC", made)
        return made

    def test_the_numbers_are_read_from_their_places(self, proc: Path) -> None:
        (seen,) = processes.running()
        assert seen == processes.Seen(1, "init", started=5000, pages=7, threads=0)
        assert seen.age_s() == 1000 - 5000 / os.sysconf("SC_CLK_TCK")

    def test_who_ends_while_we_look_is_passed_over(self, proc: Path) -> None:
        (proc / "2").mkdir()
        assert [each.pid for each in processes.running()] == [1]
        assert processes.command_line(2) == ""
        assert processes.Seen(3, "gone", 0, 0).user() == ""

    def test_hidden_processes_are_an_error_and_not_a_count(self, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def denied(_path: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "read_bytes", denied)
        with pytest.raises(FilterError, match=r"process 1 is hidden from this node: .* is mounted with hidepid"):
            look("init")

    def test_a_node_that_sees_only_its_own_does_not_offer_it(self, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mco_node.data.process.PROC", proc)
        assert Process.activate_when({}) is None
        shutil.rmtree(proc / "1")
        assert Process.activate_when({}) == f"{proc} does not show the processes of others"


def test_it_is_offered_here() -> None:
    assert Process.activate_when({}) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes namespaces")
def test_in_a_namespace_only_its_processes_are_seen(start: Start) -> None:
    start(NAME)
    script = f"import sys; from mco_node.data.process import Process; print(Process().query('{NAME}')['count'])"
    command = ["unshare", "--fork", "--pid", "--mount-proc", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "0\n", done.stderr
