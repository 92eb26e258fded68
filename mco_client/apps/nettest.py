# SPDX-License-Identifier: Apache-2.0
"""``mco nettest``: which nodes reach a host, or a port of it."""

from __future__ import annotations

from mco_client.cli.application import Verb, application, fields

nettest = application(
    "nettest",
    "Try from each node whether a host, or a port of it, can be reached.",
    {
        "ping": Verb("send echo requests", ("host",), fields("reached", "received", "rtt", "reason")),
        "connect": Verb("try a TCP port", ("host", "port"), fields("connected", "took_s", "address", "reason")),
    },
    words="ACTION HOST [PORT]",
    examples="""\
  mco nettest ping 192.168.1.1                    who reaches it?
  mco nettest connect 127.0.0.1 5672 -C /web/
  mco nettest ping ::1 count=1""",
)
