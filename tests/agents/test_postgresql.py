# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL: how it is, a backup that runs, a standby that follows."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_agents import postgresql as module
from mco_agents.postgresql import Postgresql
from mco_client.rpc import RpcClient
from mco_lab.memory import MemoryFleet
from mco_rpc.errors import ActionAborted, ConfigError
from tests.agents.asking import ask
from tests.agents.servers import until
from tests.postgresql import PostgreSql, postgresql

__all__ = ["postgresql"]
STANDBY_PORT = 5433  # only the name of a socket: nothing listens on the network


def settings_of(server: PostgreSql, **more: Any) -> dict[str, Any]:
    user = pwd.getpwuid(server.folder.stat().st_uid).pw_name if os.geteuid() == 0 else ""
    return {"host": str(server.folder), "role": "mco", **({"run_as": user} if user else {}), **more}


def agent_of(server: PostgreSql, **more: Any) -> Postgresql:
    return Postgresql(settings=settings_of(server, **more))


def ended(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGQUIT if "postgres" in str(process.args) else signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(20)


@pytest.fixture
def standby(postgresql: PostgreSql) -> Iterator[Postgresql]:
    """The agent of a standby that streams."""
    data = postgresql.folder / "standby"
    copying = postgresql.begin(
        "pg_basebackup", "-h", str(postgresql.folder), "-U", "mco", "-D", str(data), "-R", "-c", "fast", "-C",
        "-S", "s1", "-d", "application_name=standby1", "--no-sync",
    )  # fmt: skip
    assert copying.wait(60) == 0, (postgresql.folder / "log").read_text()
    server = postgresql.begin(
        "postgres", "-D", str(data), "-k", str(postgresql.folder), "-c", "listen_addresses=", "-c", "fsync=off",
        "-c", f"port={STANDBY_PORT}",
    )  # fmt: skip
    try:
        agent = agent_of(postgresql, port=STANDBY_PORT)
        until(lambda: ask(agent, "status")["accepting"], "the standby")
        until(lambda: ask(agent, "replication")["receiver"] == "streaming", "streaming")
        yield agent
    finally:
        ended(server)
        postgresql.sql("SELECT pg_drop_replication_slot('s1')")


def test_status_of_a_server(postgresql: PostgreSql) -> None:
    made = ask(agent_of(postgresql), "status")
    assert made["accepting"] is True
    assert made["version"] == postgresql.sql("SHOW server_version").strip()
    assert (made["in_recovery"], made["max_connections"]) == (False, 50)
    assert made["connections"] >= 1
    assert 0 < made["used_percent"] <= 100


def test_nobody_there_is_an_answer(tmp_path: Path) -> None:
    made = ask(Postgresql(settings={"host": str(tmp_path)}), "status")
    assert made["accepting"] is False
    assert "PostgreSQL was not reached" in made["reason"]
    for action in ("databases", "replication"):
        with pytest.raises(ActionAborted, match="PostgreSQL was not reached"):
            ask(Postgresql(settings={"host": str(tmp_path)}), action)


def test_a_role_that_is_not_there_is_not_accepted(postgresql: PostgreSql) -> None:
    made = ask(agent_of(postgresql, role="nobody-of-this-name"), "status")
    assert made["accepting"] is False
    assert 'role "nobody-of-this-name" does not exist' in made["reason"]


def test_databases_have_sizes(postgresql: PostgreSql) -> None:
    postgresql.sql("CREATE DATABASE \"odd 'name'\"")
    made = ask(agent_of(postgresql), "databases")
    names = [row["name"] for row in made["databases"]]
    assert names == sorted(["odd 'name'", "postgres"])
    assert made["size_bytes"] == sum(row["size_bytes"] for row in made["databases"]) > 1_000_000


def test_a_base_backup_is_seen_while_it_runs(postgresql: PostgreSql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKUP_PROGRAMS", ())  # others may back up on this machine
    agent = agent_of(postgresql)
    assert ask(agent, "backups")["running"] is False
    copying = postgresql.begin(
        "pg_basebackup", "-h", str(postgresql.folder), "-U", "mco", "-D", str(postgresql.folder / "copy"), "-r", "32k",
        "-c", "fast", "-X", "none", "--no-sync",
    )  # fmt: skip
    try:
        until(lambda: ask(agent, "backups")["running"], "the backup")
        until(lambda: (ask(agent, "backups")["backups"][0]["done_bytes"] or 0) > 0, "its progress")
        (row,) = ask(agent, "backups")["backups"]
        assert (row["kind"], row["user"], row["application"]) == ("base backup", "mco", "pg_basebackup")
        assert 0 < row["done_bytes"] < row["total_bytes"]
        assert row["phase"] == "streaming database files"
    finally:
        ended(copying)
    until(lambda: not ask(agent, "backups")["running"], "the backup's end")


def test_a_dump_is_seen_while_it_runs(postgresql: PostgreSql, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a session that calls itself pg_dump and waits for a lock, as pg_dump does
    monkeypatch.setattr(module, "BACKUP_PROGRAMS", ())
    agent = agent_of(postgresql)
    postgresql.sql("CREATE TABLE IF NOT EXISTS locked ()")
    url = f"host={postgresql.folder} user=mco dbname=postgres"
    holder = postgresql.begin("psql", "-X", "-d", url, "-c", "BEGIN; LOCK locked; SELECT pg_sleep(60)")
    dump = None
    try:
        until(lambda: "t" in postgresql.sql("SELECT true FROM pg_locks WHERE relation = 'locked'::regclass"), "a lock")
        dump = postgresql.begin("pg_dump", "-f", "/dev/null", url)
        until(lambda: ask(agent, "backups")["backups"], "the dump")
        (row,) = ask(agent, "backups")["backups"]
        assert (row["kind"], row["database"], row["application"]) == ("dump", "postgres", "pg_dump")
        assert ask(agent, "status")["waiting_for_locks"] == 1
    finally:
        for process in filter(None, (dump, holder)):
            ended(process)


def test_a_program_that_backs_up_is_seen_without_a_server(tmp_path: Path) -> None:
    # Given a program of that name, and no server to ask
    program = tmp_path / "pg_dumpall"
    program.symlink_to("/bin/sleep")
    agent = Postgresql(settings={"host": str(tmp_path)})
    started = subprocess.Popen([str(program), "60"])
    try:
        until(lambda: any(row["pid"] == started.pid for row in ask(agent, "backups")["programs"]), "it")
        made = ask(agent, "backups")
        assert (made["running"], made["accepting"]) == (True, False)
    finally:
        started.kill()
        started.wait()


def test_a_primary_alone_has_no_replicas(postgresql: PostgreSql) -> None:
    made = ask(agent_of(postgresql), "replication")
    assert (made["role"], made["replicas"], made["replica_count"], made["slots"]) == ("primary", [], 0, [])
    assert made["lag_s"] is None


def test_a_standby_follows_and_falls_behind(postgresql: PostgreSql, standby: Postgresql) -> None:
    primary = agent_of(postgresql)
    # Given a standby that streams
    made = ask(primary, "replication")
    (replica,) = made["replicas"]
    assert (replica["name"], replica["state"], made["replica_count"]) == ("standby1", "streaming", 1)
    assert [(slot["name"], slot["active"]) for slot in made["slots"]] == [("s1", True)]
    assert ask(standby, "status")["in_recovery"] is True

    # When it is told not to apply what it gets, and something is changed
    url = ["-h", str(postgresql.folder), "-p", str(STANDBY_PORT), "-U", "mco", "-d", "postgres"]
    assert postgresql.begin("psql", "-X", *url, "-c", "SELECT pg_wal_replay_pause()").wait(20) == 0
    until(lambda: ask(standby, "replication")["is_paused"], "the pause")
    postgresql.sql("CREATE TABLE later AS SELECT generate_series(1, 1000)")

    # Then both sides know that it is late
    until(lambda: ask(standby, "replication")["lag_bytes"] > 0, "the standby's lag")
    assert ask(standby, "replication")["role"] == "standby"
    until(lambda: ask(primary, "replication")["replicas"][0]["lag_bytes"] > 0, "the primary's view of it")

    # And when it goes on, it catches up
    assert postgresql.begin("psql", "-X", *url, "-c", "SELECT pg_wal_replay_resume()").wait(20) == 0
    until(lambda: ask(standby, "replication")["lag_bytes"] == 0, "no lag")
    assert ask(standby, "replication")["lag_s"] == 0


def test_the_session_may_only_read_and_believes_no_other_schema(postgresql: PostgreSql) -> None:
    agent = agent_of(postgresql)
    assert agent._ask("SELECT current_setting('transaction_read_only') AS is_so") == [{"is_so": "on"}]
    assert agent._ask("SELECT current_setting('search_path') AS path") == [{"path": "pg_catalog"}]
    postgresql.sql("CREATE SEQUENCE counted")
    with pytest.raises(ActionAborted, match=r"did not answer as it should: .*read-only"):
        agent._ask("SELECT nextval('public.counted')")


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "a b"},
        {"host": "-x"},
        {"role": "x' y"},
        {"port": 70000},
        {"port": "5432"},
        {"run_as": "a\n"},
        {"dsn": "x"},
    ],
)
def test_wrong_settings_are_said_so(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="agents: postgresql: "):
        Postgresql(settings=settings)


def test_no_variable_of_the_node_leads_elsewhere(postgresql: PostgreSql, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGPORT": "1", "PGOPTIONS": "-c x=y", "PGSERVICE": "nowhere"}.items():
        monkeypatch.setenv(name, value)
    assert ask(agent_of(postgresql), "status")["accepting"] is True


def test_the_whole_way(postgresql: PostgreSql) -> None:
    settings = {"agents": {"postgresql": settings_of(postgresql)}}
    with MemoryFleet({"db1": {"settings": settings}}) as fleet:
        RpcClient("postgresql", fleet.connection()).status().require_all(accepting=True, in_recovery=False)
