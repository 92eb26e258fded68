# SPDX-License-Identifier: Apache-2.0
"""The file agent reads real files: what is told, what never is, and nothing that waits or can be swapped meanwhile."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mco_agents.file import File
from mco_client.rpc import RpcClient
from mco_client.told import Told
from mco_host import matching
from mco_host.paths import walked
from mco_lab.memory import MemoryFleet
from mco_rpc.agent import deadline
from mco_rpc.current import Current, working_for
from mco_rpc.errors import ActionAborted, Cancelled, ConfigError, Denied, InvalidData, RequestError, TimedOut
from mco_rpc.filters import patterns
from mco_rpc.messages import Reply, encode


def ask(action: str, path: Path | str, /, settings: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    """Call an action as a node does: inputs and outputs are checked, and the answer can be sent."""
    agent = File(settings=settings or {})
    schema = agent.schema().action(action)
    made = schema.check_outputs(
        "file", getattr(agent, action)(**schema.check_inputs("file", {"path": str(path), **data}))
    )
    encode(Reply(id="1", collective="c", agent="file", action=action, sender="s", sent_at=0.0, data=made))
    return made


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that everybody on the host may read, which those of pytest are not."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mco-file-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def readable(folder: Path) -> dict[str, Any]:
    return {"readable": [str(folder)], "readable_private": []}


@pytest.fixture
def log(folder: Path) -> Path:
    made = folder / "log"
    made.write_text("".join(f"line {number}\n" for number in range(1, 101)))
    return made


def test_the_status_is_what_stat_says(log: Path) -> None:
    log.chmod(0o640)
    told = ask("status", log)
    said = subprocess.run(
        ["stat", "-c", "%s %U %G 0%a %h %Y %F", str(log)], capture_output=True, text=True, check=True
    ).stdout.strip()
    keys = ("size", "owner", "group", "permissions", "links", "mtime_seconds")
    assert " ".join(str(told[key]) for key in keys) + " regular file" == said
    assert ask("status", log.parent / "none")["output"] == "not present"


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_the_checksum_is_of_what_a_link_leads_to(log: Path, algorithm: str) -> None:
    link = log.parent / "link"
    link.symlink_to("log")
    told = ask("checksum", link, algorithm=algorithm)
    made = subprocess.run([f"{algorithm}sum", str(log)], capture_output=True, text=True, check=True).stdout.split()[0]
    assert told == {"checksum": made, "size": log.stat().st_size, "path": str(log)}


def test_the_end_of_a_large_file_is_read_without_the_rest(folder: Path) -> None:
    # Given a file of 1 GB without content
    large = folder / "large"
    with large.open("wb") as file:
        file.truncate(1_000_000_000)
        file.seek(0, os.SEEK_END)
        file.write(b"\nend\n")

    # Then its end is read without the rest; what is before is cut
    tail = ask("tail", large, {"readable": [str(folder)]}, lines=1)
    assert (tail["lines"], tail["is_cut"]) == (["end"], False)
    assert ask("tail", large, {"readable": [str(folder)]}, lines=3)["is_cut"]


def test_a_checksum_that_is_not_wanted_any_more_ends(folder: Path) -> None:
    large = folder / "large"
    with large.open("wb") as file:
        file.truncate(1 << 40)
    request = Current()
    threading.Timer(0.05, request.cancellation.cancel, ("enough",)).start()
    with working_for(request), pytest.raises(Cancelled):
        ask("checksum", large)


def test_lines_are_counted_and_the_first_are_told(log: Path, readable: dict[str, Any]) -> None:
    told = ask("match", log, readable, pattern=r"^line \d*7$", max_lines=2)
    matches = [{"number": 7, "line": "line 7"}, {"number": 17, "line": "line 17"}]
    assert told == {"matched": True, "count": 10, "matches": matches, "lines": 100, "path": str(log)}
    none = ask("match", log, readable, pattern="nothing", max_lines=0)
    assert none | {"path": ""} == {"matched": False, "count": 0, "matches": [], "lines": 100, "path": ""}


def test_lines_of_any_length_and_of_any_bytes_are_matched(folder: Path, readable: dict[str, Any]) -> None:
    # Given a line that ends where a piece of reading ends, one longer than is looked at, and one that does not end
    file = folder / "file"
    edge = b"a" * (256 * 1024 - 1)
    file.write_bytes(edge + b"\n" + b"b" * 20_000 + b"needle\n" + b"\xff\x00needle\r\n" + b"needle")
    told = ask("match", file, readable, pattern="needle")
    assert (told["lines"], told["count"]) == (4, 2)
    assert [(match["number"], match["line"]) for match in told["matches"]] == [(3, "\\xff\0needle"), (4, "needle")]
    assert ask("match", file, readable, pattern="^a")["matches"][0]["line"].startswith("aaa")


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*)*x", "(a|aa)+$"])
def test_no_pattern_takes_long(folder: Path, readable: dict[str, Any], pattern: str) -> None:
    file = folder / "file"
    file.write_bytes((b"a" * 16_000 + b"!\n") * 50)
    assert ask("match", file, readable, pattern=pattern)["lines"] == 50


@pytest.mark.parametrize(
    ("content", "lines", "expected"),
    [
        (b"", 3, []),
        (b"one", 3, ["one"]),
        (b"one\ntwo\n", 1, ["two"]),
        (b"one\ntwo\n", 2, ["one", "two"]),
        (b"one\ntwo\nthree", 2, ["two", "three"]),
        (b"one\n\n", 1, [""]),
        (b"one\ntwo\n", 0, []),
        (b"\x1b[2J\xff\r\n", 1, ["\x1b[2J\\xff"]),
    ],
)
def test_the_last_lines_are_those_of_tail(
    folder: Path, readable: dict[str, Any], content: bytes, lines: int, expected: list[str]
) -> None:
    file = folder / "file"
    file.write_bytes(content)
    told = ask("tail", file, readable, lines=lines)
    assert (told["lines"], told["is_cut"], told["size"]) == (expected, False, len(content))


def test_who_follows_is_told_what_comes_also_after_a_rotation(log: Path, readable: dict[str, Any]) -> None:
    # Given somebody who follows a log
    said: list[str] = []
    request = Current(is_followed=True, tell=lambda _stream, text, _data: hear(text))
    heard = threading.Condition()

    def hear(text: str) -> None:
        with heard:
            said.extend(text.split("\n"))
            heard.notify_all()

    def wait_for(line: str) -> None:
        with heard:
            assert heard.wait_for(lambda: line in said, 30), said

    def write() -> None:
        wait_for("line 100")
        with log.open("a") as file:
            # When lines are added, in parts, then the file is renamed and goes on for a while, and there is a new one
            file.write("added\nbeg")
            file.flush()
            wait_for("added")
            file.write("un\n")
            file.flush()
            wait_for("begun")
            log.rename(log.with_name("log.1"))
            file.write("last of the old\n")
        log.write_text("first of the new\n")
        wait_for("first of the new")
        # And is cut short
        log.write_text("short\n")
        wait_for("short")
        request.cancellation.cancel("enough")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with working_for(request), pytest.raises(Cancelled):
            ask("tail", log, readable, lines=2, follow_s=100)
    finally:
        writer.join()

    # Then all was told, in order, nothing twice
    assert said == ["line 99", "line 100", "added", "begun", "last of the old", "first of the new", "short"]


def test_a_time_of_following_ends_well(log: Path, readable: dict[str, Any]) -> None:
    told = ask("tail", log, readable, lines=1, follow_s=0.05)
    assert (told["lines"], told["followed"]) == (["line 100"], 0)


def test_a_fleet_is_followed(log: Path, readable: dict[str, Any]) -> None:
    settings = {"agents": {"file": readable}}
    with MemoryFleet({"web1": {"settings": settings}, "web2": {"settings": settings}}) as fleet:
        client = RpcClient("file", fleet.connection())
        said = list(client.follow("tail", path=str(log), lines=1, follow_s=0.05))
        told = {(each.sender, each.text) for each in said if isinstance(each, Told)}
        assert told == {("web1", "line 100"), ("web2", "line 100")}


def test_a_folder_is_listed_in_order(folder: Path, readable: dict[str, Any]) -> None:
    # Given files of all kinds
    (folder / "b.log").write_text("12345")
    (folder / "a.log").symlink_to("b.log")
    (folder / "sub").mkdir()
    (folder / "sub" / "c.log").touch()
    (folder / "private").mkdir(mode=0o700)
    (folder / "private" / "d.log").touch()
    os.mkfifo(folder / "fifo")
    Path(os.fsdecode(os.fsencode(folder) + b"/x\xff")).touch()

    def names(**data: Any) -> list[str]:
        return [entry["path"] for entry in ask("list", folder, readable, **data)["entries"]]

    # Then they are listed, links as links, and folders that not everybody may enter are not entered
    assert names() == ["a.log", "b.log", "fifo", "private", "sub", "x\\xff"]
    assert names(pattern="*.log") == ["a.log", "b.log"]
    assert names(pattern="*.log", recursive=True) == ["a.log", "b.log", "sub/c.log"]
    cut = ask("list", folder, readable, limit=1)
    assert (len(cut["entries"]), cut["count"], cut["is_cut"]) == (1, 6, True)
    (entry,) = ask("list", folder, readable, pattern="b.log")["entries"]
    assert (entry["type"], entry["size"]) == ("file", 5)
    private = {"readable_private": [str(folder)]}
    found = ask("list", folder, private, pattern="*.log", recursive=True)["entries"]
    assert [entry["path"] for entry in found] == ["a.log", "b.log", "private/d.log", "sub/c.log"]


class TestNotTold:
    """What is refused, and why."""

    def test_what_is_outside_of_the_readable_folders(self, log: Path) -> None:
        for action, data in (("match", {"pattern": "x"}), ("tail", {})):
            with pytest.raises(Denied, match=r"will not read .*readable: .* of this node allows /etc, /opt,"):
                ask(action, log, **data)
        with pytest.raises(Denied, match=r"will not list"):
            ask("list", log.parent)

    def test_what_not_everybody_on_the_host_may_read(self, log: Path, readable: dict[str, Any]) -> None:
        # Given a file that is readable by its mode, in a folder that nobody else may enter
        private = log.parent / "private"
        private.mkdir(mode=0o700)
        log.rename(private / "log")
        with pytest.raises(Denied, match="not every user of this host may"):
            ask("tail", private / "log", readable)

        # And one that is not, in one that everybody may
        (log.parent / "key").write_text("secret")
        (log.parent / "key").chmod(0o600)
        with pytest.raises(Denied, match="not every user of this host may"):
            ask("tail", log.parent / "key", readable)

        # Then both are told where that is said not to matter
        allowed = {"readable": [], "readable_private": [str(log.parent)]}
        assert ask("tail", log.parent / "key", allowed)["lines"] == ["secret"]
        assert ask("tail", private / "log", allowed, lines=1)["lines"] == ["line 100"]

    def test_a_private_file_with_another_name(self, log: Path) -> None:
        # Given a second name, in a folder of logs, for what is private elsewhere
        secret = log.parent / "secret"
        secret.write_text("x")
        secret.chmod(0o600)
        (log.parent / "logs").mkdir()
        (log.parent / "logs" / "log").hardlink_to(secret)
        with pytest.raises(Denied, match="hard link"):
            ask("tail", log.parent / "logs" / "log", {"readable_private": [str(log.parent / "logs")]})

    @pytest.mark.parametrize(
        "path",
        ["/etc/shadow", "/etc/gshadow", "/dev/null", "/proc/self/environ", "/proc/version", "/sys/kernel/profiling"],
    )
    def test_what_is_never_told_whatever_is_configured(self, path: str) -> None:
        with pytest.raises(Denied, match="its content is never told"):
            ask("tail", path, {"readable": ["/"], "readable_private": ["/"]})

    def test_the_key_of_the_node(self, log: Path, node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(node), "settings", lambda _self: {"key_file": str(log)})
        agent = File(node, {"readable_private": ["/"]})
        with pytest.raises(Denied, match="its content is never told"):
            agent.tail(str(log))

    def test_a_link_out_of_the_readable_folders(self, folder: Path, readable: dict[str, Any]) -> None:
        outside = folder / "inside" / ".." / "outside"
        (folder / "inside").mkdir()
        (folder / "outside").mkdir()
        (outside / "file").write_text("secret")
        (folder / "inside" / "link").symlink_to(outside / "file")
        (folder / "inside" / "folder").symlink_to("../outside")
        inside = {"readable": [str(folder / "inside")]}
        for name in ("link", "folder/file", "../outside/file"):
            with pytest.raises(Denied, match=r"will not read .*/outside/file"):
                ask("tail", f"{folder}/inside/{name}", inside)
        assert ask("tail", folder / "inside" / "link", readable)["path"] == str(folder / "outside" / "file")

    @pytest.mark.parametrize("action", ["tail", "match", "checksum"])
    def test_what_is_no_file_is_never_waited_for(self, folder: Path, readable: dict[str, Any], action: str) -> None:
        os.mkfifo(folder / "fifo")
        data = {"pattern": "x"} if action == "match" else {}
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(folder / "socket"))
            for name in ("fifo", "socket", "."):
                with pytest.raises(ActionAborted, match=r"is a (fifo|socket|directory), not a file"):
                    ask(action, folder / name, readable, **data)
        with pytest.raises(ActionAborted, match="is not there"):
            ask(action, folder / "none", readable, **data)
        if action == "checksum":
            for path in ("/dev/zero", "/proc/kmsg"):
                with pytest.raises(ActionAborted, match=r"is a chardev, not a file|is made up by the kernel"):
                    ask(action, path)

    @pytest.mark.parametrize(
        ("path", "why"),
        [
            ("relative", "does not match"),
            ("", "does not match"),
            ("/a\0b", "does not match"),
            ("/a\nb", "does not match"),
            ("/" + "a" * 5000, "at most 4096"),
        ],
    )
    def test_what_is_no_absolute_path(self, path: str, why: str) -> None:
        with pytest.raises(InvalidData, match=why):
            ask("tail", path)

    @pytest.mark.parametrize("path", ["/" + "a" * 300, "/a/" * 1000, "/etc/passwd/x", "/none/x"])
    def test_what_the_kernel_does_not_take_is_said(self, path: str) -> None:
        with pytest.raises(RequestError):
            ask("tail", path)

    def test_links_in_a_circle(self, folder: Path, readable: dict[str, Any]) -> None:
        (folder / "a").symlink_to("b")
        (folder / "b").symlink_to("a")
        with pytest.raises(ActionAborted, match="Too many levels of symbolic links"):
            ask("tail", folder / "a", readable)


def test_what_takes_the_place_of_a_file_is_never_read(folder: Path, readable: dict[str, Any]) -> None:
    # Given a file that somebody swaps for a link to a secret and back, as quickly as he can
    (folder / "open").mkdir()
    (folder / "closed").mkdir(mode=0o700)
    (folder / "closed" / "file").write_text("secret\n")
    target, other, link = folder / "open" / "file", folder / "open" / "other", folder / "open" / "link"
    target.write_text("fine\n")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            link.symlink_to("../closed/file")
            link.rename(target)
            other.write_text("fine\n")
            other.rename(target)

    swapper = threading.Thread(target=swap)
    swapper.start()

    # When it is read again and again
    told = []
    try:
        for _ in range(400):
            try:
                told.append(ask("tail", target, readable)["lines"])
            except (Denied, ActionAborted) as e:
                told.append([type(e).__name__])
    finally:
        stop.set()
        swapper.join()

    # Then it is the file, or an error, and never the secret
    assert ask("tail", target, readable)["lines"] == ["fine"]
    assert all(each in (["fine"], [], ["Denied"], ["ActionAborted"]) for each in told), told


@pytest.mark.parametrize("is_link", [False, True])
def test_what_took_the_place_of_what_was_judged_is_not_opened(log: Path, is_link: bool) -> None:
    other = log.with_name("other")
    with walked(str(log)) as place:
        if is_link:
            log.rename(other)
            log.symlink_to("other")
        else:
            other.touch()
            other.rename(log)
        with pytest.raises(ActionAborted, match=r"became another file|Too many levels of symbolic links"):
            place.open()


@pytest.fixture
def descriptors() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.usefixtures("descriptors")
def test_no_file_is_left_open(log: Path, readable: dict[str, Any]) -> None:
    (log.parent / "link").symlink_to(".")
    for _ in range(3):
        ask("tail", log.parent / "link" / "log", readable)
        with pytest.raises(Denied):
            ask("tail", log)
        with pytest.raises(ActionAborted):
            ask("tail", log / "x", readable)


@pytest.mark.parametrize("path", ["/", "/..", "/usr/../etc/./passwd", "/usr/lib/..", "/proc/self/cwd", "/dev/fd"])
def test_a_walk_ends_at_the_true_name(path: str) -> None:
    with walked(path) as place:
        assert place.path == os.path.realpath(path)
        assert place.seen is not None
        assert place.seen.st_ino == Path(path).stat().st_ino


@pytest.mark.parametrize("settings", [{"readable": "/etc"}, {"writable": ["srv"]}, {"readable_private": [7]}])
def test_settings_that_are_no_folders_are_an_error(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected a list of absolute paths"):
        File(settings=settings)


def test_a_sparse_file_is_read_whole(folder: Path) -> None:
    with (folder / "large").open("wb") as file:
        file.truncate(100_000_001)
    told = ask("checksum", folder / "large")
    assert (told["size"], told["checksum"]) == (100_000_001, hashlib.sha256(bytes(100_000_001)).hexdigest())


_PATTERNS = (
    "a",
    "^a",
    "a$",
    "^$",
    "^",
    "a|b",
    "(?i)A",
    "[^a]",
    r"\s",
    r"\bb",
    r"a\z",
    r"\Aa",
    "(?-m)^b",
    "(?s)a.b",
    r"\Qa",
    "",
)


@settings(max_examples=300, deadline=None)
@given(
    content=st.lists(st.sampled_from(b"ab \n\xff\xc3"), max_size=40).map(bytes),
    pattern=st.sampled_from(_PATTERNS),
    chunk_bytes=st.integers(1, 9),
)
def test_lines_are_found_wherever_pieces_of_reading_end(content: bytes, pattern: str, chunk_bytes: int) -> None:
    # Given any lines, asked one by one
    asked = content.split(b"\n")
    if not asked[-1]:
        asked.pop()
    expression = patterns.compiled(pattern)
    expected = [number for number, line in enumerate(asked, 1) if expression.search(line) is not None]

    # When they are read in pieces of any size, then the same are found
    with tempfile.TemporaryFile() as file, mock.patch.object(matching, "_CHUNK_BYTES", chunk_bytes):
        file.write(content)
        file.flush()
        count, kept, number = matching.found(file.fileno(), pattern, 10_000, lambda: None)
    assert (count, [each["number"] for each in kept], number) == (len(expected), expected, len(asked))


@pytest.mark.parametrize("pattern", ["^a$", r"\Aa", r"a\z", "(?-m)^a$", "(?i-m)^A", r"\Qa", r"\ba\b", "[^b]$"])
def test_a_line_in_the_midst_of_others_is_found_as_if_it_were_alone(
    folder: Path, readable: dict[str, Any], pattern: str
) -> None:
    (folder / "file").write_text("b\nb\na\nb\n")
    assert ask("match", folder / "file", readable, pattern=pattern)["matches"] == [{"number": 3, "line": "a"}]


def test_a_rare_line_among_many_has_its_number(folder: Path, readable: dict[str, Any]) -> None:
    file = folder / "file"
    file.write_bytes(b"nothing here\n" * 100_000 + b"needle\n" + b"nothing here\n" * 100_000)
    told = ask("match", file, readable, pattern="needle")
    assert (told["count"], told["lines"], told["matches"]) == (1, 200_001, [{"number": 100_001, "line": "needle"}])


@pytest.mark.parametrize(
    ("action", "data", "why"),
    [
        ("match", {"pattern": "x"}, "took too long"),
        ("checksum", {}, "took too long"),
        ("list", {}, "files were looked at"),
    ],
)
def test_what_takes_longer_than_there_is_time_is_no_answer(
    log: Path, readable: dict[str, Any], action: str, data: dict[str, Any], why: str
) -> None:
    token = deadline.set(0.0)
    try:
        with pytest.raises(TimedOut, match=why):
            ask(action, log.parent if action == "list" else log, readable, **data)
    finally:
        deadline.reset(token)


@pytest.mark.parametrize(
    ("action", "data", "why"),
    [
        ("match", {"pattern": "(a"}, "input pattern: regular expression /"),
        ("match", {"pattern": "a", "max_lines": 1001}, "input max_lines: expected 0 to 1000"),
        ("tail", {"lines": -1}, "input lines: expected 0 to 1000"),
        ("tail", {"follow_s": 10_000}, "input follow_s: expected 0 to 3600"),
        ("list", {"limit": 0}, "input limit: expected 1 to 1000"),
        ("list", {"pattern": "a/b"}, "does not match"),
        ("checksum", {"algorithm": "crc32"}, "is not one of md5, sha1"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    log: Path, readable: dict[str, Any], action: str, data: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidData) as raised:
        ask(action, log, readable, **data)
    assert why in str(raised.value)


def test_a_folder_that_cannot_be_listed_whole_is_no_answer(
    log: Path, readable: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ActionAborted, match="is no folder"):
        ask("list", log, readable)
    with pytest.raises(ActionAborted, match="is not there"):
        ask("list", log.parent / "none", readable)
    (log.parent / "other").touch()
    monkeypatch.setattr("mco_agents.file.reading.MAX_VISITED", 1)
    with pytest.raises(ActionAborted, match="there are more than 1 files"):
        ask("list", log.parent, readable)


@pytest.mark.parametrize("action", ["match", "tail"])
def test_a_disk_that_cannot_be_read_is_said(
    log: Path, readable: dict[str, Any], action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(ActionAborted, match=r"log cannot be read: Input/output error"):
        ask(action, log, readable, **({"pattern": "x"} if action == "match" else {}))
