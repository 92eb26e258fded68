# SPDX-License-Identifier: Apache-2.0
"""Results are judged in one place: absence is failure, and every node that is wrong is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mco_client.results import Result, Results
from mco_rpc.errors import ExpectationFailed
from mco_rpc.status import Status


def ok(sender: str, **data: Any) -> Result:
    return Result(sender, Status.OK, data=data)


def failed(sender: str, status: int, message: str, **data: Any) -> Result:
    return Result(sender, status, message, data)


def results(*answers: Result, expected: tuple[str, ...] | None = None, **fields: Any) -> Results:
    asked = tuple(answer.sender for answer in answers) if expected is None else expected
    return Results("iptables", "isblocked", asked, answers, **fields)


class TestResult:
    def test_an_ok_answer_is_ok(self) -> None:
        assert ok("web1").is_ok
        assert ok("web1").status_text == "ok"

    @pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
    def test_every_other_status_is_not(self, status: Status) -> None:
        result = failed("web1", status, "no")
        assert not result.is_ok
        assert result.status_text == status.text

    def test_a_status_of_a_later_version_is_kept_and_not_ok(self) -> None:
        result = failed("web1", 99, "no")
        assert not result.is_ok
        assert result.status_text == "status 99"

    @pytest.mark.parametrize(
        ("data", "wanted", "has"),
        [
            ({"blocked": True}, {"blocked": True}, True),
            ({"blocked": True, "rule": "10.0.0.0/8"}, {"blocked": True}, True),
            ({"blocked": False}, {"blocked": True}, False),
            ({}, {"blocked": True}, False),
            ({}, {"blocked": None}, False),
            ({}, {"blocked": False}, False),
            ({"blocked": None}, {"blocked": None}, True),
            ({"blocked": None}, {"blocked": False}, False),
            ({"blocked": "true"}, {"blocked": True}, False),
            ({"blocked": 1}, {"blocked": True}, False),
            ({"blocked": 0}, {"blocked": False}, False),
            ({"running": True}, {"running": 1}, False),
            ({"running": 1}, {"running": 1.0}, True),
            ({"all": [1, 0]}, {"all": [True, False]}, False),
            ({"all": [True, False]}, {"all": [True, False]}, True),
            ({"all": [True]}, {"all": [True, True]}, False),
            ({"all": [True]}, {"all": (True,)}, True),
            ({"by": {"web1": {"up": 1}}}, {"by": {"web1": {"up": True}}}, False),
            ({"by": {"web1": {"up": True}}}, {"by": {"web1": {"up": True}}}, True),
            ({"by": {"web1": 1}}, {"by": {"web1": 1, "web2": 1}}, False),
            ({"by": {"web1": 1}}, {"by": {"web2": 1}}, False),
            ({"by": ["web1"]}, {"by": {"web1": 1}}, False),
            ({"blocked": True, "rule": "a"}, {"blocked": True, "rule": "b"}, False),
        ],
    )
    def test_has_compares_values_and_kinds(self, data: Mapping[str, Any], wanted: dict[str, Any], has: bool) -> None:
        assert ok("web1", **data).has(**wanted) is has

    def test_an_answer_that_failed_has_nothing_whatever_its_data_say(self) -> None:
        assert not failed("web1", Status.ABORTED, "no", blocked=True).has(blocked=True)
        assert not failed("web1", Status.ABORTED, "no").has()


class TestSequence:
    def test_it_is_a_sequence_of_the_answers(self) -> None:
        first, second = ok("web1"), ok("web2")
        seen = results(first, second)
        assert len(seen) == 2
        assert list(seen) == [first, second]
        assert (seen[0], seen[-1], seen[:1]) == (first, second, (first,))
        assert seen.by_node() == {"web1": first, "web2": second}

    def test_counting_one_answer_is_the_sequence_s_count(self) -> None:
        first = ok("web1")
        seen = results(first, ok("web2"))
        assert seen.count(first) == 1
        assert seen.count(None) == 0


class TestCounting:
    def test_only_successful_answers_count(self) -> None:
        # Given one node that is blocked, one that is not, one that failed and claims it all the same
        seen = results(ok("web1", blocked=True), ok("web2", blocked=False), failed("web3", 5, "x", blocked=True))
        # Then the failed one counts nowhere
        assert seen.count(blocked=True) == 1
        assert seen.count(blocked=False) == 1
        assert [result.sender for result in seen.where(blocked=True)] == ["web1"]
        assert [result.sender for result in seen.where()] == ["web1", "web2"]

    def test_a_number_is_no_yes(self) -> None:
        seen = results(ok("web1", running=1), ok("web2", running=True))
        assert seen.count(running=True) == 1
        assert seen.count(running=1) == 1

    @pytest.mark.parametrize("name", ["value", "result", "values"])
    def test_an_output_of_any_name_can_be_counted(self, name: str) -> None:
        # rpcutil's get_fact has an output called "value": a count that misses it makes "fewer than" green.
        seen = results(ok("web1", **{name: "de"}), ok("web2", **{name: "fr"}))
        assert seen.count(**{name: "de"}) == 1

    def test_missing_offline_and_lost_nodes_count_nowhere_but_are_known(self) -> None:
        seen = results(
            ok("web1"), expected=("web10", "web3", "web2", "web1"), offline=("web2",), lost=("web3",)
        )  # fmt: skip
        assert seen.missing == ["web2", "web3", "web10"]
        assert seen.silent == ["web10"]
        assert seen.count() == 1

    def test_failures_are_sorted_by_kind(self) -> None:
        seen = results(ok("a"), failed("b", Status.DENIED, "no"), failed("c", Status.TIMED_OUT, "slow"))
        assert [result.sender for result in seen.failed] == ["b", "c"]
        assert seen.denied == ["b"]
        assert seen.timed_out == ["c"]


class TestRequireAll:
    def test_everybody_as_asked_is_fine(self) -> None:
        seen = results(ok("web1", blocked=True), ok("web2", blocked=True))
        assert seen.require_all(blocked=True) is seen
        assert seen.require_ok() is seen

    @pytest.mark.parametrize(
        ("seen", "values", "message"),
        [
            pytest.param(results(), {}, "no node was asked", id="nobody was asked"),
            pytest.param(
                results(ok("web2", blocked=True), ok("web1", blocked=False)), {"blocked": True},
                "not blocked on 1 of 2: web1", id="one of two",
            ),
            pytest.param(
                results(ok("web1", blocked=False), ok("web2", blocked=True)), {"blocked": True},
                "not blocked on 1 of 2: web1", id="the first one: the last reply does not decide",
            ),
            pytest.param(
                results(ok("web1", blocked=True)), {"blocked": False},
                "blocked on 1 of 1: web1", id="the other way round",
            ),
            pytest.param(
                results(ok("web10", blocked=False), ok("web2", blocked=False)), {"blocked": True},
                "not blocked on 2 of 2: web2, web10", id="all of them, in order",
            ),
            pytest.param(
                results(ok("web10", n=3), ok("web2", n="x"), ok("web1", n=2)), {"n": 2},
                "n is not 2 on 2 of 3: web2 ('x'), web10 (3)", id="other values are shown",
            ),
            pytest.param(
                results(ok("web1", n=True)), {"n": 1}, "n is not 1 on 1 of 1: web1 (True)", id="a yes is no number",
            ),
            pytest.param(
                results(ok("web1", blocked=1)), {"blocked": True},
                "blocked is not True on 1 of 1: web1 (1)", id="a number is no yes",
            ),
            pytest.param(
                results(ok("web1")), {"blocked": True}, "blocked is not True on 1 of 1: web1 (None)", id="no output",
            ),
            pytest.param(
                results(ok("web1", a=1, b=2), ok("web2", a=2, b=2)), {"a": 1, "b": 1},
                "a is not 1 on 1 of 2: web2 (2); b is not 1 on 2 of 2: web1 (2), web2 (2)", id="two outputs",
            ),
            pytest.param(
                results(ok("web1", n="x" * 1000)), {"n": 2},
                f"n is not 2 on 1 of 1: web1 ('{'x' * 299}... (1002 characters))", id="a long value is cut",
            ),
            pytest.param(
                results(ok("web1", n="\x1b[2J")), {"n": 2},
                "n is not 2 on 1 of 1: web1 ('\\x1b[2J')", id="no command reaches the terminal",
            ),
            pytest.param(
                results(failed("web1", 6, "not you"), failed("web3", 6, "not you"), failed("web2", 99, "?\nx")), {},
                "web1, web3: denied: not you; web2: status 99: ?\\nx", id="equal reasons together",
            ),
            pytest.param(
                results(ok("web1", blocked=True), expected=("web1", "web2"), timeout_s=5.0), {"blocked": True},
                "no reply within 5 s from 1 of 2: web2", id="somebody silent",
            ),
            pytest.param(
                results(expected=("web1", "web2")), {}, "no reply from 2 of 2: web1, web2", id="everybody silent",
            ),
            pytest.param(
                results(ok("web1"), expected=("web1", "web2"), offline=("web2",)), {},
                "offline, 1 of 2: web2", id="offline",
            ),
            pytest.param(
                results(ok("web1"), expected=("web1", "web2"), lost=("web2",)), {},
                "went away after they were asked, 1 of 2: web2", id="lost",
            ),
            pytest.param(
                results(ok("web1", blocked=True), unverified={"b\x1b": "forged\n", "a": "x"}), {"blocked": True},
                "answered, but not believed: a (x), b\\x1b (forged\\n)", id="an answer that is not believed",
            ),
            pytest.param(
                results(unverified={"a": "x"}), {}, "answered, but not believed: a (x)", id="only not believed",
            ),
            pytest.param(
                results(
                    ok("a", blocked=False), failed("b", 7, "slow"), expected=tuple("abcde"), offline=("c",),
                    lost=("d",), unverified={"f": "forged"}, timeout_s=0.5,
                ),
                {"blocked": True},
                "not blocked on 1 of 5: a; b: timed out: slow; no reply within 0.5 s from 1 of 5: e; "
                "offline, 1 of 5: c; went away after they were asked, 1 of 5: d; "
                "answered, but not believed: f (forged)",
                id="everything at once",
            ),
        ],
    )  # fmt: skip
    def test_whatever_is_missing_or_wrong_is_said(self, seen: Results, values: dict[str, Any], message: str) -> None:
        with pytest.raises(ExpectationFailed) as told:
            seen.require_all(**values)
        assert str(told.value) == f"iptables#isblocked: {message}"

    def test_an_unexpected_answer_takes_no_part(self) -> None:
        # Given a node that was not asked, and whose answer is as wanted or not
        for blocked in (True, False):
            seen = results(ok("web1", blocked=True), unexpected=(ok("web2", blocked=blocked),))
            # Then it neither helps nor harms
            seen.require_all(blocked=True)
            assert seen.count(blocked=True) == 1
        with pytest.raises(ExpectationFailed, match="no reply from 1 of 1: web1"):
            results(expected=("web1",), unexpected=(ok("web2"),)).require_ok()

    def test_it_fails_as_an_assertion_does(self) -> None:
        # So that test runners tell a failure from an error.
        with pytest.raises(AssertionError):
            results().require_ok()

    @given(
        st.lists(st.sampled_from(["yes", "no", "failed", "silent", "offline", "lost", "unverified", "one"]), max_size=6)
    )
    def test_it_passes_exactly_if_every_node_succeeded_as_asked(self, fates: list[str]) -> None:
        # Given any mixture of fates
        nodes = {f"n{number}": fate for number, fate in enumerate(fates)}
        made = {
            "yes": lambda node: ok(node, blocked=True),
            "no": lambda node: ok(node, blocked=False),
            "one": lambda node: ok(node, blocked=1),
            "failed": lambda node: failed(node, 5, "x", blocked=True),
        }
        seen = results(
            *(made[fate](node) for node, fate in nodes.items() if fate in made),
            expected=tuple(nodes),
            offline=tuple(node for node, fate in nodes.items() if fate == "offline"),
            lost=tuple(node for node, fate in nodes.items() if fate == "lost"),
            unverified={node: "forged" for node, fate in nodes.items() if fate == "unverified"},
        )
        # When all are required to be blocked
        try:
            seen.require_all(blocked=True)
            passed, told = True, ""
        except ExpectationFailed as e:
            passed, told = False, str(e)
        # Then only a fleet of which each said yes passes, and each other node is named
        assert passed == (bool(fates) and set(fates) == {"yes"})
        assert all(node in told for node, fate in nodes.items() if fate != "yes")
