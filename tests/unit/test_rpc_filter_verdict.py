# SPDX-License-Identifier: Apache-2.0
"""Why a filter matches a node or does not, and what it means in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given

from mco_rpc.errors import FilterError
from mco_rpc.filters import Class, FactTerm, Filter, Not, Subject, from_options
from mco_rpc.filters.verdict import MAX_FINDINGS, Finding, Verdict, explain
from mco_rpc.filters.words import in_words
from tests.unit.test_rpc_filter_language import SMALL_FILTERS, SUBJECTS


def data(source: str, arguments: tuple[str, ...]) -> Mapping[str, Any]:
    if source != "s":
        raise FilterError(f"there is no data source {source}")
    return {"size": 5, "text": "x" * 1000, "none": None}


WEB1 = Subject(
    "web1",
    classes=frozenset({"web", "acme::dev_server"}),
    agents=frozenset({"rpcutil"}),
    facts={"country": "de", "cores": 4, "disks": ["sda", "sdb"], "long": "y" * 1000, "null": None},
    data=data,
)


def rows(made: Verdict) -> list[tuple[int, str, str, bool | None, bool, str]]:
    return [(f.depth, f.kind, f.text, f.held, f.decided, f.seen) for f in made.findings]


def test_a_verdict_names_every_term_what_was_seen_and_which_decided() -> None:
    made = explain(from_options(compound=["country=fr and (cores>=4 or not /web/) or no"]), WEB1)

    assert not made.matches
    assert rows(made) == [
        (0, "or", "at least one of", False, True, ""),
        (1, "and", "all of", False, True, ""),
        (2, "fact", "country=fr", False, True, '"de"'),
        (2, "or", "at least one of", True, False, ""),
        (3, "fact", "cores>=4", True, False, "4"),
        (3, "not", "not", False, False, ""),
        (4, "class", "/web/", True, False, "web"),
        (1, "class", "no", False, True, "classes: acme::dev_server, web"),
    ]


def test_a_match_is_decided_by_what_holds() -> None:
    made = explain(
        from_options(identities=["web1", "db1"], classes=["web"], facts=["cores>3"], agents=["rpcutil"]), WEB1
    )

    assert made.matches
    assert rows(made) == [
        (0, "and", "all of", True, True, ""),
        (1, "or", "at least one of", True, True, ""),
        (2, "identity", "identity('web1')", True, True, "web1"),
        (2, "identity", "identity('db1')", False, False, "web1"),
        (1, "class", "web", True, True, "web"),
        (1, "agent", "agent('rpcutil')", True, True, "rpcutil"),
        (1, "fact", "cores>3", True, True, "4"),
    ]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("contry=de", "no such fact, did you mean country?"),
        ("zzz!=de", "no such fact"),
        ("null!=x", "null, which counts as no such fact"),
        ("disks=sda", '["sda", "sdb"]'),
        ("long=y", '"' + "y" * 199 + "..."),
        ("/./", "acme::dev_server, web"),
        ("agent(x)", "agents: rpcutil"),
        ("s('a').size=5", "5"),
        ("s('a').none=5", "null"),
        ("s('a').text=5", '"' + "x" * 199 + "..."),
    ],
)
def test_what_was_seen_is_told_briefly(text: str, seen: str) -> None:
    assert explain(from_options(compound=[text]), WEB1).findings[-1].seen == seen


def test_a_node_without_classes_says_so() -> None:
    assert explain(from_options(classes=["a"]), Subject("x")).findings[0].seen == "it has no class"


def test_what_was_not_needed_is_not_asked() -> None:
    made = explain(from_options(compound=["no and (s('a').size=5 or not t('b').c)"]), WEB1)
    assert not made.matches
    assert made.error == ""
    assert [(f.text, f.held, f.decided, f.seen) for f in made.findings if f.kind in ("class", "data")] == [
        ("no", False, True, "classes: acme::dev_server, web"),
        ("s('a').size=5", None, False, "not asked"),
        ("t('b').c=true", None, False, "not asked"),
    ]
    assert [f.held for f in made.findings if f.kind in ("or", "not")] == [None, None]


def test_a_source_that_cannot_say_is_in_the_verdict_and_never_a_match() -> None:
    made = explain(from_options(compound=["not t('b').c or country=fr"]), WEB1)
    assert not made.matches
    assert made.error == "there is no data source t"
    assert [f.seen for f in made.findings if f.decided] == ["there is no data source t"]

    def check(names: Any) -> None:
        raise FilterError(f"none of {sorted(names)}")

    made = explain(from_options(compound=["web or t('b').c"]), Subject("w", frozenset({"web"}), check_sources=check))
    assert (made.matches, made.error) == (False, "none of ['t']")


def test_an_empty_filter_matches_and_has_nothing_to_tell() -> None:
    assert explain(Filter(), WEB1) == Verdict(matches=True)


def test_a_filter_that_cannot_be_understood_is_an_error() -> None:
    for wrong in (Filter(classes=("/(/",)), Filter(compound=(Class(""),)), Filter(facts=(FactTerm("a", "?", "b"),))):
        with pytest.raises(FilterError):
            explain(wrong, WEB1)


def test_a_long_filter_has_a_short_verdict() -> None:
    made = explain(Filter(identities=tuple(f"n{n}" for n in range(2_000))), WEB1)
    assert not made.matches
    assert len(made.findings) == MAX_FINDINGS
    assert made.omitted == 2_001 - MAX_FINDINGS
    assert len(json.dumps(made.to_json())) < 200_000


def test_few_missing_facts_get_a_suggestion() -> None:
    made = explain(Filter(facts=tuple(FactTerm(f"contry{n}", "==", "x") for n in range(40))), WEB1)
    assert sum("did you mean" in finding.seen for finding in made.findings) == 10


@pytest.mark.parametrize(
    "plain",
    [
        None,
        "x",
        {},
        {"matches": "yes"},
        {"matches": True, "findings": [{}]},
        {"matches": True, "findings": [{"depth": -1, "kind": "or", "text": ""}]},
        {"matches": True, "findings": [{"depth": 10**9, "kind": "or", "text": ""}]},
        {"matches": True, "findings": [{"depth": 0, "kind": "or", "text": ""}] * (MAX_FINDINGS + 1)},
    ],
)
def test_what_a_node_sends_is_checked(plain: Any) -> None:
    with pytest.raises(FilterError, match="not a verdict on a filter"):
        Verdict.from_json(plain)


@given(SMALL_FILTERS, SUBJECTS)
def test_an_explanation_comes_to_what_the_filter_says_and_survives_the_wire(made: Filter, subject: Subject) -> None:
    verdict = explain(made, subject)
    assert verdict.error == ""
    assert verdict.matches is made.matches(subject)
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict
    if verdict.findings:
        assert verdict.findings[0].held is verdict.matches
        assert any(finding.decided for finding in verdict.findings if finding.kind not in ("and", "or", "not"))


@given(SMALL_FILTERS, SUBJECTS)
def test_a_filter_that_is_denied_is_decided_by_the_same_terms(made: Filter, subject: Subject) -> None:
    tree = made.tree()
    if tree is not None:

        def deciding(verdict: Verdict) -> list[str]:
            return [f.text for f in verdict.findings if f.decided and f.kind not in ("and", "or", "not")]

        denied = explain(Filter(compound=(Not(tree),)), subject)
        assert deciding(denied) == deciding(explain(Filter(compound=(tree,)), subject))


# In words


def test_a_filter_in_words() -> None:
    made = from_options(
        identities=["web1", "/^db/"],
        classes=["a", "/b/"],
        agents=["x", "/y/"],
        facts=["country=de", "os!=win", "kernel=/^6/", "cores>=4", "name<m"],
        compound=["not country=de or s('q').size>1 and not (a or b)"],
    )
    assert in_words(made) == [
        "A node matches if all of these hold:",
        "  - at least one of these holds:",
        "    - its identity is web1",
        "    - its identity matches /^db/",
        "  - it has the class a",
        "  - it has a class that matches /b/",
        "  - it offers the agent x",
        "  - it offers an agent that matches /y/",
        "  - its fact country is de",
        "  - its fact os is there and is not win",
        "  - its fact kernel matches /^6/",
        "  - its fact cores is at least 4 (as a number)",
        "  - its fact name is less than m (in the order of the alphabet)",
        "  - at least one of these holds:",
        "    - this does not hold (nodes without the fact count, too):",
        "      - its fact country is de",
        "    - all of these hold:",
        "      - s('q') says that size is greater than 1 (as a number)",
        "      - this does not hold:",
        "        - at least one of these holds:",
        "          - it has the class a",
        "          - it has the class b",
    ]


def test_a_filter_of_one_term_or_none_in_words() -> None:
    assert in_words(from_options(classes=["web"])) == ["A node matches if it has the class web."]
    assert in_words(Filter()) == ["Every node matches: the filter asks for nothing."]


@given(SMALL_FILTERS)
def test_every_term_of_a_filter_is_in_the_words(made: Filter) -> None:
    tree = made.tree()
    findings: tuple[Finding, ...] = explain(made, Subject("x", data=lambda *_: dict.fromkeys("abc"))).findings
    assert len(in_words(made)) == (1 if tree is None else len(findings))
