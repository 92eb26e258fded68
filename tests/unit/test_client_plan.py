# SPDX-License-Identifier: Apache-2.0
"""How a call is spread: every chosen node is asked exactly once, in order, never more at a time than was said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mco_client.plan import FIRST, RANDOM, CallOptions, Share
from mco_rpc.errors import ConfigError

NODES = tuple(f"web{number}" for number in range(1, 21))


def asked(options: CallOptions, nodes: tuple[str, ...] = NODES) -> list[int]:
    """Return how many nodes each batch has."""
    return [len(batch) for _, batch in options.batches(nodes)]


def pauses(options: CallOptions, nodes: tuple[str, ...] = NODES) -> list[float]:
    return [pause_s for pause_s, _ in options.batches(nodes)]


# Shares.


@pytest.mark.parametrize(
    ("given_share", "total", "count"),
    [
        (5, 20, 5), ("5", 20, 5), (5.0, 20, 5), (" 5 ", 20, 5), (50, 20, 20), (1, 0, 0),
        ("10%", 20, 2), ("10%", 29, 2), ("10%", 3, 1), ("100%", 7, 7), ("0.1%", 2000, 2), ("0%", 20, 1),
        ("85.6%", 375, 321), ("33.3%", 1000, 333),
    ],
)  # fmt: skip
def test_a_share_is_a_count_or_a_part_rounded_down_but_at_least_one(given_share: Any, total: int, count: int) -> None:
    assert Share.of(given_share).count(total) == count


@pytest.mark.parametrize(
    ("given_share", "part", "total", "is_exceeded"),
    [
        (3, 3, 10, False), (3, 4, 10, True), (0, 0, 10, False), (0, 1, 10, True),
        ("5%", 1, 20, False), ("5%", 2, 20, True), ("5%", 1, 19, True), ("0%", 1, 10**6, True), ("0%", 0, 5, False),
        ("100%", 20, 20, False), ("85.6%", 321, 375, False), ("85.6%", 322, 375, True),
    ],
)  # fmt: skip
def test_exactly_the_limit_is_not_above_it(given_share: Any, part: int, total: int, is_exceeded: bool) -> None:
    assert Share.of(given_share).is_exceeded(part, total) is is_exceeded


@pytest.mark.parametrize(
    "wrong",
    ["", "x", "-1", "5.5", "101%", "1e3", "5 %", "%", "٥", "1" * 10, "1\n2", -1, 5.5, True, None, float("nan"),
     float("inf"), 10**9, -(10**9), [], b"5", "\ud800"],
)  # fmt: skip
def test_what_is_no_share_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="limit: expected a number as in 5, or a share as in 10%, got "):
        Share.of(wrong, "limit")


def test_a_number_that_cannot_even_be_written_is_refused() -> None:
    for number in (10**5000, -(10**5000)):
        with pytest.raises(ConfigError, match=r"got one beyond 1,000,000,000"):
            Share.of(number)


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.binary(), st.decimals()))
def test_parsing_gives_a_share_or_says_what_is_wrong(what: Any) -> None:
    try:
        share = Share.of(what)
    except ConfigError:
        return
    assert 0 <= share.count(100) <= 100
    assert Share.of(str(share)).count(10**6) == share.count(10**6)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_percents_are_exact(hundredths: int, total: int) -> None:
    share = Share.of(f"{hundredths // 100}.{hundredths % 100:02}%")
    exact = total * hundredths // 10_000
    assert share.count(total) == min(max(exact, 1), total)
    assert not share.is_exceeded(exact, total)
    assert share.is_exceeded(exact + 1, total)


def test_a_share_is_shown_as_it_is_written() -> None:
    assert [str(Share.of(text)) for text in ("5", "10%", "0.5%")] == ["5", "10%", "0.5%"]


# Options.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit: expected more than 0, got 0"),
        ({"limit": "0%"}, "limit: expected more than 0, got 0%"),
        ({"batch_size": "0"}, "batch_size: expected more than 0"),
        ({"max_nodes": 0}, "max_nodes: expected more than 0"),
        ({"limit": "many"}, "limit: expected a number"),
        ({"waves": ["1", "x"]}, "waves: expected a number"),
        ({"abort_on": "-5%"}, "abort_on: expected a number"),
        ({"limit_method": "last"}, "limit_method: 'last' is not one of first, random"),
        ({"timeout_s": 0.0}, "timeout_s: expected more than 0"),
        ({"timeout_s": float("nan")}, "timeout_s: expected more than 0"),
        ({"batch_sleep_s": -1.0}, "batch_sleep_s: expected 0 or more"),
        ({"wave_sleep_s": float("inf")}, "wave_sleep_s: expected 0 or more"),
        ({"retry_sleep_s": float("nan")}, "retry_sleep_s: expected 0 or more"),
        ({"retries": -1}, "retries: expected 0 to 100"),
        ({"retries": 101}, "retries: expected 0 to 100"),
        ({"retries": True}, "retries: expected 0 to 100"),
    ],
)
def test_an_option_that_cannot_be_is_refused_when_it_is_given(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CallOptions(**options)
    with pytest.raises(ConfigError, match=message):
        CallOptions().replaced(**options)


def test_replaced_options_keep_the_others_and_a_typo_is_told() -> None:
    options = CallOptions(limit="10%", retries=2).replaced(batch_size=3)
    assert (str(options.limit), options.retries, str(options.batch_size)) == ("10%", 2, "3")
    with pytest.raises(ConfigError, match=r"unknown option 'batchsize', did you mean batch_size\?; known are: "):
        options.replaced(batchsize=3)


# Limits.


@pytest.mark.parametrize(
    ("limit", "count"), [(None, 20), (1, 1), (5, 5), (100, 20), ("10%", 2), ("1%", 1), ("100%", 20)]
)
def test_a_limit_takes_the_first(limit: Any, count: int) -> None:
    assert CallOptions(limit=limit).chosen(NODES) == NODES[:count]


def test_a_random_choice_is_the_same_again_with_its_seed_and_keeps_the_order() -> None:
    options = CallOptions(limit=5, limit_method=RANDOM, limit_seed=7)
    chosen = options.chosen(NODES)
    assert chosen == options.chosen(NODES) == options.chosen(list(NODES))
    assert sorted(chosen, key=NODES.index) == list(chosen)
    others = {CallOptions(limit=5, limit_method=RANDOM, limit_seed=seed).chosen(NODES) for seed in range(20)}
    assert len(others) > 10
    assert all(len(set(other)) == 5 for other in others)


def test_without_a_seed_it_is_a_choice_each_time() -> None:
    options = CallOptions(limit=10, limit_method=RANDOM)
    assert len({options.chosen(NODES) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({}, None), ({"limit": 3}, 3), ({"limit": "3%"}, None),
        ({"limit": 3, "limit_method": RANDOM}, None), ({"limit": "3", "limit_method": FIRST}, 3),
    ],
)  # fmt: skip
def test_a_discovery_may_end_early_only_if_the_first_are_asked(options: dict[str, Any], limit: int | None) -> None:
    assert CallOptions(**options).discovery_limit == limit


# Batches and waves.


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, [20]),
        ({"batch_size": 8}, [8, 8, 4]),
        ({"batch_size": 20}, [20]),
        ({"batch_size": 21}, [20]),
        ({"batch_size": "25%"}, [5, 5, 5, 5]),
        ({"batch_size": "1%"}, [1] * 20),
        ({"waves": ["1", "10%", "100%"]}, [1, 1, 18]),
        ({"waves": ["10%", "1", "50%"]}, [2, 8]),
        ({"waves": ["0", "50%"]}, [10]),
        ({"waves": ["0%"]}, []),
        ({"waves": [5, "100%"], "batch_size": 4}, [4, 1, 4, 4, 4, 3]),
    ],
)
def test_nodes_are_asked_in_waves_and_batches(options: dict[str, Any], sizes: list[int]) -> None:
    assert asked(CallOptions(**options)) == sizes


def test_between_two_batches_and_waves_there_is_a_pause_and_none_before_the_first() -> None:
    assert pauses(CallOptions(batch_size=8, batch_sleep_s=2.0)) == [0.0, 2.0, 2.0]
    assert pauses(CallOptions(waves=["1", "50%", "100%"], wave_sleep_s=5.0)) == [0.0, 5.0, 5.0]
    assert pauses(CallOptions(waves=["8", "100%"], batch_size=4, batch_sleep_s=2.0, wave_sleep_s=5.0)) == [
        0.0, 2.0, 5.0, 2.0, 2.0,
    ]  # fmt: skip
    assert pauses(CallOptions(waves=["4", "100%"], batch_size=16, batch_sleep_s=2.0)) == [0.0, 2.0]
    assert pauses(CallOptions(waves=["4", "100%"])) == [0.0, 0.0]


def test_nobody_is_asked_in_no_batch_of_anybody() -> None:
    for options in (CallOptions(), CallOptions(batch_size=3), CallOptions(waves=["1", "100%"], batch_size="10%")):
        assert [batch for _, batch in options.batches(()) if batch] == []


shares = st.one_of(
    st.integers(1, 60).map(str),
    st.integers(1, 100).map(lambda n: f"{n}%"),
    st.integers(1, 9999).map(lambda n: f"{n / 100}%"),
)
nodes = st.integers(0, 60).map(lambda count: tuple(f"n{number}" for number in range(count)))
seconds = st.sampled_from([0.0, 1.0, 2.5])


@st.composite
def options_of_any_kind(draw: st.DrawFn) -> CallOptions:
    return CallOptions(
        limit=draw(st.none() | shares),
        limit_method=draw(st.sampled_from([FIRST, RANDOM])),
        limit_seed=draw(st.none() | st.integers()),
        batch_size=draw(st.none() | shares),
        batch_sleep_s=draw(seconds),
        waves=draw(st.lists(shares, max_size=5)),
        wave_sleep_s=draw(seconds),
    )


@given(options_of_any_kind(), nodes)
def test_whatever_the_options_nobody_is_asked_twice_and_the_order_stays(
    options: CallOptions, found: tuple[str, ...]
) -> None:
    chosen = options.chosen(found)
    batches = list(options.batches(chosen))
    asked_nodes = tuple(node for _, batch in batches for node in batch)
    # Those chosen are some of those found, in their order
    assert [node for node in found if node in set(chosen)] == list(chosen)
    if options.limit is not None:
        assert len(chosen) == options.limit.count(len(found))  # type: ignore[union-attr]
    # And the batches cover them from the first on, each once
    assert asked_nodes == chosen[: len(asked_nodes)]
    largest = max((wave.count(len(chosen)) for wave in options.waves), default=len(chosen))  # type: ignore[union-attr]
    assert len(asked_nodes) == largest
    if options.batch_size is not None:
        limit = options.batch_size.count(len(chosen))  # type: ignore[union-attr]
        assert all(len(batch) <= limit for _, batch in batches)
    assert all(batch for _, batch in batches) or not chosen


@given(st.lists(shares, min_size=1, max_size=6), st.none() | shares, nodes)
def test_no_more_are_asked_before_the_end_of_a_wave_than_it_allows(
    waves: list[str], batch_size: str | None, found: tuple[str, ...]
) -> None:
    # Given waves, and pauses that tell a new wave from a new batch
    options = CallOptions(waves=waves, batch_size=batch_size, batch_sleep_s=1.0, wave_sleep_s=7.0)
    allowed = sorted({Share.of(wave).count(len(found)) for wave in waves})
    so_far, ends = 0, []
    for pause_s, batch in options.batches(found):
        if pause_s == 7.0:
            ends.append(so_far)
        so_far += len(batch)
    # Then each wave ends where one of those that were given does
    assert set(ends) <= set(allowed)
    assert so_far in (*allowed, 0)
