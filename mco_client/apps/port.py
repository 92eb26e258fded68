# SPDX-License-Identifier: Apache-2.0
"""``mco port``: what listens on which nodes."""

from __future__ import annotations

from mco_client.cli.application import Verb, application, fields
from mco_client.cli.rows import table

port = application(
    "port",
    "See what listens at the ports of each node.",
    {
        "status": Verb("whether something listens there", ("port",), fields("listening", "addresses", "users")),
        "list": Verb("all that listens", ("protocol?",), table("sockets", "protocol", "address", "port", "user")),
    },
    words="PORT ACTION",
    examples="""\
  mco port 443 status                             who serves it?
  mco port status 127.0.0.1:5432/tcp -C /db/
  mco port list udp""",
)
