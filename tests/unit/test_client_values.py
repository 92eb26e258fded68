# SPDX-License-Identifier: Apache-2.0
"""One output across a fleet: computed over all nodes or not at all, grouped, sorted and compared."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mco_client.results import Result, Results
from mco_client.values import Values
from mco_rpc.errors import ConfigError, ExpectationFailed

LOAD = Values("load", {"web10": 4, "web2": 1.5, "web1": 0.5})


def test_nodes_come_in_the_order_in_which_people_count() -> None:
    assert list(LOAD) == ["web1", "web2", "web10"]
    assert (LOAD["web2"], LOAD.get("web3"), len(LOAD)) == (1.5, None, 3)
    assert repr(Values("a", {"x": 1}, ("y",))) == "<a: {'x': 1}, missing: y>"


def test_numbers_are_computed() -> None:
    assert LOAD.sum() == 6.0
    assert LOAD.average() == 2.0
    assert (LOAD.median(), LOAD.minimum(), LOAD.maximum()) == (1.5, 0.5, 4)
    assert Values("n", {"a": 1, "b": 2}).median() == 1.5


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (1, 1), (50, 50), (95, 95), (99.9, 100), (100, 100)])
def test_a_percentile_is_the_value_that_so_many_do_not_exceed(percent: float, value: int) -> None:
    assert Values("n", {f"n{number}": number for number in range(1, 101)}).percentile(percent) == value


@given(st.integers(0, 10_000), st.integers(1, 2000))
@example(56, 1250)  # where binary fractions are a little more than what was written
def test_a_percentile_is_exact(hundredths: int, count: int) -> None:
    values = Values("n", {f"n{number}": number for number in range(1, count + 1)})
    rank = max(1, math.ceil(Fraction(hundredths, 10_000) * count))
    assert values.percentile(hundredths / 100) == rank


@pytest.mark.parametrize("percent", [-1, 100.1, 1e9, float("nan")])
def test_a_percentile_that_there_is_not_is_refused(percent: float) -> None:
    with pytest.raises(ConfigError, match="percentile: expected 0 to 100, got "):
        LOAD.percentile(percent)


COMPUTED = ["sum", "average", "median", "minimum", "maximum"]


@pytest.mark.parametrize("name", COMPUTED)
def test_a_missing_value_spoils_what_is_computed_over_all(name: str) -> None:
    values = Values("load", {"a": 1, "b": 2}, ("web10", "web9"))
    with pytest.raises(ExpectationFailed, match=r"^load: no value of 2: web9, web10$"):
        getattr(values, name)()
    # Unless the others are said to be enough
    assert getattr(values.known, name)() > 0


@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("odd", ["1", True, None, [1], {"a": 1}])
def test_what_is_no_number_spoils_it_too_and_is_named(name: str, odd: Any) -> None:
    with pytest.raises(ExpectationFailed, match=r"^load is no number on b: "):
        getattr(Values("load", {"a": 1, "b": odd}), name)()


@pytest.mark.parametrize("name", [*COMPUTED[1:], "percentile"])
def test_nobody_has_no_median(name: str) -> None:
    with pytest.raises(ExpectationFailed, match=r"^load: no node has a value$"):
        getattr(Values("load", {}), name)(*([50] if name == "percentile" else []))
    assert Values("load", {}).sum() == 0


def test_text_of_a_node_does_not_reach_the_terminal_raw() -> None:
    with pytest.raises(ExpectationFailed) as told:
        Values("load", {"a": "\x1b[2J"}).sum()
    assert "\x1b" not in str(told.value)
    assert "\x1b" not in Values("load", {"a": "\x1b[2J"}).described()


def test_values_are_chosen() -> None:
    assert dict(LOAD.above(1.5)) == {"web10": 4}
    assert dict(LOAD.below(1.5)) == {"web1": 0.5}
    assert dict(LOAD.where(lambda value: value != 4)) == {"web1": 0.5, "web2": 1.5}
    assert dict(Values("load", {}).above(1)) == {}
    with pytest.raises(ExpectationFailed, match="no value of 1: c"):
        Values("load", {"a": 9}, ("c",)).above(1)


def test_values_of_all_kinds_can_be_sorted() -> None:
    mixed = Values("v", {"a": "x", "b": 2, "c": None, "d": True, "e": [1], "f": -1.5, "g": {"k": 1}})
    order = [node for node, _ in mixed.sorted()]
    assert order[:2] == ["f", "b"]
    assert [node for node, _ in mixed.sorted(reverse=True)][-1] == "f"
    assert len(order) == 7


def test_equal_values_are_grouped_the_most_frequent_first() -> None:
    groups = Values("v", {"n1": "a", "n2": "b", "n10": "b", "n3": "c"}).groups()
    assert [(group.value, group.nodes) for group in groups] == [("b", ("n2", "n10")), ("a", ("n1",)), ("c", ("n3",))]
    assert len(groups[0]) == 2


@pytest.mark.parametrize(
    ("one", "other", "is_equal"),
    [
        (1, 1.0, True), (1, True, False), (0, False, False), (1, "1", False), (None, "None", False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True), ({"a": 1}, {"a": True}, False), ([1, 2], [2, 1], False),
        ([1.0], [1], True), (["a,b"], ["a", "b"], False), ({"a": "1,b:2"}, {"a": 1, "b": 2}, False), ([], {}, False),
        (1e300, 1e300, True), ("a", "a", True), ([[1], 2], [[1, 2]], False),
    ],
)  # fmt: skip
def test_only_equal_values_are_the_same(one: Any, other: Any, is_equal: bool) -> None:
    values = Values("v", {"a": one, "b": other})
    assert values.is_same is is_equal
    assert (values.changes_since({"a": other, "b": one}) == {}) is is_equal


def test_the_same_everywhere_means_everywhere() -> None:
    assert Values("v", {"a": 1, "b": 1}).require_same() == 1
    with pytest.raises(ExpectationFailed) as told:
        Values("v", {"a": 1, "b": 1, "c": 2}, ("d",)).require_same()
    assert str(told.value) == "v is not the same everywhere: 2 nodes: 1; 1 node: 2: c; no value: d"
    with pytest.raises(ExpectationFailed, match="no value: d"):
        Values("v", {"a": 1}, ("d",)).require_same()
    with pytest.raises(ExpectationFailed, match="no node has a value"):
        Values("v", {}).require_same()


def test_changes_are_what_differs_and_who_came_and_went() -> None:
    now = Values("v", {"a": 1, "b": 2, "web10": 3})
    assert now.changes_since({"a": 1, "b": 1, "web2": 5}) == {"b": (1, 2), "web2": (5, None), "web10": (None, 3)}
    assert list(now.changes_since({"web9": 1})) == ["a", "b", "web9", "web10"]
    assert now.changes_since(Values("v", dict(now))) == {}


class TestOfResults:
    RESULTS = Results(
        "rpcutil",
        "facts",
        expected=("a", "b", "c", "d", "e"),
        answers=(
            Result("a", 0, data={"n": 2, "facts": {"os": {"release": "12"}}, "x.y": 1}),
            Result("b", 0, data={"n": 1, "facts": {"os": {}}, "x": {"y": 2}}),
            Result("c", 1, data={"n": 9}),
            Result("d", 0, data={"n": None, "facts": "odd"}),
        ),
    )

    def test_who_failed_said_nothing_or_is_silent_is_missing(self) -> None:
        values = self.RESULTS.values("n")
        assert (dict(values), values.missing) == ({"a": 2, "b": 1}, ("c", "d", "e"))
        assert self.RESULTS.values("nosuch").missing == ("a", "b", "c", "d", "e")

    def test_a_path_leads_into_a_structure(self) -> None:
        assert dict(self.RESULTS.values("facts.os.release")) == {"a": "12"}
        assert dict(self.RESULTS.values("facts.os.release.deeper")) == {}
        # And a name that has a dot itself is the name
        assert dict(self.RESULTS.values("x.y")) == {"a": 1, "b": 2}

    def test_answers_are_sorted_by_an_output(self) -> None:
        assert [result.sender for result in self.RESULTS.sorted_by("n")] == ["b", "a"]
        assert [result.sender for result in self.RESULTS.sorted_by("n", reverse=True)] == ["a", "b"]
