# SPDX-License-Identifier: Apache-2.0
"""What all replies say together; one aggregate that fails keeps nothing from the others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mco_client.results import Result
from mco_client.schema.aggregates import Failure, aggregate, aggregates
from mco_rpc.schema import ActionSchema, Aggregate, Output

OUTPUTS = {"state": Output("string", "State", display_as="State"), "load": Output("number", "Load")}


def answers(*values: Any, field: str = "load") -> list[Result]:
    return [Result(f"web{number}", 0, data={field: value}) for number, value in enumerate(values, 1)]


def test_a_summary_counts_each_value_the_most_frequent_first() -> None:
    made = aggregate(Aggregate("summary", "state"), answers("a", "b", "b", None, field="state"), OUTPUTS)
    assert made.title == "Summary of State"
    assert made.counts == (("b", 2), ("a", 1), (None, 1))
    assert made.texts == ["b = 2", "a = 1", "- = 1"]
    assert made.responses == 4


def test_values_that_python_takes_for_the_same_are_not() -> None:
    made = aggregate(Aggregate("summary", "load"), answers(True, 1, 1.0, "1"))
    assert sorted(made.texts) == ["1 = 1", "1 = 1", "1.0 = 1", "true = 1"]
    assert len(made.counts) == 4


def test_each_element_of_a_list_counts_and_a_mapping_is_one_value() -> None:
    made = aggregate(Aggregate("summary", "load"), answers(["a", "b"], ["b"], {"x": 1, "y": 2}, {"y": 2, "x": 1}))
    assert set(made.texts) == {
        "b = 2", '{"y": 2, "x": 1} = 2', "a = 1"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("function", "values", "value", "text"),
    [
        ("average", [1, 2, 4], 7 / 3, "2.33333"),
        ("average", [1, None, 2], 1.5, "1.5"),
        ("sum", [1, 2], 3, "3"),
        ("sum", [0.1] * 10, 1.0, "1"),
        ("sum", [10**20, 1], 10**20 + 1, "100000000000000000001"),
        ("min", [3, 2.5], 2.5, "2.5"),
        ("max", [-3, -2.5], -2.5, "-2.5"),
    ],
)
def test_numbers_are_computed(function: str, values: list[Any], value: float, text: str) -> None:
    made = aggregate(Aggregate(function, "load"), answers(*values))
    assert made.value == value
    assert made.texts == [text]
    assert made.responses == len([value for value in values if value is not None])


def test_a_format_says_how_it_is_shown() -> None:
    assert aggregate(Aggregate("average", "load", "%.1f s"), answers(1, 2)).texts == ["1.5 s"]
    assert aggregate(Aggregate("summary", "load", "%5s: %d"), answers("a", "a")).texts == ["    a: 2"]


@pytest.mark.parametrize(
    ("declared", "values", "why"),
    [
        (Aggregate("frequency", "load"), [1], "there is no aggregate 'frequency'"),
        (Aggregate("average", "load"), [], "no node gave a value of load"),
        (Aggregate("average", "load"), [None], "no node gave a value of load"),
        (Aggregate("average", "laod"), [1], "no node gave a value of laod"),
        (Aggregate("average", "load"), [1, "2", True], "load is not a number on 2 of 3: web2, web3"),
        (Aggregate("average", "load"), ["x"] * 7, "on 7 of 7: web1, web2, web3, web4, web5 and 2 more"),
        (Aggregate("sum", "load"), [10**400], "the numbers of load are too large"),
        (Aggregate("average", "load"), [10**400, 1], "the numbers of load are too large"),
        (Aggregate("sum", "load"), [1e308, 1e308], "the numbers of load are too large"),
        (Aggregate("average", "load", "%999999999d"), [1], "is not text with placeholders"),
        (Aggregate("summary", "load", "%s"), ["x"], "expected %s for a value"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_says_why(declared: Aggregate, values: list[Any], why: str) -> None:
    with pytest.raises(ValueError) as caught:
        aggregate(declared, answers(*values))
    assert why in str(caught.value)


def test_one_that_fails_breaks_no_other() -> None:
    declared = (Aggregate("average", "state"), Aggregate("summary", "state"), Aggregate("nonsense", "state"))
    schema = ActionSchema("look", "Look", outputs=OUTPUTS, aggregates=declared)
    summaries, failures = aggregates(schema, answers("up", "up", field="state"))
    assert [summary.texts for summary in summaries] == [["up = 2"]]
    assert failures == [
        Failure("average", "state", "state is not a number on 2 of 2: web1, web2"),
        Failure("nonsense", "state", "there is no aggregate 'nonsense'"),
    ]


def test_who_failed_does_not_count_and_nobody_is_no_failure() -> None:
    schema = ActionSchema("look", "Look", outputs=OUTPUTS, aggregates=(Aggregate("sum", "load"),))
    failed = Result("db1", 1, data={"load": 100})
    summaries, _ = aggregates(schema, [*answers(1), failed])
    assert summaries[0].value == 1
    assert aggregates(schema, [failed]) == ([], [])


def test_they_are_plain_data_too() -> None:
    counted = aggregate(Aggregate("summary", "state"), answers("up", field="state"), OUTPUTS).to_dict()
    assert counted == {
        "function": "summary", "output": "state", "title": "Summary of State",
        "counts": [{"value": "up", "count": 1}], "responses": 1,
    }  # fmt: skip
    assert aggregate(Aggregate("sum", "load"), answers(1)).to_dict()["value"] == 1
    assert Failure("sum", "load", "x").to_dict() == {"function": "sum", "output": "load", "reason": "x"}


def test_a_terminal_takes_nothing_in_it_for_a_command() -> None:
    made = aggregate(Aggregate("summary", "state"), answers("\x1b[2J\nforged", field="state"), OUTPUTS)
    assert made.texts == ["\\x1b[2J\\nforged = 1"]
    formatted = aggregate(Aggregate("summary", "state", "\x1b%s\n%d"), answers("x", field="state"))
    assert formatted.texts == ["\\x1bx\\n1"]


@given(
    st.sampled_from(["summary", "average", "sum", "min", "max"]),
    st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text()))),
)
def test_any_values_give_a_summary_or_a_reason(function: str, values: list[Any]) -> None:
    try:
        made = aggregate(Aggregate(function, "load"), answers(*values))
    except ValueError:
        return
    assert made.texts is not None
    json.dumps(made.to_dict())
