# SPDX-License-Identifier: Apache-2.0
"""Key files: who may read them, what is in them, and a folder of them that changes while it is used."""

from __future__ import annotations

import base64
import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from mco_rpc.errors import SecurityError
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import for_caller, for_node


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "callers"
    made.mkdir()
    return made


def seed_of(folder: Path, name: str) -> bytes:
    """Make a key pair whose public half is in ``folder``; return the private one."""
    private = folder.parent / f"{name}.key"
    private.unlink(missing_ok=True)
    (folder / f"{name}.pub").unlink(missing_ok=True)
    keys.generate(private, folder / f"{name}.pub")
    return keys.read_private(private)


def test_a_pair_is_written_so_that_only_its_owner_reads_the_private_half(tmp_path: Path) -> None:
    private, public = tmp_path / "a/alice.key", tmp_path / "b/c/alice.pub"
    before = os.umask(0)
    try:
        keys.generate(private, public)
    finally:
        os.umask(before)

    assert private.stat().st_mode & 0o777 == 0o600
    assert public.stat().st_mode & 0o777 == 0o644
    assert keys.public_of(keys.read_private(private)) == keys.read_public(public)
    assert private.read_text().split()[1] not in public.read_text()


@pytest.mark.parametrize("there", ["alice.key", "alice.pub"])
def test_a_key_is_never_replaced(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("precious")
    with pytest.raises(SecurityError, match=f"key file {tmp_path / there} exists; remove it first"):
        keys.generate(tmp_path / "alice.key", tmp_path / "alice.pub")
    assert (tmp_path / there).read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == [there]


def test_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SecurityError, match=r"cannot be written: (Not a directory|File exists)"):
        keys.generate(tmp_path / "file/alice.key", tmp_path / "alice.pub")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601, 0o777])
def test_a_private_key_that_others_may_touch_is_not_used(tmp_path: Path, mode: int) -> None:
    private = tmp_path / "alice.key"
    keys.generate(private, tmp_path / "alice.pub")
    private.chmod(mode)
    with pytest.raises(SecurityError, match=rf"can be read by others \(mode {mode & 0o777:o}\); run: chmod 600 "):
        keys.read_private(private)


def test_a_missing_private_key_says_how_one_is_made(tmp_path: Path) -> None:
    with pytest.raises(SecurityError, match=r"No such file or directory; `mco keygen` makes one"):
        keys.read_private(tmp_path / "none.key")


@pytest.mark.parametrize("what", ["folder", "file"])
def test_who_may_not_read_a_private_key_is_not_told_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    private = tmp_path / "alice.key"
    keys.generate(private, tmp_path / "alice.pub")

    def refuse(*_: object, **__: object) -> NoReturn:  # root may read everything
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", refuse) if what == "folder" else patched.setattr(keys, "_open_at_once", refuse)
        with pytest.raises(SecurityError) as raised:
            keys.read_private(private)
    assert f"key {private}: Permission denied; this user may not read it: run this as the key's owner" in str(
        raised.value
    )
    assert "keygen" not in str(raised.value)


def test_an_unreadable_public_key_is_none_of_the_user_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(keys, "_open_at_once", refuse)
    with pytest.raises(SecurityError, match=r"alice\.pub: Permission denied$"):
        keys.read_public(tmp_path / "alice.pub")


GOOD = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "expected one line `mco-ed25519-public BASE64`, found something else"),
        (b"mco-ed25519-public", "found something else"),
        (f"mco-ed25519-private {GOOD}".encode(), "found something else"),
        (f"ssh-ed25519 {GOOD}".encode(), "found something else"),
        (f"mco-ed25519-public {GOOD} alice".encode(), "found something else"),
        (b"mco-ed25519-public !!!!", "is not base64"),
        (b"mco-ed25519-public \xff\xfe", "is not base64"),
        (b"mco-ed25519-public AAA", "is not base64"),
        (b"mco-ed25519-public AAAA", "3 bytes, expected 32"),
        (b"mco-ed25519-public " + base64.b64encode(bytes(64)), "64 bytes, expected 32"),
    ],
)
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "alice.pub"
    file.write_bytes(content)
    with pytest.raises(SecurityError, match=why):
        keys.read_public(file)


def test_a_public_key_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(SecurityError, match="Is a directory"):
        keys.read_public(tmp_path)


def test_a_folder_that_is_missing_or_holds_a_broken_key_is_noticed_at_the_start(folder: Path) -> None:
    with pytest.raises(SecurityError, match=r"folder of trusted keys .*none: No such file"):
        for_node("web1", keys.new_seed(), folder / "none")
    (folder / "alice.pub").write_text("junk")
    with pytest.raises(SecurityError, match=r"key .*alice\.pub: expected one line"):
        for_node("web1", keys.new_seed(), folder)


def test_other_files_in_the_folder_are_no_keys(folder: Path) -> None:
    seed_of(folder, "alice")
    (folder / "README").write_text("junk")
    (folder / "not a name.pub").write_text("junk")
    (folder / ".hidden.pub").write_text("junk")
    node = for_node("web1", keys.new_seed(), folder)
    for name in ("README", "not a name", ".hidden", "..", "../callers/alice"):
        with pytest.raises(SecurityError, match="holds no "):
            node.verify(b"x", name, bytes(64))


def test_keys_come_go_and_change_without_a_restart(folder: Path) -> None:
    # Given a node that trusts nobody yet
    node = for_node("web1", keys.new_seed(), folder)
    with pytest.raises(SecurityError, match=f"unknown key 'alice': folder {folder} holds no 'alice'"):
        node.verify(b"x", "alice", bytes(64))

    # When a key is added, it counts
    alice = for_caller("alice", seed_of(folder, "alice"), {})
    assert node.verify(b"x", "alice", alice.sign(b"x")) == "key=alice"

    # When it is rewritten in place, which does not touch the folder's time, the old one does not count any more
    renewed = keys.new_seed()
    at = folder.stat().st_mtime_ns
    (folder / "alice.pub").write_text(f"mco-ed25519-public {base64.b64encode(keys.public_of(renewed)).decode()}\n")
    assert folder.stat().st_mtime_ns == at
    with pytest.raises(SecurityError, match="altered or misattributed"):
        node.verify(b"x", "alice", alice.sign(b"x"))
    assert node.verify(b"x", "alice", for_caller("alice", renewed, {}).sign(b"x")) == "key=alice"

    # When it is removed, it does not count, even if the folder's time is as it was
    (folder / "alice.pub").unlink()
    os.utime(folder, ns=(at, at))
    with pytest.raises(SecurityError, match="unknown key 'alice'"):
        node.verify(b"x", "alice", for_caller("alice", renewed, {}).sign(b"x"))


def test_a_broken_key_is_the_trouble_of_its_owner_only(folder: Path) -> None:
    alice, bob = (for_caller(name, seed_of(folder, name), {}) for name in ("alice", "bob"))
    node = for_node("web1", keys.new_seed(), folder)

    # When one key is half written
    (folder / "bob.pub").write_text("mco-ed25519-pub")

    with pytest.raises(SecurityError, match=r"bob\.pub: expected one line"):
        node.verify(b"x", "bob", bob.sign(b"x"))
    assert node.verify(b"x", "alice", alice.sign(b"x")) == "key=alice"


def test_a_folder_that_goes_away_trusts_nobody(folder: Path) -> None:
    alice = for_caller("alice", seed_of(folder, "alice"), {})
    node = for_node("web1", keys.new_seed(), folder)
    folder.rename(folder.with_name("away"))
    with pytest.raises(SecurityError):
        node.verify(b"x", "alice", alice.sign(b"x"))
    # Nor does something else in its place.
    folder.write_text("")
    with pytest.raises(SecurityError, match="Not a directory"):
        node.verify(b"x", "alice", alice.sign(b"x"))


def test_a_key_that_is_no_point_of_the_curve_verifies_nothing() -> None:
    node = for_node("web1", keys.new_seed(), {"alice": bytes(32), "bob": b"short"})
    for name in ("alice", "bob"):
        with pytest.raises(SecurityError):
            node.verify(b"x", name, bytes(64))


@pytest.mark.parametrize("which", ["folder", "key"])
def test_a_key_that_others_may_write_does_not_count(folder: Path, which: str) -> None:
    # Given a key that counts
    seed_of(folder, "alice")
    known = keys.KeyFolder(folder)
    assert known.get("alice")

    # When others get the right to write it, or its folder, then it is refused, and that is said
    (folder if which == "folder" else folder / "alice.pub").chmod(0o757)
    for _ in range(2):
        with pytest.raises(SecurityError, match=rf"{which} .* is not used: others may write it \(mode 757\)"):
            known.get("alice")
    with pytest.raises(SecurityError, match="others may write it"):
        keys.KeyFolder(folder)


def test_a_pipe_in_the_place_of_a_key_stalls_nobody(folder: Path) -> None:
    known = keys.KeyFolder(folder)
    os.mkfifo(folder / "alice.pub")
    with pytest.raises(SecurityError, match="neither a regular file nor a folder"):
        known.get("alice")
    with pytest.raises(SecurityError, match="not a regular file"):
        keys.read_public(folder / "alice.pub")


def test_who_looks_only_now_and_then_sees_a_change_then(folder: Path) -> None:
    # Given somebody who looks once in ten seconds, and a key that counts
    now = [100.0]
    seed_of(folder, "alice")
    known = keys.KeyFolder(folder, look_every_s=10.0, read_at_once=0, monotonic=lambda: now[0])
    first = known.get("alice")
    assert first

    # When it is replaced, then that is seen at the next look
    (folder / "alice.pub").unlink()
    seed_of(folder, "alice")
    now[0] += 9.9
    assert known.get("alice") == first
    now[0] += 0.1
    assert known.get("alice") not in (None, first)

    # And when it is removed, too
    (folder / "alice.pub").unlink()
    now[0] += 10.0
    assert known.get("alice") is None


def test_a_broken_key_matters_only_to_who_reads_all_at_once(folder: Path) -> None:
    (folder / "broken.pub").write_text("nonsense\n")
    with pytest.raises(SecurityError, match="broken"):
        keys.KeyFolder(folder)
    lazy = keys.KeyFolder(folder, read_at_once=0)
    with pytest.raises(SecurityError, match="broken"):
        lazy.get("broken")
