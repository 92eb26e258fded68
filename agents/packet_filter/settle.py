# SPDX-License-Identifier: Apache-2.0
"""Change a packet filter that others may be changing at the same time, one transaction at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mco_rpc.command import Completed

from . import PacketFilterError

_State = TypeVar("_State")
MAX_ATTEMPTS = 20


def settle(
    look: Callable[[], _State],
    plan: Callable[[_State], list[str]],
    commit: Callable[[list[str]], Completed],
) -> None:
    """Look, plan and commit; where somebody else was faster, look again and plan anew.

    A commit must do all of its lines or none. That it said it did them is not proof: whoever needs to know
    looks again.

    Raises:
        PacketFilterError: a commit failed though nobody else had changed anything, or others never stop.
    """
    state = look()
    for _ in range(MAX_ATTEMPTS):
        lines = plan(state)
        if not lines:
            return
        done = commit(lines)
        if done.returncode == 0:
            return
        seen = look()
        if seen == state:
            raise PacketFilterError(f"the packet filter was not changed: {done}")
        state = seen
    raise PacketFilterError(
        f"the packet filter was not changed: others changed it {MAX_ATTEMPTS} times in between; "
        f"the last try: {done}; look for what keeps changing it, and try again"
    )
