# SPDX-License-Identifier: Apache-2.0
"""Looking at files, real ones: what they are, and nothing that could be waited for or read by mistake."""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import socket
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from mco_host import digests, files
from mco_node.data.fstat import Fstat
from mco_node.data.sources import Sources
from mco_rpc.errors import ActionAborted, ConfigError, FilterError

EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def look(path: Path | str, **settings: Any) -> dict[str, Any]:
    """Look at a file as a node does: what is said can be sent."""
    sources = Sources({"fstat": Fstat(settings=settings)})
    fields = dict(sources.query("fstat", (str(path),), time.monotonic() + 20))
    return json.loads(json.dumps(fields))  # type: ignore[no-any-return]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(b"hello\n")
    made.chmod(0o640)
    os.utime(made, (1_700_000_000, 1_600_000_000))
    return made


def test_a_file_is_all_that_a_look_tells(file: Path) -> None:
    before = time.time()
    seen = look(file)
    ctime = file.stat().st_ctime
    age = seen.pop("mtime_age")
    assert before - 1_600_000_000 - 1 <= age <= time.time() - 1_600_000_000
    assert 0 <= seen.pop("ctime_age") <= time.time() - ctime + 1
    assert seen.pop("atime_age") - age == pytest.approx(-100_000_000, abs=1)
    assert seen.pop("ctime_seconds") == int(ctime)
    assert seen.pop("ctime") == time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ctime))
    assert seen == {
        "name": str(file),
        "present": True,
        "output": "present",
        "type": "file",
        "target": None,
        "target_type": None,
        "size": 6,
        "mode": "100640",
        "permissions": "0640",
        "uid": os.getuid(),
        "gid": os.getgid(),
        "owner": pwd.getpwuid(os.getuid()).pw_name,
        "group": grp.getgrgid(os.getgid()).gr_name,
        "links": 1,
        "md5": hashlib.md5(b"hello\n").hexdigest(),
        "sha256": hashlib.sha256(b"hello\n").hexdigest(),
        "digest_problem": None,
        "mtime": "2020-09-13 12:26:40",
        "mtime_seconds": 1_600_000_000,
        "atime": "2023-11-14 22:13:20",
        "atime_seconds": 1_700_000_000,
    }


def test_a_look_is_not_a_reading(file: Path) -> None:
    # Given a file whose last reading is older than its last change, which a reading would note
    os.utime(file, (1_500_000_000, 1_600_000_000))
    assert look(file)["md5"]
    assert file.stat().st_atime == 1_500_000_000


@pytest.mark.parametrize("path", ["missing", "file/below", "missing/below", "file/"])
def test_a_file_that_is_not_there_is_not_present(file: Path, path: str) -> None:
    seen = look(f"{file.parent}/{path}")
    assert (seen.pop("present"), seen.pop("output"), seen.pop("name")) == (
        False,
        "not present",
        f"{file.parent}/{path}",
    )
    assert set(seen.values()) == {None}


def test_every_kind_is_named(tmp_path: Path, file: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("file")
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        listener.bind(str(tmp_path / "socket"))
        kinds = {name: look(tmp_path / name)["type"] for name in ("file", "fifo", "link", "socket", ".")}
    assert kinds == {"file": "file", "fifo": "fifo", "link": "symlink", "socket": "socket", ".": "directory"}
    assert look("/dev/null")["type"] == "chardev"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_block_device_is_named(tmp_path: Path) -> None:
    os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 255))
    assert look(tmp_path / "disk")["type"] == "blockdev"


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/tty", "/dev/random"])
def test_devices_are_not_read(path: str) -> None:
    seen = look(path)
    assert (seen["present"], seen["md5"], seen["digest_problem"]) == (True, None, "it is a chardev")


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert look(tmp_path / "fifo")["digest_problem"] == "it is a fifo"


def test_what_took_the_place_of_a_file_is_not_read(tmp_path: Path, file: Path) -> None:
    # Given a file that becomes a FIFO, a link or another file between the look and the reading
    seen = os.lstat(file)
    (tmp_path / "other").write_text("secret")
    file.unlink()
    problems = {}
    for kind in ("fifo", "link", "other"):
        match kind:
            case "fifo":
                os.mkfifo(file)
            case "link":
                file.symlink_to("other")
            case _:
                (tmp_path / "other").rename(file)
        made = digests.digests_of(str(file), seen, max_bytes=100, until=time.monotonic() + 20)
        problems[kind] = made["digest_problem"]
        file.unlink()
    assert problems == {
        "fifo": "another file took its place while it was looked at",
        "link": "another file took its place while it was looked at",
        "other": "another file took its place while it was looked at",
    }


def test_a_file_that_became_shorter_has_no_digest(file: Path) -> None:
    seen = os.lstat(file)
    os.truncate(file, 3)
    made = digests.digests_of(str(file), seen, max_bytes=100, until=time.monotonic() + 20)
    assert made == {"digest_problem": "it became shorter while it was read"}


def test_a_file_that_cannot_be_read_to_its_end_has_no_digest(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_fd: int, _count: int) -> bytes:
        raise OSError(5, "Input/output error")

    seen = os.lstat(file)
    monkeypatch.setattr(digests.os, "read", broken)
    made = digests.digests_of(str(file), seen, max_bytes=100, until=time.monotonic() + 20)
    assert made == {"digest_problem": "it cannot be read: Input/output error"}


def test_a_link_that_becomes_a_file_meanwhile_is_not_guessed_at(file: Path) -> None:
    with pytest.raises(ActionAborted, match="this link cannot be read: Invalid argument"):
        files._of_link(str(file))


def test_a_file_that_grew_is_read_as_far_as_it_was_seen(file: Path) -> None:
    seen = os.lstat(file)
    with file.open("ab") as more:
        more.write(b"more")
    made = digests.digests_of(str(file), seen, max_bytes=100, until=time.monotonic() + 20)
    assert made["md5"] == hashlib.md5(b"hello\n").hexdigest()


def test_an_empty_file_has_the_digest_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert look(tmp_path / "empty")["md5"] == EMPTY_MD5


@pytest.mark.parametrize("path", ["/proc/self/status", "/proc/kmsg", "/proc/self/mem", "/sys/kernel/notes"])
def test_what_the_kernel_makes_up_is_not_read(path: str) -> None:
    if not os.path.exists(path):  # noqa: PTH110
        pytest.skip(f"no {path} here")
    seen = look(path)
    assert (seen["present"], seen["type"], seen["md5"]) == (True, "file", None)
    assert seen["digest_problem"].startswith("the kernel makes it up when it is read (")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    seen = look(tmp_path / "sparse")
    assert (seen["size"], seen["md5"], seen["sha256"]) == (1 << 30, None, None)
    assert seen["digest_problem"] == "it has 1073741824 bytes; at most 16777216 are read"


def test_how_much_is_read_can_be_set(file: Path) -> None:
    assert look(file, max_digest_bytes=6)["md5"]
    assert look(file, max_digest_bytes=5)["digest_problem"] == "it has 6 bytes; at most 5 are read"
    with pytest.raises(ConfigError, match="max_digest_bytes: Expected `int`, got `str`"):
        Fstat(settings={"max_digest_bytes": "many"})


def test_reading_ends_at_the_deadline(file: Path) -> None:
    sources = Sources({"fstat": Fstat(settings={"max_digest_bytes": 1 << 40, "timeout_s": 0.05})})
    os.truncate(file, 1 << 38)
    with pytest.raises(FilterError, match=r"reading its 274877906944 bytes took too long$"):
        sources.query("fstat", (str(file),), time.monotonic() + 20)


def test_a_link_is_looked_at_itself(tmp_path: Path, file: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    seen = look(tmp_path / "link")
    assert (seen["present"], seen["type"], seen["target"], seen["target_type"]) == (True, "symlink", "file", "file")
    assert (seen["size"], seen["md5"]) == (4, None)


@pytest.mark.parametrize("target", ["nowhere", "file/below", "loop"])
def test_a_link_that_leads_nowhere_is_not_present(tmp_path: Path, file: Path, target: str) -> None:
    (tmp_path / "loop").symlink_to(target)
    seen = look(tmp_path / "loop")
    assert (seen["present"], seen["output"], seen["type"]) == (False, "not present", "symlink")
    assert (seen["target"], seen["target_type"]) == (target, "missing")


def test_a_path_through_a_loop_is_not_taken_for_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FilterError, match="it cannot be looked at: Too many levels of symbolic links"):
        look(tmp_path / "loop" / "below")


def test_a_file_whose_folder_cannot_be_read_is_not_taken_for_a_missing_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mco_host.files.os.lstat", denied)
    with pytest.raises(FilterError, match="it cannot be looked at: Permission denied"):
        look(file)


def test_where_a_link_leads_may_be_hidden(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "link").symlink_to("file")
    monkeypatch.setattr("mco_host.files.Path.stat", denied)
    with pytest.raises(ActionAborted, match="where this link leads cannot be looked at: Permission denied"):
        Fstat().query(str(tmp_path / "link"))


@pytest.mark.skipif(os.geteuid() != 0, reason="it drops root's rights")
def test_a_file_that_may_not_be_read_has_no_digest(tmp_path: Path, file: Path) -> None:
    # Given a node that is not root, in a child because rights are lost for good
    file.chmod(0o600)
    (tmp_path / "open").write_bytes(b"hello\n")
    (tmp_path / "open").chmod(0o644)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder.is_relative_to("/tmp"):
            folder.chmod(0o755)
    inside, outside = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            for path in (file, tmp_path / "open"):
                seen = Fstat().query(str(path))
                told = [seen["present"], seen.get("md5"), seen.get("digest_problem")]
                os.write(outside, json.dumps(told).encode() + b"\n")
        finally:
            os._exit(0)
    os.close(outside)
    os.waitpid(child, 0)
    closed, opened = map(json.loads, os.read(inside, 4096).splitlines())
    os.close(inside)
    assert closed == [True, None, "it cannot be opened: Permission denied"]

    # Then a file of somebody else is read all the same if it may be, though the reading is noted
    assert opened == [True, hashlib.md5(b"hello\n").hexdigest(), None]


@pytest.mark.parametrize("name", ["-rf", "--help", "a\nb", "\N{SNOWMAN}", "'", "$(reboot)", "%s"])
def test_a_name_is_a_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    assert look(tmp_path / name)["size"] == 1


def test_a_link_with_bytes_that_are_no_text_can_be_told(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(os.fsdecode(b"\xff\xfe"))
    assert look(tmp_path / "link")["target"] == "\\xff\\xfe"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("etc/hosts", "expected an absolute path such as /etc/hosts, got 'etc/hosts'"),
        ("-", "expected an absolute path such as /etc/hosts, got '-'"),
        ("", "expected an absolute path such as /etc/hosts, got ''"),
        ("/x\0", "argument path: '/x\\x00' holds a null byte"),
        ("/" + "x" * 10_000, "argument path: 10001 characters; at most 4096 are allowed"),
        ("/" + "x" * 4000, "it cannot be looked at: File name too long"),
    ],
)
def test_what_is_no_path_is_said_so(path: str, why: str) -> None:
    with pytest.raises(FilterError) as raised:
        look(path)
    assert str(raised.value).endswith(why)


def test_times_beyond_the_calendar_are_numbers_only(file: Path) -> None:
    os.utime(file, (0, 1 << 33))
    assert look(file)["mtime"] == time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(1 << 33))
    assert files._date(1 << 50) is None


def test_who_has_no_name_is_a_number(file: Path) -> None:
    if os.geteuid():
        pytest.skip("only root gives files away")
    os.chown(file, 54_321, 54_322)
    seen = look(file)
    assert (seen["owner"], seen["group"]) == ("54321", "54322")
