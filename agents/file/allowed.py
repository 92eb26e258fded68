# SPDX-License-Identifier: Apache-2.0
"""What the file agent may read and change; every judgement is about a true name, never about one with links in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mco_host.files import as_text, kind_of
from mco_host.mounts import MADE_UP, mounts
from mco_host.mounts import kind_of as file_system_of
from mco_host.paths import Place, is_below
from mco_rpc.errors import ActionAborted, ConfigError, Denied

READABLE = ("/etc", "/opt", "/srv", "/usr", "/var/log")
READABLE_PRIVATE = ("/var/log",)
SETTING_NAMES = ("readable", "readable_private", "writable")
# Whatever is configured: passwords, the kernel, devices, and what decides who may ask this node.
_NEVER_READ = (
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/security/opasswd",
    "/dev",
    "/proc",
    "/sys",
)
_NEVER_WRITTEN = ("/dev", "/proc", "/sys", "/etc/mco")


@dataclass(frozen=True)
class Allowed:
    """The folders of the node's configuration, and the node's own files.

    Attributes:
        readable: folders of files whose content may be read, if every user of the host may read them.
        readable_private: folders of files whose content may be read although not everybody on the host may.
        writable: folders in which files may be changed.
        own_keys: files of the node that are never read.
        own: files and folders of the node that are never changed.
    """

    readable: tuple[str, ...]
    readable_private: tuple[str, ...]
    writable: tuple[str, ...]
    own_keys: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Mapping[str, Any], node: Mapping[str, Any]) -> Allowed:
        """Return what the configuration of the agent, and of its node, allows.

        Raises:
            ConfigError: it is no list of folders.
        """
        keys = [node[name] for name in ("key_file",) if node.get(name)]
        names = ("trusted_callers", "facts_file", "facts_dir", "classes_file", "audit_file")
        own = [*keys, *(node[name] for name in names if node.get(name)), *node.get("libdir", ())]
        return cls(
            _folders(settings, "readable", READABLE),
            _folders(settings, "readable_private", READABLE_PRIVATE),
            _folders(settings, "writable", ()),
            tuple(map(os.path.realpath, keys)),
            tuple(map(os.path.realpath, own)),
        )

    def check_content(self, place: Place) -> None:
        """Raise unless it is a regular file whose content may be told.

        Raises:
            Denied: it may not.
            ActionAborted: it is no file.
        """
        if why_not := self.why_not_content(place):
            raise Denied(f"will not read {as_text(place.path)}: {why_not}")
        check_regular(place)

    def check_names(self, folder: Place) -> None:
        """Raise `Denied` unless the names in a folder may be told."""
        if why_not := self.why_not_content(folder):
            raise Denied(f"will not list {as_text(folder.path)}: {why_not}")

    def is_listed(self, path: str, name: str, folder_fd: int) -> bool:
        """Say whether the names in a folder are told, too, when the one at ``path`` that it is in is."""
        if any(is_below(path, private) for private in self.readable_private):
            return True
        try:
            mode = os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode
        except OSError:
            return False
        return bool(mode & stat.S_IROTH and mode & stat.S_IXOTH)

    def why_not_content(self, place: Place) -> str | None:
        """Return why the content of a file is not told, None if it may be."""
        if any(is_below(place.path, never) for never in (*_NEVER_READ, *self.own_keys)):
            return "its content is never told"
        is_private = place.seen is not None and not place.is_public
        folders = self.readable_private if is_private else (*self.readable, *self.readable_private)
        if not any(is_below(place.path, folder) for folder in folders):
            if is_private:
                return (
                    "not every user of this host may; agents: {file: {readable_private: [...]}} names folders where "
                    f"that does not matter, now {_listed(folders)}"
                )
            return f"agents: {{file: {{readable: [...]}}}} of this node allows {_listed(folders)}"
        # Who may write to a folder of logs could make a second name there for what he may not read himself.
        if is_private and place.seen and stat.S_ISREG(place.seen.st_mode) and place.seen.st_nlink > 1:
            return "it is private and has another name elsewhere (a hard link)"
        return None

    def check_change(self, place: Place) -> None:
        """Raise `Denied` unless what is there may be changed, or made if there is nothing."""
        path = as_text(place.path)
        if not any(is_below(place.path, folder) and place.path != folder for folder in self.writable):
            raise Denied(
                f"will not change {path}: agents: {{file: {{writable: [...]}}}} of this node allows what is inside "
                f"{_listed(self.writable)}"
            )
        for own in (*_NEVER_WRITTEN, *self.own):
            if is_below(place.path, own) or is_below(own, place.path):
                raise Denied(f"will not change {path}: {own} is never changed from afar")
        if inside := next((mount.path for mount in mounts() if is_below(mount.path, place.path)), None):
            raise Denied(f"will not change {path}: something is mounted at {inside}")


def check_regular(place: Place) -> None:
    """Raise `ActionAborted` unless it is a file whose content is kept somewhere."""
    path = as_text(place.path)
    if place.seen is None:
        raise ActionAborted(f"{path} is not there")
    if (kind := kind_of(place.seen)) != "file":
        raise ActionAborted(f"{path} is a {kind}, not a file")
    if (made_up := file_system_of(place.seen.st_dev)) in MADE_UP:
        raise ActionAborted(f"{path} is made up by the kernel when it is read ({made_up})")


def _folders(settings: Mapping[str, Any], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    given = settings.get(key, list(default))
    if not isinstance(given, list) or not all(isinstance(each, str) and each.startswith("/") for each in given):
        raise ConfigError(f"agents: file: {key}: expected a list of absolute paths, got {given!r}")
    return tuple(os.path.realpath(each) for each in given)


def _listed(folders: tuple[str, ...]) -> str:
    return ", ".join(folders) or "nothing"
