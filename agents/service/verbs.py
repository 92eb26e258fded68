# SPDX-License-Identifier: Apache-2.0
"""What can be done to a service: when it need not be done, when it must not, and what has to be so afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mco_host.services import ServiceState

# The states of unit files that `systemctl enable` does nothing to, and why.
_NOTHING_TO_ENABLE = {
    "static": "its unit says nothing of when it starts (static): something else starts it",
    "indirect": "its unit only names other units to enable (indirect): enable those",
    "generated": "its unit is made anew at each start of the host",
    "transient": "its unit is gone when it stops (transient)",
    "": "it has no unit file",
}
_ENDED = ("stopped", "failed")
# To start one of these, or to stop the script of that name, ends all else on the host or opens a shell at its screen.
_OF_THE_HOST = re.compile(
    r"(systemd-)?(halt|poweroff|reboot|soft-reboot|kexec|exit|suspend|hibernate|hybrid-sleep|suspend-then-hibernate)"
    r"(\.(target|service))?$"
    r"|(ctrl-alt-del|emergency|rescue|shutdown|final|umount|sleep|runlevel[0-6])\.target$"
    r"|(debug-shell|emergency|rescue)\.service$"
    r"|(rc|rcS|single|sendsigs|killprocs|umountfs|umountroot)$"
)
_OWN_CGROUP = Path("/proc/self/cgroup")
Is = Callable[[ServiceState], bool]


def _allowed(_seen: ServiceState) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing to do.

    Attributes:
        failed: how one says that it did not work.
        is_done: whether it is so already, so that nothing is to be done.
        is_fulfilled: whether it is so afterwards.
        why_not: why it must not be done in this state, None if it may.
        of_enabling: whether `before` and `after` are about what is enabled, not about what runs.
        starts_it: whether it has to be watched for a while whether it goes on to run.
        ends_it: whether whoever runs in the service is ended by it.
        leads_to: what will be so afterwards, of a service that goes on running or does not; nothing if nobody knows.
    """

    word: str
    failed: str
    is_done: Is
    is_fulfilled: Is
    why_not: Callable[[ServiceState], str | None] = _allowed
    of_enabling: bool = False
    starts_it: bool = False
    ends_it: bool = False
    leads_to: str | None = None

    def state_of(self, seen: ServiceState) -> str:
        """Return what of a state this is about."""
        return seen.enabled if self.of_enabling else seen.status

    def would_be(self, seen: ServiceState) -> str | None:
        """Return what this would be about a state, if it were done."""
        return None if self.starts_it and seen.kind == "oneshot" else self.leads_to


def own_unit() -> str:
    """Return the unit of systemd in which this process runs, if it is a service."""
    try:
        groups = _OWN_CGROUP.read_text()
    except OSError:
        return ""
    found = re.search(r"/([^/\n]+\.service)(?:/[^\n]*)?$", groups, re.MULTILINE)
    return found[1] if found else ""


def _of_the_host(seen: ServiceState) -> str | None:
    return "it is no service: it changes what the whole host does" if _OF_THE_HOST.match(seen.name) else None


def _no_start(seen: ServiceState) -> str | None:
    if seen.is_masked:
        return "it is masked; unmask it first"
    if of_the_host := _of_the_host(seen):
        return of_the_host
    return f"its unit cannot be used: {seen.load_error}" if seen.load_error else None


def _no_reload(seen: ServiceState) -> str | None:
    if seen.status not in ("running", "unknown"):
        return f"it does not run, it is {seen.status}; start it"
    return None if seen.can_reload else "it cannot read its configuration again while it runs; restart it"


def _no_enable(seen: ServiceState) -> str | None:
    return "it is masked; unmask it first" if seen.is_masked else _NOTHING_TO_ENABLE.get(seen.enabled)


def _no_mask(seen: ServiceState) -> str | None:
    return None if seen.manager == "systemd" else "only systemd can do that, and an init script runs it; disable it"


def _never(_seen: ServiceState) -> bool:
    return False


def _runs(seen: ServiceState) -> bool:
    return seen.status in ("running", "unknown") or (seen.kind == "oneshot" and seen.status == "stopped")


VERBS = {
    verb.word: verb
    for verb in (
        Verb(
            "start",
            "did not start",
            lambda seen: seen.status == "running",
            _runs,
            _no_start,
            starts_it=True,
            leads_to="running",
        ),
        Verb(
            "stop",
            "did not stop",
            lambda seen: seen.status in _ENDED,
            lambda seen: seen.status in (*_ENDED, "unknown"),
            _of_the_host,
            ends_it=True,
            leads_to="stopped",
        ),
        Verb("restart", "did not restart", _never, _runs, _no_start, starts_it=True, ends_it=True, leads_to="running"),
        Verb("reload", "did not reload", _never, _runs, _no_reload, starts_it=True, leads_to="running"),
        Verb(
            "enable",
            "was not enabled",
            lambda seen: seen.is_enabled,
            lambda seen: seen.is_enabled,
            lambda seen: None if seen.is_enabled else _no_enable(seen),
            of_enabling=True,
            leads_to="enabled",
        ),
        Verb(
            "disable",
            "was not disabled",
            lambda seen: not seen.is_enabled,
            lambda seen: not seen.is_enabled,
            of_enabling=True,
            leads_to="disabled",
        ),
        Verb(
            "mask",
            "was not masked",
            lambda seen: seen.is_masked,
            lambda seen: seen.is_masked,
            _no_mask,
            of_enabling=True,
            leads_to="masked",
        ),
        Verb(
            "unmask",
            "was not unmasked",
            lambda seen: not seen.is_masked,
            lambda seen: not seen.is_masked,
            _no_mask,
            of_enabling=True,
        ),
    )
}
