# SPDX-License-Identifier: Apache-2.0
"""The one file of kernel settings that is ours; what the administrator wrote elsewhere is never touched."""

from __future__ import annotations

import os
from pathlib import Path

from mco_rpc.errors import ActionAborted, InvalidData

from .kernel import normal, path_of
from .replacing import replace

_HEAD = "# Kernel settings that were set through the host agent (host#set_sysctl).\n"


class SysctlFile:
    """Settings that the machine gets at its start."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def value_of(self, name: str) -> str | None:
        """Return what the file sets a setting to, None if it does not."""
        wanted = path_of(name)
        found = None
        for line in self._lines():
            key, value = _parts(line)
            if key and path_of(key) == wanted:
                found = value
        return found

    def set(self, name: str, value: str) -> None:
        """Have a setting set at the next start, instead of what the file says of it now."""
        wanted = path_of(name)
        kept = [line for line in self._lines() if not (key := _parts(line)[0]) or path_of(key) != wanted]
        text = "".join(f"{line}\n" for line in kept) or _HEAD
        try:
            fd = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                replace(fd, self.path.name, f"{text}{name} = {value}\n".encode(), mode=0o644)
            finally:
                os.close(fd)
        except OSError as e:
            raise ActionAborted(
                f"{self.path} cannot be written: {e.strerror}; the kernel has {value} all the same"
            ) from e

    def _lines(self) -> list[str]:
        try:
            return self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        except OSError as e:
            raise ActionAborted(f"{self.path} cannot be read: {e.strerror}") from e


def _parts(line: str) -> tuple[str, str]:
    """Return the name and the value that a line sets; no name if it sets nothing that we could have written.

    >>> _parts("-net.ipv4.ip_forward=1")
    ('net.ipv4.ip_forward', '1')
    """
    key, mark, value = line.partition("=")
    key = key.strip().removeprefix("-").strip()
    try:
        path_of(key)
    except InvalidData:  # a comment, an expression such as net.ipv4.conf.*.rp_filter, or a mistake
        return "", ""
    return (key, normal(value)) if mark else ("", "")
