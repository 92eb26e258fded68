# SPDX-License-Identifier: Apache-2.0
"""Walk to a file, folder by folder, each held open: nobody can swap what was judged for something else.

Links are followed here and not by the kernel, so that the place that is reached has one true name to be judged by.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from mco_rpc.errors import ActionAborted

from .files import as_text

MAX_LINKS = 40
MAX_DEPTH = 128
_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk ended.

    Attributes:
        path: its true name: no links, no ``..``.
        folder_fd: the folder it is in, open.
        name: its name in that folder; ``.`` for the root.
        seen: what is there, None if nothing is.
        is_searchable: whether every user of the host may go where the walk went.
    """

    path: str
    folder_fd: int
    name: str
    seen: os.stat_result | None
    is_searchable: bool

    @property
    def is_public(self) -> bool:
        """Whether every user of the host may read it."""
        return self.is_searchable and self.seen is not None and bool(self.seen.st_mode & stat.S_IROTH)

    def open(self, flags: int = os.O_RDONLY) -> int:
        """Open what was seen, and nothing that took its place; never wait for anybody.

        Raises:
            ActionAborted: it is gone, was replaced, or cannot be opened.
        """
        kept = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            fd = os.open(self.name, flags | kept, dir_fd=self.folder_fd)
        except OSError as e:
            raise ActionAborted(f"{as_text(self.path)} cannot be opened: {e.strerror}") from e
        opened = os.fstat(fd)
        if self.seen is None or (opened.st_dev, opened.st_ino) != (self.seen.st_dev, self.seen.st_ino):
            os.close(fd)
            raise ActionAborted(f"{as_text(self.path)} became another file while it was looked at; ask again")
        return fd


@contextlib.contextmanager
def walked(path: str, *, follows_last: bool = True) -> Iterator[Place]:
    """Walk to an absolute path, of which the last part may be missing.

    Args:
        follows_last: whether a link at its end is followed.

    Raises:
        ActionAborted: a folder on the way is missing, cannot be entered, or is none.
    """
    with contextlib.ExitStack() as stack:
        yield _Walk(stack, path).to_end(follows_last)


class _Walk:
    """One walk: the folders it is in, outermost first, and the names that are still to be gone through."""

    def __init__(self, stack: contextlib.ExitStack, path: str) -> None:
        self._stack = stack
        self._asked = as_text(path)
        self._left = _names(path)[::-1]
        self._links = 0
        self._is_searchable = True
        self._folders = [("", self._held(os.open("/", _FLAGS | os.O_DIRECTORY)))]

    def to_end(self, follows_last: bool) -> Place:
        while self._left:
            name = self._left.pop()
            if name == "..":
                if len(self._folders) > 1:
                    self._folders.pop()
                continue
            folder_fd = self._folders[-1][1]
            self._is_searchable &= bool(os.fstat(folder_fd).st_mode & stat.S_IXOTH)
            try:
                fd = self._held(os.open(name, _FLAGS, dir_fd=folder_fd))
            except FileNotFoundError as e:
                if self._left:
                    raise self._stopped(name, "is not there") from e
                return self._place(name, None)
            except OSError as e:
                raise self._stopped(name, f"cannot be looked at: {e.strerror}") from e
            seen = os.fstat(fd)
            if stat.S_ISLNK(seen.st_mode) and (self._left or follows_last):
                self._follow(name, fd)
            elif stat.S_ISDIR(seen.st_mode) and self._left:
                self._enter(name, fd)
            elif self._left:
                raise self._stopped(name, "is no folder")
            else:
                return self._place(name, seen)
        name, fd = self._folders[-1]
        if len(self._folders) > 1:
            self._folders.pop()
        return self._place(name, os.fstat(fd))

    def _follow(self, name: str, fd: int) -> None:
        self._links += 1
        if self._links > MAX_LINKS:
            raise self._stopped(name, os.strerror(errno.ELOOP))
        try:
            target = os.readlink("", dir_fd=fd)
        except OSError as e:
            raise self._stopped(name, f"cannot be read: {e.strerror}") from e
        if target.startswith("/"):
            del self._folders[1:]
        self._left += _names(target)[::-1]

    def _enter(self, name: str, fd: int) -> None:
        if len(self._folders) > MAX_DEPTH:
            raise self._stopped(name, f"is more than {MAX_DEPTH} folders deep")
        self._folders.append((name, fd))

    def _place(self, name: str, seen: os.stat_result | None) -> Place:
        return Place(self._path(name), self._folders[-1][1], name or ".", seen, self._is_searchable)

    def _path(self, name: str) -> str:
        return "/".join(folder for folder, _ in self._folders) + f"/{name}"

    def _stopped(self, name: str, why: str) -> ActionAborted:
        where = as_text(self._path(name))
        return ActionAborted(f"{where} {why}" + (f" (on the way to {self._asked})" if where != self._asked else ""))

    def _held(self, fd: int) -> int:
        self._stack.callback(os.close, fd)
        return fd


def is_below(path: str, folder: str) -> bool:
    """Say whether a true path is a folder or inside it.

    >>> is_below("/srv/app", "/srv"), is_below("/srv2", "/srv"), is_below("/x", "/")
    (True, False, True)
    """
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]
