# SPDX-License-Identifier: Apache-2.0
"""Asking data sources: in time, once for many, and never silently false."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mco_node.data.moment import CutShort, Moment
from mco_node.data.sources import Sources
from mco_rpc.agent import time_left_s
from mco_rpc.current import Current, working_for
from mco_rpc.data import DataSource, Input, Output
from mco_rpc.errors import ActionAborted, Cancelled, FilterError

WAIT_S = 20.0
TEXT = {"text": Input("string", "Anything", max_length=100_000)}
FIELDS = {"text": Output("string", "The same"), "number": Output("integer", "Of this query")}


class Clock:
    """Seconds that only the test moves; far from the start, as a host's are."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Echo(DataSource):
    """Answer as the test says."""

    arguments = TEXT
    fields = FIELDS

    def __init__(self, answer: Callable[[str], Any] | None = None, **settings: Any) -> None:
        super().__init__(None, settings)
        self.asked: list[str] = []
        self._answer = answer or (lambda text: {"text": text, "number": len(self.asked)})

    def query(self, text: str) -> Any:
        self.asked.append(text)
        return self._answer(text)


class Free(Echo):
    """The same, and costs nothing."""

    keep_s = 0.0


def soon() -> float:
    return time.monotonic() + WAIT_S


def raising(error: BaseException) -> Callable[[str], Any]:
    def answer(_text: str) -> Any:
        raise error

    return answer


def failure(source: Echo, clock: Clock | None = None, until: float | None = None) -> str:
    """Ask a source that fails and return what is said."""
    sources = Sources({"echo": source}, clock=clock or time.monotonic)
    with pytest.raises(FilterError) as raised:
        sources.query("echo", ("hi",), until or soon())
    return str(raised.value)


def test_a_source_answers_with_all_its_fields() -> None:
    assert Sources({"echo": Echo(lambda text: {"text": text})}).query("echo", ("hi",), soon()) == {
        "text": "hi",
        "number": None,
    }


def test_schemas_are_sorted_and_say_the_configured_time() -> None:
    sources = Sources({"zebra": Echo(), "echo": Echo(timeout_s=7)})
    assert list(sources.schemas()) == ["echo", "zebra"]
    assert sources.schemas()["echo"].timeout_s == 7.0
    json.dumps({name: schema.to_json() for name, schema in sources.schemas().items()})


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ecko", "there is no data source 'ecko', did you mean echo?; this node has: echo"),
        ("", "there is no data source ''; this node has: echo"),
        ("package", "data source package is not on this node: dpkg-query is not installed"),
    ],
)
def test_a_name_that_is_not_there_is_said_so(name: str, why: str) -> None:
    sources = Sources({"echo": Echo()}, {"package": "dpkg-query is not installed"})
    for ask in (lambda: sources.check_names({"echo", name}), lambda: sources.query(name, (), soon())):
        with pytest.raises(FilterError) as raised:
            ask()
        assert str(raised.value) == why


def test_a_node_without_sources_says_so() -> None:
    with pytest.raises(FilterError, match=r"this node has: none$"):
        Sources({}).check_names(["echo"])


def test_a_long_name_is_shown_short() -> None:
    with pytest.raises(FilterError) as raised:
        Sources({"echo": Echo()}).query("e" * 10_000, (), soon())
    assert len(str(raised.value)) < 200


def test_wrong_arguments_never_reach_the_source() -> None:
    source = Echo()
    with pytest.raises(FilterError, match="argument text is required"):
        Sources({"echo": source}).query("echo", (), soon())
    assert source.asked == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (raising(ActionAborted("the disk is gone")), "the disk is gone"),
        (raising(FilterError("expected something else")), "expected something else"),
        (raising(KeyError("oops")), "it failed: KeyError: 'oops'"),
        (raising(SystemExit(3)), "it failed: SystemExit: 3"),
        (raising(RecursionError("deep")), "it failed: RecursionError: deep"),
        (lambda _text: {"texts": "x"}, "echo#query returned 'texts', which its schema does not declare"),
        (
            lambda _text: {"text": 7},
            "echo#query returned 'text' that its schema does not allow: expected string, got 7",
        ),
        (lambda _text: None, "echo#query returned NoneType, expected a mapping of its outputs"),
    ],
)
def test_a_source_that_fails_is_named_with_its_arguments_and_reason(answer: Callable[[str], Any], why: str) -> None:
    assert failure(Echo(answer)) == f"data source echo('hi'): {why}"


def test_an_error_that_cannot_say_why_is_still_told() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert failure(Echo(raising(Mute()))) == "data source echo('hi'): it failed: Mute: it cannot even say why"


def test_long_arguments_are_shown_short() -> None:
    sources = Sources({"echo": Echo(raising(ActionAborted("no")))})
    with pytest.raises(FilterError) as raised:
        sources.query("echo", ("\n" * 10_000,), soon())
    assert str(raised.value).endswith("... (20002 characters)): no")
    assert "\n" not in str(raised.value)


class TestDeadlines:
    def test_a_source_knows_how_long_it_has(self) -> None:
        seen: list[float] = []
        source = Echo(lambda _text: {"number": seen.append(time_left_s(99.0))}, timeout_s=5)
        sources = Sources({"echo": source})

        # When it is asked with more time than it may take, and with less
        sources.query("echo", ("a",), time.monotonic() + 1000)
        sources.query("echo", ("b",), time.monotonic() + 2)

        # Then it has its own, and what is left; afterwards nothing of it is left behind
        assert 2 < seen[0] <= 5
        assert 0 < seen[1] <= 2
        assert time_left_s(99.0) == 99.0

    def test_without_time_it_is_not_asked(self) -> None:
        source = Echo()
        assert failure(source, until=time.monotonic() - 1) == "data source echo('hi'): no time was left to ask it"
        assert source.asked == []

    def test_an_answer_that_comes_too_late_is_a_failure(self) -> None:
        clock = Clock()

        def slow(_text: str) -> dict[str, Any]:
            clock.now += 6
            return {}

        assert failure(Echo(slow), clock, clock.now + 60) == "data source echo('hi'): it took longer than 5 s"
        assert failure(Echo(slow), clock, clock.now + 3) == "data source echo('hi'): it took longer than 3 s"

    def test_a_command_that_hangs_is_killed(self) -> None:
        class Hanging(Echo):
            def query(self, text: str) -> Any:
                return {"text": self.run("sh", "-c", "sleep 600 & wait").stdout}

        assert failure(Hanging(timeout_s=0.2)) == (
            "data source echo('hi'): `sh -c sleep 600 & wait` did not end before the deadline and was killed"
        )


class TestOnceForMany:
    def test_an_answer_is_good_for_a_moment(self) -> None:
        clock, source = Clock(), Echo()
        sources = Sources({"echo": source}, clock=clock)

        def ask(text: str) -> object:
            return sources.query("echo", (text,), clock.now + 60)["number"]

        # When the same is asked again within a second, and something else
        assert [ask("a"), ask("a"), ask("b"), ask("a")] == [1, 1, 2, 1]

        # Then it is looked at again when the second is over
        clock.now += 1.01
        assert ask("a") == 3

    def test_a_source_that_costs_nothing_is_asked_every_time(self) -> None:
        source = Free()
        sources = Sources({"echo": source})
        assert [sources.query("echo", ("a",), soon())["number"] for _ in range(3)] == [1, 2, 3]

    def test_one_request_asks_the_same_once_however_long_it_takes(self) -> None:
        clock, source = Clock(), Free()
        ask = Sources({"echo": source}, clock=clock).session(clock.now + 3600)
        first = ask("echo", ("a",))
        clock.now += 600
        assert ask("echo", ("a",)) is first
        assert ask("echo", ("b",))["number"] == 2

    def test_a_session_ends_with_its_request(self) -> None:
        clock = Clock()
        ask = Sources({"echo": Echo()}, clock=clock).session(clock.now + 5)
        clock.now += 5
        with pytest.raises(FilterError, match="no time was left"):
            ask("echo", ("a",))

    def test_many_at_once_cost_one_look(self) -> None:
        # Given a source that answers when the test lets it
        gate, begun = threading.Event(), threading.Event()

        def answer(_text: str) -> dict[str, Any]:
            begun.set()
            assert gate.wait(WAIT_S)
            return {"text": "x"}

        source = Echo(answer)
        sources = Sources({"echo": source})

        # When 50 ask the same at once
        with ThreadPoolExecutor(50) as pool:
            asked = [pool.submit(sources.query, "echo", ("a",), soon()) for _ in range(50)]
            assert begun.wait(WAIT_S)
            gate.set()
            answers = [each.result(WAIT_S) for each in asked]

        # Then all have the one answer
        assert len(answers) == 50
        assert len({id(each) for each in answers}) == 1
        assert len(source.asked) == 1

    def test_many_at_once_share_one_failure(self) -> None:
        source = Echo(raising(ActionAborted("no")))
        sources = Sources({"echo": source}, clock=Clock())
        for _ in range(3):
            with pytest.raises(FilterError, match=r"^data source echo\('a'\): no$"):
                sources.query("echo", ("a",), 2000.0)
        assert len(source.asked) == 1

    def test_who_had_no_time_spoils_it_for_nobody(self) -> None:
        # Given a request whose time was too short for its look
        clock = Clock()

        def slow(text: str) -> dict[str, Any]:
            clock.now += 2
            return {"text": text}

        sources = Sources({"echo": Echo(slow)}, clock=clock)
        with pytest.raises(FilterError, match="it took longer than 1 s"):
            sources.query("echo", ("a",), clock.now + 1)

        # When somebody with more time asks the same at once, then it is looked at for him
        assert sources.query("echo", ("a",), clock.now + 60)["text"] == "a"

    def test_who_was_cancelled_spoils_it_for_nobody(self) -> None:
        request = Current()
        request.cancellation.cancel("enough")

        def answer(text: str) -> dict[str, Any]:
            source.run("true")
            return {"text": text}

        source = Echo(answer)
        sources = Sources({"echo": source}, clock=time.monotonic)
        with working_for(request), pytest.raises(Cancelled, match="enough"):
            sources.query("echo", ("a",), soon())
        assert sources.query("echo", ("a",), soon())["text"] == "a"


class TestMoment:
    def test_who_waits_takes_over_from_who_was_cut_short(self) -> None:
        # Given a first caller who is looking, and a second who waits for it
        moment, begun, gate = Moment(), threading.Event(), threading.Event()

        def cut_short() -> dict[str, Any]:
            begun.set()
            assert gate.wait(WAIT_S)
            raise CutShort("no time")

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(moment.get, "key", cut_short, soon(), 1.0)
            assert begun.wait(WAIT_S)
            second = pool.submit(moment.get, "key", lambda: {"by": "second"}, soon(), 1.0)

            # When the first has no more time, then the second looks itself
            gate.set()
            assert second.result(WAIT_S) == {"by": "second"}
            with pytest.raises(CutShort):
                first.result(WAIT_S)

    def test_who_hangs_past_the_deadline_is_not_waited_for(self) -> None:
        # Given a caller who hangs, and whose time is over
        clock, begun, gate = Clock(), threading.Event(), threading.Event()
        moment = Moment(clock)

        def hang() -> dict[str, Any]:
            begun.set()
            assert gate.wait(WAIT_S)
            return {"by": "first"}

        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(moment.get, "key", hang, clock.now + 5, 1.0)
            assert begun.wait(WAIT_S)
            clock.now += 6

            # When another asks, then it looks itself, and the late answer changes nothing
            assert moment.get("key", lambda: {"by": "second"}, clock.now + 5, 1.0) == {"by": "second"}
            gate.set()
            assert first.result(WAIT_S) == {"by": "first"}
        assert moment.get("key", lambda: {"by": "third"}, clock.now + 5, 1.0) == {"by": "second"}

    def test_who_waits_for_one_who_hangs_takes_over_at_the_deadline_of_that_one(self) -> None:
        # Given a caller who hangs, and has little time
        moment, begun, gate = Moment(), threading.Event(), threading.Event()

        def hang() -> dict[str, Any]:
            begun.set()
            assert gate.wait(WAIT_S)
            return {"by": "first"}

        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(moment.get, "key", hang, time.monotonic() + 0.1, 1.0)
            assert begun.wait(WAIT_S)

            # When another with much time asks the same, then it has an answer while the first still hangs
            assert moment.get("key", lambda: {"by": "second"}, soon(), 1.0) == {"by": "second"}
            assert not first.done()
            gate.set()
            first.result(WAIT_S)

    def test_who_waits_gives_up_at_its_own_deadline(self) -> None:
        moment, begun, gate = Moment(), threading.Event(), threading.Event()

        def hang() -> dict[str, Any]:
            begun.set()
            assert gate.wait(WAIT_S)
            return {}

        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(moment.get, "key", hang, soon(), 1.0)
            assert begun.wait(WAIT_S)
            with pytest.raises(CutShort, match="another request asks the same, and has no answer either"):
                moment.get("key", dict, time.monotonic() + 0.05, 1.0)
            gate.set()
            first.result(WAIT_S)

    def test_what_is_kept_is_bounded(self) -> None:
        clock = Clock()
        moment = Moment(clock, max_answers=10)
        for number in range(1000):
            clock.now += 0.0001
            moment.get(number, lambda number=number: {"number": number}, clock.now + 5, 60.0)  # type: ignore[misc]
        assert len(moment._flights) == 10
        # The last ones are those that are kept
        assert moment.get(999, dict, clock.now + 5, 60.0) == {"number": 999}
        assert moment.get(5, lambda: {"number": "again"}, clock.now + 5, 60.0) == {"number": "again"}

    def test_a_look_that_raises_something_else_leaves_nothing_behind(self) -> None:
        moment = Moment(Clock())
        with pytest.raises(ZeroDivisionError):
            moment.get("key", lambda: {"x": 1 / 0}, 2000.0, 60.0)
        assert moment._flights == {}
