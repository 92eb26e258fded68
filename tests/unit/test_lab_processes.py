# SPDX-License-Identifier: Apache-2.0
"""Processes are told apart from later ones with the same number, waited for, and killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mco_lab import process, readiness
from mco_lab.errors import LabError
from mco_lab.process import ProcessId, children_of, end, parent_of, tail

SLEEP = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]


@contextlib.contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEP) as child:
        try:
            yield child
        finally:
            child.kill()


def start(program: str, folder: Path, label: str = "it") -> readiness.Start:
    def argv(fd: int) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", f"import os, sys, time; fd = {fd}\n{program}"]

    return readiness.spawn(label, folder / f"{label}.log", argv, dict(os.environ))


def test_a_process_is_known_by_its_number_and_its_beginning():
    with sleeper() as child:
        known = ProcessId.of(child.pid)
        assert known is not None
        assert known.is_running
        assert children_of(os.getpid()).count(child.pid) == 1
        assert parent_of(known) == ProcessId.of(os.getpid())

        later = msgspec.structs.replace(known, start_ticks=known.start_ticks + 1)
        assert not later.is_running
        assert not later.send(signal.SIGKILL)
        assert later.wait(0)
        assert known.is_running
        assert not known.wait(0)

        assert end([later, known]) == []
        assert known.wait(0)
        assert not known.is_running  # though not yet reaped
    assert ProcessId.of(child.pid) is None
    assert parent_of(known) is None
    assert known.wait(0)
    assert not known.send(signal.SIGKILL)


def test_what_outlives_the_kill_is_returned(monkeypatch):
    monkeypatch.setattr(process.signal, "pidfd_send_signal", lambda *_: None)
    with sleeper() as child:
        known = ProcessId.of(child.pid)
        assert end([known], timeout_s=0) == [known]


def test_the_system_folders_are_on_the_path():
    environment = process.system_environment({"PATH": "/bin::/sbin", "X": "1"})
    assert environment == {"PATH": "/bin:/sbin:/usr/sbin", "X": "1"}


def test_the_end_of_a_log(tmp_path):
    log = tmp_path / "log"
    assert tail(log) == f"its log {log} cannot be read: No such file or directory"
    log.write_text("\n")
    assert tail(log) == f"its log {log} is empty"
    log.write_text("one\ntwo\nthree\n")
    assert tail(log, lines=2) == "its log ends with:\n    two\n    three"


def test_all_that_are_ready_are_waited_for(tmp_path):
    late = (
        "time.sleep(0.05); os.write(fd, b'REA'); time.sleep(0.05); os.write(fd, b'DY with notes\\n'); time.sleep(600)"
    )
    starts = [start("os.write(fd, b'READY=1\\n')", tmp_path, "early"), start(late, tmp_path, "late")]
    try:
        readiness.wait(starts, 60)
        assert [each.said for each in starts] == [b"READY=1\n", b"READY with notes\n"]
    finally:
        for each in starts:
            each.child.kill()
            each.child.wait()


def test_every_failure_is_told(tmp_path):
    programs = {
        "good": "os.write(fd, b'READY\\n')",
        "dead": "print('because', flush=True); sys.exit(4)",
        "mute": "os.close(fd); time.sleep(600)",
        "slow": "print('thinking', flush=True); time.sleep(600)",
        "wrong": "os.write(fd, b'ERROR\\n')",
    }
    starts = [start(program, tmp_path, label) for label, program in programs.items()]
    try:
        with pytest.raises(LabError) as caught:
            readiness.wait(starts, 2)
    finally:
        for each in starts:
            each.child.kill()
            each.child.wait()
    said = str(caught.value)
    assert said.startswith("4 of 5 did not start: ")
    assert "dead ended with status 4 before it was ready; its log ends with:\n    because" in said
    assert "mute closed its --ready-fd before it was ready" in said
    assert "slow was not ready within 2 s; its log ends with:\n    thinking" in said
    assert "wrong ended with status 0 before it was ready" in said
    assert "good" not in said


def test_nothing_stays_open_if_a_program_cannot_be_started(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        readiness.spawn("it", tmp_path / "log", lambda _fd: ["/no/such/program"], {})
    assert len(list(Path("/proc/self/fd").iterdir())) == before
