# SPDX-License-Identifier: Apache-2.0
"""``mco file``: the same file on many nodes: is it the same, what does it hold; and its changes."""

from __future__ import annotations

from mco_client.cli.application import Verb, application, fields
from mco_client.cli.rows import Column, Lines, as_bytes, table

_PATH = ("path",)

file = application(
    "file",
    "Look at files, compare them between nodes, and change them.",
    {
        "status": Verb(
            "what it is, whose, and how large", _PATH, fields("type", "size", "permissions", "owner", "group")
        ),
        "checksum": Verb(
            "which nodes have the same content", ("path", "algorithm?"), fields("checksum", "size", is_grouped=True)
        ),
        "match": Verb("the lines in which a pattern is found", ("path", "pattern"), Lines("matches")),
        "tail": Verb("the last lines", ("path", "lines?"), Lines("lines")),
        "list": Verb(
            "what a folder holds",
            _PATH,
            table(
                "entries", "type", "permissions", "owner", Column("size", reads=as_bytes), Column("path", is_last=True)
            ),
        ),
        "touch": Verb("make it, or its time now", _PATH, fields("changed")),
        "remove": Verb("remove it", _PATH, fields("changed", "removed")),
        "ensure": Verb("make it what is given: content, mode, owner, group", _PATH, fields("changed", "difference")),
    },
    words="ACTION PATH",
    examples="""\
  mco file checksum /etc/hosts                    who has another one?
  mco file /etc/hosts status
  mco file match /etc/hosts localhost -C /web/    as grep, on many nodes
  mco file tail /etc/hosts 5 -I web1
  mco file ensure /etc/motd content=hello mode=0644 -I web1 --noop""",
)
