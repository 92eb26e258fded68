# SPDX-License-Identifier: Apache-2.0
"""The tables of the registry's database, in the SQL that SQLite and PostgreSQL share.

A change of anything here needs another `SCHEMA_VERSION`, and a way there from the versions before.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, ForeignKey, Integer, MetaData, String, Table, Text

SCHEMA_VERSION = 1

METADATA = MetaData()
# In the order of bytes everywhere, whatever language a database is set to: pages are cut at names.
_IDENTITY = String(128).with_variant(String(128, collation="C"), "postgresql")

SCHEMA = Table("mco_registry_schema", METADATA, Column("version", Integer, primary_key=True, autoincrement=False))

NODES = Table(
    "mco_registry_nodes",
    METADATA,
    Column("identity", _IDENTITY, primary_key=True),
    Column("version", Text, nullable=False),
    Column("is_stopped", Boolean, nullable=False),
    Column("first_seen", Float(53), nullable=False),
    Column("last_seen", Float(53), nullable=False),
    Column("presence_at", Float(53), nullable=False),
    Column("registered_at", Float(53), nullable=False),
    Column("interval_s", Float(53), nullable=False),
    Column("digest", Text, nullable=False),
    Column("incomplete", Text, nullable=False),
    Column("body", Text),
)


def _names(kind: str) -> Table:
    return Table(
        f"mco_registry_{kind}",
        METADATA,
        Column("identity", _IDENTITY, ForeignKey(NODES.c.identity, ondelete="CASCADE"), primary_key=True),
        Column("name", Text, primary_key=True, index=True),
    )


CLASSES, AGENTS = _names("classes"), _names("agents")
