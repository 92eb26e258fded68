# SPDX-License-Identifier: Apache-2.0
"""How a service is told to start, stop and so on: by systemctl, or by its init script and update-rc.d."""

from __future__ import annotations

import contextlib
from typing import Protocol

from mco_host import init_scripts
from mco_host.services import ServiceState
from mco_rpc.agent import Agent, time_left_s
from mco_rpc.command import Completed
from mco_rpc.errors import ActionAborted, TimedOut

# Of the time of a call, for saying how things are when a service takes too long.
SPARE_S = 5.0
JOURNAL_LINES = 8
MAX_WHY_LENGTH = 800
# What systemctl says of a failure goes on with where to look for more, which we do.
_HINT = "\nSee "


class Control(Protocol):
    """Tells services what to do."""

    def do(self, word: str, name: str) -> Completed:
        """Do one of `verbs.VERBS`."""

    def why(self, name: str, done: Completed | None = None) -> str:
        """Return what is known of why that failed."""


def choose(seen: ServiceState, agent: Agent) -> Control:
    """Return what controls a service of this kind."""
    return Systemctl(agent) if seen.manager == "systemd" else Scripts(agent)


class Systemctl:
    """Units of systemd."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def do(self, word: str, name: str) -> Completed:
        """Have systemctl do it; if that takes too long, systemd goes on with it all the same."""
        left_s = time_left_s(self._agent.timeout_s)
        try:
            return self._agent.run(
                "systemctl", "--no-ask-password", word, "--", name, timeout_s=max(left_s - SPARE_S, left_s / 2)
            )
        except TimedOut as e:
            raise TimedOut(
                f"{name}: `systemctl {word}` did not end in time; systemd goes on with it: ask for the status, later"
            ) from e

    def why(self, name: str, done: Completed | None = None) -> str:
        """Return what systemctl said, and how the journal of the unit ends."""
        said = f"{done.stderr.strip().partition(_HINT)[0] or f'status {done.returncode}'}; " if done else ""
        with contextlib.suppress(ActionAborted, TimedOut):
            journal = self._agent.run(
                "journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={JOURNAL_LINES}", f"--unit={name}"
            ).stdout.strip()
            if journal:
                return f"{said}its journal ends with: {_tail(journal)}"
        return f"{said}its journal says nothing"


class Scripts:
    """Init scripts, with Debian's links."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._said = ""

    def do(self, word: str, name: str) -> Completed:
        """Run the script; enabling and disabling is about its links."""
        if word in ("enable", "disable"):
            if word == "enable":  # it turns links on and off, and makes none
                self._agent.run("update-rc.d", name, "defaults", check=True)
            done = self._agent.run("update-rc.d", name, word)
        else:
            done = init_scripts.call(name, word, self._agent.run)
        self._said = f"{done.stdout}\n{done.stderr}".strip()
        return done

    def why(self, name: str, done: Completed | None = None) -> str:
        """Return what the script said."""
        status = f"status {done.returncode}; " if done else ""
        return f"{status}it said: {_tail(self._said)}" if self._said else f"{status}it said nothing"


def _tail(text: str) -> str:
    lines = " | ".join(line.strip() for line in text.splitlines() if line.strip())
    return lines if len(lines) <= MAX_WHY_LENGTH else f"... {lines[-MAX_WHY_LENGTH:]}"
