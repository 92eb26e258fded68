# SPDX-License-Identifier: Apache-2.0
"""``mco iptables``: block addresses on many nodes, and see where they are blocked."""

from __future__ import annotations

from mco_client.cli.application import Verb, application, fields

_TAKES = ("ipaddr",)
_CHANGE = fields("output", "changed")

iptables = application(
    "iptables",
    "Block the traffic from an address, in the packet filter of each node.",
    {
        "block": Verb("drop what comes from it", _TAKES, _CHANGE),
        "unblock": Verb("no longer drop it", _TAKES, _CHANGE),
        "isblocked": Verb("whether it is dropped", _TAKES, fields("output")),
        "listblocked": Verb("what is dropped"),
    },
    words="ADDRESS ACTION",
    examples="""\
  mco iptables isblocked 192.168.1.1                  where is it blocked?
  mco iptables 192.168.1.1 block -C /dev_server/      the action may come last
  mco iptables unblock 192.168.1.1 -F country=de
  mco iptables listblocked""",
)
