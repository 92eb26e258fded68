# SPDX-License-Identifier: Apache-2.0
"""Ranges in names are written out as Ansible does, and never more of them than can be held."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mco_client.discovery.ranges import expand
from mco_client.discovery.source import MAX_NODES
from mco_rpc.errors import ConfigError, McoError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("web1", ["web1"]),
        ("", [""]),
        ("web[1:3]", ["web1", "web2", "web3"]),
        ("web[3:3]", ["web3"]),
        ("web[8:11]", ["web8", "web9", "web10", "web11"]),
        ("web[08:11]", ["web08", "web09", "web10", "web11"]),
        ("web[098:101].example.net", [f"web{n}.example.net" for n in ("098", "099", "100", "101")]),
        ("web[0:2]", ["web0", "web1", "web2"]),
        ("web[:2]", ["web0", "web1", "web2"]),
        ("web[1:8:3]", ["web1", "web4", "web7"]),
        ("web[01:10:9]", ["web01", "web10"]),
        ("rack-[a:c]", ["rack-a", "rack-b", "rack-c"]),
        ("rack-[A:E:2]", ["rack-A", "rack-C", "rack-E"]),
        ("[a:b][1:2]x", ["a1x", "a2x", "b1x", "b2x"]),
    ],
)
def test_what_a_text_stands_for(text: str, names: list[str]) -> None:
    assert list(expand(text, "here")) == names


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "[:]",
        "[1]",
        "[1:]",
        "[a:]",
        "[:a]",
        "[2:1]",
        "[b:a]",
        "[a:B]",
        "[aa:bb]",
        "[1:b]",
        "[1:3:0]",
        "[1:3:-1]",
        "[1:3:a]",
        "[1:2:3:4]",
        "[-1:3]",
        "[1.5:3]",
        "[²:³]",
        "[1:99999999999]",
        "[1:\x1b]",
    ],
)
def test_what_is_no_range_is_told_with_its_place_and_examples(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^here: range \[.*\] cannot be understood: .*\[01:20\]") as wrong:
        expand(f"web{text}", "here")
    assert str(wrong.value).isprintable()


@pytest.mark.parametrize("text", ["web[1:3", "web1:3]", "web[1:[2:3]]", "]1:3[", "web[1:3]]", "[" * 1000])
def test_brackets_must_match(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^here: the brackets of .* do not match: expected web\[01:20\]"):
        expand(text, "here")


def test_a_number_with_zeros_before_it_needs_as_many_digits_at_the_end() -> None:
    with pytest.raises(ConfigError, match=r"^here: range \[01:100\]: 01 and 100 need the same number of digits"):
        expand("web[01:100]", "here")


def test_more_names_than_can_be_held_are_counted_and_not_made() -> None:
    assert len(expand(f"[1:{MAX_NODES}]", "here")) == MAX_NODES
    for text in ("[0:999999999]", f"[0:{MAX_NODES}]"):
        with pytest.raises(ConfigError, match=r"^here: range \[0:\d+\] has more than 1,000,000 names"):
            expand(text, "here")
    for text in ("[1:1000][1:1000][a:b]", "[a:z]" * 500):
        with pytest.raises(ConfigError, match=r"^here: .* are more than 1,000,000 names"):
            expand(text, "here")


@given(st.integers(0, 9999), st.integers(0, 30), st.integers(1, 5))
def test_both_ends_belong_to_it(first: int, more: int, step: int) -> None:
    made = expand(f"n[{first:05d}:{first + more:05d}:{step}]", "here")
    assert [int(name[1:]) for name in made] == list(range(first, first + more + 1, step))
    assert all(len(name) == 6 for name in made)


@given(st.text(alphabet="web[]:019az-\x1b "))
def test_no_text_gives_anything_but_names_or_an_error_of_ours(text: str) -> None:
    try:
        made = expand(text, "here")
    except McoError:
        return
    assert made
    assert not any(mark in name for name in made for mark in "[]")
