# SPDX-License-Identifier: Apache-2.0
"""What one look at a file tells; never what is in it."""

from __future__ import annotations

import datetime as dt
import errno
import os
import stat
import time
from pathlib import Path
from typing import Any

from mco_rpc.errors import ActionAborted

from .users import group_name, user_name

# What `look` tells: the type and the meaning of each field.
FIELDS = {
    "name": ("string", "The path that was asked for"),
    "present": ("boolean", "Whether it is there; a symbolic link that leads nowhere is not"),
    "output": ("string", "present, or not present"),
    "type": ("string", "file, directory, symlink, fifo, socket, chardev or blockdev"),
    "target": ("string", "Where a symbolic link leads, as it is written in it"),
    "target_type": ("string", "What a symbolic link leads to in the end: a type, or missing"),
    "size": ("integer", "Bytes"),
    "mode": ("string", "Kind and permissions as octal text, such as 100644"),
    "permissions": ("string", "The permissions alone, such as 0644"),
    "uid": ("integer", "Number of its owner"),
    "gid": ("integer", "Number of its group"),
    "owner": ("string", "Name of its owner; the number if there is none"),
    "group": ("string", "Name of its group; the number if there is none"),
    "links": ("integer", "Hard links"),
}
TIME_FIELDS: dict[str, tuple[str, str]] = {}
for _kind, _what in (("m", "last change of its content"), ("c", "last change of its metadata"), ("a", "last reading")):
    TIME_FIELDS |= {
        f"{_kind}time": ("string", f"Date and time of the {_what}, in UTC"),
        f"{_kind}time_seconds": ("integer", f"The {_what} in seconds since the epoch"),
        f"{_kind}time_age": ("integer", f"Seconds since the {_what}"),
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


def look(path: str) -> tuple[dict[str, Any], os.stat_result | None]:
    """Return the fields of a file, a link itself and not what it leads to; and its status, None if it is not there.

    Raises:
        ActionAborted: that cannot be known, which is not the same as missing.
    """
    try:
        seen = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {"name": path, "present": False, "output": "not present"}, None
    except OSError as e:
        raise ActionAborted(f"it cannot be looked at: {e.strerror}") from e
    fields = {"name": path, "type": kind_of(seen), **of_status(seen)}
    if fields["type"] == "symlink":
        fields |= _of_link(path)
    is_present = fields.get("target_type") != "missing"
    return fields | {"present": is_present, "output": "present" if is_present else "not present"}, seen


def kind_of(seen: os.stat_result) -> str:
    """Return what a file is: file, directory, symlink and so on."""
    return _TYPES.get(stat.S_IFMT(seen.st_mode), "unknown")


def of_status(seen: os.stat_result) -> dict[str, Any]:
    """Return the fields of a file's status."""
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


def as_text(name: str) -> str:
    """Return a file's name as text that can be sent, whatever bytes it has."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _date(at: float) -> str | None:
    try:
        return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):  # a file may claim to be from the year 300,000
        return None


def _of_link(path: str) -> dict[str, Any]:
    link = Path(path)
    try:
        target = as_text(str(link.readlink()))
    except OSError as e:  # it was another file a moment ago
        raise ActionAborted(f"this link cannot be read: {e.strerror}") from e
    try:
        leads_to = kind_of(link.stat())
    except OSError as e:
        if e.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise ActionAborted(f"where this link leads cannot be looked at: {e.strerror}") from e
        leads_to = "missing"
    return {"target": target, "target_type": leads_to}
