# SPDX-License-Identifier: Apache-2.0
"""``mco process``: the processes of all nodes in one table, as `ps` shows those of one."""

from __future__ import annotations

from mco_client.cli.application import Verb, application, fields
from mco_client.cli.rows import Column, as_age, as_bytes, as_percent, table

_TABLE = table(
    "processes",
    "pid",
    "user",
    Column("cpu_percent", "cpu", as_percent),
    Column("memory_percent", "memory", as_percent),
    Column("rss_bytes", "rss", as_bytes),
    Column("age_s", "age", as_age),
    "state",
    Column("command", then=("args",), is_last=True),
    nothing="no such process",
)

process = application(
    "process",
    "Look at processes, count them, and send signals to them.",
    {
        "list": Verb("those that match, as ps does", ("pattern?",), _TABLE),
        "count": Verb("how many match", ("pattern",), fields("count")),
        "status": Verb("all about one", ("pid",)),
        "signal": Verb(
            "send a signal to those that match", ("pattern?", "signal?"), fields("changed", "before", "after")
        ),
    },
    words="ACTION [PATTERN]",
    examples="""\
  mco process list nginx                          as ps, on all nodes
  mco process list sort=memory limit=3            the three largest of each node
  mco process list just_zombies=yes
  mco process count sshd                          on how many nodes does it run?
  mco process signal 'nginx: worker' HUP -C /web/ --noop""",
)
