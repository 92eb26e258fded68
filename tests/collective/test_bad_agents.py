# SPDX-License-Identifier: Apache-2.0
"""Agents with faults: the caller learns what happened, the node goes on, and others are served meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from mco_node.daemon import Node
from mco_node.workers import LOST_PER_WORKER
from mco_rpc.messages import Reply
from mco_rpc.status import Status


def is_alive(caller: Any) -> bool:
    """Say whether the node still does what it is asked."""
    reply: Reply = caller.ask("faulty", "echo", what="still there")
    return reply.status == Status.OK and reply.data == {"what": "still there"}


@pytest.mark.parametrize(
    ("action", "data", "status", "message"),
    [
        pytest.param(
            "crash", {"text": "it broke"}, Status.UNKNOWN_ERROR, "faulty#crash failed: ValueError: it broke",
            id="raises",
        ),
        pytest.param("leave", {}, Status.UNKNOWN_ERROR, "faulty#leave failed: SystemExit: bye", id="calls sys.exit"),
        pytest.param(
            "choke", {}, Status.UNKNOWN_ERROR, "faulty#choke failed: Unspeakable: it cannot even say why",
            id="raises what cannot be shown",
        ),
        pytest.param(
            "invent", {}, Status.UNKNOWN_ERROR, "faulty#invent failed: ValueError: 99 is not a valid Status",
            id="raises a status that there is not",
        ),
        pytest.param(
            "lie", {"kind": "wrong type"}, Status.UNKNOWN_ERROR,
            "faulty#lie returned 'number' that its schema does not allow: expected integer, got 'seven'",
            id="returns a wrong type",
        ),
        pytest.param(
            "lie", {"kind": "undeclared"}, Status.UNKNOWN_ERROR,
            "faulty#lie returned 'nmber', which its schema does not declare", id="returns what it did not declare",
        ),
        pytest.param(
            "lie", {"kind": "no mapping"}, Status.UNKNOWN_ERROR,
            "faulty#lie returned list, expected a mapping of its outputs", id="returns no mapping",
        ),
        pytest.param(
            "lie", {"kind": "nothing"}, Status.UNKNOWN_ERROR,
            "faulty#lie returned NoneType, expected a mapping of its outputs", id="returns nothing",
        ),
        pytest.param(
            "mumble", {"kind": "object"}, Status.UNKNOWN_ERROR,
            "faulty#mumble: reply cannot be written as JSON: Encoding objects of type object is unsupported",
            id="returns an object",
        ),
        pytest.param(
            "mumble", {"kind": "half"}, Status.UNKNOWN_ERROR, "faulty#mumble: reply cannot be written as JSON: ",
            id="returns half a character",
        ),
        pytest.param(
            "mumble", {"kind": "loop"}, Status.UNKNOWN_ERROR, "faulty#mumble: reply cannot be written as JSON: ",
            id="returns what holds itself",
        ),
        pytest.param(
            "mumble", {"kind": "key"}, Status.UNKNOWN_ERROR, "faulty#mumble: reply cannot be written as JSON: ",
            id="returns an odd key",
        ),
        pytest.param(
            "flood", {"size_bytes": 10_000_000}, Status.UNKNOWN_ERROR, "faulty#flood: the reply has 10000",
            id="returns 10 MB",
        ),
        pytest.param(
            "hang", {}, Status.TIMED_OUT, "faulty#hang did not end within 0.05 s", id="hangs"
        ),
    ],
)  # fmt: skip
def test_is_answered_and_audited_and_the_node_goes_on(
    collective: Any, caller: Any, node: Node, action: str, data: Any, status: Status, message: str
) -> None:
    # When a faulty action is asked for
    request = caller.send(caller.request("faulty", action, data=data))

    # Then the reply says what happened, without any data
    reply = caller.reply_to(request)
    assert (reply.status, reply.sender) == (status, "web1")
    assert reply.message.startswith(message)
    assert reply.data == {}

    # And so does the audit, and the counters
    (record,) = collective.records(request)
    assert (record["outcome"], record["reason"]) == (status.text, reply.message)
    assert node.stats()["counters"] == {"received": 1, status.text: 1}

    # And the node goes on
    assert is_alive(caller)


def test_the_log_of_a_crash_names_the_request_and_the_place(
    caller: Any, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    # When an agent crashes
    request = caller.send(caller.request("faulty", "crash", data={"text": "it broke"}))
    caller.reply_to(request)

    # Then the log has the request's id, and where it was
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == f"request {request.id}: faulty#crash failed"
    assert record.exc_info is not None
    assert "it broke" in str(record.exc_info[1])


def test_an_action_that_refuses_says_so_with_its_data(collective: Any, caller: Any, node: Node) -> None:
    # When an action aborts
    reply = caller.ask("faulty", "refuse")

    # Then its reason and its data are there
    assert (reply.status, reply.message, reply.data) == (Status.ABORTED, "not today", {"number": 7})


def test_long_reasons_are_cut(caller: Any, node: Node) -> None:
    # When an error's text is very long
    reply = caller.ask("faulty", "crash", text="x" * 20_000)

    # Then its beginning is sent
    assert reply.message.startswith("faulty#crash failed: ValueError: xxx")
    assert len(reply.message) == 4096


def test_what_an_action_prints_stops_nobody(caller: Any, node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    # When an action prints 10 MB
    reply = caller.ask("faulty", "shout")

    # Then it is answered as any other
    assert (reply.status, reply.data) == (Status.OK, {"number": 1})
    assert is_alive(caller)


def test_a_reply_may_be_as_large_as_the_setting_says(collective: Any, caller: Any) -> None:
    # Given a node that sends up to 5,000 bytes
    collective.node(max_body_bytes=5000)
    small = caller.ask("faulty", "flood", size_bytes=100)
    room = 5000 - len(caller.packets[0].body) + len(small.data["what"])

    # When replies have about that size
    sizes = [caller.ask("faulty", "flood", size_bytes=room + more) for more in (-10, 10)]

    # Then the smaller one is sent, and the larger one is answered for
    assert [reply.status for reply in sizes] == [Status.OK, Status.UNKNOWN_ERROR]
    assert sizes[1].message.endswith("bytes; at most 5000 can be sent")


def test_others_are_served_while_one_hangs(caller: Any, node: Node) -> None:
    # Given an action that waits
    waiting = caller.send(caller.request("faulty", "wait"))
    faulty: Any = node.agent("faulty")
    assert faulty.begun.acquire(timeout=20)

    # When others ask
    # Then they are served
    assert all(is_alive(caller) for _ in range(5))

    # When it may go on, it is answered
    faulty.gate.set()
    assert caller.reply_to(waiting).data == {"number": 1}


def test_the_late_result_of_a_hanging_action_is_dropped(
    collective: Any, caller: Any, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    # Given an action that hung past its deadline, and was answered for
    faulty: Any = node.agent("faulty")
    hanging = caller.send(caller.request("faulty", "hang"))
    assert caller.reply_to(hanging).status == Status.TIMED_OUT
    assert caller.ask("rpcutil", "daemon_stats").data["hanging_actions"] == 1
    workers = [thread for thread in threading.enumerate() if thread.name.startswith("worker")]

    # When it ends after all
    faulty.gate.set()
    hung = [thread for thread in workers if not _ends(thread)]
    assert len(workers) - len(hung) >= 1

    # Then there is no second reply and no second record
    assert is_alive(caller)
    assert len(caller.replies_to(hanging, 1)) == 1
    assert [record["outcome"] for record in collective.records(hanging)] == ["timed out"]
    assert "its result is dropped" in caplog.text
    assert caller.ask("rpcutil", "daemon_stats").data["hanging_actions"] == 0


def _ends(thread: threading.Thread) -> bool:
    thread.join(1.0)
    return not thread.is_alive()


def test_more_actions_may_hang_than_there_are_workers(caller: Any, collective: Any) -> None:
    # Given a node with two workers
    collective.node(workers=2)

    # When five actions hang, and others wait behind them
    hanging = [caller.send(caller.request("faulty", "hang")) for _ in range(5)]
    waiting = [caller.send(caller.request("faulty", "echo", data={"what": number})) for number in range(5)]

    # Then all are answered
    assert [caller.reply_to(request).status for request in hanging] == [Status.TIMED_OUT] * 5
    assert [caller.reply_to(request).data["what"] for request in waiting] == list(range(5))


def test_too_many_hanging_actions_are_an_answer_that_says_what_to_do(caller: Any, collective: Any) -> None:
    # Given a node with one worker, in which as many actions hang as it puts up with
    collective.node(workers=1)
    for _ in range(LOST_PER_WORKER):
        assert caller.ask("faulty", "hang").status == Status.TIMED_OUT

    # When one more request comes
    reply = caller.ask("faulty", "count")

    # Then it is answered with what to do
    assert reply.status == Status.ABORTED
    assert reply.message == "4 actions hang past their deadlines; restart mco-node"


def test_an_authorization_that_raises_anything_denies_and_is_audited(
    collective: Any, caller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an authorization that fails in many ways, one after the other
    from mco_node import authorization

    class Silent(Exception):
        def __str__(self) -> str:
            raise OSError("no words")

    errors = [PermissionError("not on sundays"), ZeroDivisionError(), SystemExit("bye"), KeyboardInterrupt(), Silent()]

    class Failing:
        def authorize(self, request: Any) -> None:
            raise errors[request.data["what"]]

    monkeypatch.setitem(authorization.KINDS, "failing", Failing)
    node = collective.node(authorization="failing")

    # When requests come
    requests = [caller.send(caller.request("faulty", "echo", data={"what": at})) for at in range(len(errors))]
    replies = [caller.reply_to(request) for request in requests]

    # Then all are denied, with the reason, and audited
    reasons = ["not on sundays", "", "bye", "", "it cannot even say why"]
    assert [(reply.status, reply.message) for reply in replies] == [
        (Status.DENIED, f"key=operator may not call faulty#echo here: {reason}") for reason in reasons
    ]
    for request, reply in zip(requests, replies, strict=True):
        (record,) = collective.records(request)
        assert (record["outcome"], record["reason"]) == ("denied", reply.message)

    # And the node is still there
    assert node.is_connected.is_set()
    assert caller.ask("faulty", "echo", what=0).status == Status.DENIED


def test_a_node_that_fails_itself_says_so(
    collective: Any, caller: Any, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a node that cannot find out what filters are asked about
    def fail(offer: object, until: float | None) -> None:
        raise MemoryError("no memory")

    monkeypatch.setattr(node._dispatcher._ladder, "_subject", fail)

    # When it is asked
    request = caller.send(caller.request())
    reply = caller.reply_to(request)

    # Then the caller and the audit learn of it, and the node goes on
    assert (reply.status, reply.message) == (Status.UNKNOWN_ERROR, "the node failed: MemoryError: no memory")
    assert collective.records(request)[0]["outcome"] == "unknown error"
    monkeypatch.undo()
    assert is_alive(caller)


def test_an_agent_with_a_syntax_error_is_a_problem_in_the_inventory(
    collective: Any, caller: Any, tmp_path: Any
) -> None:
    # Given a folder of agents with a broken one, and a wrong setting for another
    libdir = tmp_path / "broken"
    libdir.mkdir()
    (libdir / "oops.py").write_text("class Oops(:\n")
    agents = {"iptables": {"backend": "memory"}, "discovery": {"colour": "red"}}
    collective.node(libdir=[str(libdir)], agents=agents)

    # When the inventory is asked for
    inventory = caller.ask("rpcutil", "inventory").data

    # Then it names both, and the other agents are there
    assert {"iptables", "rpcutil"} <= set(inventory["agents"])
    assert "discovery" not in inventory["agents"]
    assert len(inventory["problems"]) == 2
    assert any("oops.py were not loaded: SyntaxError" in problem for problem in inventory["problems"])
    assert any("discovery: unknown setting 'colour'; known are: none" in problem for problem in inventory["problems"])
