# SPDX-License-Identifier: Apache-2.0
"""What apt's errors mean, and what to do about them."""

from __future__ import annotations

import re

from mco_rpc.command import Completed

MAX_LENGTH = 800
LINES_BEFORE = 3
_LOCKED = re.compile(r"(?:Could not get lock|Unable to (?:acquire|lock))[^\n]*")
_HOLDER = re.compile(r"held by process (\d+)(?: \(([^)]*)\))?")
# A part of an error, and what to do.
_ADVICE = (
    ("dpkg was interrupted", "an earlier run was cut short: `dpkg --configure -a` on the node ends it"),
    ("--fix-broken", "dependencies are broken already: `apt-get --fix-broken install` on the node mends that"),
    ("apt --fix-broken", "dependencies are broken already: `apt-get --fix-broken install` on the node mends that"),
    ("Held packages", "a held package would change: `apt-mark showhold` on the node lists them"),
    ("held broken packages", "what it depends on cannot be had here; `refresh` gets new lists"),
    ("Packages need to be removed", "other packages would have to go: with_dependents=true allows it"),
    ("unauthenticated packages", "a repository's signature cannot be checked: its key is missing on the node"),
    ("not signed", "a repository's signature cannot be checked: its key is missing on the node"),
    ("Failed to fetch", "a repository could not be reached, or its lists are old: `refresh`, then try again"),
    ("No space left", "the disk is full"),
    ("Read-only file system", "the disk is mounted read-only"),
    ("Essential packages", "the host would not work without it"),
    ("Permission denied", "the node has to run as root for that"),
)


def explained(done: Completed, doing: str) -> str:
    """Return what went wrong, in apt's words and in ours."""
    said = f"{done.stdout}\n{done.stderr}"
    if locked := _LOCKED.search(said):
        holder = _HOLDER.search(said)
        who = f"process {holder[1]} ({holder[2] or 'unknown'})" if holder else "another process"
        return f"{doing}: another package tool is at work, and {who} holds the lock; try again later ({locked[0]})"
    words = re.findall(r"^[EW]: (.+)$", said, re.MULTILINE) or [said.strip() or f"status {done.returncode}"]
    words = [*_unmet(said), *_dpkg(said), *dict.fromkeys(words)]
    advice = next((f" ({what})" for part, what in _ADVICE if part in said), "")
    text = "; ".join(words)
    return f"{doing}: {text if len(text) <= MAX_LENGTH else f'...{text[-MAX_LENGTH:]}'}{advice}"


def is_lists_lock(done: Completed) -> bool:
    """Say whether it failed only because somebody else updates the lists."""
    return "Could not get lock" in done.stderr


def _unmet(said: str) -> list[str]:
    """Return the lines about dependencies that cannot be met."""
    return [re.sub(r"\s+", " ", line.strip()) for line in re.findall(r"^ \S+ : .*(?:\n {6,}.*)*", said, re.MULTILINE)]


def _dpkg(said: str) -> list[str]:
    """Return what dpkg said of an error, with the lines before it, which a package's script may have printed."""
    found = re.findall(rf"((?:^.*\n){{0,{LINES_BEFORE}}})(^dpkg: error.*(?:\n .*)*)", said, re.MULTILINE)
    return [re.sub(r"\s*\n\s*", " | ", f"{before}{error}".strip()) for before, error in found]
