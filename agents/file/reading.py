# SPDX-License-Identifier: Apache-2.0
"""Looking at files and reading them: the part of the file agent that changes nothing."""

from __future__ import annotations

import fnmatch
import os
import stat
import time
from collections.abc import Iterator
from typing import Any

from mco_host import contents, files
from mco_host.digests import ALGORITHMS, digest_of
from mco_host.matching import found
from mco_host.paths import Place, walked
from mco_rpc.agent import Agent, Aggregate, Input, Output, action, time_left_s
from mco_rpc.errors import ActionAborted, FilterError, InvalidData, TimedOut

from .allowed import Allowed, check_regular
from .following import Follower

MAX_LINES = 1000
MAX_LISTED = 1000
MAX_VISITED = 100_000
FOLLOW_S = 3600
ABSOLUTE = r"/\/[^\x00-\x1f\x7f]*/"
_Entries = list[dict[str, Any]]
PATH = Input("string", "Absolute path", prompt="Path", max_length=4096, validate=ABSOLUTE)
PATTERN = Input("string", "A regular expression (RE2), looked for in each line", prompt="Pattern", max_length=512)
ALGORITHM = Input("list", "Which checksum", prompt="Algorithm", choices=ALGORITHMS, default="sha256")
TRUE_PATH = Output("string", "Where it truly is, links followed", display_as="Path")
ENTRIES = Output(
    "array",
    "Each with path (below the one that was asked for), type, size, permissions, owner, group, mtime_seconds",
    display_as="Entries",
    default=[],
)


class Reading(Agent):
    """Look at files and read them."""

    @property
    def allowed(self) -> Allowed:
        """What may be read and changed here."""
        raise NotImplementedError

    @action(
        "Say what a file is; of a link, the link itself",
        inputs={"path": PATH},
        outputs={
            name: Output(*meant, display_as=name.replace("_", " ").capitalize())
            for name, meant in (files.FIELDS | files.TIME_FIELDS).items()
        },
        aggregates=[Aggregate("summary", "output"), Aggregate("summary", "permissions"), Aggregate("summary", "owner")],
    )
    def status(self, path: str) -> dict[str, Any]:
        """Look at it."""
        return files.look(path)[0]

    @action(
        "Say the checksum of a file",
        inputs={"path": PATH, "algorithm": ALGORITHM},
        outputs={
            "checksum": Output("string", "The checksum, in hexadecimal digits", display_as="Checksum"),
            "size": Output("integer", "Bytes that it is of", display_as="Size"),
            "path": TRUE_PATH,
        },
        timeout_s=120.0,
        aggregates=[Aggregate("summary", "checksum")],
    )
    def checksum(self, path: str, algorithm: str = "sha256") -> dict[str, Any]:
        """Read all of it, of a link what it leads to."""
        with walked(path) as place:
            check_regular(place)
            fd = place.open()
            try:
                until = time.monotonic() + time_left_s(120.0)
                made, size_bytes = digest_of(fd, algorithm, until=until, check=self.check_cancelled)
            finally:
                os.close(fd)
            return {"checksum": made, "size": size_bytes, "path": files.as_text(place.path)}

    @action(
        "Look for an expression in the lines of a file",
        inputs={
            "path": PATH,
            "pattern": PATTERN,
            "max_lines": Input("integer", f"So many lines are shown, 0 to {MAX_LINES}", prompt="Lines", default=10),
        },
        outputs={
            "matched": Output("boolean", "Whether it is found", display_as="Matched"),
            "count": Output("integer", "Lines in which it is found", display_as="Count"),
            "matches": Output("array", "The first of them, each with number and line", display_as="Lines", default=[]),
            "lines": Output("integer", "Lines of the file", display_as="Of"),
            "path": TRUE_PATH,
        },
        aggregates=[Aggregate("summary", "matched"), Aggregate("sum", "count")],
    )
    def match(self, path: str, pattern: str, max_lines: int = 10) -> dict[str, Any]:
        """Read all of it; of a longer line the first 16 KiB."""
        _check_range("max_lines", max_lines, 0, MAX_LINES)
        until = time.monotonic() + time_left_s(self.timeout_s)

        def check() -> None:
            self.check_cancelled()
            if time.monotonic() > until:
                raise TimedOut(f"reading {path} took too long")

        with walked(path) as place:
            fd = self._opened(place)
            try:
                count, kept, lines = found(fd, pattern, max_lines, check)
            except FilterError as e:
                raise InvalidData(f"input pattern: {e}") from e
            except OSError as e:
                raise ActionAborted(f"{path} cannot be read: {e.strerror}") from e
            finally:
                os.close(fd)
            true_path = files.as_text(place.path)
        return {"matched": count > 0, "count": count, "matches": kept, "lines": lines, "path": true_path}

    @action(
        "Show the last lines of a file, and those that come",
        inputs={
            "path": PATH,
            "lines": Input("integer", f"So many, 0 to {MAX_LINES}", prompt="Lines", default=10),
            "follow_s": Input(
                "number",
                f"Seconds, at most {FOLLOW_S} and less than the caller waits, in which who follows is told new lines",
                prompt="Follow",
                default=0,
            ),
        },
        outputs={
            "lines": Output("array", "The last lines, as they were at the begin", display_as="Lines", default=[]),
            "is_cut": Output("boolean", "Whether there are more, too long to be read", display_as="Cut"),
            "size": Output("integer", "Bytes of the file at the begin", display_as="Size"),
            "followed": Output("integer", "Lines that came while it was followed", display_as="Followed"),
            "path": TRUE_PATH,
        },
        timeout_s=FOLLOW_S + 30.0,
    )
    def tail(self, path: str, lines: int = 10, follow_s: float = 0) -> dict[str, Any]:
        """Read from the end; follow the name, so that a log that is rotated goes on."""
        _check_range("lines", lines, 0, MAX_LINES)
        _check_range("follow_s", follow_s, 0, FOLLOW_S)
        with walked(path) as place:
            fd = self._opened(place)
            true_path = files.as_text(place.path)
        try:
            size_bytes = os.fstat(fd).st_size
            last, at, is_cut = contents.last_lines(fd, lines)
            told = {"lines": last, "is_cut": is_cut, "size": size_bytes, "path": true_path, "followed": 0}
            if follow_s:
                if last:
                    self.tell("\n".join(last))
                follower = Follower(path, self._opened, self.tell, self.check_cancelled)
                told["followed"] = follower.follow(fd, at, follow_s)
        except OSError as e:
            raise ActionAborted(f"{path} cannot be read: {e.strerror}") from e
        finally:
            os.close(fd)
        return told

    @action(
        "List a folder",
        inputs={
            "path": PATH,
            "pattern": Input(
                "string",
                "Only names such as *.log",
                prompt="Pattern",
                optional=True,
                max_length=256,
                validate=r"/[^\x00-\x1f\x7f\/]+/",
            ),
            "recursive": Input("boolean", "Also what is in its folders", prompt="Recursive", default=False),
            "limit": Input("integer", f"So many entries at most, 1 to {MAX_LISTED}", prompt="Limit", default=200),
        },
        outputs={
            "entries": ENTRIES,
            "count": Output("integer", "How many there are", display_as="Count"),
            "is_cut": Output("boolean", "Whether there are more than are listed", display_as="Cut"),
            "path": TRUE_PATH,
        },
        aggregates=[Aggregate("sum", "count")],
    )
    def list(self, path: str, pattern: str | None = None, recursive: bool = False, limit: int = 200) -> dict[str, Any]:
        """Look at all names, in order; links are not followed, and neither are other file systems entered."""
        _check_range("limit", limit, 1, MAX_LISTED)
        until = time.monotonic() + time_left_s(self.timeout_s)
        found: _Entries = []
        count, room = 0, contents.MAX_KEPT_BYTES
        with walked(path) as place:
            true_path = files.as_text(place.path)
            if place.seen is None or not stat.S_ISDIR(place.seen.st_mode):
                raise ActionAborted(f"{true_path} is {'not there' if place.seen is None else 'no folder'}")
            self.allowed.check_names(place)
            fd = place.open(os.O_RDONLY | os.O_DIRECTORY)
            try:
                for name, seen in self._entries(fd, place.path, recursive, until):
                    if pattern is None or fnmatch.fnmatchcase(name.rpartition("/")[2], pattern):
                        count += 1
                        room -= len(name)
                        if len(found) < limit and room > 0:
                            found.append(_entry(name, seen))
            finally:
                os.close(fd)
        return {"entries": found, "count": count, "is_cut": count > len(found), "path": true_path}

    def _opened(self, place: Place) -> int:
        """Open a file whose content may be told."""
        self.allowed.check_content(place)
        return place.open()

    def _entries(self, fd: int, path: str, recursive: bool, until: float) -> Iterator[tuple[str, os.stat_result]]:
        visited = 0
        device = os.fstat(fd).st_dev
        for folder, folders, names, folder_fd in os.fwalk(".", dir_fd=fd, follow_symlinks=False):
            if os.fstat(folder_fd).st_dev != device:
                folders.clear()
                continue
            for name in sorted((*folders, *names)):
                visited += 1
                if visited > MAX_VISITED:
                    raise ActionAborted(f"there are more than {MAX_VISITED} files; list a folder inside it")
                if time.monotonic() > until:
                    raise TimedOut(f"{visited} files were looked at in the time that was given")
                self.check_cancelled()
                try:
                    seen = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield os.path.normpath(f"{folder}/{name}"), seen
            if not recursive:
                return
            folders[:] = sorted(name for name in folders if self.allowed.is_listed(path, name, folder_fd))


def _entry(name: str, seen: os.stat_result) -> dict[str, Any]:
    told = files.of_status(seen)
    return {"path": files.as_text(name), "type": files.kind_of(seen)} | {
        key: told[key] for key in ("size", "permissions", "owner", "group", "mtime_seconds")
    }


def _check_range(name: str, value: float, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidData(f"input {name}: expected {least} to {most}, got {value}")
