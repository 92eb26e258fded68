# SPDX-License-Identifier: Apache-2.0
"""The numbers of a call, under MCollective's names."""

from __future__ import annotations

from mco_client.results import Result, Results
from mco_client.stats import Stats
from mco_rpc.status import Status


def test_it_counts_what_came_and_names_who_did_not_answer() -> None:
    # Given a call with every fate
    results = Results(
        "rpcutil",
        "ping",
        expected=("a", "b", "c", "d", "e", "f", "g"),
        answers=(
            Result("a", 0, schema="d1", attempt=2),
            Result("b", Status.DENIED),
            Result("c", Status.TIMED_OUT),
            Result("d", 99),
        ),
        offline=("e",),
        lost=("f",),
        unexpected=(Result("z", 0),),
        unverified={"y": "forged"},
        unverified_more=5,
        untouched=("g",),
        left_out=("h",),
        stopped="too many failed",
    )
    # When it is counted
    stats = Stats(requestid="1", discovered=7)
    stats.take(results)
    # Then each is in its place
    assert stats.to_dict() == {
        "requestid": "1",
        "starttime": 0.0,
        "discoverytime": 0.0,
        "blocktime": 0.0,
        "totaltime": 0.0,
        "discovered": 7,
        "discovered_nodes": [],
        "responses": 4,
        "okcount": 1,
        "failcount": 3,
        "responsesfrom": ["a", "b", "c", "d"],
        "noresponsefrom": ["e", "f", "g"],
        "unexpectedresponsefrom": ["z"],
        "offline": ["e"],
        "lost": ["f"],
        "denied": ["b"],
        "timed_out": ["c"],
        "unverified": {"y": "forged"},
        "unverified_more": 5,
        "source": "",
        "absent": {},
        "late": {},
        "retried": ["a"],
        "untouched": ["g"],
        "left_out": ["h"],
        "stopped": "too many failed",
        "schemas": {"d1": ["a"]},
        "aggregate_summary": [],
        "aggregate_failures": [],
    }


def test_two_of_them_share_nothing() -> None:
    first = Stats()
    first.denied.append("a")
    assert Stats().denied == []
