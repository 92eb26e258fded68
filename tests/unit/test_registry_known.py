# SPDX-License-Identifier: Apache-2.0
"""What becomes of a node by what it says, and which nodes a filter is for when they did not say all."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mco_registry.known import (
    EXPECTED,
    PARTS,
    PRESENCE,
    PRESENT,
    REGISTRATION,
    SILENT,
    STOPPED,
    Content,
    Heard,
    Known,
    content_from,
    content_of,
    interval_of,
)
from mco_registry.selection import selection_of, verdict
from mco_rpc.errors import MessageError
from mco_rpc.filters import Filter, Subject, from_options

INTERVAL_S = 100.0


def registration(sent_at: float, **fields: Any) -> Heard:
    return Heard("web1", REGISTRATION, sent_at, sent_at, INTERVAL_S, content=Content(**fields))


def presence(sent_at: float, *, is_stopping: bool = False) -> Heard:
    return Heard("web1", PRESENCE, sent_at, sent_at, INTERVAL_S, "1.0", is_stopping=is_stopping)


def known_of(identity: str = "web1", **fields: Any) -> Known:
    content = Content(**fields)
    return Known(identity, body=content.body().decode(), incomplete=",".join(content.incomplete))


class TestOrder:
    @given(st.permutations([presence(1), registration(2), presence(3, is_stopping=True), presence(4), registration(5)]))
    def test_whatever_order_events_come_in_the_latest_counts(self, events: list[Heard]) -> None:
        known = Known("web1")
        for heard in events:
            known = known.after(heard)
        assert (known.registered_at, known.is_stopped) == (5, False)
        again = known
        for heard in events:
            again = again.after(heard)
        assert again == known

    @given(st.lists(st.tuples(st.sampled_from(["start", "stop", "registration"]), st.integers(1, 6)), max_size=8))
    def test_time_never_goes_back(self, script: list[tuple[str, int]]) -> None:
        known = Known("web1")
        for what, at in script:
            heard = registration(at) if what == "registration" else presence(at, is_stopping=what == "stop")
            after = known.after(heard)
            assert after.presence_at >= known.presence_at
            assert after.registered_at >= known.registered_at
            if known.is_stopped and not after.is_stopped:
                assert at >= known.presence_at
            known = after


class TestStates:
    @pytest.mark.parametrize(
        ("last_seen", "listening_since", "judged_at", "state"),
        [
            (1000, 0, 1000, PRESENT),
            (1000, 0, 1149, PRESENT),
            (1000, 0, 1151, SILENT),
            (1000, 5000, 5000, EXPECTED),
            (1000, 5000, 5149, EXPECTED),
            (1000, 5000, 5151, SILENT),
            (5001, 5000, 5100, PRESENT),
            (1000, 990, 900, PRESENT),
        ],
    )
    def test_each(self, last_seen: float, listening_since: float, judged_at: float, state: str) -> None:
        known = Known("web1", last_seen=last_seen, interval_s=INTERVAL_S)
        assert known.state(judged_at, listening_since) == state
        stopped = Known("web1", last_seen=last_seen, interval_s=INTERVAL_S, is_stopped=True)
        assert stopped.state(judged_at, listening_since) == STOPPED


class TestContents:
    def test_what_a_newer_node_says_beside_it_does_no_harm(self) -> None:
        assert content_of({"version": "9", "weather": "fine"}).version == "9"

    @given(
        st.dictionaries(st.text(max_size=8), st.recursive(st.none() | st.text() | st.integers(), st.lists), max_size=5)
    )
    def test_anything_is_a_registration_or_a_message_error(self, data: dict[str, Any]) -> None:
        try:
            content = content_of(data)
        except MessageError:
            return
        assert content_from(content.body()) == content

    @given(st.integers(100, 3000))
    def test_what_fits_is_kept_and_what_is_left_out_is_named(self, max_bytes: int) -> None:
        whole = Content(facts={"f": "x" * 1000}, classes=("c" * 200,) * 5, agents={})
        try:
            fitted = whole.fitted(max_bytes)
        except MessageError:
            assert max_bytes < 200
            return
        assert len(fitted.body()) <= max_bytes
        for part in PARTS:
            assert part in fitted.incomplete or getattr(fitted, part) == getattr(whole, part)

    @pytest.mark.parametrize("interval_s", [0, 0.99, 86_401, float("nan"), float("inf"), True, "60", None, [1]])
    def test_an_interval_that_cannot_be_is_the_usual_one(self, interval_s: object) -> None:
        assert interval_of(interval_s) == 300.0
        assert interval_of(60) == 60.0


FACTS = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", "2"]))
NAMES = st.lists(st.sampled_from(["x", "y"]), unique=True).map(tuple)
TERMS = st.sampled_from(["a=1", "b!=1", "c=/2/", "x", "/y/", "a>1"])
EXPRESSIONS = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        inner.map(lambda e: f"not ({e})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda p: f"({p[0]}) {p[1]} ({p[2]})"),
    ),
    max_leaves=5,
)


class TestVerdicts:
    @given(EXPRESSIONS, FACTS, NAMES, st.sets(st.sampled_from("abc")), st.tuples(st.booleans(), st.booleans()))
    def test_what_is_decided_without_all_is_what_all_would_decide(
        self, expression: str, facts: dict[str, str], classes: tuple[str, ...], told: set[str], tells: tuple[bool, bool]
    ) -> None:
        tells_facts, tells_classes = tells
        node_filter = from_options(compound=[expression])
        truth = node_filter.matches(Subject("web1", frozenset(classes), frozenset(), facts))
        incomplete = [part for part, is_told in (("classes", tells_classes), ("facts", tells_facts)) if not is_told]
        known = known_of(
            facts=facts if tells_facts else {name: value for name, value in facts.items() if name in told},
            classes=classes if tells_classes else classes[:1],
            incomplete=tuple(incomplete),
        )
        assert verdict(node_filter, known) in (truth, None)
        if not incomplete:
            assert verdict(node_filter, known) is truth

    def test_of_a_node_that_said_nothing_nothing_is_decided(self) -> None:
        for options in ({"classes": ["x"]}, {"facts": ["a=1"]}, {"agents": ["rpcutil"]}, {"compound": ["not x"]}):
            assert verdict(from_options(**options), Known("web1")) is None  # type: ignore[arg-type]
        assert verdict(Filter(), Known("web1")) is True
        assert verdict(from_options(identities=["db1"], classes=["x"]), Known("web1")) is False

    def test_a_data_source_is_undecided_unless_the_rest_decides(self) -> None:
        known = known_of(facts={"country": "de"})
        for expression, expected in (
            ("process('x').running=true", None),
            ("not process('x').running=true", None),
            ("country=fr and process('x').running=true", False),
            ("country=de or process('x').running=true", True),
        ):
            assert verdict(from_options(compound=[expression]), known) is expected


class TestNarrowing:
    def test_only_plain_names_are_for_the_database(self) -> None:
        narrowed = selection_of(from_options(identities=["a", "b"], classes=["x", "/y/"], agents=["/z/"])).narrowed
        assert (narrowed.identities, narrowed.classes, narrowed.agents) == (("a", "b"), ("x",), ())
        assert selection_of(from_options(identities=["a", "/b/"])).narrowed.identities is None

    def test_what_nodes_registered_is_only_read_if_it_decides(self) -> None:
        for is_whole, options in itertools.chain(
            ((False, {}), (False, {"identities": ["/web/"]})),
            ((True, {"classes": ["x"]}), (True, {"facts": ["a=1"]}), (True, {"compound": ["x"]})),
        ):
            assert selection_of(from_options(**options)).is_whole is is_whole  # type: ignore[arg-type]


def test_facts_that_are_nested_too_deep_are_not_kept() -> None:
    def nested(depth: int) -> Any:
        value: Any = {"a": 1}
        for number in range(depth - 2):
            value = {"a": value} if number % 2 else [value]
        return {"a": value}

    assert content_of({"facts": nested(50)}).facts == nested(50)
    with pytest.raises(MessageError, match="its facts are nested more than 50 deep"):
        content_of({"facts": nested(51)})
