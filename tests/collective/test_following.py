# SPDX-License-Identifier: Apache-2.0
"""What nodes say before they answer: in order, while it happens, believed like every answer, and never after it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_client import fates
from mco_client.results import Result
from mco_client.rpc import RpcClient
from mco_client.told import Started, Told
from mco_node import telling
from mco_rpc.errors import ExpectationFailed
from mco_rpc.messages import Ack, Progress, Request
from mco_rpc.status import Status
from tests.collective.calls import LONG_S, SHORT_S, Scripted, World, one_after_the_other, pauses, spin, world_of

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def world() -> Iterator[World]:
    yield from world_of("web1", "web2")


def texts(said: list[Any], stream: str = "progress") -> str:
    return "".join(item.text for item in said if isinstance(item, Told) and item.stream == stream)


def numbers(said: list[Any], node: str = "web1") -> list[int]:
    return [item.number for item in said if isinstance(item, Told) and item.sender == node]


def watched(client: RpcClient) -> list[str]:
    """Return the kinds of the messages that come in from now on, in a list that grows."""
    kinds: list[str] = []
    arrived = client.connection._arrived

    def watch(kind: str, request_id: str, what: Any) -> None:
        kinds.append(getattr(what, "type", kind))
        arrived(kind, request_id, what)

    client.connection._arrived = watch  # type: ignore[method-assign]
    return kinds


class TestOfRealNodes:
    def test_a_node_begins_then_tells_then_answers(self, world: World) -> None:
        said = list(world.client("web1", "web2").follow("talk", count=3))
        for node in ("web1", "web2"):
            ours = [item for item in said if item.sender == node]
            assert [type(item) for item in ours] == [Started, Told, Told, Told, Result]
            assert numbers(said, node) == [1, 2, 3]
            assert [item.text for item in ours[1:4]] == ["step 1", "step 2", "step 3"]
            assert [item.data for item in ours[1:4]] == [{"number": 1}, {"number": 2}, {"number": 3}]
            assert ours[-1].is_ok
            assert 0 <= ours[0].took_s <= ours[1].took_s <= ours[-1].took_s

    def test_who_does_not_follow_gets_only_the_answer_and_nothing_is_sent(self, world: World) -> None:
        client = world.client("web1")
        kinds = watched(client)
        assert [type(item) for item in client.stream("talk", count=3)] == [Result]
        assert client.call("talk", count=3).require_ok()
        assert kinds == ["reply", "reply"]

    def test_an_option_of_the_client_makes_it_follow_too(self, world: World) -> None:
        client = world.client("web1", follow=True)
        assert len(client.call("talk", count=3).require_ok()) == 1
        assert [type(item) for item in client.stream("talk", count=1)] == [Result]
        assert len(list(client.follow("talk", count=1))) == 3

    def test_output_is_streamed_while_the_command_runs(self, world: World, tmp_path: Path) -> None:
        # Given a command that goes on only after the test has read its first line
        go_on = tmp_path / "go-on"
        script = f"echo first; while [ ! -e {go_on} ]; do sleep 0.01; done; echo second >&2; printf third"
        said: list[Any] = []
        for item in world.client("web1").follow("script", script=script):
            said.append(item)
            if isinstance(item, Told) and item.text == "first\n":
                go_on.touch()
        # Then it has come to its end, with its streams apart and its lines whole
        assert (texts(said, "stdout"), texts(said, "stderr")) == ("first\nthird", "second\n")
        assert isinstance(said[0], Started)
        assert said[-1].data["stdout"] == "first\nthird"
        assert numbers(said) == list(range(1, len(said) - 1))

    def test_lines_are_whole_however_many_there_are(self, world: World) -> None:
        script = "i=0; while [ $i -lt 3000 ]; do echo line $i of many, and it is not that short; i=$((i+1)); done"
        said = list(world.client("web1").follow("script", script=script))
        parts = [item.text for item in said if isinstance(item, Told)]
        assert all(part.endswith("\n") for part in parts)
        assert "".join(parts) == "".join(f"line {n} of many, and it is not that short\n" for n in range(3000))
        assert numbers(said) == list(range(1, len(parts) + 1))

    def test_a_long_line_is_cut_in_parts_and_invalid_text_is_shown(self, world: World) -> None:
        said = list(
            world.client("web1").follow("script", script="head -c 100000 /dev/zero | tr '\\0' x; printf '\\377\\n'")
        )
        assert texts(said, "stdout") == "x" * 100_000 + "\ufffd\n"
        assert max(len(item.text) for item in said if isinstance(item, Told)) <= telling.MAX_TEXT

    def test_what_a_command_prints_is_not_told_unless_the_action_says_so(self, world: World) -> None:
        said = list(world.client("web1").follow("silent", script="echo x"))
        assert [type(item) for item in said] == [Started, Result]

    def test_too_much_ends_with_a_note_and_the_action_goes_on(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(telling, "MAX_TOLD", 5)
        said = list(world.client("web1").follow("talk", count=50))
        told = [item for item in said if isinstance(item, Told)]
        assert [item.text for item in told[:5]] == [f"step {number}" for number in range(1, 6)]
        assert len(told) == 6
        assert told[5].text.startswith("... no more is told: ")
        assert numbers(said) == [1, 2, 3, 4, 5, 6]
        assert said[-1].data == {"count": 50}

    def test_four_megabytes_of_output_are_enough(self, world: World) -> None:
        said = list(world.client("web1").follow("script", script="yes 0123456789abcdef | head -c 9000000"))
        told = [item for item in said if isinstance(item, Told)]
        sent_bytes = sum(len(json.dumps(item.text)) for item in told)
        assert telling.MAX_TOLD_BYTES - 300 * len(told) <= sent_bytes <= telling.MAX_TOLD_BYTES + 2 * telling.MAX_TEXT
        assert (told[-1].stream, told[-1].text[:3]) == ("progress", "...")
        assert said[-1].is_ok

    def test_after_the_answer_nothing_is_told(self, world: World) -> None:
        # Given an action that passes its deadline, is answered for, and goes on telling
        client = world.client("web1")
        kinds = watched(client)
        said = list(client.follow("overrun"))
        assert [type(item) for item in said] == [Started, Told, Result]
        assert said[-1].status == Status.TIMED_OUT
        # When it tells more
        world.worker().gate.set()
        assert world.worker().ended.acquire(timeout=LONG_S)
        # Then nothing of it is sent: the answer to another request, sent after it, comes next
        assert client.call("talk", count=0).require_ok()
        assert kinds == ["ack", "progress", "reply", "reply"]

    def test_a_request_that_is_refused_does_not_begin(self, world: World) -> None:
        for action, inputs in (("talk", {}), ("nosuch", {}), ("talk", {"count": "x"})):
            assert [type(item) for item in world.client("web1").follow(action, **inputs)] == [Result]

    def test_each_attempt_begins_anew(self, world: World) -> None:
        world.worker().failures = [Status.ABORTED]
        said = list(world.client("web1", retries=1, retry_sleep_s=0.0).follow("flaky"))
        assert [type(item) for item in said] == [Started, Started, Result]

    def test_a_stream_that_is_left_leaves_nothing_behind(self, world: World) -> None:
        client = world.client("web1")
        said = client.follow("script", script="echo first; sleep 0.1; echo second")
        assert isinstance(next(said), Started)
        said.close()  # type: ignore[attr-defined]
        assert client.connection._inboxes == {}
        assert client.call("talk", count=0).require_ok()


class TestBelief:
    def follow(self, world: World, script: Any, *, timeout_s: float = LONG_S) -> tuple[list[Any], RpcClient]:
        world.scripted("web1", script)
        client = world.client("web1", timeout_s=timeout_s)
        return list(client.follow("talk", count=1)), client

    def test_what_is_forged_is_not_believed(self, world: World) -> None:
        # Given somebody who tells in the name of a node
        def forge(node: Scripted, request: Request) -> None:
            head = node.head(request)
            node.send(request, Ack(**head), by="web2")
            node.send(request, Progress(**head, number=1, text="lie"), by="web2")
            node.send(request, Progress(**head, number=1, text="lie"), by="web2", signer="web1")
            node.send(request, Progress(**head, number=1, text="lie"), by="stranger")
            node.send(request, Progress(**{**head, "id": "0" * 32}, number=1, text="lie"))
            node.send(request, Progress(**{**head, "agent": "other"}, number=1, text="lie"))
            node.tell(request, 1, "truth")
            node.reply(request)

        said, _ = self.follow(world, forge)
        assert [type(item) for item in said] == [Told, Result]
        assert texts(said) == "truth"

    def test_a_forger_is_named_if_the_node_says_nothing_itself(self, world: World) -> None:
        def forge(node: Scripted, request: Request) -> None:
            node.send(request, Progress(**node.head(request), number=1, text="lie"), by="web2")

        said, client = self.follow(world, forge, timeout_s=SHORT_S)
        assert said == []
        assert client.stats.unverified == {"web2": "signed by web2, but claims to be from 'web1'"}

    def test_a_node_that_was_not_asked_tells_us_nothing(self, world: World) -> None:
        def others(node: Scripted, request: Request) -> None:
            head = {**node.head(request), "sender": "web2"}
            node.send(request, Ack(**head), by="web2")
            node.send(request, Progress(**head, number=1, text="who asked?"), by="web2")
            node.reply(request)

        said, _ = self.follow(world, others)
        assert [type(item) for item in said] == [Result]

    def test_what_is_said_twice_is_told_once_and_late_words_never(self, world: World) -> None:
        # Given a broker that delivers some of it again, and in another order
        def replay(node: Scripted, request: Request) -> None:
            node.ack(request)
            node.tell(request, 1, "one ")
            node.ack(request)
            node.tell(request, 1, "one ")
            node.tell(request, 3, "three ")
            node.tell(request, 2, "two ")
            node.tell(request, 4, "four")
            node.reply(request)

        said, _ = self.follow(world, replay)
        assert texts(said) == "one three four"
        assert [type(item) for item in said] == [Started, Told, Told, Told, Result]

    def test_after_its_answer_a_node_is_not_heard_any_more(self, world: World) -> None:
        def chatter(node: Scripted, request: Request) -> None:
            node.reply(request)
            node.ack(request)
            node.tell(request, 1, "one more thing")

        world.scripted("web1", chatter)
        slow = world.scripted("web2")
        said = []
        for item in world.client("web1", "web2").follow("talk", count=1):
            said.append(item)
            if item.sender == "web1":
                spin(lambda: len(world._scripted[0].requests) == 1)
                slow.reply(slow.asked())
        assert [(type(item), item.sender) for item in said] == [(Result, "web1"), (Result, "web2")]

    def test_text_of_a_node_is_handed_on_as_it_is_for_who_shows_it_to_make_it_safe(self, world: World) -> None:
        def evil(node: Scripted, request: Request) -> None:
            node.tell(request, 1, "\x1b[2J", data={"x": "\x1b"}, stream="\x1b")
            node.reply(request)

        said, _ = self.follow(world, evil)
        assert said[0].text == "\x1b[2J"


class TestOfSilentNodes:
    def test_one_that_began_and_did_not_answer_is_known(self, world: World) -> None:
        def begin(node: Scripted, request: Request) -> None:
            node.ack(request)
            node.tell(request, 1, "half")

        world.scripted("web1", begin)
        world.scripted("web2")
        client = world.client("web1", "web2", timeout_s=SHORT_S)
        assert [type(item) for item in client.follow("talk", count=1)] == [Started, Told]
        results = client.last_results
        assert results is not None
        assert (results.begun, results.silent) == (("web1",), ["web1", "web2"])
        with pytest.raises(ExpectationFailed, match=r"no reply .* of 2: web1, web2 \(begun, and not ended: web1\)"):
            results.require_ok()

    def test_what_nobody_wanted_to_hear_is_not_heard(self, world: World) -> None:
        def begin(node: Scripted, request: Request) -> None:
            node.ack(request)
            node.tell(request, 1, "unasked")

        world.scripted("web1", begin)
        results = world.client("web1", timeout_s=SHORT_S).call("talk", count=1)
        assert (results.begun, results.silent) == ((), ["web1"])

    def test_one_that_answered_has_not_only_begun(self, world: World) -> None:
        client = world.client("web1")
        list(client.follow("talk", count=1))
        assert client.last_results is not None
        assert client.last_results.begun == ()

    def test_what_is_told_does_not_prolong_the_wait(self, world: World) -> None:
        # Given a node that goes on telling, and never answers
        def endless(node: Scripted, request: Request) -> None:
            for number in range(1, 200):
                node.tell(request, number, "still there")

        world.scripted("web1", endless)
        client = world.client("web1", timeout_s=SHORT_S)
        assert len(list(client.follow("talk", count=1))) == 199
        assert client.stats.noresponsefrom == ["web1"]

    def test_what_comes_in_a_pause_is_told_too(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        node = world.scripted("web1", one_after_the_other(None, lambda n, r: n.reply(r)))

        def late() -> None:
            (inbox,) = set(client.connection._inboxes.values())
            node.ack(node.asked())
            node.tell(node.asked(), 1, "late")
            spin(lambda: inbox._arrivals.qsize() == 2)

        pauses(monkeypatch, late)
        client = world.client("web1", timeout_s=SHORT_S, retries=1)
        assert [type(item) for item in client.follow("talk", count=1)] == [Started, Told, Result]


def test_a_node_that_tells_more_than_any_honest_one_is_no_longer_listened_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given room for two messages, and a node that tells five
    monkeypatch.setattr(fates, "MAX_TOLD_BYTES", 2 * 700)

    def tell(node: Scripted, request: Any) -> None:
        for number in range(1, 6):
            node.tell(request, number=number, text="x" * 400)
        node.reply(request)

    world.scripted("web2", tell)
    said = list(world.client("web2").follow("ping"))
    # Then two are heard, and its answer
    assert [type(item).__name__ for item in said] == ["Told", "Told", "Result"]
