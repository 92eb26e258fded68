# SPDX-License-Identifier: Apache-2.0
"""What nodes say reaches a terminal as text, never as a command."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mco_client.text import listed, natural, one_line, safe, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("größer ✓ 日本", "größer ✓ 日本"),
        ("a\tb\nc", "a\tb\nc"),
        ("up\x1b[2Jdown", "up\\x1b[2Jdown"),
        ("over\rwrite", "over\\rwrite"),
        ("bell\x07\x08\x7f", "bell\\x07\\x08\\x7f"),
        ("c1 \x9b31m", "c1 \\x9b31m"),
        ("abc\u202edef", "abc\\u202edef"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028sep", "line\\u2028sep"),
        ("half \ud800", "half \\ud800"),
        (17, "17"),
        (None, "None"),
    ],
)
def test_safe_makes_what_is_not_text_visible(value: object, text: str) -> None:
    assert safe(value) == text


@given(st.text())
def test_nothing_that_a_terminal_obeys_gets_through(text: str) -> None:
    told = safe(text)
    assert all(c in "\n\t" or c.isprintable() for c in told)
    told.encode("utf-8")


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
    assert "\t" not in one_line(text)


def test_one_line_is_cut_where_it_gets_long() -> None:
    assert one_line("x" * 300) == "x" * 300
    assert one_line("x" * 301) == "x" * 300 + "... (301 characters)"
    assert one_line("abc", 2) == "ab... (3 characters)"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("de", "de"),
        ("\x1b", "\\x1b"),
        (True, "true"),
        (None, "null"),
        (1.5, "1.5"),
        (["a", 1], '["a", 1]'),
        ({"ü": None}, '{"ü": null}'),
        ({"a": {1}}, '{"a": "{1}"}'),
        (["\x1b\u202e"], '["\\u001b\\u202e"]'),
    ],
)
def test_a_cell_shows_text_as_it_is_and_the_rest_as_json(value: object, cell: str) -> None:
    assert shown(value) == cell


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["web10", "web2", "web1"], "web1, web2, web10"),
        (["b", "a", ""], ", a, b"),
        (["rack2-web10", "rack10-web1", "rack2-web9"], "rack2-web9, rack2-web10, rack10-web1"),
        (["web", "web1", "1web"], "1web, web, web1"),
        (["web²", "web2"], "web2, web²"),
    ],
)
def test_names_are_sorted_as_people_count(names: list[str], order: str) -> None:
    assert listed(names) == order


@given(st.lists(st.text(alphabet="ab019-", max_size=8)))
def test_every_two_names_can_be_compared(names: list[str]) -> None:
    # Given names in any order, the order made of them is the same, and none is lost.
    ordered = [natural(name) for name in sorted(names, key=natural)]
    assert ordered == sorted(map(natural, reversed(names)))
    assert sorted(listed(names).split(", ")) == sorted(names or [""])


def test_a_number_of_any_length_is_compared() -> None:
    assert listed(["a" + "9" * 5000, "a1" + "0" * 5000, "a2", "a010"]).startswith("a2, a010, a9")


def test_one_line_looks_at_no_more_than_it_shows() -> None:
    class Text(str):
        def __getitem__(self, where: Any) -> str:
            return str.__getitem__(self, where)

        def __iter__(self) -> Any:
            raise AssertionError("all of it is looked at")

        def __str__(self) -> str:
            return self

    assert one_line(Text("x" * 10_000_000), 10) == "x" * 10 + "... (10000000 characters)"
