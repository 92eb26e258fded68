# SPDX-License-Identifier: Apache-2.0
"""Packages by apt-get, which plans by simulating; whether the agent likes a plan is not decided here."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from mco_host import packages
from mco_host.packages import PackageState
from mco_rpc.agent import Agent, time_left_s
from mco_rpc.command import Completed, inherited_environment
from mco_rpc.errors import ActionAborted
from mco_rpc.suggestion import did_you_mean

from .apt_trouble import explained, is_lists_lock
from .choice import Settings
from .planning import Change
from .unhurried import SPARE_S, run_to_its_end

ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBIAN_PRIORITY": "critical",
    # Says what should be restarted, and leaves it at that: it might restart us in the middle of the work.
    "NEEDRESTART_MODE": "l",
}
MAX_OUTPUT_BYTES = 8 * 1024 * 1024
LOCK_INTERVAL_S = 0.5
_VERBS = {"install": "install", "update": "install", "uninstall": "remove", "purge": "purge"}
# Inst NAME [OLD] (NEW ORIGIN... [ARCHITECTURE]) ...
_INST = re.compile(r"Inst (\S+) (?:\[(\S+)\] )?\((\S+)(?: ([^\[\])]*?))? ?(?:\[[^\]]*\])?\)")
# What was there, and not wholly.
_CONF = re.compile(r"Conf (\S+) \((\S+)")
_GONE = re.compile(r"(?:Remv|Purg) (\S+)(?: \[(\S+)\])?")
_IN_TABLE = re.compile(r"^ (?:\*\*\*|   ) (\S+) -?\d+$", re.MULTILINE)


class Apt:
    """The packages of Debian and what comes from it."""

    name = "apt-get"

    def __init__(self, settings: Settings, agent: Agent) -> None:
        self._settings = settings
        self._agent = agent
        root = settings.root
        self._state = Path(f"{root}/var/lib/apt/lists")
        self._database: tuple[str, ...] = (f"--admindir={root}/var/lib/dpkg",) if root else ()
        self._options = (*(_options_for(root) if root else ()), *settings.options)

    def look(self, name: str) -> PackageState:
        """Ask dpkg; a package of another architecture keeps that in its name, as apt has it."""
        seen = packages.look("dpkg", name, self._agent.run, self._database)
        bare, _, architecture = name.partition(":")
        if architecture in ("", "all") or architecture == self._native():
            return dataclasses.replace(seen, name=bare)
        return dataclasses.replace(seen, name=name)

    def listed(self) -> list[PackageState]:
        """Ask dpkg."""
        return packages.listed("dpkg", self._agent.run, self._database)

    def plan(self, verb: str, before: PackageState, version: str) -> tuple[Change, ...]:
        """Have apt-get simulate it."""
        if verb in ("install", "update"):
            if before.is_installed and version in ((before.version,) if version else ("",) * (verb == "install")):
                return ()
            version = self._version(before.name, version)
            if before.is_installed and before.version == version:
                return ()
            if before.is_held and before.is_installed:
                raise ActionAborted(
                    f"{before.name} is held at {before.version}: `apt-mark unhold {before.name}` on the node lets it go"
                )
        elif before.status == "not-installed" or (verb == "uninstall" and before.status == "config-files"):
            return ()
        done = self._apt("-s", *self._words(verb, before, version))
        if done.returncode:
            raise ActionAborted(explained(done, f"{verb} {before.name}"))
        plan = planned(done.stdout)
        if not any(change.package == before.name for change in plan):
            if verb == "purge" and before.status == "config-files":
                return (Change(before.name, None, None),)
            raise ActionAborted(f"{verb} {before.name}: apt-get would not change it: {done.stdout.strip()[-300:]}")
        return plan

    def carry_out(
        self, verb: str, before: PackageState, version: str, plan: tuple[Change, ...], *, may_remove: bool
    ) -> None:
        """Download first, which may be cut short at any time; what dpkg has begun is never killed."""
        words = self._words(verb, before, next(c.after or "" for c in plan if c.package == before.name))
        if verb in ("install", "update"):
            done = self._agent.run(*self._argv("-d", *words), environment=_environment(), is_streamed=True)
            if done.returncode:
                raise ActionAborted(explained(done, f"{verb} {before.name}"))
        safe = () if may_remove or verb in ("uninstall", "purge") else ("--no-remove",)
        deadline = time.monotonic() + time_left_s(self._agent.timeout_s) - SPARE_S
        done = run_to_its_end(self._argv(*safe, *words), _environment(), deadline, f"{verb} {before.name}")
        if done.returncode:
            raise ActionAborted(explained(done, f"{verb} {before.name}"))

    def updates(self) -> list[dict[str, object]]:
        """Simulate an upgrade of everything; what is held is not in it."""
        done = self._apt("-s", "dist-upgrade")
        if done.returncode:
            raise ActionAborted(explained(done, "checkupdates"))
        return [
            {"package": found[1], "installed": found[2], "version": found[3], "repository": found[4] or ""}
            for found in _INST.finditer(done.stdout)
            if found[2]
        ]

    def refresh(self) -> bool:
        """Run ``apt-get update``, waiting for the lock on the lists, which apt itself does not wait for."""
        before = self._fingerprint()
        until = time.monotonic() + min(self._settings.lock_timeout_s, time_left_s(self._agent.timeout_s) / 2)
        while True:
            argv = self._argv("-o", "APT::Update::Error-Mode=any", "update")
            done = self._agent.run(*argv, environment=_environment(), is_streamed=True)
            if not (done.returncode and is_lists_lock(done) and time.monotonic() < until):
                break
            self._agent.check_cancelled()
            time.sleep(LOCK_INTERVAL_S)
        if done.returncode or "Failed to fetch" in done.stderr:
            raise ActionAborted(explained(done, "refresh"))
        return self._fingerprint() != before

    def lists_age_s(self) -> float | None:
        """Look at the files of the lists."""
        times = [entry[1] for entry in self._fingerprint()]
        return max(0.0, time.time() - max(times)) if times else None

    def _native(self) -> str:
        return self._agent.run("dpkg", "--print-architecture", check=True).stdout.strip()

    def _fingerprint(self) -> list[tuple[str, float, int]]:
        try:
            with os.scandir(self._state) as entries:
                stats = [(entry.name, entry.stat()) for entry in entries if entry.is_file() and entry.name != "lock"]
        except FileNotFoundError:
            return []
        return sorted((name, stat.st_mtime, stat.st_size) for name, stat in stats)

    def _version(self, name: str, wanted: str) -> str:
        """Return the version that apt would install, or the one that was asked for if a repository has it.

        It is always named to apt: a bare name that apt does not know can be a pattern to it, or mean a removal.
        """
        said = self._apt_cache("policy", name)
        versions = list(dict.fromkeys(_IN_TABLE.findall(said)))
        if not versions:
            raise ActionAborted(self._unknown(name))
        if wanted:
            if wanted not in versions:
                raise ActionAborted(
                    f"no repository of this node has {name} {wanted}{did_you_mean(wanted, versions)}; "
                    f"known are: {', '.join(versions[:10])}; `refresh` gets new lists"
                )
            return wanted
        candidate = re.search(r"^ *Candidate: (\S+)", said, re.MULTILINE)
        if candidate is None or candidate[1] == "(none)":
            raise ActionAborted(f"no repository of this node offers {name}; known are: {', '.join(versions[:10])}")
        return candidate[1]

    def _unknown(self, name: str) -> str:
        shown = self._apt_cache("showpkg", name)
        providers = re.findall(r"^(\S+) \S+ \(", shown.partition("Reverse Provides:")[2], re.MULTILINE)
        if providers:
            named = ", ".join(dict.fromkeys(providers[:10]))
            return f"{name} is only a name that other packages provide: name one of {named}"
        near = did_you_mean(name, self._apt_cache("pkgnames", name[:2]).split())
        return f"no repository of this node has a package {name}{near}; `refresh` gets new lists"

    def _words(self, verb: str, before: PackageState, version: str) -> tuple[str, ...]:
        if verb in ("uninstall", "purge"):
            return (_VERBS[verb], "--", before.name)
        more = {None: (), True: ("--install-recommends",), False: ("--no-install-recommends",)}
        downgrade = ("--allow-downgrades",) if before.is_installed else ()
        return (*more[self._settings.recommends], *downgrade, _VERBS[verb], "--", f"{before.name}={version}")

    def _argv(self, *words: str) -> tuple[str, ...]:
        return (
            "apt-get",
            "-q",
            "-y",
            "-o",
            "Dpkg::Options::=--force-confdef",
            "-o",
            "Dpkg::Options::=--force-confold",
            "-o",
            "Dpkg::Use-Pty=0",
            "-o",
            f"DPkg::Lock::Timeout={self._settings.lock_timeout_s}",
            *self._options,
            *words,
        )

    def _apt(self, *words: str) -> Completed:
        return self._agent.run(*self._argv(*words), environment=_environment(), max_output_bytes=MAX_OUTPUT_BYTES)

    def _apt_cache(self, *words: str) -> str:
        argv: Sequence[str] = ("apt-cache", *self._options, words[0], "--", *words[1:])
        return self._agent.run(*argv, check=True, max_output_bytes=MAX_OUTPUT_BYTES).stdout


def planned(simulated: str) -> tuple[Change, ...]:
    """Return the changes that ``apt-get -s`` printed, by package."""
    changes = {}
    for line in simulated.splitlines():
        if found := _INST.match(line):
            changes[found[1]] = Change(found[1], found[2], found[3])
        elif found := _GONE.match(line):
            changes[found[1]] = Change(found[1], found[2], None)
        elif (found := _CONF.match(line)) and found[1] not in changes:
            changes[found[1]] = Change(found[1], None, found[2])
    return tuple(changes[name] for name in sorted(changes))


def _options_for(root: str) -> tuple[str, ...]:
    return (
        "-o",
        f"Dir={root}",
        "-o",
        f"Dir::State::status={root}/var/lib/dpkg/status",
        "-o",
        f"DPkg::Options::=--root={root}",
    )


def _environment() -> dict[str, str]:
    return inherited_environment(**ENVIRONMENT)
