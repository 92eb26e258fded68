# SPDX-License-Identifier: Apache-2.0
"""What a package manager has to do for the agent: plan a change, carry it out, and say how things are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mco_host.packages import PackageState


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one package; None is no version: it was not there, or will be gone."""

    package: str
    before: str | None
    after: str | None

    def plain(self) -> dict[str, str | None]:
        """Return it as a reply has it."""
        return {"package": self.package, "before": self.before, "after": self.after}


class Manager(Protocol):
    """A package manager. Its methods raise `ActionAborted` with what is wrong, and with what to do about it."""

    @property
    def name(self) -> str:
        """The command, for messages."""

    def look(self, name: str) -> PackageState:
        """Return the state of one package."""

    def listed(self) -> list[PackageState]:
        """Return all that is installed."""

    def plan(self, verb: str, before: PackageState, version: str) -> tuple[Change, ...]:
        """Return what would change, nothing if it is so already.

        Args:
            verb: install, update, uninstall or purge.
            version: exactly this one, or "" for the newest.
        """

    def carry_out(
        self, verb: str, before: PackageState, version: str, plan: tuple[Change, ...], *, may_remove: bool
    ) -> None:
        """Do what was planned, to the end once it has begun.

        Args:
            may_remove: whether other packages may go.
        """

    def updates(self) -> list[dict[str, object]]:
        """Return what could be updated: package, installed, version, repository."""

    def refresh(self) -> bool:
        """Get new package lists; say whether anything in them is new."""

    def lists_age_s(self) -> float | None:
        """Return the seconds since the package lists last changed; None without any."""


def changes_between(plan: tuple[Change, ...], now: Mapping[str, PackageState]) -> tuple[Change, ...]:
    """Return the changes as they came out."""
    return tuple(Change(change.package, change.before, now[change.package].installed_version) for change in plan)
