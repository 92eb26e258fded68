# SPDX-License-Identifier: Apache-2.0
"""The audit: a record is one line of its own, and no disk stops a node."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_node.audit import MAX_RECORD_BYTES, JsonLinesAudit, MemoryAudit
from mco_rpc.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log" / "audit.jsonl"


@pytest.fixture
def audit(file: Path) -> Iterator[JsonLinesAudit]:
    made = JsonLinesAudit(file)
    yield made
    made.close()


def records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_one_record_is_one_line_in_a_file_of_its_owner(file: Path, audit: JsonLinesAudit) -> None:
    # When records are kept
    audit.record({"request": "1", "reason": "two\nlines \x1b[31m"})
    audit.record({"request": "2"})

    # Then each is a line, and only the owner may read them
    assert records(file) == [{"request": "1", "reason": "two\nlines \x1b[31m"}, {"request": "2"}]
    assert "\x1b" not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_file_of_an_earlier_life_is_continued(file: Path, audit: JsonLinesAudit) -> None:
    # Given a file with a record
    audit.record({"request": "1"})
    audit.close()

    # When a new life begins
    second = JsonLinesAudit(file)
    second.record({"request": "2"})
    second.close()

    # Then both are there
    assert [record["request"] for record in records(file)] == ["1", "2"]


def test_a_long_record_leaves_its_data_out(file: Path, audit: JsonLinesAudit) -> None:
    # When a record holds a lot of data
    audit.record({"request": "1", "data": {"x": "y" * MAX_RECORD_BYTES}})
    audit.record({"request": "2", "data": {"x": "y" * (MAX_RECORD_BYTES - 100)}})

    # Then the record says how much it was; shorter ones are whole
    long, short = records(file)
    assert long == {"request": "1", "data": f"left out: {MAX_RECORD_BYTES + len(_empty('1'))} bytes"}
    assert len(short["data"]["x"]) == MAX_RECORD_BYTES - 100


def _empty(request: str) -> str:
    return json.dumps({"request": request, "data": {"x": ""}}, separators=(",", ":"))


@pytest.mark.parametrize("way", ["moved", "removed"])
def test_a_rotated_file_is_followed_by_a_new_one(file: Path, audit: JsonLinesAudit, way: str) -> None:
    # Given a file with a record
    audit.record({"request": "1"})

    # When log rotation takes it away
    if way == "moved":
        file.rename(file.with_suffix(".1"))
    else:
        file.unlink()
    audit.record({"request": "2"})
    audit.record({"request": "3"})

    # Then the next records are in a new file of the same name
    assert [record["request"] for record in records(file)] == ["2", "3"]
    if way == "moved":
        assert [record["request"] for record in records(file.with_suffix(".1"))] == ["1"]


def test_a_rotation_leaks_no_files(file: Path, audit: JsonLinesAudit) -> None:
    # Given the files that are open
    audit.record({"request": "1"})
    before = _open_files()

    # When the file is rotated often
    for number in range(20):
        file.rename(file.with_suffix(f".{number}"))
        audit.record({"request": "1"})

    # Then no more are open
    assert _open_files() == before


def test_a_full_disk_is_logged_and_the_node_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    # Given an audit on a device that is always full
    audit = JsonLinesAudit(Path("/dev/full"))

    # When a record cannot be written
    audit.record({"request": "5f0c"})
    audit.close()

    # Then that is said, with the request's id
    assert (
        "audit record of request 5f0c could not be written to /dev/full: [Errno 28] No space left on device"
        in caplog.text
    )


def test_a_record_that_was_cut_short_does_not_spoil_the_next(
    file: Path, audit: JsonLinesAudit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a disk with room for five bytes
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))
    audit.record({"request": "cut"})
    assert "request cut could not be written" in caplog.text
    assert "only 5 of 18 bytes were written" in caplog.text

    # When there is room again
    monkeypatch.undo()
    audit.record({"request": "whole"})
    audit.record({"request": "too"})

    # Then the next records are whole lines
    first, *rest = file.read_text().splitlines()
    assert len(first) == 5
    assert [json.loads(line)["request"] for line in rest] == ["whole", "too"]


def test_a_folder_that_is_gone_is_logged_and_the_file_made_again_when_it_is_back(
    file: Path, audit: JsonLinesAudit, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a folder that was moved away
    file.parent.rename(file.parent.with_name("away"))
    audit.record({"request": "lost"})
    assert "request lost could not be written" in caplog.text

    # When it is back
    file.parent.mkdir()
    audit.record({"request": "kept"})

    # Then records are kept again
    assert [record["request"] for record in records(file)] == ["kept"]


@pytest.mark.parametrize(
    "value",
    [pytest.param("\ud800", id="half a character"), pytest.param(None, id="loop")],
)
def test_what_cannot_be_written_as_json_is_logged(
    file: Path, audit: JsonLinesAudit, caplog: pytest.LogCaptureFixture, value: object
) -> None:
    # Given data that JSON cannot say
    data: dict[str, Any] = {"value": value}
    if value is None:
        data["value"] = data

    # When it is to be kept
    audit.record({"request": "odd", "data": data})
    audit.record({"request": "next"})

    # Then that is said, and the next record is kept
    assert "audit record of request odd could not be written" in caplog.text
    assert [record["request"] for record in records(file)] == ["next"]


def test_threads_do_not_mix_their_lines(file: Path, audit: JsonLinesAudit) -> None:
    # When many threads keep records at the same time
    def keep(thread: int) -> None:
        for number in range(100):
            audit.record({"request": f"{thread}-{number}", "data": "x" * 500})

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # Then all lines are whole
    assert len({record["request"] for record in records(file)}) == 800


def test_no_record_is_lost_when_the_file_is_rotated_while_threads_keep_records(
    file: Path, audit: JsonLinesAudit, caplog: pytest.LogCaptureFixture
) -> None:
    # Given threads that keep records all the time, and have not ended before the first rotation
    rotated = threading.Event()

    def keep(thread: int) -> None:
        for number in range(300):
            if number == 100:
                rotated.wait(20)
            audit.record({"request": f"{thread}-{number}"})

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(8)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()

        # When the file is rotated again and again meanwhile
        rotations = 0
        while any(thread.is_alive() for thread in threads):
            with contextlib.suppress(FileNotFoundError):
                file.rename(file.with_suffix(f".{rotations}"))
                rotations += 1
                rotated.set()
    finally:
        for thread in threads:
            thread.join()
        sys.setswitchinterval(before)

    # Then every record is in one of the files, and no write failed
    kept = [record["request"] for path in file.parent.iterdir() for record in records(path)]
    assert rotations > 0
    assert sorted(kept) == sorted(f"{thread}-{number}" for thread in range(8) for number in range(300))
    assert caplog.text == ""


def test_a_file_that_cannot_be_opened_is_a_wrong_setting(tmp_path: Path) -> None:
    # Given a path that is a folder
    # When the audit is made, then the error names it
    with pytest.raises(ConfigError, match=f"^audit_file: {tmp_path}: Is a directory$"):
        JsonLinesAudit(tmp_path)


def test_closing_twice_is_fine(file: Path) -> None:
    # Given an audit that is closed
    audit = JsonLinesAudit(file)
    audit.close()
    before = _open_files()

    # When it is closed again, then nothing happens
    audit.close()
    assert _open_files() == before


def test_the_memory_audit_keeps_the_last_records() -> None:
    # Given room for two
    audit = MemoryAudit(keep=2)

    # When three are kept
    for number in range(3):
        audit.record({"request": number})
    audit.close()

    # Then the last two are there
    assert [entry["request"] for entry in audit.entries] == [1, 2]


def test_a_disk_that_takes_records_again_gets_the_next_ones(
    file: Path, audit: JsonLinesAudit, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk that takes nothing
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)

    # When records come, then none raises
    for _ in range(3):
        audit.record({"request": "1"})
    monkeypatch.undo()
    audit.record({"request": "2"})
    assert [record["request"] for record in records(file)] == ["2"]


def test_a_link_is_not_followed_and_an_older_file_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    with pytest.raises(ConfigError, match="audit_file: "):
        JsonLinesAudit(tmp_path / "link")
    (tmp_path / "precious").chmod(0o644)
    JsonLinesAudit(tmp_path / "precious").close()
    assert (tmp_path / "precious").stat().st_mode & 0o777 == 0o600
