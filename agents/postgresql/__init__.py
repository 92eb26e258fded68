# SPDX-License-Identifier: Apache-2.0
"""The agent that asks PostgreSQL, through psql, so that no database driver stays in the node; it changes nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from mco_host.processes import running
from mco_rpc.agent import Agent, Aggregate, NodeView, Output, action, command_exists
from mco_rpc.command import clean_environment
from mco_rpc.errors import ActionAborted, ConfigError

from . import statements

# Programs that copy databases, running here; they may copy those of another host.
BACKUP_PROGRAMS = ("barman", "pg_basebackup", "pg_dump", "pg_dumpall", "pgbackrest", "wal-g")
MAX_BYTES = 4 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9_./:][A-Za-z0-9_./:-]*\Z")
# Whatever a database's owner put into it, no function of his stands in for one of PostgreSQL's own.
_OPTIONS = "-c search_path=pg_catalog -c default_transaction_read_only=on -c statement_timeout=8000"
_NOT_REACHED = 2  # psql's exit status


class Postgresql(Agent):
    """Ask PostgreSQL how it is, whether a backup runs, and how far its replicas are.

    The settings `host` (a name, an address, or the folder of the socket), `port`, `role` and `database` say where;
    without them the server that psql finds. `run_as` is the user of this host who asks: postgres, if the node runs as
    root. A password belongs into that user's ~/.pgpass. The role needs no more than pg_monitor.
    """

    timeout_s = 15.0
    setting_names = ("host", "port", "role", "database", "run_as")

    @staticmethod
    def activate_when(settings: Mapping[str, object]) -> str | None:
        """Ask for psql."""
        return command_exists("psql")(settings)

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(node, settings)
        given = {key: self.setting(key, "") for key in ("host", "role", "run_as")}
        given["database"] = self.setting("database", "postgres")
        port = self.setting("port", 0)
        for key, value in given.items():
            if value and not _NAME.match(value):
                raise ConfigError(f"agents: postgresql: {key}: {value!r} is no name")
        if not 0 <= port < 65536:
            raise ConfigError(f"agents: postgresql: port: expected 1 to 65535, got {port}")
        named = {"host": given["host"], "port": port or "", "user": given["role"], "dbname": given["database"]}
        named |= {"connect_timeout": 5, "application_name": "mco", "options": f"'{_OPTIONS}'"}
        self._where = " ".join(f"{key}={value}" for key, value in named.items() if value)
        self._user = given["run_as"] or ("postgres" if os.geteuid() == 0 else "")

    @action(
        "Say whether the server takes connections, and how it is",
        outputs={
            "accepting": Output("boolean", "Whether it takes connections", display_as="Accepting"),
            "reason": Output("string", "Why it does not", display_as="Reason"),
            "version": Output("string", "Its version", display_as="Version"),
            "version_number": Output("integer", "The same as a number, such as 150018", display_as="Version number"),
            "in_recovery": Output("boolean", "Whether it is a standby, or recovers", display_as="In recovery"),
            "connections": Output("integer", "Connections of clients", display_as="Connections"),
            "active": Output("integer", "Those that run a statement", display_as="Active"),
            "waiting_for_locks": Output("integer", "Those that wait for another", display_as="Waiting"),
            "max_connections": Output("integer", "Connections at most", display_as="At most"),
            "used_percent": Output("number", "The share of connections that is used", display_as="Used %"),
            "oldest_transaction_s": Output("number", "Age of the oldest transaction", display_as="Oldest transaction"),
            "uptime_s": Output("number", "Seconds since it started", display_as="Uptime"),
        },
        aggregates=[Aggregate("summary", "accepting"), Aggregate("max", "used_percent", "%.1f")],
    )
    def status(self) -> dict[str, Any]:
        """Connect and ask; that nobody answers is an answer."""
        try:
            found = self._ask(statements.STATUS)[0]
        except _NotReached as e:
            return {"accepting": False, "reason": str(e)}
        used_percent = round(100 * found["connections"] / found["max_connections"], 1)
        return {"accepting": True, **found, "used_percent": used_percent}

    @action(
        "List the databases",
        outputs={
            "databases": Output(
                "array", "Name, owner, size_bytes, connections, encoding of each", display_as="Databases", default=[]
            ),
            "count": Output("integer", "How many there are", display_as="Count"),
            "size_bytes": Output("integer", "Size of all", display_as="Bytes"),
        },
        aggregates=[Aggregate("sum", "size_bytes")],
    )
    def databases(self) -> dict[str, Any]:
        """Ask for their sizes, too; one that may not be connected to has none."""
        rows = self._ask(statements.DATABASES)
        return {"databases": rows, "count": len(rows), "size_bytes": sum(row["size_bytes"] or 0 for row in rows)}

    @action(
        "Say whether a backup runs",
        outputs={
            "running": Output("boolean", "Whether one runs", display_as="Running"),
            "backups": Output(
                "array", "Of each: kind, pid, user, database, application, client, phase, percent, bytes, age_s",
                display_as="Backups", default=[],
            ),
            "programs": Output(
                "array", "Programs on this host that make backups: pid, name, user, age_s", display_as="Programs",
                default=[],
            ),
            "accepting": Output("boolean", "Whether the server could be asked", display_as="Accepting"),
        },
        aggregates=[Aggregate("summary", "running")],
    )  # fmt: skip
    def backups(self) -> dict[str, Any]:
        """Ask the server who copies it, and the host which programs run."""
        programs = [
            {"pid": seen.pid, "name": seen.name, "user": seen.user(), "age_s": seen.age_s()}
            for seen in running()
            if seen.name in BACKUP_PROGRAMS
        ]
        try:
            rows, is_accepting = self._ask(statements.BACKUPS), True
        except _NotReached:
            rows, is_accepting = [], False
            if not programs:  # nobody knows
                raise
        return {
            "running": bool(rows or programs),
            "backups": rows,
            "programs": programs,
            "accepting": is_accepting,
        }

    @action(
        "Say what replicates from or to this server",
        outputs={
            "role": Output("string", "primary or standby", display_as="Role"),
            "replicas": Output(
                "array", "Of each: name, address, user, state, sync_state, lag_bytes, lag_s", display_as="Replicas",
                default=[],
            ),
            "replica_count": Output("integer", "How many stream from here", display_as="Replicas streaming"),
            "lag_bytes": Output("integer", "On a standby: got and not applied", display_as="Lag bytes"),
            "lag_s": Output("number", "On a standby: age of what was applied last", display_as="Lag"),
            "receiver": Output("string", "On a standby: streaming, or what else it does", display_as="Receiver"),
            "primary_host": Output("string", "On a standby: where it streams from", display_as="From"),
            "primary_port": Output("integer", "On a standby: the port there", display_as="Port"),
            "is_paused": Output("boolean", "On a standby: whether nothing is applied", display_as="Paused"),
            "slots": Output("array", "Of each: name, type, active, kept_bytes", display_as="Slots", default=[]),
        },
        aggregates=[Aggregate("summary", "role"), Aggregate("max", "lag_s", "%.3f")],
    )  # fmt: skip
    def replication(self) -> dict[str, Any]:
        """Ask for both directions: a standby may have standbys of its own."""
        replicas, here, slots = (
            self._ask(statement) for statement in (statements.PRIMARY, statements.STANDBY, statements.SLOTS)
        )
        made = dict(here[0])
        role = "standby" if made.pop("in_recovery") else "primary"
        streaming = sum(replica["state"] == "streaming" for replica in replicas)
        return {"role": role, "replicas": replicas, "replica_count": streaming, **made, "slots": slots}

    def _ask(self, statement: str) -> list[dict[str, Any]]:
        """Return the rows of a statement."""
        import msgspec

        query = f"SELECT coalesce(json_agg(row_to_json(t)), '[]') FROM ({statement}) AS t"  # noqa: S608 - ours
        argv = ("psql", "-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-d", self._where, "-c", query)
        environment = clean_environment(**({"HOME": _home(self._user)} if self._user else {}))
        done = self.run(*argv, environment=environment, user=self._user or None, max_output_bytes=MAX_BYTES)
        said = " ".join((done.stderr.strip() or done.stdout.strip()).split())[:300]
        if done.returncode == _NOT_REACHED:
            raise _NotReached(f"PostgreSQL was not reached: {said.removeprefix('psql: error: ')}")
        if done.returncode or done.is_truncated:
            raise ActionAborted(f"PostgreSQL did not answer as it should: {said}")
        rows: list[dict[str, Any]] = msgspec.json.decode(done.stdout)
        return rows


class _NotReached(ActionAborted):
    """Nobody takes connections there."""


def _home(user: str) -> str:
    """Return where psql looks for .pgpass."""
    import pwd

    try:
        return pwd.getpwnam(user).pw_dir
    except KeyError:
        return "/"  # whoever starts it says that there is no such user
