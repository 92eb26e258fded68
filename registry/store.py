# SPDX-License-Identifier: Apache-2.0
"""What is known of the nodes, in a database: an SQLite file, or PostgreSQL.

It holds no connection for longer than a question, and makes of every way a database can fail one error, after
which the next question tries again. It decides nothing about nodes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, delete, event, exists, func, insert, or_, select, update
from sqlalchemy import create_engine as _create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from .errors import StoreError, StoreRefused, StoreRejected
from .known import Heard, Known, content_from
from .tables import AGENTS, CLASSES, METADATA, NODES, SCHEMA, SCHEMA_VERSION

TIMEOUT_S = 5.0
_SQLITE, _POSTGRESQL = "sqlite", "postgresql"
_BRIEF = [column for column in NODES.c if column.name != "body"]


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What of a filter the database can decide: these identities, all these classes, all these agents."""

    identities: tuple[str, ...] | None = None
    classes: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()


class Store:
    """The database behind a URL; usable from any thread.

    Raises:
        StoreRefused: the URL is wrong.
    """

    def __init__(self, url: str) -> None:
        self._url = _checked(url)
        self._file = Path(self._url.database) if self._is_sqlite and self._url.database else None
        self._lock = threading.Lock()
        # A database in memory is one connection, which one thread uses at a time.
        self._turn = contextlib.nullcontext() if self._file or not self._is_sqlite else threading.RLock()
        self._seen_file: tuple[int, int] | None = None
        self._is_ready = False
        try:
            self._engine = _engine(self._url)
        except ImportError as e:
            raise StoreRefused(f"database {self}: {e}; install mco-behave[registry]") from e

    def __str__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == _SQLITE

    def open(self) -> None:
        """Make the tables, unless they are there.

        Raises:
            StoreError: the database cannot be reached now.
            StoreRefused: another version made its tables.
        """
        with self._connected():
            pass

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def keep(self, heard: Mapping[str, Sequence[Heard]], max_nodes: int) -> list[str]:
        """Write what nodes said, all or nothing; return the nodes for which there was no room."""
        refused = []
        with self._connected() as connection:
            rows = connection.execute(select(NODES).where(NODES.c.identity.in_(heard)).with_for_update())
            before = {row.identity: Known(**row._mapping) for row in rows}  # noqa: SLF001 - its public way to a mapping
            room = max_nodes - _count(connection) if len(before) < len(heard) else 0
            for identity, events in heard.items():
                known = before.get(identity)
                if known is None and room <= 0:
                    refused.append(identity)
                    continue
                after = known or Known(identity)
                for one in events:
                    after = after.after(one)
                room -= known is None
                if after != known:
                    _write(connection, known, after)
        return refused

    def page(self, after: str, limit: int, narrowed: Narrowed, *, is_whole: bool) -> list[Known]:
        """Return nodes in the order of their names.

        Args:
            after: the name before the first one.
            is_whole: with their registrations.
        """
        columns = NODES.c if is_whole else _BRIEF
        question = select(*columns).where(NODES.c.identity > after, *_conditions(narrowed))
        with self._connected() as connection:
            rows = connection.execute(question.order_by(NODES.c.identity).limit(limit)).all()
        return [Known(**row._mapping) for row in rows]  # noqa: SLF001

    def node(self, identity: str) -> Known | None:
        """Return all that is known of one node."""
        with self._connected() as connection:
            row = connection.execute(select(NODES).where(NODES.c.identity == identity)).first()
        return None if row is None else Known(**row._mapping)  # noqa: SLF001

    def forget(self, identity: str) -> bool:
        """Forget a node; say whether it was known."""
        with self._connected() as connection:
            for table in (CLASSES, AGENTS):
                connection.execute(delete(table).where(table.c.identity == identity))
            return connection.execute(delete(NODES).where(NODES.c.identity == identity)).rowcount > 0

    def count(self) -> int:
        """Return how many nodes are known."""
        with self._connected() as connection:
            return _count(connection)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Give a transaction on a database whose tables are ours."""
        try:
            self._look_at_file()
            with self._turn, self._engine.begin() as connection:
                if not self._is_ready:
                    with self._lock:
                        _prepare(connection, self)
                yield connection
            if not self._is_ready:
                self._seen_file, self._is_ready = self._file_now(), True
        except (DataError, IntegrityError) as e:
            raise StoreRejected(f"database {self}: {_said(e)}") from e
        except SQLAlchemyError as e:
            self._is_ready = False
            raise StoreError(f"database {self}: {_said(e)}") from e
        except OSError as e:
            raise StoreError(f"database {self}: {e.strerror}") from e

    def _look_at_file(self) -> None:
        """Begin anew with a file that was removed or replaced: what is open would be written into nowhere."""
        if self._file is None:
            return
        if self._is_ready and self._file_now() != self._seen_file:
            self._is_ready = False
            self._engine.dispose()
        if not self._is_ready:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Facts are nobody else's business.
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600))

    def _file_now(self) -> tuple[int, int] | None:
        try:
            status = self._file.stat() if self._file else None
        except FileNotFoundError:
            return None
        return status and (status.st_dev, status.st_ino)


def _checked(text: str) -> URL:
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError) as e:
        raise StoreRefused(
            "database: not a URL; expected postgresql://user:password@host/name or the path of an SQLite file"
        ) from e
    if backend not in (_SQLITE, _POSTGRESQL):
        raise StoreRefused(f"database: {backend} is not supported; expected sqlite or postgresql")
    return url.set(drivername="postgresql+psycopg") if backend == _POSTGRESQL else url


def _engine(url: URL) -> Engine:
    try:
        if url.get_backend_name() == _POSTGRESQL:
            return _create_engine(
                url,
                pool_pre_ping=True,
                pool_timeout=TIMEOUT_S,
                connect_args={
                    "connect_timeout": int(TIMEOUT_S),
                    "application_name": "mco-registry",
                    "options": f"-c statement_timeout={TIMEOUT_S * 1000:.0f} -c lock_timeout={TIMEOUT_S * 1000:.0f}",
                    "tcp_user_timeout": int(TIMEOUT_S * 1000),
                },
            )
        is_in_memory = url.database in (None, "", ":memory:")
        engine = _create_engine(
            url,
            connect_args={"timeout": TIMEOUT_S, "check_same_thread": False},
            **({"poolclass": StaticPool} if is_in_memory else {"pool_timeout": TIMEOUT_S}),
        )
    except (ArgumentError, NoSuchModuleError) as e:
        raise StoreRefused(f"database: {e}") from e
    event.listen(engine, "connect", _configure_sqlite)
    return engine


def _configure_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL"):  # readers and the writer do not wait for each other
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _prepare(connection: Connection, store: Store) -> None:
    if connection.dialect.has_table(connection, SCHEMA.name):
        found = connection.execute(select(SCHEMA.c.version)).scalars().all()
        if found != [SCHEMA_VERSION]:
            versions = ", ".join(map(str, found)) or "none"
            raise StoreRefused(
                f"database {store}: its tables have schema version {versions}, and this program knows "
                f"{SCHEMA_VERSION}: use the program that made it, or another database"
            )
        return
    METADATA.create_all(connection)
    connection.execute(insert(SCHEMA).values(version=SCHEMA_VERSION))


def _count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(NODES)).scalar_one()


def _conditions(narrowed: Narrowed) -> list[ColumnElement[bool]]:
    made: list[ColumnElement[bool]] = []
    if narrowed.identities is not None:
        made.append(NODES.c.identity.in_(narrowed.identities))
    for table, part, wanted in ((CLASSES, "classes", narrowed.classes), (AGENTS, "agents", narrowed.agents)):
        for name in wanted:
            has_it = exists().where(table.c.identity == NODES.c.identity, table.c.name == name)
            # Of a node that did not say all there is nobody knows that it has it not.
            made.append(or_(has_it, NODES.c.incomplete.contains(part)))
    return made


def _write(connection: Connection, before: Known | None, after: Known) -> None:
    values = dataclasses.asdict(after)
    if before is None:
        connection.execute(insert(NODES).values(values))
    else:
        if before.digest == after.digest:  # most say what they said before
            del values["body"]
        connection.execute(update(NODES).where(NODES.c.identity == after.identity).values(values))
    if after.body is None or (before is not None and before.digest == after.digest):
        return
    content = content_from(after.body)
    for table, names in ((CLASSES, content.classes), (AGENTS, content.agents)):
        connection.execute(delete(table).where(table.c.identity == after.identity))
        rows = [{"identity": after.identity, "name": name} for name in dict.fromkeys(names)]
        if rows:
            connection.execute(insert(table), rows)


def _said(error: SQLAlchemyError) -> str:
    """Return what the database said, in one line and without the data that it was asked to keep."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0][:300]
