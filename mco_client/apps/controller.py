# SPDX-License-Identifier: Apache-2.0
"""``mco controller``: tell the daemons of nodes what to do, and see how they fare."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mco_client.cli.application import Verb, application, fields

if TYPE_CHECKING:
    from mco_client.cli.showing import Answered

_RELOADED = fields("changed", "added", "removed", "replaced")


def _say_stats(answered: Answered) -> None:
    """Print a line a node: what an operator looks at first; ``-j`` has all of it."""
    from mco_client.cli import output, replies
    from mco_client.text import one_line

    rows = []
    for result in replies.in_order(answered.results, answered.shown):
        data = result.data
        workers, counters, process = (_mapping(data.get(name)) for name in ("workers", "counters", "process"))
        rows.append(
            [
                one_line(result.sender),
                output.value(data.get("version")),
                _up(data.get("uptime_s")),
                "drained" if data.get("drained") else "yes",
                output.value(counters.get("received", 0)),
                f"{_number(workers.get('running'))}/{_number(workers.get('waiting'))}/{_number(workers.get('hanging'))}",
                output.value(_mapping(data.get("connection")).get("reconnects")),
                _mebibytes(process.get("rss_bytes")),
                output.value(data.get("log_level")),
            ]
        )
    heads = ["node", "version", "up", "works", "received", "run/wait/hang", "reconnects", "memory", "log level"]
    output.say(output.table(heads, rows))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> str:
    return str(value) if isinstance(value, int) else "?"


def _up(seconds: object) -> str:
    if not isinstance(seconds, int | float) or not 0 <= seconds < 1e10:
        return "?"
    return str(dt.timedelta(seconds=round(seconds)))


def _mebibytes(size_bytes: object) -> str:
    return f"{size_bytes / 2**20:.1f} MiB" if isinstance(size_bytes, int) else "?"


controller = application(
    "controller",
    "Tell the daemons of nodes what to do, and see how they fare.",
    {
        "stats": Verb("how they fare", say=_say_stats),
        "reload_agent": Verb("load one agent again", ("agent",), _RELOADED),
        "reload_agents": Verb("load all agents and data sources again", (), _RELOADED),
        "reload_facts": Verb("gather facts now", (), fields("facts", "changed", "added", "removed", "replaced")),
        "log_level": Verb("log from a level on", ("level",), fields("before", "after")),
        "drain": Verb("take no more work, with a reason", ("reason?",), fields("changed", "still_running")),
        "resume": Verb("take work again", (), fields("changed")),
        "exit": Verb("end the daemon once what runs has ended", (), fields("still_running")),
        "restart": Verb("have a new process take over", (), fields("before", "after")),
    },
    words="ACTION",
    examples="""\
  mco controller stats                                how do all of them fare?
  mco controller stats -j -I web1                     all that one of them counts
  mco controller reload-agent greeter -C /web/        after its file was changed
  mco controller log-level debug -I web1
  mco controller drain 'new disk' -I web1             it takes no more work
  mco controller drain wait=true -I web1              and answers when what runs has ended
  mco controller resume -S 'daemon().drained=true'    all that take none
  mco controller restart -C /web/ --batch 10          without losing a request""",
)
