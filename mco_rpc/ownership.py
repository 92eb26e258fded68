# SPDX-License-Identifier: Apache-2.0
"""May a file or folder be believed, and what is in it run? Only if nobody else can write it.

It says nothing about the folders above: who may replace those is the administrator's concern.
"""

from __future__ import annotations

import os
import stat


def why_not_trusted(status: os.stat_result, *, is_owner_checked: bool = True) -> str | None:
    """Return why a regular file or a folder cannot be trusted, None if it can.

    A group of the owner's own, as many systems give to every user, counts as the owner.

    Args:
        is_owner_checked: whether the owner must be root or we; not where a developer's checkout is used by root.
    """
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return "it is neither a regular file nor a folder"
    if is_owner_checked and status.st_uid not in (0, os.geteuid()):
        return f"it belongs to user {status.st_uid}, who may change it: make root its owner (chown root)"
    others = stat.S_IWOTH if status.st_gid == status.st_uid else stat.S_IWOTH | stat.S_IWGRP
    if status.st_mode & others:
        return f"others may write it (mode {status.st_mode & 0o777:o}): run chmod go-w on it"
    return None
