# SPDX-License-Identifier: Apache-2.0
"""The agent of cron: it shows all jobs, and keeps those that it wrote itself, one file each in /etc/cron.d."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mco_host import cron, cron_schedule
from mco_host.cron import Job
from mco_rpc.agent import Agent, Aggregate, Input, NodeView, Output, action
from mco_rpc.errors import ActionAborted, InvalidData
from mco_rpc.suggestion import did_you_mean
from mco_rpc.turns import Turns

MARK = "# Kept by mco-node (agent cron): changes here are overwritten."
MODE = 0o644
MAX_COMMAND_LENGTH = 900  # cron itself takes a few more
NAME = Input("string", "The job: the name of its file", prompt="Name", validate=f"/{cron.NAME}/", max_length=100)
NEW_NAME = Input("string", NAME.description, prompt="Name", validate="/[A-Za-z0-9_][A-Za-z0-9_-]*/", max_length=100)
SCHEDULE = Input("string", "When: five fields as in a crontab, or @daily and the like", max_length=200)
USER = Input("string", "Who runs it", default="root", validate="/[A-Za-z0-9_][A-Za-z0-9_.-]*[$]?/", max_length=32)
COMMAND = Input("string", "What is run, by a shell; % is only itself", max_length=MAX_COMMAND_LENGTH)
ONLY_USER = Input(
    "string", "Only jobs that this user runs", prompt="User", optional=True, validate=USER.validate, max_length=32
)
FORCE = Input("boolean", "Also a file that this agent did not write", prompt="Force", optional=True, default=False)
JOBS = Output(
    "array",
    "Each with name, kind, file, schedule, user, command, next_run_at and problem: why cron passes it over",
    display_as="Jobs",
    default=[],
)
STATE = {
    "name": Output("string", "The job", display_as="Name"),
    "present": Output("boolean", "Whether there is such a file", display_as="Present"),
}
DETAILS = STATE | {
    "is_ours": Output("boolean", "Whether this agent wrote it", display_as="Ours"),
    "jobs": JOBS,
    "next_run_at": Output("string", "When the first of its jobs is due", display_as="Next run"),
}
CHANGE = STATE | {
    "changed": Output("boolean", "Whether it was written or removed, or with noop would be", display_as="Changed"),
    "before": Output("string", "What was in the file; nothing if there was none", display_as="Before"),
    "after": Output("string", "What is in it now, or with noop would be", display_as="After"),
    "next_run_at": Output("string", "When it is due next", display_as="Next run"),
}
CHANGED_COUNT = Aggregate("summary", "changed")
_Method = TypeVar("_Method", bound=Callable[..., Any])


def _change(description: str, inputs: Mapping[str, Input]) -> Callable[[_Method], _Method]:
    return action(description, inputs=inputs, outputs=CHANGE, mutating=True, noop=True, aggregates=[CHANGED_COUNT])


@dataclass(frozen=True, slots=True)
class _File:
    """A file in /etc/cron.d; without text there is none; it is sound if owner and mode are right."""

    text: str | None
    is_sound: bool = True

    @property
    def is_ours(self) -> bool:
        return self.text is not None and self.text.startswith(f"{MARK}\n")


class Cron(Agent):
    """Show the jobs of cron, and keep jobs of one's own.

    Each job is one file in /etc/cron.d, with a mark in its first line; a file without the mark, such as a package's, is
    changed or removed only with `force`. For each job that cron passes over, `problem` says why.
    """

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(node, settings)
        self._turns = Turns()

    @staticmethod
    def activate_when(settings: Mapping[str, object]) -> str | None:
        """Ask for the folder of cron's jobs."""
        folder = cron.ROOT / cron.DROP_INS
        return None if folder.is_dir() else f"there is no folder {folder}: is cron installed?"

    @action(
        "List the jobs of cron",
        inputs={"user": ONLY_USER},
        outputs={
            "jobs": JOBS,
            "count": Output("integer", "How many they are", display_as="Count"),
            "passed_over": Output("integer", "How many of them cron passes over", display_as="Passed over"),
        },
        aggregates=[Aggregate("summary", "count")],
    )
    def list(self, user: str = "") -> dict[str, object]:
        """List those of the system, of packages, and of users."""
        found = [job for job in cron.jobs() if not user or job.user == user]
        problems = sum(1 for job in found if job.problem)
        return {"jobs": [_plain(job) for job in found], "count": len(found), "passed_over": problems}

    @action("Show one file of jobs in /etc/cron.d", inputs={"name": NAME}, outputs=DETAILS)
    def status(self, name: str) -> dict[str, object]:
        """Show what is there; a file that is not there is no error."""
        file, jobs = _read(name), [_plain(job) for job in cron.drop_in(name)]
        times = sorted(job["next_run_at"] for job in jobs if job["next_run_at"])
        return {
            "name": name,
            "present": file.text is not None,
            "is_ours": file.is_ours,
            "jobs": jobs,
            "next_run_at": times[0] if times else None,
        }

    @_change(
        "Have a job in /etc/cron.d",
        {"name": NEW_NAME, "schedule": SCHEDULE, "user": USER, "command": COMMAND, "force": FORCE},
    )
    def ensure(self, name: str, schedule: str, user: str, command: str, force: bool = False) -> dict[str, object]:
        """Write the file, if it is not so already."""
        try:
            schedule = cron_schedule.check(schedule)
        except ValueError as e:
            raise InvalidData(f"schedule {schedule!r}: {e}") from e
        _check_user(user)
        text = f"{MARK}\n{schedule} {user} {_escaped(command)}\n"
        with self._turns.one(f"cron#ensure {name}", self.timeout_s):
            before = self._checked(name, force)
            is_changed = before.text != text or not before.is_sound
            if is_changed and not self.is_noop:
                _write(name, text)
            return {**self._told(name, before, text, is_changed), "next_run_at": _next(schedule)}

    @_change("Remove a job from /etc/cron.d", {"name": NAME, "force": FORCE})
    def remove(self, name: str, force: bool = False) -> dict[str, object]:
        """Remove the file; what is not there is fine."""
        with self._turns.one(f"cron#remove {name}", self.timeout_s):
            before = self._checked(name, force)
            is_changed = before.text is not None
            if is_changed and not self.is_noop:
                try:
                    _path(name).unlink()
                except OSError as e:
                    raise ActionAborted(f"{_path(name)} cannot be removed: {e.strerror}") from e
            return self._told(name, before, None, is_changed)

    def _checked(self, name: str, force: bool) -> _File:
        """Return the file as it is, if it may be changed."""
        before = _read(name)
        if before.text is not None and not before.is_ours and not force:
            raise ActionAborted(
                f"will not change {_path(name)}: this agent did not write it, and a package may have; "
                "force=true changes it all the same"
            )
        return before

    def _told(self, name: str, before: _File, wanted: str | None, is_changed: bool) -> dict[str, object]:
        """Return the outputs of a change, if the file is now what was wanted."""
        after = _File(wanted) if self.is_noop else _read(name)
        if after.text != wanted or not after.is_sound:
            raise ActionAborted(f"{_path(name)} is not what was written to it; something else changes it, too")
        is_present = (before if self.is_noop else after).text is not None
        return {"name": name, "present": is_present, "changed": is_changed, "before": before.text, "after": after.text}


def _path(name: str) -> Path:
    return cron.ROOT / cron.DROP_INS / name


def _read(name: str) -> _File:
    """Return a file as it is; a link or anything else that is no file is an error."""
    path = _path(name)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return _File(None)
    except OSError as e:
        raise ActionAborted(f"{path} cannot be read, it may be a link: {e.strerror}") from e
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if found.st_size > cron.MAX_FILE_BYTES or not path.is_file():
            raise ActionAborted(f"{path} is no file of jobs: it is too large, or no file at all")
        text = file.read(cron.MAX_FILE_BYTES).decode("utf-8", "replace")
    return _File(text, (found.st_uid, found.st_mode & 0o7777) == (cron.OWNER_UID, MODE))


def _write(name: str, text: str) -> None:
    """Put a file in place at once and wholly; cron passes over the name that it has until then."""
    path, new = _path(name), _path(f".{name}.mco-new")
    try:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, MODE)
            file.write(text.encode())
            file.flush()
            os.fsync(fd)
        new.replace(path)
    except OSError as e:
        with contextlib.suppress(OSError):
            new.unlink()
        raise ActionAborted(f"{path} cannot be written: {e.strerror}") from e


def _check_user(user: str) -> None:
    import pwd

    try:
        pwd.getpwnam(user)
    except KeyError:
        known = did_you_mean(user, [entry.pw_name for entry in pwd.getpwall()])
        raise ActionAborted(f"there is no user {user} on this node{known}; cron would pass over the file") from None


def _escaped(command: str) -> str:
    """Return a command as a crontab has it, where a % ends the line unless a backslash is before it."""
    if bad := [character for character in command if character != "\t" and not character.isprintable()]:
        raise InvalidData(f"the command holds {bad[0]!r}; it has to be one line of text")
    if not command.strip():
        raise InvalidData("the command is empty")
    if "\\%" in command:
        raise InvalidData("the command holds \\%; write a % alone, it is written to the file as cron needs it")
    return command.strip().replace("%", "\\%")


def _next(schedule: str) -> str | None:
    due = cron_schedule.next_run(schedule)
    return due.isoformat() if due else None


def _plain(job: Job) -> dict[str, Any]:
    return {
        "name": job.name,
        "kind": job.kind,
        "file": job.file,
        "schedule": job.schedule,
        "user": job.user,
        "command": job.command,
        "next_run_at": job.next_run_at,
        "problem": job.problem,
    }
