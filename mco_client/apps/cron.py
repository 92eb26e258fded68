# SPDX-License-Identifier: Apache-2.0
"""``mco cron``: the jobs of cron on many nodes."""

from __future__ import annotations

from mco_client.cli.application import Verb, application, fields
from mco_client.cli.rows import Column, table

_CHANGE = fields("changed", "present", "next_run_at")

cron = application(
    "cron",
    "Look after the jobs of cron.",
    {
        "list": Verb(
            "all jobs", ("user?",), table("jobs", "name", "schedule", "user", Column("command", is_last=True))
        ),
        "status": Verb("one job, and when it runs next", ("name",), fields("present", "is_ours", "next_run_at")),
        "ensure": Verb("make a job, or change it", ("name", "schedule", "user", "command"), _CHANGE),
        "remove": Verb("remove a job", ("name",), _CHANGE),
    },
    words="ACTION [NAME]",
    examples="""\
  mco cron list
  mco cron backup status
  mco cron ensure backup '5 3 * * *' root /usr/bin/true -I db1 --noop
  mco cron remove backup -I db1 --noop""",
)
