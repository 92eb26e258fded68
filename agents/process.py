# SPDX-License-Identifier: Apache-2.0
"""The agent for processes: it reads /proc itself, and holds whom it signals by a file descriptor, never by a number."""

from __future__ import annotations

import os
import signal as signals
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mco_host import processes
from mco_host.process_rows import rows
from mco_host.processes import PROC, Seen
from mco_host.users import uid_of
from mco_rpc.agent import Agent, Aggregate, Input, NodeView, Output, action
from mco_rpc.errors import ActionAborted, FilterError, InvalidData, MissingData
from mco_rpc.filters import patterns
from mco_rpc.turns import Turns

MAX_LISTED = 500
MAX_SIGNALLED = 200  # each is held by a file descriptor
MAX_LINE_LENGTH = 1024
_Found = list[Seen]
_Pids = list[int]
_INIT, _KERNEL = 1, 2  # numbers of the first process, and of the parent of the kernel's threads
_NAMES = ("TERM", "KILL", "HUP", "INT", "QUIT", "USR1", "USR2", "STOP", "CONT", "WINCH", "ALRM", "ABRT", "PIPE")
_SORTED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "pid": lambda process: process["pid"],
    "cpu": lambda process: -process["cpu_percent"],
    "memory": lambda process: -process["rss_bytes"],
    "age": lambda process: -process["age_s"],
    "name": lambda process: (process["name"], process["pid"]),
}
PATTERN = Input(
    "string",
    "A regular expression (RE2) that is found in the command line, or the name",
    prompt="Pattern",
    max_length=512,
)
MAYBE_PATTERN = Input("string", PATTERN.description, prompt="Pattern", optional=True, max_length=512)
USER = Input(
    "string",
    "Name or number of the user whose they are",
    prompt="User",
    optional=True,
    max_length=256,
    validate=r"/[^\x00-\x20-][^\x00-\x1f\x7f]*/",
)
ZOMBIES = Input("boolean", "Only those that have ended and wait to be asked how", prompt="Zombies", default=False)
SORT = Input("list", "In which order", prompt="Order", choices=tuple(_SORTED), default="pid")
LIMIT = Input("integer", f"So many at most, 1 to {MAX_LISTED}", prompt="Limit", default=200)
MEASURE = Input("number", "Seconds, at most 5, over which to measure cpu_percent; 0: since each began", default=0)
PID = Input("integer", "Number of a process", prompt="Process")
SIGNAL = Input("list", "What to send", prompt="Signal", choices=_NAMES, default="TERM")
WAIT = Input("number", "Seconds, at most 10, to wait for them to end", prompt="Wait", default=1)
FORCE = Input("boolean", "Also the first process, this daemon, and those it runs under", prompt="Force", default=False)
PROCESS = (
    "pid, ppid, name, user, state, cpu_percent (of one processor), memory_percent, rss_bytes, started_at (seconds "
    "since the epoch), age_s, threads, command and args (null where the node hides them)"
)
COUNT = Output("integer", "How many there are", display_as="Count")
PIDS = Output("array", "Their numbers", display_as="Processes")


class Process(Agent):
    """Look at processes, count them, and send signals to them.

    `command_lines: false` (of ``agents: {process: {...}}``) hides arguments, which may hold secrets: patterns are then
    looked for in names only. By default they are shown, as `ps` on the host shows them to everybody.
    """

    setting_names = ("command_lines",)
    timeout_s = 20.0

    @staticmethod
    def activate_when(settings: Mapping[str, object]) -> str | None:
        """Ask for a /proc that shows every process."""
        return None if (PROC / "1").exists() else f"{PROC} does not show the processes of others"

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(node, settings)
        self._is_line_shown: bool = self.setting("command_lines", True)
        self._turns = Turns()

    @action(
        "List processes",
        inputs={
            "pattern": MAYBE_PATTERN,
            "user": USER,
            "just_zombies": ZOMBIES,
            "sort": SORT,
            "limit": LIMIT,
            "measure_s": MEASURE,
        },
        outputs={
            "processes": Output("array", f"Each with {PROCESS}", display_as="Processes", default=[]),
            "count": COUNT,
            "is_cut": Output("boolean", "Whether there are more than are listed", display_as="Cut"),
        },
        aggregates=[Aggregate("sum", "count")],
    )
    def list(
        self,
        pattern: str | None = None,
        user: str | None = None,
        just_zombies: bool = False,
        sort: str = "pid",
        limit: int = 200,
        measure_s: float = 0,
    ) -> dict[str, Any]:
        """List what all conditions hold for."""
        _check_range("limit", limit, 1, MAX_LISTED)
        _check_range("measure_s", measure_s, 0, 5)
        before = {each.pid: each for each in processes.every()} if measure_s else {}
        began_s = processes.up_s()
        self._wait(measure_s)
        told = rows(self._found(pattern, user, just_zombies), before, began_s)
        made = sorted(told, key=_SORTED[sort])
        kept = [self._with_line(process) for process in made[:limit]]
        return {"processes": kept, "count": len(made), "is_cut": len(made) > limit}

    @action(
        "Count processes",
        inputs={"pattern": PATTERN, "user": USER},
        outputs={"count": COUNT, "pids": PIDS},
        aggregates=[Aggregate("sum", "count"), Aggregate("summary", "count")],
    )
    def count(self, pattern: str, user: str | None = None) -> dict[str, Any]:
        """Count those that have not ended."""
        pids = sorted(process.pid for process in self._found(pattern, user) if not process.has_ended)
        return {"count": len(pids), "pids": pids[:MAX_LISTED]}

    @action(
        "Look at one process",
        inputs={"pid": PID},
        outputs={
            "exists": Output("boolean", "Whether there is such a process", display_as="Exists"),
            "process": Output("hash", f"{PROCESS}; executable, folder, open_files and cgroup", display_as="Process"),
        },
        aggregates=[Aggregate("summary", "exists")],
    )
    def status(self, pid: int) -> dict[str, Any]:
        """Look at all of it."""
        seen = processes.one(_checked(pid))
        if seen is None:
            return {"exists": False}
        (told,) = rows([seen], {}, 0.0)
        return {"exists": True, "process": self._with_line(told) | processes.details(pid)}

    @action(
        "Send a signal to one process, or to all that a pattern is found in",
        inputs={
            "pattern": MAYBE_PATTERN,
            "pid": Input("integer", PID.description, prompt="Process", optional=True),
            "user": USER,
            "signal": SIGNAL,
            "wait_s": WAIT,
            "force": FORCE,
        },
        outputs={
            "changed": Output("boolean", "Whether a process got it, or with noop would", display_as="Changed"),
            "before": Output("array", "The processes that were there", display_as="Before"),
            "after": Output("array", "Those of them that are still there; nothing with noop", display_as="After"),
            "signalled": Output("array", "Those that got it", display_as="Signalled", default=[]),
            "spared": Output("array", "Those that are not signalled without force", display_as="Spared", default=[]),
            "failed": Output("hash", "Those that could not be signalled, and why", display_as="Failed", default={}),
        },
        mutating=True,
        noop=True,
        aggregates=[Aggregate("summary", "changed")],
    )
    def signal(
        self,
        pattern: str | None = None,
        pid: int | None = None,
        user: str | None = None,
        signal: str = "TERM",
        wait_s: float = 1,
        force: bool = False,
    ) -> dict[str, Any]:
        """Signal, and say who is left; what is already gone is fine."""
        _check_range("wait_s", wait_s, 0, 10)
        if (pattern is None) == (pid is None):
            raise MissingData("process#signal: expected either pattern or pid")
        with self._turns.one("process#signal", self.timeout_s):
            found, spared = self._to_signal(pattern, pid, user, force)
            from mco_host.signals import held, remaining, send

            with held(found) as fds:
                before = sorted(fds)
                if self.is_noop:
                    return {"changed": bool(before), "before": before, "after": None, "spared": spared}
                sent, failed = send(fds, signals.Signals[f"SIG{signal}"])
                if failed and not sent:
                    raise ActionAborted(
                        f"no process got SIG{signal}: {', '.join(f'{each}: {why}' for each, why in failed.items())}"
                    )
                after = remaining(fds, wait_s, self.check_cancelled)
        return {
            "changed": bool(sent),
            "before": before,
            "after": after,
            "signalled": sent,
            "spared": spared,
            "failed": failed,
        }

    def _to_signal(self, pattern: str | None, pid: int | None, user: str | None, force: bool) -> tuple[_Found, _Pids]:
        """Return who gets a signal, and who does not though it was asked for."""
        if pid is not None:
            only = processes.one(_checked(pid))
            found = [only] if only and (user is None or only.uid() == uid_of(user)) else []
        else:
            found = [*self._found(pattern, user)]
        found = [process for process in found if not process.has_ended]
        own = {_INIT, _KERNEL, os.getpid(), *processes.ancestors(os.getpid())}
        spared = [] if force else [each for each in found if each.pid in own or each.parent == _KERNEL]
        chosen = [process for process in found if process not in spared]
        if spared and not chosen:
            names = ", ".join(f"{each.pid} ({each.name})" for each in spared[:5])
            raise ActionAborted(
                f"will not signal {names}: the host's first process, the kernel's threads, this daemon and what it "
                "runs under are signalled only with force=true"
            )
        if len(chosen) > MAX_SIGNALLED:
            raise ActionAborted(
                f"{len(chosen)} processes would be signalled; at most {MAX_SIGNALLED} are: give a narrower pattern"
            )
        return chosen, sorted(each.pid for each in spared)

    def _found(self, pattern: str | None = None, user: str | None = None, just_zombies: bool = False) -> Iterator[Seen]:
        """Yield the processes that the conditions hold for."""
        try:
            expression = patterns.compiled(patterns.bare(pattern)) if pattern else None
        except FilterError as e:
            raise InvalidData(f"input pattern: {e}") from e
        uid = uid_of(user) if user else None
        for process in processes.every():
            self.check_cancelled()
            if just_zombies and process.state != "Z":
                continue
            if uid is not None and process.uid() != uid:
                continue
            if expression is None or patterns.finds(expression, self._text(process)):
                yield process

    def _text(self, process: Seen) -> str:
        """Return what a pattern is looked for in."""
        return (processes.command_line(process.pid) if self._is_line_shown else "") or process.name

    def _with_line(self, process: dict[str, Any]) -> dict[str, Any]:
        """Return a row with what the process was started with, if that is shown."""
        line = processes.arguments(process["pid"]) if self._is_line_shown else []
        args = " ".join(line[1:]) if self._is_line_shown else None
        return process | {
            "command": _cut(line[0]) if line else process["name"],
            "args": None if args is None else _cut(args),
        }

    def _wait(self, wait_s: float) -> None:
        """Wait, or end at once if the caller wishes so."""
        until = time.monotonic() + wait_s
        while (left_s := until - time.monotonic()) > 0:
            self.check_cancelled()
            time.sleep(min(left_s, 0.25))


def _cut(text: str) -> str:
    """Return text without half characters, and not longer than a row needs."""
    text = text if len(text) <= MAX_LINE_LENGTH else f"{text[:MAX_LINE_LENGTH]}..."
    return text.encode("utf-8", "replace").decode()


def _checked(pid: int) -> int:
    _check_range("pid", pid, 1, 1 << 22)  # the most that the kernel gives out
    return pid


def _check_range(name: str, value: float, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidData(f"input {name}: expected {least} to {most}, got {value}")
