# SPDX-License-Identifier: Apache-2.0
"""Who is ended by the mark of a call: who was started by it, and nobody who only says so."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
from collections.abc import Callable, Iterator

import pytest

from mco_rpc import strays
from mco_rpc.strays import VARIABLE, end_strays, new_mark

Start = Callable[..., "subprocess.Popen[bytes]"]
NOBODY = pwd.getpwnam("nobody").pw_uid
PATIENCE_S = 60.0
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run it as somebody else")


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process with a mark, that sleeps; it is ended afterwards."""
    with contextlib.ExitStack() as stack:

        def started(mark: str, user: int | None = None, **more: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                ["sleep", "600"], env={VARIABLE: mark, "PATH": os.environ["PATH"], **more}, user=user, cwd="/"
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield started


def test_who_has_the_mark_is_ended(start: Start) -> None:
    mark = new_mark()
    ours, other = start(mark), start(new_mark())
    assert end_strays(mark) == 1
    assert ours.wait(PATIENCE_S) == -9
    assert other.poll() is None


def test_a_part_of_the_mark_is_none(start: Start) -> None:
    mark = new_mark()
    near = [start(f"{mark}x"), start("y", OTHER=f"{VARIABLE}={mark}")]
    assert end_strays(mark) == 0
    assert [process.poll() for process in near] == [None, None]


@needs_root
def test_another_user_who_says_so_is_let_alone_unless_the_command_ran_as_that_user(start: Start) -> None:
    mark = new_mark()
    theirs = start(mark, NOBODY)
    assert end_strays(mark) == 0
    assert theirs.poll() is None
    assert end_strays(mark, NOBODY) == 1
    assert theirs.wait(PATIENCE_S) == -9


@needs_root
def test_what_another_user_has_for_an_environment_is_not_even_read(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For it can be without end, or in a file that is never answered
    theirs = start(new_mark(), NOBODY)
    read: list[int] = []
    real = strays._environment
    monkeypatch.setattr(strays, "_environment", lambda pid: read.append(pid) or real(pid))
    end_strays(new_mark())
    assert os.getppid() in read
    assert theirs.pid not in read


def test_of_a_large_environment_only_so_much_is_read(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays, "_MAX_ENVIRONMENT_BYTES", 64 * 1024)
    mark = new_mark()
    process = start(mark, **{f"A{number}": "x" * 60_000 for number in range(20)})
    assert len(b"\0".join(strays._environment(process.pid))) <= 128 * 1024


def test_a_number_that_was_given_away_anew_is_not_ended(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a process that ends while it is looked at, and whose number another one then has
    mark = new_mark()
    process = start(mark)

    def late(pid: int) -> list[bytes]:
        if pid == process.pid:
            process.kill()
            process.wait()
        return [f"{VARIABLE}={mark}".encode()] if pid == process.pid else []

    monkeypatch.setattr(strays, "_environment", late)

    # Then no signal goes to the number
    assert end_strays(mark) == 0
