# SPDX-License-Identifier: Apache-2.0
"""What PostgreSQL is asked, from version 13 on; all of it reads only, and each answers with rows."""

from __future__ import annotations

STATUS = """
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::int AS version_number,
       pg_is_in_recovery() AS in_recovery,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND state = 'active') AS active,
       (SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock') AS waiting_for_locks,
       current_setting('max_connections')::int AS max_connections,
       (SELECT round(extract(epoch FROM max(now() - xact_start))::numeric, 1) FROM pg_stat_activity
         WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS oldest_transaction_s,
       round(extract(epoch FROM now() - pg_postmaster_start_time())::numeric, 1)::float8 AS uptime_s
"""

DATABASES = """
SELECT datname AS name, pg_get_userbyid(datdba) AS owner,
       CASE WHEN has_database_privilege(oid, 'CONNECT') THEN pg_database_size(oid) END AS size_bytes,
       (SELECT count(*) FROM pg_stat_activity AS a WHERE a.datid = d.oid) AS connections,
       pg_encoding_to_char(encoding) AS encoding
  FROM pg_database AS d WHERE datallowconn AND NOT datistemplate ORDER BY datname
"""

# Whoever copies the server reports how far it is, whoever dumps a database is known by the name that it gives itself.
BACKUPS = """
SELECT CASE WHEN p.pid IS NOT NULL THEN 'base backup' ELSE 'dump' END AS kind, a.pid, a.usename AS "user",
       a.datname AS database, a.application_name AS application, host(a.client_addr) AS client, p.phase,
       p.backup_total AS total_bytes, p.backup_streamed AS done_bytes,
       round(100.0 * p.backup_streamed / nullif(p.backup_total, 0), 1) AS percent,
       round(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.backend_start))::numeric, 1) AS age_s
  FROM pg_stat_activity AS a LEFT JOIN pg_stat_progress_basebackup AS p ON p.pid = a.pid
 WHERE p.pid IS NOT NULL
    OR (a.application_name ~ '^(pg_dump|pg_dumpall|pgbackrest|barman|wal-g)' AND a.pid <> pg_backend_pid())
 ORDER BY a.pid
"""

PRIMARY = """
SELECT application_name AS name, host(client_addr) AS address, usename AS "user", state, sync_state,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END,
                       replay_lsn)::bigint AS lag_bytes,
       round(extract(epoch FROM replay_lag)::numeric, 3) AS lag_s
  FROM pg_stat_replication WHERE state <> 'backup' ORDER BY 1, 2
"""

# A standby that has applied all it got is not late, however long ago the last change was.
STANDBY = """
SELECT r.status AS receiver, r.sender_host AS primary_host, r.sender_port AS primary_port,
       CASE WHEN pg_is_in_recovery() THEN
         pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::bigint END AS lag_bytes,
       CASE WHEN NOT pg_is_in_recovery() THEN NULL
            WHEN r.status = 'streaming' AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
            ELSE round(extract(epoch FROM now() - pg_last_xact_replay_timestamp())::numeric, 3) END AS lag_s,
       pg_is_in_recovery() AS in_recovery,
       CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END AS is_paused
  FROM (SELECT 1) AS one LEFT JOIN pg_stat_wal_receiver AS r ON true
"""

SLOTS = """
SELECT slot_name AS name, slot_type AS type, active,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
                       restart_lsn)::bigint AS kept_bytes
  FROM pg_replication_slots ORDER BY 1
"""
