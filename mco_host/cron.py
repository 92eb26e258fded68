# SPDX-License-Identifier: Apache-2.0
"""The jobs of cron on this host, wherever they are written. Nothing is changed here."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import cron_schedule

ROOT = Path("/")
DROP_INS = "etc/cron.d"
# Of users: Debian's place, and that of Red Hat and SUSE.
SPOOLS = ("var/spool/cron/crontabs", "var/spool/cron", "var/spool/cron/tabs")
PERIODS = ("hourly", "daily", "weekly", "monthly")
# Files with other names are passed over by cron, and by run-parts.
NAME = r"[A-Za-z0-9_-]+"
MAX_FILE_BYTES = 1024 * 1024
OWNER_UID = 0
_SETTING = re.compile(r"""\s*["']?[A-Za-z_][A-Za-z0-9_]*["']?\s*=""")


@dataclass(frozen=True, slots=True)
class Job:
    """One line of a crontab, or one script of a folder that is run as a whole.

    Attributes:
        name: of its file; of a user's crontab the user.
        kind: system (/etc/crontab), drop-in (/etc/cron.d), user, or periodic (/etc/cron.daily and the like).
        schedule: five fields or a word such as @daily; of a script the folder's.
        problem: why cron passes it over; nothing if it does not.
    """

    name: str
    kind: str
    file: str
    schedule: str
    user: str
    command: str
    problem: str = ""

    @property
    def next_run_at(self) -> str | None:
        """When it is due next, as ISO 8601 in the host's time zone; None for what never is."""
        if self.problem or not self.schedule:
            return None
        try:
            due = cron_schedule.next_run(self.schedule)
        except ValueError:
            return None
        return due.isoformat() if due else None


def jobs() -> list[Job]:
    """Return all jobs of this host."""
    system = list(_lines(ROOT / "etc/crontab", "crontab", "system"))
    return [*system, *_drop_ins(), *_of_users(), *_periodic(system)]


def drop_in(name: str) -> list[Job]:
    """Return the jobs of one file in /etc/cron.d, none if there is no such file."""
    return list(_lines(ROOT / DROP_INS / name, name, "drop-in"))


def _drop_ins() -> Iterator[Job]:
    for path in _files(ROOT / DROP_INS):
        yield from _lines(path, path.name, "drop-in")


def _of_users() -> Iterator[Job]:
    for spool in SPOOLS:
        for path in _files(ROOT / spool):
            yield from _lines(path, path.name, "user")


def _periodic(system: list[Job]) -> Iterator[Job]:
    """Yield the scripts that /etc/crontab has run folder by folder."""
    for period in PERIODS:
        folder = ROOT / f"etc/cron.{period}"
        line = next((job for job in system if f"/etc/cron.{period}" in job.command), None)
        for path in _files(folder):
            problem = "" if line else f"nothing in /etc/crontab runs /etc/cron.{period}"
            if not re.fullmatch(NAME, path.name):
                problem = "its name has other characters than letters, digits, - and _"
            elif not os.access(path, os.X_OK):
                problem = "it is not executable"
            schedule, user = (line.schedule, line.user) if line else ("", "")
            yield Job(path.name, "periodic", _shown(path), schedule, user, _shown(path), problem)


def _lines(path: Path, name: str, kind: str) -> Iterator[Job]:
    text, problem = _read(path, kind)
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#") or _SETTING.match(line):
            continue
        words = 1 if line.lstrip().startswith("@") else 5
        has_user = kind != "user"
        parts = line.split(None, words + has_user)
        if len(parts) <= words + has_user:
            yield Job(name, kind, _shown(path), "", "", line.strip(), problem or "the line is too short")
            continue
        schedule, wrong = " ".join(parts[:words]), ""
        try:
            cron_schedule.check(schedule)
        except ValueError as e:
            wrong = str(e)
        user = parts[words] if has_user else name
        yield Job(name, kind, _shown(path), schedule, user, parts[-1].strip(), problem or wrong)


def _read(path: Path, kind: str) -> tuple[str, str]:
    """Return what is in a file, and why cron does not read it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return "", ""
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return "", ""
        text = file.read(MAX_FILE_BYTES).decode("utf-8", "replace")
    if kind == "drop-in" and not re.fullmatch(NAME, path.name):
        return text, "the name of its file has other characters than letters, digits, - and _"
    if kind != "user" and found.st_uid != OWNER_UID:
        return text, "its file does not belong to root"
    if found.st_mode & 0o022:
        return text, "others than its owner may write to its file"
    return (text, "") if text.endswith("\n") or not text else (text, "its last line does not end")


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError:
        return []


def _shown(path: Path) -> str:
    return f"/{path.relative_to(ROOT)}"
