# SPDX-License-Identifier: Apache-2.0
"""The data source about files: what a look at one tells, and digests of small ones; never what is in it."""

from __future__ import annotations

import datetime as dt
import errno
import os
import stat
import time
from pathlib import Path
from typing import Any

from mco_rpc.data import DataSource, Input, Output, time_left_s
from mco_rpc.errors import ActionAborted, FilterError
from mco_rpc.validation import shown

from .digests import digests_of
from .users import group_name, user_name

ARGUMENTS = {"path": Input("string", "Absolute path of a file", max_length=4096)}
FIELDS = {
    "name": Output("string", "The path that was asked for"),
    "present": Output("boolean", "Whether it is there; a symbolic link that leads nowhere is not"),
    "output": Output("string", "present, or not present"),
    "type": Output("string", "file, directory, symlink, fifo, socket, chardev or blockdev"),
    "target": Output("string", "Where a symbolic link leads, as it is written in it"),
    "target_type": Output("string", "What a symbolic link leads to in the end: a type, or missing"),
    "size": Output("integer", "Bytes"),
    "mode": Output("string", "Kind and permissions as octal text, such as 100644"),
    "permissions": Output("string", "The permissions alone, such as 0644"),
    "uid": Output("integer", "Number of its owner"),
    "gid": Output("integer", "Number of its group"),
    "owner": Output("string", "Name of its owner; the number if there is none"),
    "group": Output("string", "Name of its group; the number if there is none"),
    "links": Output("integer", "Hard links"),
    "md5": Output("string", "Digest of its content, if it is a file that is not too large"),
    "sha256": Output("string", "Digest of its content, if it is a file that is not too large"),
    "digest_problem": Output("string", "Why there are no digests"),
}
for _kind, _what in (("m", "last change of its content"), ("c", "last change of its metadata"), ("a", "last reading")):
    FIELDS |= {
        f"{_kind}time": Output("string", f"Date and time of the {_what}, in UTC"),
        f"{_kind}time_seconds": Output("integer", f"The {_what} in seconds since the epoch"),
        f"{_kind}time_age": Output("integer", f"Seconds since the {_what}"),
    }
_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "chardev",
    stat.S_IFBLK: "blockdev",
}
MAX_DIGEST_BYTES = 16 * 1024 * 1024


class Fstat(DataSource):
    """Look at a file; a symbolic link is looked at itself."""

    arguments = ARGUMENTS
    fields = FIELDS
    setting_names = ("max_digest_bytes",)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._max_digest_bytes = self.setting("max_digest_bytes", MAX_DIGEST_BYTES)

    def query(self, path: str) -> dict[str, Any]:
        """Return what the file is; abort if that cannot be known, for that is not the same as missing."""
        if not path.startswith("/"):
            raise FilterError(f"expected an absolute path such as /etc/hosts, got {shown(path)}")
        try:
            seen = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return {"name": path, "present": False, "output": "not present"}
        except OSError as e:
            raise ActionAborted(f"it cannot be looked at: {e.strerror}") from e
        kind = _type(seen)
        fields = {"name": path, "type": kind, **_of_status(seen)}
        if kind == "symlink":
            fields |= _of_link(path)
        is_present = fields.get("target_type") != "missing"
        fields |= {"present": is_present, "output": "present" if is_present else "not present"}
        if kind != "file":
            return {**fields, "digest_problem": f"it is a {kind}"}
        until = time.monotonic() + time_left_s(self.timeout_s)
        return fields | digests_of(path, seen, max_bytes=self._max_digest_bytes, until=until)


def _type(seen: os.stat_result) -> str:
    return _TYPES.get(stat.S_IFMT(seen.st_mode), "unknown")


def _of_status(seen: os.stat_result) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "size": seen.st_size,
        "mode": f"{seen.st_mode:o}",
        "permissions": f"{stat.S_IMODE(seen.st_mode):04o}",
        "uid": seen.st_uid,
        "gid": seen.st_gid,
        "owner": user_name(seen.st_uid),
        "group": group_name(seen.st_gid),
        "links": seen.st_nlink,
    }
    now = time.time()
    for kind, at in (("m", seen.st_mtime), ("c", seen.st_ctime), ("a", seen.st_atime)):
        fields |= {f"{kind}time": _date(at), f"{kind}time_seconds": int(at), f"{kind}time_age": int(now - at)}
    return fields


def _date(at: float) -> str | None:
    try:
        return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):  # a file may claim to be from the year 300,000
        return None


def _of_link(path: str) -> dict[str, Any]:
    link = Path(path)
    try:
        target = os.fsencode(link.readlink()).decode("utf-8", "backslashreplace")
    except OSError as e:  # it was another file a moment ago
        raise ActionAborted(f"this link cannot be read: {e.strerror}") from e
    try:
        leads_to = _type(link.stat())
    except OSError as e:
        if e.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise ActionAborted(f"where this link leads cannot be looked at: {e.strerror}") from e
        leads_to = "missing"
    return {"target": target, "target_type": leads_to}
