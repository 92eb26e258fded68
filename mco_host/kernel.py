# SPDX-License-Identifier: Apache-2.0
"""The running kernel, and its settings below /proc/sys."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

from mco_rpc.errors import ActionAborted, InvalidData
from mco_rpc.validation import shown

SETTINGS = Path("/proc/sys")
MAX_VALUE_BYTES = 64 * 1024
_REBOOT_MARKS = (Path("/run/reboot-required"), Path("/var/run/reboot-required"))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@+-]*\Z")
# Each names a program that the kernel starts as root, or what may be started: who may set one may do anything.
_PROGRAMS = re.compile(
    r"kernel/(core_pattern|modprobe|hotplug|poweroff_cmd|usermodehelper/.*)\Z|fs/binfmt_misc/.*|kernel/sysrq\Z"
)


def kernel() -> dict[str, Any]:
    """Return which kernel runs, with what, and whether the machine waits for a reboot."""
    seen = os.uname()
    mark = next((mark for mark in _REBOOT_MARKS if mark.exists()), None)
    packages = mark.with_name("reboot-required.pkgs") if mark else None
    return {
        "release": seen.release,
        "version": seen.version,
        "architecture": seen.machine,
        "command_line": _read("/proc/cmdline"),
        "modules": sorted(line.split()[0] for line in _read("/proc/modules").splitlines()),
        "taint": int(_read("/proc/sys/kernel/tainted") or 0),
        "is_reboot_required": mark is not None,
        "reboot_required_by": sorted(set(_read(packages).split())) if packages else [],
    }


def path_of(name: str) -> Path:
    """Return the file of a setting, which may be written ``net.ipv4.ip_forward`` or ``net/ipv4/ip_forward``.

    Dots and slashes change places if a dot comes first, so that ``net.ipv4.conf.eth0/1.forwarding`` is of eth0.1.

    Raises:
        InvalidData: it is no name of a setting.

    >>> str(path_of("net.ipv4.conf.eth0/1.forwarding"))
    '/proc/sys/net/ipv4/conf/eth0.1/forwarding'
    """
    first = next((c for c in name if c in "./"), "")
    parts = (name.translate(str.maketrans("./", "/.")) if first == "." else name).split("/")
    if not _NAME.match(name) or not first or any(part in ("", ".", "..") for part in parts):
        raise InvalidData(f"input name: expected a kernel setting such as net.ipv4.ip_forward, got {shown(name)}")
    return SETTINGS.joinpath(*parts)


def value_of(file: Path) -> str | None:
    """Return the value of a setting, fields with one space between; None if there is no such setting.

    Raises:
        ActionAborted: it cannot be read, or only root may.
    """
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise ActionAborted(f"{file} cannot be read: {e.strerror}") from e
    try:
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode):
            raise ActionAborted(f"{file} is a group of settings; name one of them")
        if not seen.st_mode & stat.S_IROTH:
            raise ActionAborted(f"{file} is not shown: only root may read it")
        return normal(os.read(fd, MAX_VALUE_BYTES).decode("utf-8", "replace"))
    except OSError as e:
        raise ActionAborted(f"{file} cannot be read: {e.strerror}") from e
    finally:
        os.close(fd)


def set_value(file: Path, value: str) -> None:
    """Set a setting.

    Raises:
        ActionAborted: it is one that starts programs, or cannot be written.
        InvalidData: the kernel does not take the value.
    """
    if why_not := why_not_set(file):
        raise ActionAborted(why_not)
    try:
        fd = os.open(file, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as e:
        raise ActionAborted(f"{file} cannot be written: {e.strerror}") from e
    try:
        os.write(fd, f"{value}\n".encode())
    except OSError as e:
        raise InvalidData(f"the kernel does not take {shown(value)} for {file}: {e.strerror}") from e
    finally:
        os.close(fd)


def why_not_set(file: Path) -> str | None:
    """Return why a setting is never set from afar, None if it may be."""
    if _PROGRAMS.match(str(file.relative_to(SETTINGS))):
        return f"will not set {file}: it names a program, or says what may run as root"
    return None


def normal(value: str) -> str:
    r"""Return a value with one space between its fields.

    >>> normal("4096\t16384\t4194304\n")
    '4096 16384 4194304'
    """
    return "\n".join(" ".join(line.split()) for line in value.strip().splitlines())


def _read(file: str | Path) -> str:
    try:
        return Path(file).read_text(errors="replace").strip()
    except OSError:
        return ""
