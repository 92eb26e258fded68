# SPDX-License-Identifier: Apache-2.0
"""Folded names stand for exactly the names that were folded, in the notation that lists of nodes are read in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mco_client.discovery.listed import names_in
from mco_client.folding import fold, folded

NAME = st.from_regex(r"[a-c]{1,2}[0-9]{1,3}(\.dc[0-9]{1,2})?", fullmatch=True)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["web2", "web10", "web1"], "web1, web2, web10"),
        ([f"web{number}" for number in range(1, 18)], "web[1:17]"),
        ([f"web{number:02}" for number in range(1, 18)], "web[01:17]"),
        ([f"web{number}" for number in (1, 2, 3, 5, 8, 9, 10)], "web5, web[1:3], web[8:10]"),
        ([f"web{number}.example.net" for number in range(1, 5)] + ["db1"], "db1, web[1:4].example.net"),
        ([f"dc1-web{number}" for number in range(1, 5)], "dc1-web[1:4]"),
        (["web9", "web10", "web11", "web09"], "web09, web[9:11]"),
        (["web98", "web99", "web100", "web101"], "web[98:101]"),
        (["web098", "web099", "web100", "web101"], "web[098:101]"),
        (["web08", "web09", "web010", "web011"], "web08, web09, web010, web011"),
        ([f"web{number:02}" for number in range(1, 101)], "web100, web[01:99]"),
        (["a", "b", "c", "d"], "a, b, c, d"),
        (["a\x1b[2J", "b", "c", "d"], r"a\x1b[2J, b, c, d"),
        ([f"n{10**12 + number}" for number in range(4)], ", ".join(f"n{10**12 + number}" for number in range(4))),
    ],
)
def test_names_are_folded_where_that_is_shorter(names: list[str], text: str) -> None:
    assert folded(names) == text


@given(st.sets(NAME, min_size=1))
def test_what_was_folded_is_read_again(names: set[str]) -> None:
    text = "\n".join(fold(names))
    assert sorted(names_in(text, "here")) == sorted(names)
    assert len(fold(names)) <= len(names)
