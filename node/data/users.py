# SPDX-License-Identifier: Apache-2.0
"""Names of users and groups; who has none is called by the number."""

from __future__ import annotations


def user_name(uid: int) -> str:
    """Return the name of a user."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Return the name of a group."""
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
