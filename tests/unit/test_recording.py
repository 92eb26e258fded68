# SPDX-License-Identifier: Apache-2.0
"""Recordings as files: what is written can be read, whoever writes and dies, and nothing else is taken for one."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mco_client.recording import BLANK, Asked, Came, RecordedCall, Recording, Returned, Session, question_of, redact
from mco_client.recording import file as recording_file
from mco_client.recording.file import RecordingFile, create, tally
from mco_rpc.errors import RecordingError

HEADER: dict[str, Any] = {"kind": "recording", "version": 1, "at": 1.0, "mco": "0.1.0"}
SESSION: dict[str, Any] = {"kind": "session", "at": 1.0, "collective": "mcollective", "caller": "key=operator"}
QUESTION = {"agent": "rpcutil", "action": "ping"}
ASKED: dict[str, Any] = {
    "kind": "asked", "id": "a", "at": 1.0, "question": QUESTION, "ttl_s": 5.0, "window_s": 0.3,
}  # fmt: skip
CAME: dict[str, Any] = {"kind": "came", "id": "a", "after_s": 0.1, "signer": "web1", "principal": "web1"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fleet.rec"


def write(file: Path, *lines: dict[str, Any] | bytes) -> Path:
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines]
    file.write_bytes(b"".join(texts))
    return file


def asked(name: str, **fields: Any) -> Asked:
    return msgspec.convert({**ASKED, "id": name, **fields}, Asked)


def came(name: str, **fields: Any) -> Came:
    return Came(id=name, **{"after_s": 0.1, "signer": "web1", "principal": "web1", **fields})


# Writing.


def test_what_is_written_is_read(file: Path) -> None:
    create(file, ("password",))
    opened = RecordingFile(file)
    message = msgspec.Raw(b'{"kind":"reply","data":{"big":123456789012345678901234567890}}')
    told = [came("a", message=message), came("a", raw=b"\xff\x00"), came("a", principal=None, doubt="unknown key")]
    told_more = [*told, Returned(id="a", after_s=0.2, key="web2", type="request")]
    for entry in (Session(at=1.0, collective="c", caller="key=x"), asked("a"), *told_more):
        opened.write(entry)
    opened.close()

    made = Recording.read(file)
    assert made.header.redacted == ("password",)
    assert [session.caller for session in made.sessions] == ["key=x"]
    assert [call.asked for call in made.calls] == [asked("a")]
    assert bytes(made.calls[0].events[0].message) == bytes(message)  # type: ignore[union-attr]
    assert made.calls[0].events[1:] == told_more[1:]
    assert not made.is_cut
    assert tally(file) == (1, 3)


def test_only_its_owner_reads_it_whoever_makes_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create(tmp_path / "one")
        RecordingFile(tmp_path / "two").close()
    finally:
        os.umask(before)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("one", "two")} == {0o600}
    assert Recording.read(tmp_path / "two").calls == []


def test_nothing_is_overwritten_unasked(file: Path) -> None:
    file.write_text("precious\n")
    with pytest.raises(RecordingError, match=r"is there already; give another name, or --force to replace it"):
        create(file)
    # Not even then, if it is no recording
    with pytest.raises(RecordingError, match="is no recording"):
        create(file, is_forced=True)
    with pytest.raises(RecordingError, match="is no recording"):
        RecordingFile(file)
    assert file.read_text() == "precious\n"


def test_a_recording_is_replaced_if_that_is_asked_for(file: Path) -> None:
    write(file, HEADER, SESSION, ASKED)
    create(file, is_forced=True)
    assert Recording.read(file).calls == []
    # One that is not there is no mistake either, nor an empty one
    for make in (file.unlink, lambda: file.write_text("")):
        make()
        create(file, is_forced=True)
        assert Recording.read(file).calls == []


@pytest.mark.parametrize(
    "make", [create, RecordingFile, Recording.read, tally, lambda path: create(path, is_forced=True)]
)
def test_what_is_no_file_is_refused_and_never_waited_for(make: Callable[[Path], Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "none" / "x", Path("/dev/null")):
        with pytest.raises(RecordingError, match=str(path)):
            make(path)
    assert Path("/dev/null").exists()


def test_who_was_killed_in_the_middle_of_a_line_spoils_only_that_line(file: Path) -> None:
    # Given a recording whose last line is not whole: longer than what is looked through at once, and all of the file
    half = b'{"kind":"came","id":"a","signer":"' + b"x" * 200_000
    write(file, HEADER, ASKED, half)
    assert Recording.read(file).is_cut
    assert len(Recording.read(file).calls) == 1
    # When another process adds to it
    opened = RecordingFile(file)
    opened.write(asked("b"))
    opened.close()
    # Then the half is gone
    made = Recording.read(file)
    assert not made.is_cut
    assert [call.asked.id for call in made.calls] == ["a", "b"]


def test_a_disk_that_is_full_leaves_the_recording_whole(file: Path) -> None:
    write(file, HEADER, ASKED)
    limit_bytes = file.stat().st_size + 100
    told = python(
        "import resource",
        "from mco_rpc.errors import RecordingError",
        "before = resource.getrlimit(resource.RLIMIT_FSIZE)",
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, before[1]))",
        f"opened = RecordingFile(Path({str(file)!r}))",
        "try: opened.write(Came(id='a', after_s=1.0, signer='x' * 1000))",
        "except RecordingError as e: print(e)",
        "finally: resource.setrlimit(resource.RLIMIT_FSIZE, before)",
    )
    assert told.communicate(timeout=60)[0] == f"recording {file} cannot be written: File too large\n"
    made = Recording.read(file)
    assert [call.asked.id for call in made.calls] == ["a"]
    assert not made.is_cut


def test_threads_and_processes_do_not_mix_their_lines(file: Path) -> None:
    work = f"""
import sys, threading
def work(who):
    opened = RecordingFile(Path({str(file)!r}))
    for number in range(25):
        question = {{"agent": who * 3000}}
        opened.write(Asked(id=f"{{who}}{{number}}", at=1.0, question=question, ttl_s=1.0, window_s=1.0))
    opened.close()
threads = [threading.Thread(target=work, args=(who,)) for who in "WHO"]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    processes = [python(work.replace("WHO", who)) for who in ("uv", "wx", "yz")]
    assert [(process.wait(60), process.communicate()[0]) for process in processes] == [(0, "")] * 3
    calls = Recording.read(file).calls
    assert len(calls) == 6 * 25
    assert all(call.asked.question["agent"] == call.asked.id[0] * 3000 for call in calls)


def python(*lines: str) -> subprocess.Popen[str]:
    """Begin to run a few lines in a process of its own."""
    imports = (
        "from pathlib import Path",
        "from mco_client.recording import Asked, Came",
        "from mco_client.recording.file import RecordingFile",
    )
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join((*imports, *lines))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def held(file: Path) -> Iterator[int]:
    """Give a recording whose lock another one holds; the lock."""
    create(file)
    fd = os.open(file, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield fd
    os.close(fd)


def test_who_holds_a_recording_for_ever_is_not_waited_for_for_ever(
    file: Path, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_file, "MAX_WAIT_S", 0.02)
    before = file.read_bytes()
    said = rf"recording {file} is held by another process, and was not let go of within 0\.02 s: .*`lslocks` names it"
    with pytest.raises(RecordingError, match=said):
        RecordingFile(file)
    fcntl.flock(held, fcntl.LOCK_UN)
    opened = RecordingFile(file)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(RecordingError, match=said):
        opened.write(Returned(id="a", after_s=0.0, key="x", type="request"))
    assert file.read_bytes() == before
    # and works again as soon as it can
    fcntl.flock(held, fcntl.LOCK_UN)
    opened.write(Returned(id="a", after_s=0.0, key="x", type="request"))
    opened.close()
    assert file.read_bytes() != before


def test_who_holds_a_recording_for_a_moment_is_waited_for(
    file: Path, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def let_go(seconds: float) -> None:
        waits.append(seconds)
        fcntl.flock(held, fcntl.LOCK_UN)

    monkeypatch.setattr(recording_file.time, "sleep", let_go)
    RecordingFile(file).close()
    assert len(waits) == 1


def test_a_closed_recording_is_not_written(file: Path) -> None:
    opened = RecordingFile(file)
    opened.close()
    opened.close()
    with pytest.raises(RecordingError, match="is closed"):
        opened.write(asked("a"))


# Reading.


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "is empty: expected the header"),
        ([b"hello\n"], "is no recording: expected the header"),
        ([b"\x1f\x8b\x08\x00\xff\n"], "is no recording"),
        ([b"[" * 100_000], "is no recording"),
        ([b"[]\n"], "is no recording"),
        ([SESSION], "is no recording"),
        ([{**HEADER, "version": 2}], r"has version 2; mco .* reads version 1: record anew"),
        ([{**HEADER, "version": "\x1b[2J"}], r"has version '\\x1b\[2J'"),
        ([{"kind": "recording"}], "has version None"),
        ([{**HEADER, "more": 1}], "line 1: .*unknown field `more`"),
        ([{**HEADER, "at": "now"}], "line 1: "),
        ([HEADER, b"{}\n"], "line 2: "),
        ([HEADER, b"\n", ASKED], "line 2: "),
        ([HEADER, SESSION, {"kind": "odd"}], "line 3: .*odd"),
        ([HEADER, {**ASKED, "odd": 1}], "line 2: .*unknown field `odd`"),
        ([HEADER, {**ASKED, "odd\x1b[2J": 1}], r"line 2: .*unknown field `odd\\x1b\[2J`"),
        ([HEADER, {**ASKED, "x" * 10_000: 1}], "line 2: "),
        ([HEADER, {**CAME, "id": "x" * 10_000}], "line 2: "),
        ([{**HEADER, "version": "x" * 10_000}], "has version "),
        ([HEADER, {**ASKED, "question": []}], "line 2: "),
        ([HEADER, ASKED, ASKED], "line 3: request 'a' is there twice"),
        ([HEADER, CAME], "line 2: it belongs to request 'a', and there was none before"),
        ([HEADER, ASKED, {**CAME, "after_s": -1}], "line 3: "),
        ([HEADER, ASKED, {**CAME, "after_s": 1e300}], "line 3: "),
        ([HEADER, ASKED, b'{"kind":"came","id":"a","after_s":1e999,"signer":"x"}\n'], "line 3: "),
        ([HEADER, ASKED, {**CAME, "principal": "web1\x1b[2J"}], r"line 3: 'web1\\x1b\[2J' cannot be the name"),
        ([HEADER, {**SESSION, "caller": "key=\x1b[2J"}], "line 2: not a caller and a collective"),
        ([HEADER, {**SESSION, "collective": "a b"}], "line 2: not a caller and a collective"),
        ([HEADER, ASKED, b'{"kind":"came","message":' + b"[" * 100_000 + b"\n"], "line 3: nested too deeply"),
        ([HEADER, ASKED, b'{"kind":"came","id":"a","after_s":1,"signer":"\xff"}\n'], "line 3: "),
        ([HEADER, ASKED, b'{"kind":"came","id":"a","after_s":1,"signer":"x","message":"\xff"}\n'], "line 3: .*utf-8"),
        ([HEADER, ASKED, b'{"kind":"ca', b"\n", ASKED], "line 3: "),
        ([HEADER, b"x" * 33_600_000], "line 2: "),
        ([b'{"kind":"recording",' + b" " * 100_000 + b'"version":1}\n'], "is no recording"),
    ],
)
def test_what_is_no_recording_is_refused_in_a_line(lines: list[Any], why: str, file: Path) -> None:
    with pytest.raises(RecordingError, match=why) as e:
        Recording.read(write(file, *lines))
    assert str(file) in str(e.value)
    assert str(e.value).isprintable()
    assert len(str(e.value)) < 600


def test_every_cut_of_a_recording_is_read_as_far_as_it_goes(file: Path) -> None:
    whole = write(file, HEADER, SESSION, ASKED, {**CAME, "message": {"text": "größer"}}).read_bytes()
    first = whole.index(b"\n") + 1
    for size in range(first, len(whole) + 1):
        file.write_bytes(whole[:size])
        made = Recording.read(file)
        is_at_an_end = size == first or whole[size - 1 : size] == b"\n" or whole[size : size + 1] == b"\n"
        assert made.is_cut != is_at_an_end
        assert len(made.calls) == (size >= whole.index(b"\n", whole.index(b'"asked"')))


def test_a_missing_recording_is_told(file: Path) -> None:
    with pytest.raises(RecordingError, match=rf"^recording {file}: No such file or directory$"):
        Recording.read(file)


# What is kept.


def test_what_is_new_each_time_is_no_part_of_a_question() -> None:
    body = {
        "kind": "request", "id": "a", "caller": "key=x", "sender": "h", "sent_at": 1, "ttl_s": 2, "reply_to": "x.y",
        "follow": True, "agent": "rpcutil", "action": "cancel", "targets": ["web1"],
        "data": {"requests": ["a1", "b2"], "deep": {"id": "a1"}, "n": 1},
    }  # fmt: skip
    assert question_of(json.dumps(body).encode(), {"a1"}) == {
        "agent": "rpcutil",
        "action": "cancel",
        "targets": ["web1"],
        "data": {"requests": ["(an earlier request)", "b2"], "deep": {"id": "(an earlier request)"}, "n": 1},
    }


def test_fields_are_blanked_by_name_at_any_depth() -> None:
    message = {
        "agent": "password",
        "message": "it is s3cret",
        "text": "s3cret",
        "data": {"Password": "s3cret", "users": [{"db_password": ["s3cret"], "name": "joe"}], "value": 1},
    }
    assert redact(message, ("*password", "message")) == {
        "agent": "password",
        "message": BLANK,
        "text": "s3cret",
        "data": {"Password": BLANK, "users": [{"db_password": BLANK, "name": "joe"}], "value": 1},
    }
    assert redact(message, ()) is message


@pytest.mark.parametrize(
    ("targets", "after_s", "over_s"),
    [
        (["web1"], [0.1, 3.0], 5.0),
        (None, [], 5.0),
        (None, [0.1, 0.2, 0.4], 0.7),
        (None, [0.1, 2.0], 0.4),  # the second was late
        (None, [4.9], 5.0),
        (None, [9.0], 5.0),
    ],
)
def test_when_nobody_waited_any_more_is_known(targets: list[str] | None, after_s: list[float], over_s: float) -> None:
    question = {**QUESTION, **({"targets": targets} if targets else {})}
    call = RecordedCall(asked("a", question=question), [came("a", after_s=s) for s in after_s])
    assert call.over_after_s() == pytest.approx(over_s)
