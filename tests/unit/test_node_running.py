# SPDX-License-Identifier: Apache-2.0
"""Who asked can cancel what waits or runs; nobody else can, and what has ended is unknown."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from mco_node.running import Running
from mco_rpc.errors import Cancelled
from mco_rpc.messages import Request


def request(request_id: str = "1", caller: str = "key=alice") -> Request:
    values: Any = {"collective": "c", "agent": "a", "action": "x", "sender": "s", "sent_at": 1.0, "ttl_s": 1.0}
    return Request(id=request_id, caller=caller, **values)


def test_what_waits_and_what_runs_is_told_and_said() -> None:
    running = Running()
    waiting, begun = running.add(request("1")), running.add(request("2"))
    running.begin(request("2"))
    assert (running.cancel("key=alice", "1"), running.cancel("key=alice", "2")) == ("waiting", "running")
    with pytest.raises(Cancelled, match=r"^cancelled by key=alice before it was begun$"):
        waiting.check()
    with pytest.raises(Cancelled, match=r"^cancelled by key=alice$"):
        begun.check()


def test_what_was_never_there_and_what_has_ended_is_unknown() -> None:
    running = Running()
    wish = running.add(request())
    running.begin(request())
    running.remove(request())
    assert running.cancel("key=alice", "1") == running.cancel("key=alice", "2") == "unknown"
    assert not wish.is_wanted


def test_nobody_can_name_another_callers_request() -> None:
    running = Running()
    hers, his = running.add(request(caller="key=alice")), running.add(request(caller="key=bob"))
    assert running.cancel("key=carol", "1") == "unknown"
    assert running.cancel("key=bob", "1") == "waiting"
    assert (hers.is_wanted, his.is_wanted) == (False, True)
    # And the end of one is not the end of the other
    running.remove(request(caller="key=bob"))
    assert running.cancel("key=alice", "1") == "waiting"


def test_a_second_time_it_is_still_there_until_it_has_ended() -> None:
    running = Running()
    running.add(request())
    assert [running.cancel("key=alice", "1") for _ in range(3)] == ["waiting"] * 3
    running.remove(request())
    running.remove(request())
    assert running.cancel("key=alice", "1") == "unknown"


def test_nothing_is_remembered_of_what_has_ended() -> None:
    running = Running()

    def live(first: int) -> None:
        for number in range(first, first + 500):
            running.add(request(str(number)))
            running.begin(request(str(number)))
            running.cancel("key=alice", str(number))
            running.remove(request(str(number)))

    threads = [threading.Thread(target=live, args=(first * 1000,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (running._wishes, running._begun) == ({}, set())
