# SPDX-License-Identifier: Apache-2.0
"""Whether a service that was started goes on to run: many report success and die a moment later."""

from __future__ import annotations

import time
from collections.abc import Callable

from mco_host.services import ServiceState

INTERVAL_S = 0.1


def settled(
    first: ServiceState, look: Callable[[], ServiceState], settle_s: float, check_cancelled: Callable[[], None]
) -> tuple[ServiceState, str]:
    """Watch a service for a while.

    Returns:
        The last state of it, and what is wrong with that: nothing if it runs, or did what it is for.
    """
    until = time.monotonic() + settle_s
    seen = first
    while True:
        if trouble := _trouble(first, seen):
            return seen, trouble
        if _has_no_process(seen) or time.monotonic() >= until:
            return seen, ""
        check_cancelled()
        time.sleep(min(INTERVAL_S, settle_s))
        seen = look()


def _has_no_process(seen: ServiceState) -> bool:
    """Say whether nothing of it can die: a socket, a timer, a target, or what did its work and is over."""
    return seen.manager == "systemd" and (not seen.kind or (seen.kind == "oneshot" and seen.status != "starting"))


def _trouble(first: ServiceState, seen: ServiceState) -> str:
    how = f" with {seen.result} {seen.exit_status or ''}".rstrip() if seen.result not in ("", "success") else ""
    if seen.status == "failed":
        return f"it started and ended{how or ' at once'}"
    if seen.status == "stopped" and seen.kind != "oneshot":
        return "it started and ended again at once, with success"
    if seen.substate == "auto-restart" or seen.invocation != first.invocation:
        return f"it died{how} and is started again and again"
    return ""
