# SPDX-License-Identifier: Apache-2.0
"""What the registry's store does, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from mco_registry.errors import StoreError, StoreRefused
from mco_registry.known import PRESENCE, REGISTRATION, Content, Heard, Known, content_from, content_of
from mco_registry.store import Narrowed, Store
from tests.postgresql import PostgreSql, postgresql

__all__ = ["postgresql"]

MAX_NODES = 1000
MakeUrl = Callable[[], str]


@pytest.fixture(params=["sqlite", "memory", pytest.param("postgresql", marks=pytest.mark.xdist_group("postgresql"))])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/registry.sqlite"
    if request.param == "memory":
        return "sqlite://"
    server: PostgreSql = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    made = Store(url)
    made.open()
    yield made
    made.close()


def registration(identity: str, sent_at: float = 100.0, heard_at: float = 1000.0, **data: Any) -> Heard:
    content = content_of({"version": "1.2", "interval_s": 60, **data})
    return Heard(identity, REGISTRATION, sent_at, heard_at, content.interval_s, content=content)


def presence(identity: str, sent_at: float, heard_at: float = 1000.0, *, is_stopping: bool = False) -> Heard:
    return Heard(identity, PRESENCE, sent_at, heard_at, 60.0, "1.2", is_stopping=is_stopping)


def keep(store: Store, *heard: Heard, max_nodes: int = MAX_NODES) -> list[str]:
    by_node: dict[str, list[Heard]] = {}
    for one in heard:
        by_node.setdefault(one.identity, []).append(one)
    return store.keep(by_node, max_nodes)


def names(store: Store, after: str = "", limit: int = 100, **narrowed: Any) -> list[str]:
    return [known.identity for known in store.page(after, limit, Narrowed(**narrowed), is_whole=False)]


def content(store: Store, identity: str) -> Content:
    known = store.node(identity)
    assert known is not None
    return content_from(known.body)


def test_what_a_node_said_is_there_again(store: Store) -> None:
    facts = {"country": "de", "disks": {"sda": [1, 2.5, None, True]}, "odd": "\0\x1b[2J\u202e\U0001f600"}
    agents = {"rpcutil": {"version": "1.0", "schema": "0123456789abcdef" * 2}}
    keep(store, registration("web1", facts=facts, classes=["web"], agents=agents, collectives=["mcollective"]))
    known = store.node("web1")
    assert known is not None
    assert (known.version, known.first_seen, known.last_seen, known.registered_at) == ("1.2", 1000.0, 1000.0, 100.0)
    assert (known.interval_s, known.is_stopped) == (60.0, False)
    said = content(store, "web1")
    assert (said.facts, said.classes, said.collectives) == (facts, ("web",), ("mcollective",))
    assert said.agents["rpcutil"].schema == "0123456789abcdef" * 2


def test_times_keep_their_fractions(store: Store) -> None:
    sent_at, heard_at = 1_800_000_000.123456, 1_800_000_001.654321
    keep(store, registration("web1", sent_at, heard_at))
    known = store.node("web1")
    assert known is not None
    assert (known.registered_at, known.last_seen) == (sent_at, heard_at)
    # What was said in the same moment was said before: it is a repetition
    keep(store, registration("web1", sent_at, heard_at + 50))
    assert store.node("web1") == known


def test_a_later_registration_takes_the_place_of_an_earlier_one(store: Store) -> None:
    keep(store, registration("web1", 100, 1000, classes=["old", "both"], facts={"a": 1}))
    keep(store, registration("web1", 200, 1100, classes=["both", "new"], facts={"b": 2}))
    assert content(store, "web1").facts == {"b": 2}
    assert [names(store, classes=(name,)) for name in ("old", "both", "new")] == [[], ["web1"], ["web1"]]
    known = store.node("web1")
    assert known is not None
    assert (known.first_seen, known.last_seen) == (1000.0, 1100.0)


def test_an_older_one_changes_nothing(store: Store) -> None:
    keep(store, registration("web1", 200, 1000, facts={"new": 1}))
    before = store.node("web1")
    keep(store, registration("web1", 100, 2000, facts={"old": 1}))
    keep(store, presence("web1", 150, 2000, is_stopping=True))
    assert store.node("web1") == before


def test_who_stopped_stays_stopped_until_it_says_otherwise(store: Store) -> None:
    keep(store, presence("web1", 100), registration("web1", 101))
    keep(store, presence("web1", 200, is_stopping=True))
    assert [known.is_stopped for known in store.page("", 10, Narrowed(), is_whole=False)] == [True]
    keep(store, registration("web1", 199))
    assert store.node("web1").is_stopped  # type: ignore[union-attr]
    keep(store, presence("web1", 201))
    assert not store.node("web1").is_stopped  # type: ignore[union-attr]
    # And what it registered is still known
    assert content(store, "web1").version == "1.2"


def test_a_node_that_only_said_that_it_is_there_is_known(store: Store) -> None:
    keep(store, presence("web1", 100))
    assert names(store) == ["web1"]
    assert content(store, "web1").incomplete == ("agents", "classes", "facts")
    # Nobody knows what it has not
    assert names(store, classes=("web",), agents=("rpcutil",)) == ["web1"]


def test_pages_go_through_all_names_in_one_order(store: Store) -> None:
    odd = ["Web1", "web-1", "web.1", "web1", "web10", "web2", "a@b", "x_y", "9", "z+1", "0:1"]
    keep(store, *(registration(name) for name in odd))
    seen, after = [], ""
    while page := names(store, after, 3):
        seen += page
        after = page[-1]
    assert seen == sorted(odd)


def test_the_database_narrows_by_identity_class_and_agent(store: Store) -> None:
    agent = {"rpcutil": {"version": "1"}}
    keep(store, registration("web1", classes=["web", "eu"], agents=agent), registration("web2", classes=["web"]))
    keep(store, registration("db1", classes=["eu"], agents=agent))
    assert names(store, identities=("web1", "db1", "nobody")) == ["db1", "web1"]
    assert names(store, identities=()) == []
    assert names(store, classes=("web",)) == ["web1", "web2"]
    assert names(store, classes=("web", "eu")) == ["web1"]
    assert names(store, agents=("rpcutil",)) == ["db1", "web1"]
    assert names(store, classes=("eu",), agents=("rpcutil",), identities=("web1",)) == ["web1"]
    assert names(store, classes=("WEB",)) == []


def test_of_a_node_that_did_not_say_all_the_database_decides_nothing(store: Store) -> None:
    keep(store, registration("web1", classes=["web"], incomplete=["classes"]), registration("web2", classes=["web"]))
    assert names(store, classes=("db",)) == ["web1"]


HOSTILE = [
    "'; DROP TABLE mco_registry_nodes; --",
    '" OR 1=1',
    "%",
    "_",
    "web%",
    "\\",
    "$1",
    ":identity",
    "%(x)s",
    "a,b",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_never_sql(store: Store, name: str) -> None:
    keep(store, registration("web1", classes=["web"]), registration("web2", classes=[name], facts={name: name}))
    assert names(store, classes=(name,)) == ["web2"]
    assert names(store, identities=(name,)) == []
    assert store.node(name) is None
    assert not store.forget(name)
    assert names(store, after=name) in (["web1", "web2"], [])
    assert content(store, "web2").facts == {name: name}
    assert store.count() == 2


def test_a_class_twice_is_a_class(store: Store) -> None:
    keep(store, registration("web1", classes=["web", "web"]))
    assert names(store, classes=("web",)) == ["web1"]


def test_who_is_forgotten_is_gone_and_may_come_back(store: Store) -> None:
    keep(store, registration("web1", classes=["web"]), registration("web2", classes=["web"]))
    assert store.forget("web1")
    assert not store.forget("web1")
    assert names(store, classes=("web",)) == ["web2"]
    with store._engine.begin() as connection:
        assert connection.execute(text("SELECT identity FROM mco_registry_classes")).scalars().all() == ["web2"]
    keep(store, registration("web1", 50))
    assert store.count() == 2


def test_there_is_room_for_so_many_nodes_and_those_who_are_there_stay(store: Store) -> None:
    assert keep(store, registration("a"), registration("b"), registration("c"), max_nodes=2) == ["c"]
    assert keep(store, registration("a", 200), registration("d"), max_nodes=2) == ["d"]
    assert names(store) == ["a", "b"]
    assert store.node("a").registered_at == 200  # type: ignore[union-attr]


def test_all_of_a_batch_is_kept_or_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    after = Known.after

    def fails(known: Known, heard: Heard) -> Known:
        if heard.identity == "b":
            raise ZeroDivisionError
        return after(known, heard)

    monkeypatch.setattr(Known, "after", fails)
    with pytest.raises(ZeroDivisionError):
        keep(store, registration("a"), registration("b"))
    assert store.count() == 0


def test_a_store_is_there_after_a_restart(url: str) -> None:
    if url == "sqlite://":
        pytest.skip("what is in memory goes with its process")
    first = Store(url)
    keep(first, registration("web1", facts={"country": "de"}))
    first.close()
    second = Store(url)
    assert content(second, "web1").facts == {"country": "de"}
    second.close()


def test_tables_of_another_version_are_left_alone(url: str) -> None:
    if url == "sqlite://":
        pytest.skip("nobody else can have made it")
    made = Store(url)
    made.open()
    made.close()
    engine = create_engine(made._url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE mco_registry_schema SET version = 99"))
    engine.dispose()
    again = Store(url)
    with pytest.raises(StoreRefused, match="schema version 99, and this program knows 1"):
        again.open()
    again.close()


def test_many_threads_may_use_it_at_once(store: Store) -> None:
    errors: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(20):
                assert len(names(store)) <= 40
                store.count()
        except BaseException as e:
            errors.append(e)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for number in range(40):
        keep(store, registration(f"web{number}", classes=["web"]))
    for reader in readers:
        reader.join(60)
    assert errors == []
    assert store.count() == 40


def test_ten_thousand_nodes_are_no_trouble(store: Store) -> None:
    count = 10_000
    for first in range(0, count, 200):
        keep(store, *(registration(f"n{n:05}", classes=["all"]) for n in range(first, first + 200)), max_nodes=count)
    assert store.count() == count
    page = names(store, after="n04999", limit=5000, classes=("all",))
    assert (page[0], page[-1], len(page)) == ("n05000", "n09999", 5000)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("mysql://root@localhost/x", "mysql is not supported; expected sqlite or postgresql"),
        ("postgresql://user:secret@host:notaport/x", "not a URL"),
        ("nonsense://x", "nonsense is not supported"),
        ("://", "not a URL"),
    ],
)
def test_a_url_that_cannot_be_is_refused(wrong: str, why: str) -> None:
    with pytest.raises(StoreRefused, match=why) as refused:
        Store(wrong).open()
    assert "secret" not in str(refused.value)


def test_a_password_is_not_shown() -> None:
    store = Store("postgresql://mco:secret@127.0.0.1:1/registry")
    assert "secret" not in str(store)
    with pytest.raises(StoreError, match=r"database postgresql\+psycopg://mco:\*\*\*@127.0.0.1:1/registry: ") as lost:
        store.open()
    assert "secret" not in str(lost.value)


class TestSqlite:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "registry.sqlite"

    @pytest.fixture
    def store(self, file: Path) -> Iterator[Store]:
        made = Store(f"sqlite:///{file}")
        made.open()
        keep(made, registration("web1"))
        yield made
        made.close()

    def test_nobody_else_can_read_the_facts(self, store: Store, file: Path) -> None:
        assert file.stat().st_mode & 0o777 == 0o600

    def test_a_removed_file_is_begun_anew(self, store: Store, file: Path) -> None:
        for path in file.parent.glob("registry.sqlite*"):
            path.unlink()
        keep(store, registration("web2"))
        assert names(store) == ["web2"]
        assert file.exists()

    def test_a_locked_file_is_an_error_until_it_is_free(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mco_registry.store.TIMEOUT_S", 0.1)
        store = Store(f"sqlite:///{file}")
        keep(store, registration("web1"))
        engine = create_engine(f"sqlite:///{file}")
        with engine.connect() as other:
            other.exec_driver_sql("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="database is locked"):
                keep(store, registration("web2"))
            assert names(store) == ["web1"]  # to read is possible
            other.rollback()
        engine.dispose()
        keep(store, registration("web2"))
        assert names(store) == ["web1", "web2"]
        store.close()

    def test_a_file_that_is_no_database_is_an_error(self, file: Path) -> None:
        file.write_bytes(b"not a database" * 1000)
        store = Store(f"sqlite:///{file}")
        with pytest.raises(StoreError, match="not a database"):
            store.open()
        store.close()

    def test_a_folder_that_cannot_be_made_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        store = Store(f"sqlite:///{tmp_path}/file/registry.sqlite")
        with pytest.raises(StoreError, match=r"Not a directory|File exists"):
            store.open()
        store.close()

    def test_a_full_disk_is_an_error_until_there_is_room(self, store: Store, file: Path) -> None:
        with store._engine.begin() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
        big = registration("web2", facts={"big": "x" * 100_000})
        with pytest.raises(StoreError, match="full"):
            keep(store, big)
        assert names(store) == ["web1"]
        with store._engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        keep(store, big)
        assert names(store) == ["web1", "web2"]


@pytest.mark.xdist_group("postgresql")
class TestPostgresql:
    @pytest.fixture
    def store(self, postgresql: PostgreSql) -> Iterator[Store]:
        made = Store(postgresql.new_database())
        keep(made, registration("web1"))
        yield made
        made.close()

    def test_a_lost_server_is_an_error_until_it_is_back(self, postgresql: PostgreSql, store: Store) -> None:
        postgresql.stop()
        try:
            with pytest.raises(StoreError):
                names(store)
            with pytest.raises(StoreError):
                keep(store, registration("web2"))
        finally:
            postgresql.start()
        keep(store, registration("web2"))
        assert names(store) == ["web1", "web2"]

    def test_a_read_only_database_is_an_error_for_who_writes(self, postgresql: PostgreSql, store: Store) -> None:
        database = store._url.database
        postgresql.sql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        store.close()  # connections of before do not know it
        with pytest.raises(StoreError, match="read-only"):
            keep(store, registration("web2"))
        assert names(store) == ["web1"]

    def test_tables_that_somebody_dropped_are_made_anew(self, postgresql: PostgreSql, store: Store) -> None:
        tables = "mco_registry_schema, mco_registry_nodes, mco_registry_classes, mco_registry_agents"
        postgresql.sql(f"DROP TABLE {tables}", store._url.database or "")
        with pytest.raises(StoreError, match="does not exist"):
            names(store)
        keep(store, registration("web2"))
        assert names(store) == ["web2"]
