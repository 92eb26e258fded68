# SPDX-License-Identifier: Apache-2.0
"""``mco haproxy``: the servers behind load balancers."""

from __future__ import annotations

from mco_client.cli.application import Verb, application, fields
from mco_client.cli.rows import Column, table

_COLOURS = {"UP": "green", "DOWN": "red"}
_CHANGE = fields("changed", "before", "after")

haproxy = application(
    "haproxy",
    "Look after the load balancer.",
    {
        "status": Verb("how it fares", (), fields("version", "connections", "servers_up", "servers_down")),
        "servers": Verb(
            "the members of its backends",
            ("backend?",),
            table(
                "servers", "backend", "server", Column("status", colours=_COLOURS), "admin_state", "weight", "sessions"
            ),
        ),
        "set_state": Verb("ready, drain or maint", ("backend", "server", "state"), _CHANGE),
    },
    words="ACTION [BACKEND SERVER STATE]",
    examples="""\
  mco haproxy servers
  mco haproxy servers web -I lb1
  mco haproxy set_state web web1 drain -I lb1 --noop""",
)
