# SPDX-License-Identifier: Apache-2.0
"""A request is accepted once, while it is fresh, and by a node that was there when it was sent."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mco_rpc import replay
from mco_rpc.errors import Expired, SecurityError
from mco_rpc.messages import Request
from mco_rpc.replay import ReplayGuard
from mco_rpc.status import Status

START = 1_000_000.0
DAY_S = 86400.0


class Clock:
    """Seconds since the epoch, as a test sets them."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(clock: Clock) -> ReplayGuard:
    """The guard of a node that started at START, an hour ago."""
    made = ReplayGuard(clock, max_skew_s=10.0, max_ttl_s=3600.0, monotonic=clock)
    clock.now = START + 3600
    return made


def request(sent_at: float, ttl_s: float = 60.0, id: str = "1", caller: str = "key=k", sender: str = "s") -> Request:
    return Request(
        id=id,
        collective="c",
        agent="a",
        action="x",
        caller=caller,
        sender=sender,
        sent_at=sent_at,
        ttl_s=ttl_s,
    )


def test_a_fresh_request_is_accepted_once(clock: Clock, guard: ReplayGuard) -> None:
    guard.admit(request(clock.now))
    for later_s in (0.0, 1.0, 30.0, 69.9):
        clock.now = START + 3600 + later_s
        with pytest.raises(SecurityError, match=r"^replayed: "):
            guard.admit(request(START + 3600))
    guard.admit(request(clock.now, id="2"))


def test_a_replay_is_refused_for_as_long_as_it_would_be_fresh_and_as_expired_after(
    clock: Clock, guard: ReplayGuard
) -> None:
    guard.admit(request(clock.now))
    clock.now += 60.0 + 10.0
    with pytest.raises(SecurityError, match=r"^replayed: "):
        guard.admit(request(START + 3600))
    clock.now += 0.001
    with pytest.raises(Expired, match=r"^expired: "):
        guard.admit(request(START + 3600))


@pytest.mark.parametrize(
    ("age_s", "why"),
    [
        (-DAY_S, r"clock skew: the request is from 86400\.0 s in the future .* up to 10 s"),
        (-10.1, "clock skew"),
        (-math.inf, "clock skew"),
        (math.nan, "clock skew"),
        (DAY_S, r"expired: sent 86400\.0 s ago .* to live for 60 s"),
        (70.1, "expired"),
        (math.inf, "expired"),
    ],
)
def test_a_request_from_another_time_is_refused(clock: Clock, guard: ReplayGuard, age_s: float, why: str) -> None:
    with pytest.raises(Expired, match=why) as refused:
        guard.admit(request(clock.now - age_s))
    assert refused.value.status is Status.EXPIRED


@pytest.mark.parametrize("age_s", [-10.0, -9.9, 0.0, 59.0, 70.0])
def test_a_clock_may_be_off_by_the_skew_that_is_allowed(clock: Clock, guard: ReplayGuard, age_s: float) -> None:
    guard.admit(request(clock.now - age_s))
    with pytest.raises(SecurityError, match="replayed"):
        guard.admit(request(clock.now - age_s))


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, -math.inf, math.nan, math.inf, 3600.1, 1e300])
def test_a_time_to_live_without_sense_is_refused(clock: Clock, guard: ReplayGuard, ttl_s: float) -> None:
    with pytest.raises(Expired, match="more than 0 and at most 3600 s is accepted"):
        guard.admit(request(clock.now, ttl_s))
    # And the id was not used up.
    guard.admit(request(clock.now, 3600.0))


def test_what_was_sent_before_this_node_started_is_refused(clock: Clock) -> None:
    # Given a node that accepted a request and was started again within its time to live
    before = ReplayGuard(clock, max_skew_s=10.0, max_ttl_s=3600.0)
    before.admit(request(START))
    clock.now += 5
    after = ReplayGuard(clock, max_skew_s=10.0, max_ttl_s=3600.0)

    # When the request comes again, then the new life refuses what it cannot remember
    with pytest.raises(Expired, match=r"^sent 5\.0 s before this node started.*ask again"):
        after.admit(request(START))
    after.admit(request(clock.now))


def test_a_clock_that_is_set_back_does_not_open_the_door_again(clock: Clock, guard: ReplayGuard) -> None:
    # Given a request whose id is forgotten because it has expired
    sent_at = clock.now
    guard.admit(request(sent_at, id="old"))
    clock.now += 100
    guard.admit(request(clock.now, id="new"))

    # When the clock is set back to a time in which it was fresh
    clock.now = sent_at + 5

    # Then it is still refused, and what comes later by any clock is accepted
    with pytest.raises(Expired, match=r"clock was set back.*ask again"):
        guard.admit(request(sent_at, id="old"))
    clock.now = sent_at + 20
    guard.admit(request(clock.now, id="newer"))


def test_memory_is_bounded_and_given_back(clock: Clock, guard: ReplayGuard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_REMEMBERED", 3)
    for number in range(3):
        guard.admit(request(clock.now, id=str(number)))
    with pytest.raises(Expired, match="3 requests are remembered already"):
        guard.admit(request(clock.now, id="one too many"))

    # When the first have expired, there is room again
    clock.now += 71
    guard.admit(request(clock.now, id="one too many"))
    assert len(guard._seen) == len(guard._forget) == 1


@given(
    st.lists(
        st.tuples(
            st.floats(-100, 100),  # how the clock moves, backwards too
            st.floats(-120, 120),  # how old the request is
            st.floats(0.1, 100),
            st.integers(0, 3),
        ),
        max_size=40,
    )
)
def test_no_id_is_ever_accepted_twice(steps: list[tuple[float, float, float, int]]) -> None:
    clock = Clock()
    monotonic = Clock()
    guard = ReplayGuard(clock, max_skew_s=10.0, max_ttl_s=100.0, monotonic=monotonic)
    accepted: set[str] = set()
    seen: list[tuple[str, float, float]] = []
    for moved_s, age_s, ttl_s, number in steps:
        clock.now += moved_s
        monotonic.now += max(moved_s, 0.0)
        # Either a request of now, or a replay of an earlier one.
        if number and len(seen) >= number:
            id_, sent_at, ttl_s = seen[-number]
        else:
            id_, sent_at = str(len(seen)), clock.now - age_s
            seen.append((id_, sent_at, ttl_s))
        try:
            guard.admit(request(sent_at, ttl_s, id_))
        except (Expired, SecurityError):
            continue
        assert id_ not in accepted
        accepted.add(id_)


def test_somebody_elses_use_of_an_id_does_not_make_a_request_a_replay(clock: Clock, guard: ReplayGuard) -> None:
    guard.admit(request(clock.now, caller="key=mallory"))
    guard.admit(request(clock.now, caller="key=alice"))
    with pytest.raises(SecurityError, match="replayed"):
        guard.admit(request(clock.now, caller="key=alice"))


def test_one_caller_cannot_use_up_the_memory_of_all(
    clock: Clock, guard: ReplayGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MAX_REMEMBERED_OF_ONE", 2)
    for number in "12":
        guard.admit(request(clock.now, id=number))
    with pytest.raises(Expired, match=r"2 requests of key=k are remembered already; .* of this caller"):
        guard.admit(request(clock.now, id="3"))
    guard.admit(request(clock.now, id="3", caller="key=other"))

    # When they have expired, there is room again, and nothing is kept of who is gone
    clock.now += 71
    guard.admit(request(clock.now, id="3"))
    assert guard._count_of == {"key=k": 1}


class TestDelay:
    def test_what_was_delayed_is_refused_though_a_wrong_clock_could_explain_it(
        self, clock: Clock, guard: ReplayGuard
    ) -> None:
        guard.admit(request(clock.now, 1.0, id="quick"))
        with pytest.raises(Expired, match=r"^expired: delayed by about 6\.0 s, to live for 1 s"):
            guard.admit(request(clock.now - 6, 1.0, id="slow"))
        # And it cannot come again when its caller's quick ones are forgotten
        clock.now += 4.9
        with pytest.raises(SecurityError, match="replayed"):
            guard.admit(request(clock.now - 10.9, 1.0, id="slow"))

    def test_what_is_left_of_a_life_is_what_the_delay_left(self, clock: Clock, guard: ReplayGuard) -> None:
        assert guard.admit(request(clock.now, 10.0, id="1")) == 10.0
        assert guard.admit(request(clock.now - 6, 10.0, id="2")) == 4.0

    @pytest.mark.parametrize("off_s", [-8.0, 8.0])
    def test_a_clock_that_is_always_off_does_not_matter(self, clock: Clock, guard: ReplayGuard, off_s: float) -> None:
        for number in range(300):
            clock.now += 1
            assert guard.admit(request(clock.now + off_s, 1.0, id=str(number))) == 1.0

    def test_more_than_a_wrong_clock_explains_is_delay_from_the_first_request_on(
        self, clock: Clock, guard: ReplayGuard
    ) -> None:
        assert guard.admit(request(clock.now - 13, 10.0)) == 7.0

    def test_a_callers_hosts_have_clocks_of_their_own(self, clock: Clock, guard: ReplayGuard) -> None:
        guard.admit(request(clock.now, 1.0, id="1", sender="desk"))
        assert guard.admit(request(clock.now - 8, 1.0, id="2", sender="laptop")) == 1.0

    def test_a_clock_that_is_set_back_is_believed_after_two_windows(self, clock: Clock, guard: ReplayGuard) -> None:
        guard.admit(request(clock.now, 1.0, id="before"))
        with pytest.raises(Expired, match=r"delayed by about 5\.0 s"):
            guard.admit(request(clock.now - 5, 1.0, id="after"))
        clock.now += 2 * replay.WINDOW_S
        assert guard.admit(request(clock.now - 5, 1.0, id="later")) == 1.0

    def test_the_clocks_that_are_remembered_are_bounded(
        self, clock: Clock, guard: ReplayGuard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replay, "MAX_CLOCKS", 2)
        for number in range(5):
            guard.admit(request(clock.now, id=str(number), sender=str(number)))
        assert len(guard._delays._lows) == 2


@pytest.mark.parametrize("step_s", [-DAY_S, DAY_S])
def test_a_node_whose_clock_is_set_after_its_start_knows_when_it_started(step_s: float) -> None:
    # Given a node that started with a wrong clock
    clock, monotonic = Clock(), Clock()
    guard = ReplayGuard(clock, max_skew_s=10.0, max_ttl_s=3600.0, monotonic=monotonic)

    # When that is set right a minute later
    monotonic.now += 60
    clock.now += 60 + step_s

    # Then what was sent since then is accepted, and what was sent before is not
    guard.admit(request(clock.now - 59, id="since"))
    with pytest.raises(Expired, match=r"^sent 1\.0 s before this node started"):
        guard.admit(request(clock.now - 61, id="before"))
