# SPDX-License-Identifier: Apache-2.0
"""Users and groups: the part of the host agent that is about accounts."""

from __future__ import annotations

from typing import Any

from mco_host import users
from mco_rpc.agent import Agent, Aggregate, Input, Output, action

MAX_LISTED = 2000
_NAME_RULE = r"/[^\x00-\x20:-][^\x00-\x1f\x7f:]*/"
USER = Input("string", "Only the user of this name", prompt="User", optional=True, max_length=256, validate=_NAME_RULE)
GROUP = Input(
    "string", "Only the group of this name", prompt="Group", optional=True, max_length=256, validate=_NAME_RULE
)
EXISTS = Output("boolean", "Whether there is any", display_as="Exists")
COUNT = Output("integer", "How many there are", display_as="Count")
IS_CUT = Output("boolean", f"Whether there are more than the {MAX_LISTED} that are listed", display_as="Cut")


class Accounts(Agent):
    """Say which users and groups there are."""

    @action(
        "List users, or look one up",
        inputs={"user": USER},
        outputs={
            "users": Output(
                "array",
                "Each with user, uid, gid, group, groups, full_name, home and shell",
                display_as="Users",
                default=[],
            ),
            "exists": EXISTS,
            "count": COUNT,
            "is_cut": IS_CUT,
        },
        aggregates=[Aggregate("summary", "exists")],
    )
    def users(self, user: str | None = None) -> dict[str, Any]:
        """Ask whatever keeps users; one of a directory that is not listed is found by its name."""
        found = users.users(user)
        return {"users": found[:MAX_LISTED], **_counted(found)}

    @action(
        "List groups, or look one up",
        inputs={"group": GROUP},
        outputs={
            "groups": Output("array", "Each with group, gid and members", display_as="Groups", default=[]),
            "exists": EXISTS,
            "count": COUNT,
            "is_cut": IS_CUT,
        },
        aggregates=[Aggregate("summary", "exists")],
    )
    def groups(self, group: str | None = None) -> dict[str, Any]:
        """Ask whatever keeps groups."""
        found = users.groups(group)
        return {"groups": found[:MAX_LISTED], **_counted(found)}


def _counted(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {"exists": bool(found), "count": len(found), "is_cut": len(found) > MAX_LISTED}
