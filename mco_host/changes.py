# SPDX-License-Identifier: Apache-2.0
"""Make, change and remove what is at a place that a walk reached; whether that is allowed is not judged here."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass

from mco_rpc.errors import ActionAborted

from .files import as_text, kind_of
from .mounts import mounts
from .paths import Place, is_below
from .replacing import replace

MAX_REMOVED = 10_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a file shall be; what is None stays as it is, or is what it usually is.

    Attributes:
        kind: file, directory or link.
        content: of a file.
        target: of a link.
    """

    kind: str
    content: bytes | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    target: str | None = None


def make(place: Place, wanted: Wanted) -> None:
    """Have a file as it is wanted; what is there already is of the same kind.

    Raises:
        ActionAborted: it cannot be.
    """
    try:
        if wanted.kind == "link":
            _make_link(place, wanted)
        elif wanted.kind == "directory":
            _make_folder(place, wanted)
        elif place.seen is None or wanted.content is not None:
            _make_file(place, wanted)
        else:
            _set_status(place, wanted, os.O_RDONLY)
    except OSError as e:
        raise ActionAborted(f"{as_text(place.path)} cannot be made so: {e.strerror}") from e


def remove(place: Place) -> None:
    """Remove a file, or a folder with all that is in it; links in it are not followed.

    Raises:
        ActionAborted: it cannot be, or not all of it.
    """
    try:
        if place.seen is not None and stat.S_ISDIR(place.seen.st_mode):
            import shutil  # it brings every kind of compression

            # Each folder is held open while it is emptied, so none can be swapped for a link to another.
            shutil.rmtree(place.name, dir_fd=place.folder_fd)
        else:
            os.unlink(place.name, dir_fd=place.folder_fd)
    except OSError as e:
        raise ActionAborted(f"{as_text(place.path)} cannot be removed, or not all of it: {e.strerror}") from e


def entries(place: Place) -> int:
    """Return how many files and folders are in a folder, at any depth.

    Raises:
        ActionAborted: something is mounted inside, or they are more than are removed at once.
    """
    for mount in mounts():
        if is_below(mount.path, place.path):
            raise ActionAborted(f"something is mounted at {mount.path}")
    fd = place.open(os.O_RDONLY | os.O_DIRECTORY)
    count = 0
    try:
        for _, folders, names, _ in os.fwalk(".", dir_fd=fd, follow_symlinks=False):
            count += len(folders) + len(names)
            if count > MAX_REMOVED:
                raise ActionAborted(
                    f"{as_text(place.path)} holds more than {MAX_REMOVED} files; so many are not removed at once"
                )
    finally:
        os.close(fd)
    return count


def touch(place: Place) -> None:
    """Make an empty file, or say that an existing one was changed now.

    Raises:
        ActionAborted: it cannot be, or is no file and no folder.
    """
    try:
        if place.seen is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(place.name, flags, 0o644, dir_fd=place.folder_fd))
            return
        fd = _opened_to_change(place)
        try:
            os.utime(fd)
        finally:
            os.close(fd)
    except OSError as e:
        raise ActionAborted(f"{as_text(place.path)} cannot be touched: {e.strerror}") from e


def content_of(place: Place, max_bytes: int) -> bytes | None:
    """Return what is in a file, None if it is no file or larger."""
    if place.seen is None or not stat.S_ISREG(place.seen.st_mode) or place.seen.st_size > max_bytes:
        return None
    fd = place.open()
    try:
        with open(fd, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    finally:
        os.close(fd)
    return content if len(content) <= max_bytes else None


def _make_file(place: Place, wanted: Wanted) -> None:
    seen = place.seen
    if seen is not None:
        _check_single(place)
        os.close(place.open())  # it is still the one that was judged
    replace(
        place.folder_fd,
        place.name,
        wanted.content or b"",
        mode=_or(wanted.mode, stat.S_IMODE(seen.st_mode) if seen else 0o644),
        uid=_or(wanted.uid, seen.st_uid if seen else -1),
        gid=_or(wanted.gid, seen.st_gid if seen else -1),
    )


def _make_folder(place: Place, wanted: Wanted) -> None:
    if place.seen is not None:
        _set_status(place, wanted, os.O_RDONLY | os.O_DIRECTORY)
        return
    os.mkdir(place.name, 0o700, dir_fd=place.folder_fd)
    fd = os.open(place.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.folder_fd)
    try:
        os.fchown(fd, _or(wanted.uid, -1), _or(wanted.gid, -1))
        os.fchmod(fd, _or(wanted.mode, 0o755))
    finally:
        os.close(fd)


def _make_link(place: Place, wanted: Wanted) -> None:
    """Make a link beside the old one, and rename it over that."""
    beside = f".mco-{os.urandom(8).hex()}"
    os.symlink(wanted.target or "", beside, dir_fd=place.folder_fd)
    try:
        if (wanted.uid, wanted.gid) != (None, None):
            owner = (_or(wanted.uid, -1), _or(wanted.gid, -1))
            os.chown(beside, *owner, dir_fd=place.folder_fd, follow_symlinks=False)
        os.rename(beside, place.name, src_dir_fd=place.folder_fd, dst_dir_fd=place.folder_fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside, dir_fd=place.folder_fd)
        raise


def _set_status(place: Place, wanted: Wanted, flags: int) -> None:
    fd = _opened_to_change(place, flags)
    try:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        os.fchown(fd, _or(wanted.uid, -1), _or(wanted.gid, -1))
        os.fchmod(fd, _or(wanted.mode, mode))  # last: a change of owner takes bits away
    finally:
        os.close(fd)


def _opened_to_change(place: Place, flags: int = os.O_RDONLY) -> int:
    _check_single(place)
    fd = place.open(flags)
    if kind_of(os.fstat(fd)) not in ("file", "directory"):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is neither a file nor a folder")
    return fd


def _check_single(place: Place) -> None:
    """Refuse a file that has another name: the other may be where nothing may be changed."""
    if place.seen is not None and stat.S_ISREG(place.seen.st_mode) and place.seen.st_nlink > 1:
        raise ActionAborted(
            f"{as_text(place.path)} has {place.seen.st_nlink} names (hard links); a change would be one of them all"
        )


def _or(value: int | None, other: int) -> int:
    return other if value is None else value
