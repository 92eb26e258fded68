# SPDX-License-Identifier: Apache-2.0
"""``mco service``: the state of a service on many nodes, and its changes."""

from __future__ import annotations

from mco_client.cli.application import Verb, application, fields
from mco_client.cli.rows import Column, table

_COLOURS = {"running": "green", "failed": "red", "stopped": "yellow"}
_STATUS = Column("status", colours=_COLOURS)
_STATE = table("", _STATUS, "enabled")
_CHANGE = fields("changed", "before", "after")
_TAKES = ("service",)
_CHANGES = {
    "start": "start it unless it runs",
    "stop": "stop it if it runs",
    "restart": "stop and start it",
    "reload": "have it read its configuration again",
    "enable": "let it start with the host",
    "disable": "no longer let it start with the host",
    "mask": "let nobody start it",
    "unmask": "let it be started again",
}

service = application(
    "service",
    "Look after services: units of systemd, or init scripts.",
    {
        "status": Verb("whether it runs, and starts with the host", _TAKES, _STATE),
        **{name: Verb(about, _TAKES, _CHANGE) for name, about in _CHANGES.items()},
        "list": Verb(
            "the services of each node",
            ("pattern?",),
            table("services", "name", _STATUS, "enabled", Column("description", is_last=True)),
        ),
    },
    words="SERVICE ACTION",
    examples="""\
  mco service nginx status                        on which nodes does it run?
  mco service restart nginx -C /web/ --batch 2    two nodes at a time; the action may come first
  mco service list status=failed                  what failed, anywhere
  mco service cron stop -I db1 --noop             what would be changed?""",
)
