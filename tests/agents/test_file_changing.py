# SPDX-License-Identifier: Apache-2.0
"""The file agent changes real files: only what is not as it shall be, whole or not at all, and only where it may."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_agents.file import File
from mco_client.rpc import RpcClient
from mco_host import changes, replacing
from mco_lab.memory import MemoryFleet
from mco_rpc.current import Current, working_for
from mco_rpc.errors import ActionAborted, Denied, InvalidData, RequestError
from mco_rpc.messages import Reply, encode

is_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")
Ask = Any


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the one folder where changes are allowed."""
    made = tmp_path / "writable"
    made.mkdir()
    return made


@pytest.fixture
def ask(folder: Path) -> Ask:
    """Return a function that calls an action as a node does, on a path in the folder."""
    agent = File(settings={"writable": [str(folder)], "readable_private": [str(folder)]})

    def call(action: str, path: Path | str, /, is_noop: bool = False, **data: Any) -> dict[str, Any]:
        schema = agent.schema().action(action)
        inputs = schema.check_inputs("file", {"path": str(folder / path), **data})
        with working_for(Current(is_noop=is_noop)):
            made = schema.check_outputs("file", getattr(agent, action)(**inputs))
        encode(Reply(id="1", collective="c", agent="file", action=action, sender="s", sent_at=0.0, data=made))
        return made

    return call


def tree(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Return all that is in a folder, to be compared."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(folder.rglob("*")):
        seen = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(seen.st_mode) else None
        found[str(path.relative_to(folder))] = (seen.st_mode, seen.st_uid, seen.st_ino, seen.st_mtime_ns, content)
    return found


def test_a_file_is_made_once(ask: Ask, folder: Path) -> None:
    # When it shall be there, then it is
    first = ask("ensure", "file", content="a\nb\n", mode="0640")
    assert (folder / "file").read_text() == "a\nb\n"
    assert first["changed"]
    assert first["before"] is None
    assert first["after"] | {"owner": "", "group": ""} == {
        "type": "file",
        "size": 4,
        "permissions": "0640",
        "owner": "",
        "group": "",
    }
    assert first["difference"].splitlines()[2:] == ["@@ -0,0 +1,2 @@", "+a", "+b"]

    # And a second time nothing is changed, not even written anew
    before = tree(folder)
    again = ask("ensure", "file", content="a\nb\n", mode="0640")
    assert (again["changed"], again["before"], again["difference"]) == (False, first["after"], None)
    assert tree(folder) == before


def test_other_content_keeps_the_permissions_and_is_shown(ask: Ask, folder: Path) -> None:
    file = folder / "file"
    file.write_text("a\nb\n")
    file.chmod(0o4751)
    told = ask("ensure", "file", content="a\nc\n")
    assert told["difference"].splitlines()[2:] == ["@@ -1,2 +1,2 @@", " a", "-b", "+c"]
    assert file.read_text() == "a\nc\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o4751
    assert list(folder.iterdir()) == [file]


@is_root
def test_owner_and_group_are_kept_and_changed(ask: Ask, folder: Path) -> None:
    # Given a file of somebody else
    file = folder / "file"
    file.write_text("a")
    os.chown(file, 65534, 65534)
    file.chmod(0o600)

    # Then it stays his with other content
    ask("ensure", "file", content="b")
    assert (file.stat().st_uid, file.stat().st_gid, stat.S_IMODE(file.stat().st_mode)) == (65534, 65534, 0o600)

    # And changes hands alone
    inode = file.stat().st_ino
    told = ask("ensure", "file", owner="daemon", group="0", mode="4755")
    assert (told["before"]["owner"], told["after"]["owner"], told["after"]["group"]) == ("nobody", "daemon", "root")
    assert told["after"]["permissions"] == "4755"
    assert (file.stat().st_ino, file.read_text()) == (inode, "b")


def test_noop_changes_nothing_and_shows_what_it_would(ask: Ask, folder: Path) -> None:
    # Given one of each kind
    (folder / "file").write_text("a\n")
    (folder / "link").symlink_to("file")
    (folder / "sub").mkdir()
    (folder / "sub" / "inside").touch()
    before = tree(folder)

    # When all kinds of changes are asked for without being made
    told = [
        ask("ensure", "file", is_noop=True, content="b\n"),
        ask("ensure", "new", is_noop=True, content="b\n"),
        ask("ensure", "file", is_noop=True, mode="0600"),
        ask("ensure", "link", is_noop=True, kind="link", target="sub"),
        ask("ensure", "folder", is_noop=True, kind="directory"),
        ask("ensure", "file", is_noop=True, kind="absent"),
        ask("remove", "sub", is_noop=True, recursive=True),
        ask("touch", "file", is_noop=True),
    ]

    # Then each says that it would change something, and nothing is changed
    assert all(each["changed"] for each in told)
    kinds = [each["after"] and each["after"]["type"] for each in told]
    assert kinds == ["file", "file", "file", "symlink", "directory", None, None, "file"]
    assert [each["after"]["permissions"] for each in told[1:3]] == ["0644", "0600"]
    assert [each["after"]["size"] for each in told[:3]] == [2, 2, told[2]["before"]["size"]]
    assert told[3]["after"]["target"] == "sub"
    assert "-a" in told[0]["difference"].splitlines()
    assert tree(folder) == before


def test_folders_and_links_are_made_and_changed(ask: Ask, folder: Path) -> None:
    assert ask("ensure", "sub", kind="directory", mode="0711")["after"]["permissions"] == "0711"
    assert ask("ensure", "sub", kind="directory", mode="0700")["changed"]
    assert not ask("ensure", "sub", kind="directory")["changed"]
    assert stat.S_IMODE((folder / "sub").stat().st_mode) == 0o700

    made = ask("ensure", "link", kind="link", target="/no/where")
    assert made["after"]["target"] == "/no/where"
    assert not ask("ensure", "link", kind="link", target="/no/where")["changed"]
    changed = ask("ensure", "link", kind="link", target="sub")
    assert (changed["before"]["target"], changed["after"]["target"]) == ("/no/where", "sub")
    assert (folder / "link").readlink() == Path("sub")
    assert sorted(each.name for each in folder.iterdir()) == ["link", "sub"]


def test_one_kind_is_not_made_of_another(ask: Ask, folder: Path) -> None:
    (folder / "file").touch()
    (folder / "link").symlink_to("file")
    os.mkfifo(folder / "fifo")
    before = tree(folder)
    for name, kind in (("file", "directory"), ("file", "link"), ("link", "file"), ("fifo", "file")):
        data = {"target": "x"} if kind == "link" else {}
        with pytest.raises(ActionAborted, match=f"would not be made a {kind}; remove it first"):
            ask("ensure", name, kind=kind, **data)
    with pytest.raises(ActionAborted, match="is a fifo"):
        ask("touch", "fifo")
    assert tree(folder) == before


def test_the_longest_names_are_made(ask: Ask, folder: Path) -> None:
    name = "\N{GRINNING FACE}" * 63 + "abc"
    ask("ensure", name, content="x")
    ask("ensure", f"l{name[:-1]}", kind="link", target=name)
    assert (folder / f"l{name[:-1]}").read_text() == "x"


def test_a_file_is_touched(ask: Ask, folder: Path) -> None:
    assert ask("touch", "file")["before"] is None
    os.utime(folder / "file", (1, 1))
    assert ask("touch", "file")["changed"]
    assert (folder / "file").stat().st_mtime > 1


def test_a_file_is_removed_once(ask: Ask, folder: Path) -> None:
    # Given a link
    (folder / "kept").touch()
    (folder / "link").symlink_to("kept")

    # When it is removed, then what it leads to is not
    told = ask("remove", "link")
    assert (told["changed"], told["before"]["type"], told["after"], told["removed"]) == (True, "symlink", None, 1)
    assert [each.name for each in folder.iterdir()] == ["kept"]
    again = ask("ensure", "link", kind="absent")
    assert (again["changed"], again["before"], again["after"]) == (False, None, None)


def test_a_folder_is_removed_if_it_is_empty_or_if_that_is_said(ask: Ask, folder: Path, tmp_path: Path) -> None:
    # Given an empty folder, and one with a link out of it
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    (folder / "empty").mkdir()
    (folder / "full" / "sub").mkdir(parents=True)
    (folder / "full" / "sub" / "link").symlink_to(tmp_path / "outside")

    # Then only the empty one goes unless it is said
    assert ask("remove", "empty")["removed"] == 1
    with pytest.raises(ActionAborted, match=r"is a folder with 2 files; recursive=true removes them all"):
        ask("remove", "full")
    with pytest.raises(ActionAborted, match="recursive=true"):
        ask("ensure", "full", kind="absent")
    assert ask("remove", "full", recursive=True)["removed"] == 3
    assert list(folder.iterdir()) == []
    assert (tmp_path / "outside" / "kept").exists()


def test_a_folder_with_more_than_can_be_meant_is_not_removed(
    ask: Ask, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "full").mkdir()
    for number in range(4):
        (folder / "full" / str(number)).touch()
    monkeypatch.setattr(changes, "MAX_REMOVED", 3)
    with pytest.raises(ActionAborted, match="holds more than 3 files"):
        ask("remove", "full", recursive=True)
    assert len(list((folder / "full").iterdir())) == 4


class TestNotChanged:
    """What is refused, and stays as it is."""

    @pytest.mark.parametrize("action", ["touch", "remove", "ensure"])
    def test_anything_unless_a_folder_is_configured(self, tmp_path: Path, action: str) -> None:
        with pytest.raises(Denied, match=r"writable: .* of this node allows what is inside nothing"):
            getattr(File(settings={}), action)(str(tmp_path / "x"))

    def test_what_is_outside_of_the_folder(self, ask: Ask, folder: Path, tmp_path: Path) -> None:
        # Given links and dots that lead out
        (tmp_path / "file").write_text("a")
        (folder / "out").symlink_to("..")
        before = tree(tmp_path)
        for path in (tmp_path / "file", "out/file", "../file", "out/writable2", tmp_path, folder, "/", "/etc/passwd"):
            for action in ("touch", "remove", "ensure"):
                with pytest.raises(Denied, match=r"will not change .*: agents: \{file: \{writable"):
                    ask(action, path)
        assert tree(tmp_path) == before

        # But a folder is reached through a link that stays inside
        (folder / "sub").mkdir()
        (folder / "in").symlink_to("sub")
        assert ask("touch", "in/file")["path"] == str(folder / "sub" / "file")

    @pytest.mark.parametrize(
        "path",
        ["/", "/dev/x", "/proc/sys/kernel/hostname", "/sys", "/etc/mco/callers/x", "/etc", "/usr"],
    )
    def test_what_is_never_changed_whatever_is_configured(self, path: str) -> None:
        agent = File(settings={"writable": ["/"]})
        with working_for(Current(is_noop=True)):  # should it be allowed, the host shall live
            if path == "/usr":
                with pytest.raises(ActionAborted, match=r"recursive=true|holds more than"):
                    agent.remove(path)
            else:
                with pytest.raises(RequestError, match=r"will not change|is not there"):
                    agent.remove(path, recursive=True)

    def test_the_settings_of_the_node(self, folder: Path, node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("key_file", "trusted_callers", "facts_file"):
            monkeypatch.setattr(type(node), "settings", lambda _self, name=name: {name: str(folder / "own" / "x")})
            agent = File(node, {"writable": [str(folder)]})
            for path in ("own/x", "own"):
                (folder / "own").mkdir(exist_ok=True)
                with pytest.raises(Denied, match="is never changed from afar"):
                    agent.remove(str(folder / path), recursive=True)

    def test_a_file_with_another_name(self, ask: Ask, folder: Path, tmp_path: Path) -> None:
        # Given a file outside, with a second name inside
        (tmp_path / "file").write_text("a")
        (folder / "file").hardlink_to(tmp_path / "file")
        before = tree(tmp_path)
        for data in ({"content": "b"}, {"mode": "0777"}):
            with pytest.raises(ActionAborted, match="hard links"):
                ask("ensure", "file", **data)
        with pytest.raises(ActionAborted, match="hard links"):
            ask("touch", "file")
        assert tree(tmp_path) == before

    @is_root
    def test_where_something_is_mounted(self, ask: Ask, folder: Path) -> None:
        # Given a folder with something mounted in it
        (folder / "sub" / "mounted").mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "none", folder / "sub" / "mounted"], check=True)
        try:
            (folder / "sub" / "mounted" / "kept").touch()
            for path in ("sub/mounted", "sub"):
                with pytest.raises(Denied, match=r"something is mounted at .*/sub/mounted"):
                    ask("remove", path, recursive=True)
            assert (folder / "sub" / "mounted" / "kept").exists()
            # What is in it may be changed
            assert ask("remove", "sub/mounted/kept")["changed"]
        finally:
            subprocess.run(["umount", folder / "sub" / "mounted"], check=True)

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            ({"kind": "link"}, "a link needs a target"),
            ({"kind": "directory", "content": "x"}, "content cannot be given for kind=directory"),
            ({"kind": "absent", "mode": "0644"}, "mode cannot be given for kind=absent"),
            ({"target": "x"}, "target cannot be given for kind=file"),
            ({"mode": "rwx"}, "does not match"),
            ({"mode": "08"}, "does not match"),
            ({"owner": "no-such-user"}, "expected a user of this host"),
            ({"group": "no-such-group"}, "expected a group of this host"),
            ({"owner": "-R"}, "does not match"),
            ({"content": "x" * 300_000}, "at most 262144"),
            ({"content": "\ud800"}, "half a character"),
            ({"kind": "link", "target": "a\0b"}, "does not match"),
            ({"kind": "fifo"}, "is not one of file, directory, link, absent"),
        ],
    )
    def test_what_cannot_be_meant(self, ask: Ask, folder: Path, data: dict[str, Any], why: str) -> None:
        with pytest.raises(InvalidData) as raised:
            ask("ensure", "file", **data)
        assert why in str(raised.value)
        assert list(folder.iterdir()) == []

    def test_in_a_folder_that_is_not_there(self, ask: Ask) -> None:
        with pytest.raises(ActionAborted, match=r"/none is not there \(on the way to .*/none/file\)"):
            ask("ensure", "none/file")

    def test_a_file_that_cannot_be_written_whole_stays_as_it_was(
        self, ask: Ask, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a disk that gets full when everything seems to be written
        (folder / "file").write_text("a")
        before = tree(folder)

        def full(_fd: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(replacing.os, "fsync", full)
        with pytest.raises(ActionAborted, match="No space left on device"):
            ask("ensure", "file", content="b" * 100_000)
        assert tree(folder) == before

    def test_what_the_kernel_refuses_is_said(self, ask: Ask, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "file").touch()
        (folder / "sub").mkdir()

        def refused(*_: object, **__: object) -> None:
            raise OSError(30, "Read-only file system")

        for name in ("unlink", "rmdir", "mkdir", "utime", "fchmod", "rename"):
            monkeypatch.setattr(changes.os, name, refused)
        before = tree(folder)
        for action, path, data in (
            ("remove", "file", {}),
            ("remove", "sub", {}),
            ("touch", "file", {}),
            ("ensure", "new", {"kind": "directory"}),
            ("ensure", "file", {"mode": "0600"}),
        ):
            with pytest.raises(ActionAborted, match="Read-only file system"):
                ask(action, path, **data)
        assert tree(folder) == before
        monkeypatch.undo()

    def test_a_link_that_cannot_be_put_in_place_leaves_nothing_behind(
        self, ask: Ask, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / "link").symlink_to("old")

        def refused(*_: object, **__: object) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(changes.os, "rename", refused)
        with pytest.raises(ActionAborted, match="Read-only file system"):
            ask("ensure", "link", kind="link", target="new")
        assert [each.name for each in folder.iterdir()] == ["link"]
        assert (folder / "link").readlink() == Path("old")


def test_who_reads_meanwhile_sees_one_or_the_other_and_never_half(ask: Ask, folder: Path) -> None:
    # Given a file that somebody reads all the time
    one, other = "a" * 200_000, "b" * 200_000
    (folder / "file").write_text(one)
    stop, seen = threading.Event(), set()

    def read() -> None:
        while not stop.is_set():
            seen.add((folder / "file").read_text())

    reader = threading.Thread(target=read)
    reader.start()

    # When it changes again and again, then he sees nothing else
    try:
        for number in range(20):
            ask("ensure", "file", content=(other, one)[number % 2])
    finally:
        stop.set()
        reader.join()
    assert seen <= {one, other}


def test_a_folder_that_is_swapped_for_a_link_leads_nobody_out(ask: Ask, folder: Path, tmp_path: Path) -> None:
    # Given a folder that somebody swaps for a link to another outside, as quickly as he can
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "real").mkdir()
    sub = folder / "sub"
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (folder / "real").rename(sub)
            sub.rename(folder / "real")
            sub.symlink_to(outside)
            sub.unlink()

    swapper = threading.Thread(target=swap)
    swapper.start()
    made = 0
    try:
        for number in range(400):
            try:
                ask("ensure", f"sub/{number}", content="x")
                made += 1
            except RequestError:
                continue
    finally:
        stop.set()
        swapper.join()

    # Then nothing is ever made there
    assert list(outside.iterdir()) == []


def test_lines_that_may_not_be_read_are_not_shown(folder: Path) -> None:
    # Given a folder where files may be changed, and not read
    (folder / "file").write_text("secret\n")
    (folder / "file").chmod(0o600)
    agent = File(settings={"writable": [str(folder)]})
    told = agent.ensure(str(folder / "file"), content="new\n")
    assert told["changed"]
    assert "secret" not in str(told)
    assert "not every user of this host may" in told["difference_problem"]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"\xff\xfe", "text", "it is no text"),
        (b"a\0b", "text", "it is no text"),
        (b"x" * 200_000, "text", "it is longer than"),
        (b"x\n" * 3000, "text", "it has more than 2000 lines"),
    ],
)
def test_what_cannot_be_compared_by_lines_is_changed_all_the_same(
    ask: Ask, folder: Path, old: bytes, new: str, why: str
) -> None:
    (folder / "file").write_bytes(old)
    told = ask("ensure", "file", content=new)
    assert why in told["difference_problem"]
    assert told["difference"] is None
    assert (folder / "file").read_text() == new


@pytest.fixture
def descriptors() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.usefixtures("descriptors")
def test_no_file_is_left_open(ask: Ask, folder: Path) -> None:
    for _ in range(2):
        ask("ensure", "sub", kind="directory", mode="0755")
        ask("ensure", "sub/file", content="x", mode="0600")
        ask("touch", "sub/file")
        ask("ensure", "sub/link", kind="link", target="file")
        with pytest.raises(ActionAborted):
            ask("remove", "sub")
        ask("remove", "sub", recursive=True)
    assert list(folder.iterdir()) == []


def test_a_fleet_is_changed_after_a_look(folder: Path) -> None:
    settings = {"agents": {"file": {"writable": [str(folder)]}}}
    with MemoryFleet({"web1": {"settings": settings}}) as fleet:
        client = RpcClient("file", fleet.connection())
        client.using(noop=True).ensure(path=str(folder / "file"), content="x").require_all(changed=True)
        assert not (folder / "file").exists()
