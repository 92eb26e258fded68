# SPDX-License-Identifier: Apache-2.0
"""Packages by dnf, whose plan is read from the table that it shows before it asks; rpm knows nothing of purging."""

from __future__ import annotations

import re
import time
from pathlib import Path

from mco_host import packages
from mco_host.packages import PackageState
from mco_rpc.agent import Agent, time_left_s
from mco_rpc.command import Completed, inherited_environment
from mco_rpc.errors import ActionAborted
from mco_rpc.suggestion import did_you_mean

from .choice import Settings
from .planning import Change
from .unhurried import SPARE_S, run_to_its_end

LOCK_INTERVAL_S = 0.5
MAX_OUTPUT_BYTES = 8 * 1024 * 1024
MAX_SAID_LENGTH = 800
_LOCKED, _HAS_UPDATES = 200, 100
_COMING = ("Installing", "Upgrading", "Downgrading", "Reinstalling")
_VERBS = {"install": "install", "update": "upgrade", "uninstall": "remove", "purge": "remove"}


class Dnf:
    """The packages of Fedora, Red Hat and their kin."""

    name = "dnf"

    def __init__(self, settings: Settings, agent: Agent) -> None:
        self._settings = settings
        self._agent = agent
        self._cache = Path(f"{settings.root}/var/cache/dnf")
        self._database = (f"--root={settings.root}",) if settings.root else ()

    def look(self, name: str) -> PackageState:
        """Ask rpm."""
        return packages.look("rpm", name, self._agent.run, self._database)

    def listed(self) -> list[PackageState]:
        """Ask rpm."""
        return packages.listed("rpm", self._agent.run, self._database)

    def plan(self, verb: str, before: PackageState, version: str) -> tuple[Change, ...]:
        """Have dnf show what it would do, and answer no."""
        if verb in ("uninstall", "purge"):
            if not before.is_installed:
                return ()
        elif before.is_installed and (_is_version(before, version) if version else verb == "install"):
            return ()
        done = self._dnf("--assumeno", *_words(verb, before.name, version))
        table = planned(done.stdout)
        if not table and done.returncode == 0 and not version:  # nothing newer is there
            return ()
        if not table:
            raise ActionAborted(self._explained(done, verb, before.name))
        plan = tuple(Change(name, self.look(name).installed_version, after) for name, after in table.items())
        if before.name not in table:
            raise ActionAborted(f"{verb} {before.name}: dnf would not change it, but {', '.join(table)}")
        return plan

    def carry_out(
        self, verb: str, before: PackageState, version: str, plan: tuple[Change, ...], *, may_remove: bool
    ) -> None:
        """Download first, which may be cut short at any time; a transaction that has begun is never killed."""
        words = _words(verb, before.name, version)
        if verb in ("install", "update"):
            done = self._waiting("--downloadonly", *words)
            if done.returncode:
                raise ActionAborted(self._explained(done, verb, before.name))
        deadline = time.monotonic() + time_left_s(self._agent.timeout_s) - SPARE_S
        done = run_to_its_end(self._argv("-y", *words), inherited_environment(), deadline, f"{verb} {before.name}")
        if done.returncode:
            raise ActionAborted(self._explained(done, verb, before.name))

    def updates(self) -> list[dict[str, object]]:
        """Ask for what is newer than what is installed."""
        done = self._dnf("-q", "check-update")
        if done.returncode not in (0, _HAS_UPDATES):
            raise ActionAborted(self._explained(done, "checkupdates", ""))
        found = re.findall(
            r"^(\S+)\.[^.\s]+\s+(\S+)\s+(\S+)\s*$", done.stdout.partition("\nObsoleting")[0], re.MULTILINE
        )
        installed = {seen.name: seen.version for seen in self.listed()}
        return [
            {"package": name, "installed": installed.get(name, ""), "version": version, "repository": repository}
            for name, version, repository in found
        ]

    def refresh(self) -> bool:
        """Have dnf get what it knows of all repositories anew."""
        before = self._fingerprint()
        done = self._waiting("--setopt=*.skip_if_unavailable=False", "--refresh", "makecache")
        if done.returncode:
            raise ActionAborted(self._explained(done, "refresh", ""))
        return self._fingerprint() != before

    def lists_age_s(self) -> float | None:
        """Look at the index of each repository."""
        times = [found[1] for found in self._fingerprint()]
        return max(0.0, time.time() - max(times)) if times else None

    def _fingerprint(self) -> list[tuple[str, float, bytes]]:
        indexes = sorted(self._cache.glob("*/repodata/repomd.xml"))
        return [(str(path), path.stat().st_mtime, path.read_bytes()) for path in indexes]

    def _explained(self, done: Completed, verb: str, name: str) -> str:
        doing = f"{verb} {name}".strip()
        said = f"{done.stderr}\n{done.stdout}"
        if done.returncode == _LOCKED:
            return f"{doing}: another package tool is at work and holds dnf's lock; try again later"
        if "Unable to find a match" in said:
            known = self._dnf("-q", "repoquery", "--queryformat=%{name}", f"{name[:2]}*").stdout.split()
            versions = (
                self._dnf("-q", "repoquery", "--queryformat=%{evr}", name).stdout.split() if name in known else []
            )
            if versions:
                return f"no repository of this node has that version of {name}; known are: {', '.join(versions[:10])}"
            return f"no repository of this node has a package {name}{did_you_mean(name, known)}"
        errors = re.findall(r"^(?:Error|Problem)[^\n]*(?:\n +[^\n]*)*", said, re.MULTILINE) or [said.strip()]
        text = re.sub(r"\s*\n\s*", " | ", "; ".join(errors))
        return f"{doing}: {text[:MAX_SAID_LENGTH] or f'status {done.returncode}'}"

    def _waiting(self, *words: str) -> Completed:
        """Run dnf, again for a while if another one holds its lock."""
        until = time.monotonic() + min(self._settings.lock_timeout_s, time_left_s(self._agent.timeout_s) / 2)
        while True:
            done = self._agent.run(*self._argv("-y", *words), is_streamed=True)
            if done.returncode != _LOCKED or time.monotonic() >= until:
                return done
            self._agent.check_cancelled()
            time.sleep(LOCK_INTERVAL_S)

    def _argv(self, *words: str) -> tuple[str, ...]:
        recommends = {None: (), True: ("--setopt=install_weak_deps=1",), False: ("--setopt=install_weak_deps=0",)}
        return (
            "dnf",
            "--color=never",
            "--setopt=clean_requirements_on_remove=False",
            "--setopt=exit_on_lock=True",
            *((f"--installroot={self._settings.root}",) if self._settings.root else ()),
            *recommends[self._settings.recommends],
            *self._settings.options,
            *words,
        )

    def _dnf(self, *words: str) -> Completed:
        return self._agent.run(*self._argv(*words), max_output_bytes=MAX_OUTPUT_BYTES)


def planned(printed: str) -> dict[str, str | None]:
    """Return the versions that packages will have, None for those that go, from dnf's table."""
    table = printed.partition("Dependencies resolved.")[2].partition("Transaction Summary")[0]
    section, rows = "", list[tuple[str, list[str]]]()
    for line in table.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            section = line
        elif re.match(r" \S", line) and section:
            rows.append((section, line.split()))
        elif line.startswith("  ") and rows:  # what did not fit into a line, or what it takes the place of
            words = line.split()
            if words[0] == "replacing":
                rows.append(("Removing:", [words[1].rpartition(".")[0]]))
            else:
                rows[-1][1].extend(words)
    return {words[0]: words[2] if section.startswith(_COMING) else None for section, words in rows}


def _words(verb: str, name: str, version: str) -> tuple[str, ...]:
    # The verb that goes to a version, up or down, is install.
    return (_VERBS["install" if version else verb], f"{name}-{version}" if version else name)


def _is_version(seen: PackageState, wanted: str) -> bool:
    """Say whether it is the wanted version, which may be given without its revision."""
    return wanted in (seen.version, (seen.version or "").rpartition("-")[0])
