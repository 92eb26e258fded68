# SPDX-License-Identifier: Apache-2.0
"""What waits for a database that cannot be used, and what is given up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from mco_registry.errors import StoreError, StoreRejected
from mco_registry.known import PRESENCE, REGISTRATION, Content, Heard
from mco_registry.writer import Writer

WAIT_S = 20.0


class Keeper:
    """A store that does what the test says; keeps what it took."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, float]] = []
        self.fail: Callable[[Mapping[str, Sequence[Heard]]], None] = lambda _: None
        self.tried = threading.Semaphore(0)

    def keep(self, heard: Mapping[str, Sequence[Heard]], max_nodes: int) -> list[str]:
        try:
            self.fail(heard)
            self.taken += [(one.identity, one.topic, one.sent_at) for events in heard.values() for one in events]
        finally:
            self.tried.release()
        return ["full"] if "full" in heard else []


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def refused() -> dict[str, str]:
    return {}


@pytest.fixture
def writer(keeper: Keeper, refused: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    monkeypatch.setattr("mco_registry.writer.FIRST_RETRY_S", 0.01)
    monkeypatch.setattr("mco_registry.writer.LAST_RETRY_S", 0.01)
    made = Writer(keeper, 10, refused=refused.__setitem__, clock=lambda: 5000.0)
    yield made
    keeper.fail = lambda _: None
    made.stop(WAIT_S)


def presence(identity: str = "web1", sent_at: float = 1.0) -> Heard:
    return Heard(identity, PRESENCE, sent_at, sent_at, 60.0)


def registration(identity: str = "web1", sent_at: float = 1.0) -> Heard:
    return Heard(identity, REGISTRATION, sent_at, sent_at, 60.0, content=Content())


def lost(_: object) -> None:
    raise StoreError("database x: gone")


def test_what_is_put_is_written(writer: Writer, keeper: Keeper) -> None:
    writer.start()
    assert writer.put(registration())
    assert writer.flush(WAIT_S)
    assert keeper.taken == [("web1", REGISTRATION, 1.0)]
    assert writer.is_alive


def test_of_each_node_the_latest_waits_and_nothing_older_takes_its_place(writer: Writer, keeper: Keeper) -> None:
    assert writer.put(registration(sent_at=2))
    assert writer.put(presence(sent_at=1))
    assert writer.put(registration(sent_at=3))
    assert not writer.put(registration(sent_at=3))
    assert not writer.put(registration(sent_at=1))
    writer.start()
    assert writer.flush(WAIT_S)
    assert keeper.taken == [("web1", PRESENCE, 1), ("web1", REGISTRATION, 3)]


def test_of_the_same_moment_the_farewell_comes_last(writer: Writer, keeper: Keeper) -> None:
    writer.put(presence())
    writer.put(registration())
    writer.start()
    assert writer.flush(WAIT_S)
    assert [topic for _, topic, _ in keeper.taken] == [REGISTRATION, PRESENCE]


def test_memory_has_a_limit(writer: Writer) -> None:
    assert [writer.put(presence(f"n{n}")) for n in range(12)] == [True] * 10 + [False] * 2
    assert writer.put(registration("n3"))
    assert writer.waiting == 10


def test_what_cannot_be_written_now_is_written_later(
    writer: Writer, keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    keeper.fail = lost
    writer.start()
    writer.put(registration("web1", 1))
    assert keeper.tried.acquire(timeout=WAIT_S)
    # What is heard meanwhile is the latest
    writer.put(registration("web1", 2))
    writer.put(registration("web2", 1))
    for _ in range(3):
        assert keeper.tried.acquire(timeout=WAIT_S)
    assert not writer.flush(WAIT_S)  # at once: it is known that it fails
    assert (writer.failing_since, writer.problem) == (5000.0, "database x: gone")
    keeper.fail = lambda _: None
    with writer._changed:
        assert writer._changed.wait_for(lambda: writer.failing_since is None, WAIT_S)
    assert writer.flush(WAIT_S)
    assert sorted(keeper.taken) == [("web1", REGISTRATION, 2), ("web2", REGISTRATION, 1)]
    assert writer.problem is None
    assert len([record for record in caplog.records if "waits in memory" in record.getMessage()]) == 1


@pytest.mark.parametrize("error", [StoreRejected("no such letter"), ZeroDivisionError("bug")])
def test_one_that_can_never_be_written_keeps_nobody_else(
    writer: Writer, keeper: Keeper, refused: dict[str, str], error: Exception
) -> None:
    def fail(heard: Mapping[str, Sequence[Heard]]) -> None:
        if "evil" in heard:
            raise error

    keeper.fail = fail
    for name in ("a", "evil", "b"):
        writer.put(registration(name))
    writer.start()
    assert writer.flush(WAIT_S)
    assert [name for name, _, _ in keeper.taken] == ["a", "b"]
    assert refused.keys() == {"evil"}
    assert str(error) in refused["evil"]
    assert writer.failing_since is None


def test_a_node_without_room_is_named(writer: Writer, refused: dict[str, str]) -> None:
    writer.put(registration("full"))
    writer.start()
    assert writer.flush(WAIT_S)
    assert refused == {"full": "10 nodes are kept already (max_nodes)"}


def test_a_stop_writes_what_waits(writer: Writer, keeper: Keeper) -> None:
    writer.put(registration())
    writer.start()
    assert writer.stop(WAIT_S) == 0
    assert keeper.taken
    assert not writer.is_alive


def test_a_stop_does_not_wait_for_a_database_that_is_gone(writer: Writer, keeper: Keeper) -> None:
    keeper.fail = lost
    writer.put(registration("a"))
    writer.put(registration("b"))
    writer.start()
    assert writer.stop(WAIT_S) == 2
    assert not writer.is_alive
