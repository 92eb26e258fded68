# SPDX-License-Identifier: Apache-2.0
"""What cron understands as a schedule, and when it is due next.

The time is computed by cronsim, which follows Debian's cron but knows more than that does; what cron itself would not
take is refused here before.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
AT_BOOT = "@reboot"
LOCAL_TIME = Path("/etc/localtime")
_FIELDS = ("minute", "hour", "day of month", "month", "day of week")
_NUMBERS = r"(?:[0-9]{1,2}|(?:\*|[0-9]{1,2}-[0-9]{1,2})(?:/[0-9]{1,2})?)"
_NAMES = {"month": r"[A-Za-z]{3}(?:-[A-Za-z]{3})?", "day of week": r"[A-Za-z]{3}(?:-[A-Za-z]{3})?"}


def check(schedule: str) -> str:
    """Return a schedule with single blanks.

    Raises:
        ValueError: cron would not take it, or it never comes.
    """
    words = schedule.split()
    if len(words) == 1 and words[0].startswith("@"):
        if words[0] not in (*NICKNAMES, AT_BOOT):
            raise ValueError(f"{words[0]} is none of {', '.join((*NICKNAMES, AT_BOOT))}")
        return words[0]
    if len(words) != len(_FIELDS):
        raise ValueError(
            f"expected {len(_FIELDS)} fields ({', '.join(_FIELDS)}) or @daily and the like, got {len(words)}"
        )
    for word, field in zip(words, _FIELDS, strict=True):
        item = f"(?:{_NUMBERS}|{_NAMES[field]})" if field in _NAMES else _NUMBERS
        if not re.fullmatch(f"{item}(?:,{item})*", word):
            raise ValueError(f"the {field} {word!r} is not what cron understands: *, 5, 1-5, */10 or 1,15")
    if next_run(" ".join(words), datetime(2024, 1, 1, tzinfo=UTC)) is None:
        raise ValueError("it never comes")
    return " ".join(words)


def next_run(schedule: str, now: datetime | None = None) -> datetime | None:
    """Return when a schedule is due next by the host's clock; None if it is not by the clock, or never.

    Raises:
        ValueError: it is none.
    """
    from cronsim import CronSim, CronSimError  # nobody else needs it

    fields = NICKNAMES.get(schedule, schedule)
    if fields == AT_BOOT:
        return None
    try:
        return next(CronSim(fields, now or datetime.now(local_zone())))
    except CronSimError as e:
        raise ValueError(str(e).replace("Bad", "it has a wrong")) from e
    except StopIteration:
        return None


def local_zone() -> ZoneInfo:
    """Return the time zone of the host, by which cron goes."""
    from zoneinfo import ZoneInfo

    try:
        with LOCAL_TIME.open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except (OSError, ValueError):
        return ZoneInfo("UTC")
