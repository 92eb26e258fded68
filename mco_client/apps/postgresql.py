# SPDX-License-Identifier: Apache-2.0
"""``mco postgresql``: how database servers fare."""

from __future__ import annotations

from mco_client.cli.application import Verb, application, fields
from mco_client.cli.rows import Column, as_bytes, table

postgresql = application(
    "postgresql",
    "Look at database servers.",
    {
        "status": Verb(
            "whether it accepts connections, and its role",
            (),
            fields("accepting", "version", "in_recovery", "connections", "max_connections", "reason"),
        ),
        "databases": Verb(
            "how large they are",
            (),
            table(
                "databases",
                "name",
                "owner",
                "connections",
                Column("size_bytes", "size", as_bytes),
                first_by="size_bytes",
            ),
        ),
        "backups": Verb("whether one runs", (), fields("running", "backups", "programs")),
        "replication": Verb(
            "who follows, and how far behind", (), fields("role", "replica_count", "lag_bytes", "lag_s", "is_paused")
        ),
    },
    words="ACTION",
    examples="""\
  mco postgresql status
  mco postgresql databases                        the largest first
  mco postgresql backups -C /db/""",
)
