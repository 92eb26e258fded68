# SPDX-License-Identifier: Apache-2.0
"""The agent of packages; it plans a change, refuses what would take more with it, and reads back what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mco_host import packages
from mco_host.packages import PackageState
from mco_rpc.agent import Agent, Aggregate, Input, NodeView, Output, action
from mco_rpc.errors import ActionAborted, FilterError, InvalidData
from mco_rpc.filters.patterns import bare, compiled, finds
from mco_rpc.turns import Turns

from .choice import SETTING_NAMES, Settings, choose, why_not
from .planning import Change, Manager, changes_between

CHANGE_TIMEOUT_S = 600.0
PACKAGE = Input(
    "string",
    "The package: openssl, libc6:amd64",
    prompt="Package",
    validate=f"/{packages.NAME}/",
    max_length=255,
)
VERSION = Input(
    "string",
    "Exactly this version, newer or older, as the package manager writes it",
    prompt="Version",
    optional=True,
    validate="/[A-Za-z0-9][A-Za-z0-9.+:~^_-]*/",
    max_length=255,
)
WITH_DEPENDENTS = Input(
    "boolean",
    "Remove also the other packages that have to go with it",
    prompt="With dependents",
    optional=True,
    default=False,
)
STATE = {
    "package": Output("string", "The package", display_as="Package"),
    "installed": Output("boolean", "Whether it is installed, and wholly", display_as="Installed"),
    "version": Output("string", "The version that is installed", display_as="Version"),
    "status": Output("string", "installed, not-installed, config-files, half-configured, ...", display_as="Status"),
}
DETAILS = STATE | {
    "held": Output("boolean", "Whether it is kept at its version", display_as="Held"),
    "essential": Output("boolean", "Whether the host does not work without it", display_as="Essential"),
    "architectures": Output("array", "For which architectures it is there", display_as="Architectures"),
    "manager": Output("string", "What manages it: dpkg or rpm", display_as="Manager"),
}
CHANGE = STATE | {
    "changed": Output("boolean", "Whether something was changed, or with noop would be", display_as="Changed"),
    "before": Output("string", "The version that was installed; nothing if none was", display_as="Before"),
    "after": Output("string", "The version that is installed, or with noop would be", display_as="After"),
    "also": Output("array", "The other packages that changed: each with package, before, after", display_as="Also"),
}
OUTDATED = Output("array", "Each with package, installed, version and repository", display_as="Outdated", default=[])
COUNT = Output("integer", "How many they are", display_as="Count")
LISTS_AGE = Output("float", "Seconds since the package lists last changed", display_as="Age of lists")
PATTERN = Input("string", "A regular expression for names", prompt="Pattern", optional=True, max_length=1024)
LISTED = Output("array", "Each with name, version and architectures", display_as="Packages", default=[])
VERSION_COUNT, CHANGED_COUNT = Aggregate("summary", "version"), Aggregate("summary", "changed")


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _change(description: str, **inputs: Input) -> Callable[[_Method], _Method]:
    return action(
        description,
        inputs={"package": PACKAGE, **inputs, "with_dependents": WITH_DEPENDENTS},
        outputs=CHANGE,
        timeout_s=CHANGE_TIMEOUT_S,
        mutating=True,
        noop=True,
        aggregates=[VERSION_COUNT, CHANGED_COUNT],
    )


class Package(Agent):
    """Look after packages with apt or dnf.

    A change is planned first: `also` lists every other package that it touches, with noop, too; one that would remove
    other packages is refused unless `with_dependents` is given, and one that the host needs is never removed. Edited
    configuration files are kept. Downloads end with the action's time or with a cancellation; what dpkg or rpm has
    begun is never killed, for that would leave packages half-installed: the caller then gets `timed out`, and the
    work goes on. With dnf, `purge` is `uninstall`: rpm keeps edited configuration as .rpmsave.

    Settings: `manager` is apt or dnf, whichever is there if it is not said; `lock_timeout_s` is how long to wait for
    another package tool (60); `recommends` is whether recommended packages come, too (as the manager's configuration
    says); `options` are arguments for every call of apt-get or dnf; `root` is a folder to install into, for images.
    """

    setting_names = SETTING_NAMES
    timeout_s = 30.0
    activate_when = staticmethod(why_not)

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(node, settings)
        self._manager: Manager = choose(Settings.of(self.settings), self)
        self._turns = Turns()

    @action(
        "Say whether a package is installed",
        inputs={"package": PACKAGE},
        outputs=DETAILS,
        aggregates=[VERSION_COUNT],
    )
    def status(self, package: str) -> dict[str, object]:
        """Answer from the database; what is not installed is no error."""
        seen = self._manager.look(package)
        return {
            **_named(seen),
            "held": seen.is_held,
            "essential": seen.is_essential,
            "architectures": [*seen.architectures],
            "manager": seen.manager,
        }

    @_change("Install a package, if it is not there", version=VERSION)
    def install(self, package: str, version: str = "", with_dependents: bool = False) -> dict[str, object]:
        """Install; without a version, any that is there will do."""
        return self._do("install", package, version, with_dependents)

    @_change("Bring an installed package to its newest version", version=VERSION)
    def update(self, package: str, version: str = "", with_dependents: bool = False) -> dict[str, object]:
        """Update; what is not installed is an error."""
        return self._do("update", package, version, with_dependents)

    @_change("Remove a package, and keep its configuration")
    def uninstall(self, package: str, with_dependents: bool = False) -> dict[str, object]:
        """Remove; what is not there is left alone."""
        return self._do("uninstall", package, "", with_dependents)

    @_change("Remove a package with its configuration")
    def purge(self, package: str, with_dependents: bool = False) -> dict[str, object]:
        """Remove all of it, also what an earlier removal kept."""
        return self._do("purge", package, "", with_dependents)

    @action(
        "Say which packages could be updated",
        outputs={"outdated_packages": OUTDATED, "count": COUNT, "lists_age_s": LISTS_AGE},
        timeout_s=60.0,
        aggregates=[Aggregate("summary", "count")],
    )
    def checkupdates(self) -> dict[str, object]:
        """Answer from the package lists that are here; `refresh` gets new ones."""
        found = self._manager.updates()
        return {"outdated_packages": found, "count": len(found), "lists_age_s": self._manager.lists_age_s()}

    @action(
        "Get new package lists from all repositories",
        outputs={
            "changed": Output("boolean", "Whether there was anything new", display_as="Changed"),
            "lists_age_s": LISTS_AGE,
        },
        timeout_s=CHANGE_TIMEOUT_S,
        mutating=True,
        aggregates=[CHANGED_COUNT],
    )
    def refresh(self) -> dict[str, object]:
        """Fail if any repository does not answer: old lists must not pass for new ones."""
        with self._turns.one("package#refresh", self.timeout_s):
            is_changed = self._manager.refresh()
        return {"changed": is_changed, "lists_age_s": self._manager.lists_age_s()}

    @action(
        "List installed packages",
        inputs={"pattern": PATTERN},
        outputs={"packages": LISTED, "count": COUNT},
        aggregates=[Aggregate("summary", "count")],
    )
    def list(self, pattern: str = "") -> dict[str, object]:
        """List packages by name."""
        try:
            expression = compiled(bare(pattern)) if pattern else None
        except FilterError as e:
            raise InvalidData(f"input pattern: {e}") from e
        some = [
            {"name": seen.name, "version": seen.version, "architectures": [*seen.architectures]}
            for seen in self._manager.listed()
            if expression is None or finds(expression, seen.name)
        ]
        return {"packages": some, "count": len(some)}

    def _do(self, verb: str, package: str, version: str, with_dependents: bool) -> dict[str, object]:
        with self._turns.one(f"package#{verb} {package}", self.timeout_s):
            before = self._manager.look(package)
            if verb == "update" and not before.is_installed:
                raise ActionAborted(f"{package} is not installed ({before.status}); `install` installs it")
            plan = self._manager.plan(verb, before, version)
            if plan:
                self._check(plan, before, verb, with_dependents)
            if self.is_noop or not plan:
                return _told(before, before, plan)
            self._manager.carry_out(verb, before, version, plan, may_remove=with_dependents)
            return self._verified(verb, before, plan)

    def _check(self, plan: tuple[Change, ...], before: PackageState, verb: str, with_dependents: bool) -> None:
        """Refuse what would take more with it than was asked for."""
        gone = [change.package for change in plan if change.after is None]
        others = [name for name in gone if name != before.name]
        if essential := [name for name in gone if self._manager.look(name).is_essential]:
            raise ActionAborted(f"will not {verb} {before.name}: the host does not work without {', '.join(essential)}")
        if others and not with_dependents:
            raise ActionAborted(
                f"will not {verb} {before.name}: that removes also {', '.join(others)}; "
                "with_dependents=true removes them, too"
            )

    def _verified(self, verb: str, before: PackageState, plan: tuple[Change, ...]) -> dict[str, object]:
        """Return the outputs, if all is as it was planned."""
        now = {change.package: self._manager.look(change.package) for change in plan}
        done = changes_between(plan, now)
        wrong = [change for change, planned in zip(done, plan, strict=True) if change.after != planned.after]
        if wrong:
            told = ", ".join(
                f"{change.package} is {now[change.package].status} {change.after or ''}" for change in wrong
            )
            raise ActionAborted(f"{verb} {before.name}: {self._manager.name} reported no error, but {told.strip()}")
        return _told(before, self._manager.look(before.name), done)


def _told(before: PackageState, after: PackageState, plan: tuple[Change, ...]) -> dict[str, object]:
    own = next((change for change in plan if change.package == before.name), None)
    return {
        **_named(after),
        "changed": bool(plan),
        "before": before.installed_version,
        "after": own.after if own else after.installed_version,
        "also": [change.plain() for change in plan if change is not own],
    }


def _named(seen: PackageState) -> dict[str, object]:
    return {
        "package": seen.name,
        "installed": seen.is_installed,
        "version": seen.installed_version,
        "status": seen.status,
    }
