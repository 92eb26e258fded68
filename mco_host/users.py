# SPDX-License-Identifier: Apache-2.0
"""Users and groups, whatever keeps them; who has no name is called by the number."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mco_rpc.errors import InvalidData
from mco_rpc.validation import shown

if TYPE_CHECKING:
    import pwd


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


def uid_of(user: str) -> int:
    """Return the number of a user, who is named or numbered; raise `InvalidData` if there is none of that name."""
    import pwd

    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError) as e:
        if is_number(user):
            return int(user)
        raise InvalidData(f"expected a user of this host, got {shown(user)}") from e


def gid_of(group: str) -> int:
    """Return the number of a group, which is named or numbered; raise `InvalidData` if there is none of that name."""
    import grp

    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, ValueError) as e:
        if is_number(group):
            return int(group)
        raise InvalidData(f"expected a group of this host, got {shown(group)}") from e


def is_number(text: str) -> bool:
    """Say whether a text is the number of a user or group."""
    return text.isascii() and text.isdigit() and int(text[:11]) < (1 << 32) - 1


def users(name: str | None = None) -> list[dict[str, Any]]:
    """Return all users that the host lists, or the one of a name, whether it lists it or not."""
    import grp
    import pwd

    if name is None:
        members: dict[str, list[str]] = {}
        for group in grp.getgrall():
            for member in group.gr_mem:
                members.setdefault(member, []).append(group.gr_name)
        return [
            _user(each, sorted({group_name(each.pw_gid), *members.get(each.pw_name, ())})) for each in pwd.getpwall()
        ]
    try:
        found = pwd.getpwnam(name)
    except (KeyError, ValueError):
        return []
    gids = os.getgrouplist(found.pw_name, found.pw_gid)
    return [_user(found, sorted(group_name(gid) for gid in gids))]


def groups(name: str | None = None) -> list[dict[str, Any]]:
    """Return all groups that the host lists, or the one of a name."""
    import grp

    try:
        found = grp.getgrall() if name is None else [grp.getgrnam(name)]
    except (KeyError, ValueError):
        return []
    return [{"group": each.gr_name, "gid": each.gr_gid, "members": list(each.gr_mem)} for each in found]


def _user(found: pwd.struct_passwd, group_names: list[str]) -> dict[str, Any]:
    return {
        "user": found.pw_name,
        "uid": found.pw_uid,
        "gid": found.pw_gid,
        "group": group_name(found.pw_gid),
        "groups": group_names,
        "full_name": found.pw_gecos,
        "home": found.pw_dir,
        "shell": found.pw_shell,
    }
