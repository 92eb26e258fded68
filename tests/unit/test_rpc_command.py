# SPDX-License-Identifier: Apache-2.0
"""Commands end by themselves or at their deadline, with all they started; their output is bounded."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mco_rpc import command
from mco_rpc.command import MAX_OUTPUT_BYTES, Completed, command_exists, run
from mco_rpc.current import Cancellation
from mco_rpc.errors import ActionAborted, Cancelled, MessageError, TimedOut

PATIENCE_S = 60.0


def do(*argv: str, seconds: float = PATIENCE_S, stdin: bytes = b"", check: bool = False) -> Completed:
    return run(argv, deadline=time.monotonic() + seconds, stdin=stdin, check=check)


def shell(script: str, *args: str, seconds: float = PATIENCE_S, stdin: bytes = b"") -> Completed:
    return do("sh", "-c", script, "sh", *args, seconds=seconds, stdin=stdin)


@pytest.fixture
def left_behind(tmp_path: Path) -> Iterator[Path]:
    """A file for the number of a process that a test leaves behind; it is ended here if it still runs."""
    file = tmp_path / "pid"
    yield file
    if file.exists() and file.read_text().strip():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)


def test_what_a_command_says_and_how_it_ends_is_told() -> None:
    done = shell("echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr, done.is_truncated) == (3, "out\n", "err\n", False)
    assert str(done).endswith("ended with status 3: err")
    assert str(shell("echo only out; exit 1")).endswith("ended with status 1: only out")
    assert str(do("true")) == "`true` ended with status 0"


def test_words_are_words_and_no_shell_reads_them() -> None:
    words = ["; rm -rf /", "$(id)", "a  b", "*", "-n", ""]
    assert do("printf", r"%s\0", *words).stdout.split("\0")[:-1] == words


def test_a_failure_aborts_if_that_is_asked_for() -> None:
    with pytest.raises(ActionAborted, match=r"^`false` ended with status 1$"):
        do("false", check=True)
    assert do("true", check=True).returncode == 0


def test_a_command_that_is_not_there_is_named() -> None:
    with pytest.raises(ActionAborted, match=r"`no-such-command` cannot be started: No such file.*is it installed"):
        do("no-such-command")
    with pytest.raises(ActionAborted, match="`/` cannot be started: Permission denied"):
        do("/")


@pytest.mark.parametrize("word", ["a\0b", "\ud800"])
def test_a_word_that_no_command_can_be_given_is_refused(word: str) -> None:
    with pytest.raises(ActionAborted, match="`echo` cannot be given such an argument"):
        do("echo", word)


def test_input_is_fed_and_ended() -> None:
    assert do("cat", stdin=b"abc").stdout == "abc"
    assert do("cat").stdout == ""
    assert do("wc", "-c", stdin=bytes(3_000_000)).stdout.strip() == "3000000"


def test_input_and_output_larger_than_any_pipe_do_not_block_each_other() -> None:
    done = do("cat", stdin=b"x" * 2_000_000)
    assert done.stdout == "x" * MAX_OUTPUT_BYTES
    assert done.is_truncated


def test_input_that_nobody_reads_is_no_error() -> None:
    assert do("true", stdin=bytes(3_000_000)).returncode == 0
    assert shell("exec 0<&-; echo done", stdin=bytes(3_000_000)).stdout == "done\n"


def test_ten_megabytes_of_output_are_bounded_and_the_command_runs_to_its_end() -> None:
    done = shell("head -c 10000000 /dev/zero; head -c 10000000 /dev/zero >&2; exit 7")
    assert done.returncode == 7
    assert done.is_truncated
    assert len(done.stdout) == len(done.stderr) == MAX_OUTPUT_BYTES


def test_output_of_exactly_the_limit_is_whole() -> None:
    done = shell(f"head -c {MAX_OUTPUT_BYTES} /dev/zero")
    assert len(done.stdout) == MAX_OUTPUT_BYTES
    assert not done.is_truncated


def test_output_that_is_no_text_is_shown_all_the_same() -> None:
    assert shell(r"printf 'a\377b'").stdout == "a\ufffdb"


def test_a_deadline_ends_the_whole_group(left_behind: Path) -> None:
    # Given a shell whose child would sleep for an hour
    # When the deadline comes, then the caller is told
    with pytest.raises(TimedOut, match="did not end before the deadline and was killed"):
        shell('sleep 3600 & echo $! > "$1"; wait', str(left_behind), seconds=2.0)

    # And the child is gone, too
    _await_end(int(left_behind.read_text()))


def test_a_command_that_ignores_signals_is_ended_too(left_behind: Path) -> None:
    with pytest.raises(TimedOut):
        shell('trap "" TERM HUP INT; echo $$ > "$1"; while :; do sleep 1; done', str(left_behind), seconds=2.0)
    _await_end(int(left_behind.read_text()))


def test_a_command_that_closes_its_outputs_and_stays_is_ended() -> None:
    with pytest.raises(TimedOut):
        shell("exec 1>&- 2>&-; exec sleep 3600", seconds=0.5)


def test_a_deadline_in_the_past_is_a_deadline() -> None:
    with pytest.raises(TimedOut):
        do("sleep", "3600", seconds=-1.0)


def _await_end(pid: int) -> None:
    """Return once the process has ended, be it that nobody has reaped it yet."""
    status = Path(f"/proc/{pid}/stat")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while status.read_text().rpartition(")")[2].split()[0] not in "ZX":
            os.sched_yield()


def test_a_daemon_that_keeps_the_outputs_open_is_neither_waited_for_nor_killed(left_behind: Path) -> None:
    # Given a command that starts something in the background, as a careless init script does
    done = shell('sleep 3600 & echo $! > "$1"; echo started; echo err >&2', str(left_behind))

    # Then its result is there, and what it started lives
    assert (done.returncode, done.stdout, done.stderr) == (0, "started\n", "err\n")
    os.kill(int(left_behind.read_text()), 0)


def test_a_daemon_that_goes_on_talking_is_not_waited_for(left_behind: Path) -> None:
    done = shell('(exec yes) & echo $! > "$1"; exit 4', str(left_behind))
    assert done.returncode == 4


def test_what_is_in_the_pipes_at_the_end_is_read_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_CHUNK_BYTES", 1000)
    assert shell("head -c 60000 /dev/zero").stdout == "\0" * 60_000


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_stays_open() -> None:
    before = _open_files()
    for script in ("true", "exit 1", "head -c 1000000 /dev/zero"):
        shell(script, stdin=b"x")
    with pytest.raises(TimedOut):
        do("sleep", "3600", seconds=0.1)
    with pytest.raises(ActionAborted):
        do("no-such-command")
    assert _open_files() == before


def test_commands_speak_a_language_that_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("OTHER", "kept")
    assert shell('echo "$LC_ALL $OTHER"').stdout == "C.UTF-8 kept\n"


def test_an_agent_may_ask_which_commands_are_there() -> None:
    assert command_exists("sh")({}) is None
    assert command_exists("no-such-command", "sh")({}) is None
    assert command_exists("no-such-command")({}) == "no-such-command is not installed"
    assert command_exists("none-1", "none-2")({}) == "none of none-1, none-2 is installed"


def test_a_command_may_be_allowed_to_say_more() -> None:
    # Given a command that prints more than is usually kept
    argv = (sys.executable, "-c", "print('x' * 1_000_000)")
    # When more is allowed, all of it is kept
    done = run(argv, deadline=time.monotonic() + 20, max_output_bytes=2_000_000)
    assert (len(done.stdout), done.is_truncated) == (1_000_001, False)
    assert run(argv, deadline=time.monotonic() + 20).is_truncated


# Cancellation.


class Cancelling:
    """Wishes the end of a command from another thread, as soon as it has said something."""

    def __init__(self) -> None:
        self.wish = Cancellation()
        self.said = b""
        self._threads: list[threading.Thread] = []

    def hear(self, _stream: str, chunk: bytes) -> None:
        self.said += chunk
        if b"\n" in self.said and not self._threads:
            self._threads.append(threading.Thread(target=self.wish.cancel, args=("cancelled by key=alice",)))
            self._threads[0].start()

    def run(self, script: str, *args: str, stdin: bytes = b"") -> Completed:
        try:
            return run(
                ("sh", "-c", script, "sh", *args),
                deadline=time.monotonic() + PATIENCE_S,
                stdin=stdin,
                cancellation=self.wish,
                on_output=self.hear,
            )
        finally:
            for thread in self._threads:
                thread.join()


def test_a_wish_ends_the_whole_group(left_behind: Path) -> None:
    # Given a shell that ignores what can be ignored, with a child that would sleep for an hour
    it = Cancelling()
    # When somebody wishes that it ends, then it says so
    with pytest.raises(Cancelled, match=r"^cancelled by key=alice$"):
        it.run('trap "" TERM INT HUP; sleep 3600 & echo $! > "$1"; echo ready; wait', str(left_behind))
    # And the child is gone, too
    _await_end(int(left_behind.read_text()))


def test_a_wish_ends_a_command_that_reads_prints_or_has_closed_its_outputs() -> None:
    for script in ("echo ready; exec yes", "echo ready; exec sleep 3600", "echo ready; exec 1>&- 2>&-; sleep 3600"):
        for stdin in (b"", bytes(3_000_000)):
            with pytest.raises(Cancelled):
                Cancelling().run(script, stdin=stdin)


def test_a_wish_before_the_start_starts_nothing(tmp_path: Path) -> None:
    it = Cancelling()
    it.wish.cancel("too late")
    with pytest.raises(Cancelled, match="too late"):
        it.run('echo x > "$1"', str(tmp_path / "made"))
    assert not (tmp_path / "made").exists()


def test_a_wish_after_the_end_changes_nothing() -> None:
    it = Cancelling()
    assert it.run("printf done").stdout == "done"
    it.wish.cancel("too late")


def test_nothing_stays_open_after_two_hundred_commands_ended_one_way_or_another() -> None:
    before = _open_files()
    for number in range(200):
        match number % 4:
            case 0:
                do("true")
            case 1:
                with pytest.raises(Cancelled):
                    Cancelling().run("echo ready; exec sleep 3600")
            case 2:
                with pytest.raises(TimedOut):
                    do("sleep", "3600", seconds=0.001)
            case 3:
                with pytest.raises(ActionAborted):
                    do("no-such-command")
    assert _open_files() == before


# Output while it runs.


def test_output_is_handed_on_while_the_command_runs(tmp_path: Path) -> None:
    # Given a command that goes on only after somebody has heard its first line
    heard: list[tuple[str, bytes]] = []
    go_on = tmp_path / "go on"

    def hear(stream: str, chunk: bytes) -> None:
        heard.append((stream, chunk))
        go_on.touch()

    script = 'echo first; while [ ! -e "$1" ]; do sleep 0.01; done; echo second >&2; printf third'
    argv = ("sh", "-c", script, "sh", str(go_on))
    done = run(argv, deadline=time.monotonic() + PATIENCE_S, on_output=hear)
    # Then it has come to its end, and each stream was told apart
    assert (done.stdout, done.stderr) == ("first\nthird", "second\n")
    assert heard[0] == ("stdout", b"first\n")
    assert b"".join(chunk for stream, chunk in heard if stream == "stdout") == b"first\nthird"
    assert b"".join(chunk for stream, chunk in heard if stream == "stderr") == b"second\n"


def test_all_output_is_handed_on_also_what_is_not_kept() -> None:
    heard = {"stdout": 0, "stderr": 0}

    def hear(stream: str, chunk: bytes) -> None:
        assert chunk
        heard[stream] += len(chunk)

    argv = ("sh", "-c", "head -c 3000000 /dev/zero; head -c 2000000 /dev/zero >&2")
    done = run(argv, deadline=time.monotonic() + PATIENCE_S, max_output_bytes=10, on_output=hear)
    assert (len(done.stdout), done.is_truncated, heard) == (10, True, {"stdout": 3_000_000, "stderr": 2_000_000})


def test_a_listener_that_fails_ends_the_command(left_behind: Path) -> None:
    before = _open_files()

    def fail(_stream: str, _chunk: bytes) -> None:
        raise MessageError("cannot be said")

    argv = ("sh", "-c", 'echo $$ > "$1"; echo ready; exec sleep 3600', "sh", str(left_behind))
    with pytest.raises(MessageError):
        run(argv, deadline=time.monotonic() + PATIENCE_S, on_output=fail)
    _await_end(int(left_behind.read_text()))
    assert _open_files() == before


# Whose variables it sees.


def test_a_command_sees_our_variables_but_not_our_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCO_BROKERS", "amqp://node:secret@broker/")
    monkeypatch.setenv("http_proxy", "http://proxy/")
    printed = do("env").stdout
    assert "http_proxy=http://proxy/" in printed
    assert "LC_ALL=C.UTF-8" in printed
    assert "secret" not in printed


def test_a_command_speaks_the_language_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LANGUAGE", "de:fr"), ("LANG", "de_DE.UTF-8"), ("LC_ALL", "xx_YY"), ("LC_MESSAGES", "fr_FR")):
        monkeypatch.setenv(name, value)
    printed = do("env").stdout.splitlines()
    assert "LC_ALL=C.UTF-8" in printed
    assert not [line for line in printed if line.startswith("LANGUAGE=")]


def test_a_command_of_another_user_sees_few_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid():
        pytest.skip("only root can run it as somebody else")
    monkeypatch.setenv("OTHER_PASSWORD", "secret")
    done = run(("env",), deadline=time.monotonic() + PATIENCE_S, user="nobody")
    assert "PATH=" in done.stdout
    assert "secret" not in done.stdout


def test_without_a_path_commands_are_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("", None):
        monkeypatch.setenv("PATH", path) if path is not None else monkeypatch.delenv("PATH")
        assert do("true").returncode == 0
