# SPDX-License-Identifier: Apache-2.0
"""What a filter matches, what it says of itself, and that no filter from the network can stall or break a node."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mco_rpc import filters
from mco_rpc.errors import FilterError
from mco_rpc.filters import (
    MAX_PATTERN_LENGTH,
    OPERATORS,
    FactTerm,
    Filter,
    Subject,
    evaluation,
    fact_term,
    from_options,
    parse_fact,
    patterns,
)

WEB1 = Subject(
    "web1.example.net",
    classes=frozenset({"acme::dev_server", "nginx"}),
    agents=frozenset({"iptables", "rpcutil"}),
    facts={
        "country": "de",
        "cores": 4,
        "load": 0.75,
        "tiny": 0.00001,
        "release": "10",
        "virtual": True,
        "nothing": None,
        "disks": ["sda", "sdb", 7],
        "mounts": {"/": "ext4", "/srv": "xfs"},
        "empty": [],
        "url": "a=b",
    },
)


@pytest.mark.parametrize(
    ("options", "is_match"),
    [
        ({}, True),
        ({"identities": ["web1.example.net"]}, True),
        ({"identities": ["web1"]}, False),
        ({"identities": ["WEB1.example.net"]}, False),
        ({"identities": ["/web\\d/"]}, True),
        ({"identities": ["/^example/"]}, False),
        ({"identities": ["db1", "web1.example.net"]}, True),
        ({"identities": ["web1.example.net", "/db/"]}, True),
        ({"identities": ["/db/", "/mail/"]}, False),
        ({"classes": ["nginx"]}, True),
        ({"classes": ["dev_server"]}, False),
        ({"classes": ["/dev_server/"]}, True),
        ({"classes": ["nginx", "/dev/"]}, True),
        ({"classes": ["nginx", "apache"]}, False),
        ({"classes": ["/^dev_server/"]}, False),
        ({"agents": ["iptables"]}, True),
        ({"agents": ["iptables", "puppet"]}, False),
        ({"agents": ["/^ip/"]}, True),
        ({"classes": ["nginx"], "facts": ["country=de"], "agents": ["rpcutil"], "identities": ["/web/"]}, True),
        ({"classes": ["nginx"], "facts": ["country=fr"], "agents": ["rpcutil"], "identities": ["/web/"]}, False),
        ({"classes": ["apache"], "facts": ["country=de"]}, False),
        ({"classes": ["nginx"], "agents": ["puppet"]}, False),
        ({"classes": ["nginx"], "identities": ["db1"]}, False),
    ],
)
def test_every_kind_must_hold_and_identities_are_alternatives(options: dict[str, list[str]], is_match: bool) -> None:
    assert from_options(**options).matches(WEB1) is is_match


@pytest.mark.parametrize(
    ("fact", "is_match"),
    [
        ("country=de", True),
        ("country==de", True),
        ("country = de", True),
        ("country=d", False),
        ("country!=de", False),
        ("country!=fr", True),
        ("country=/^d/", True),
        ("country=~/^d/", True),
        ("country=~^d", True),
        ("country=/x/", False),
        ("country!=/^d/", True),  # as in MCollective: not a regular expression, and another text
        ("country<e", True),
        ("country>e", False),
        # A fact that is not there, or null, makes every comparison false.
        ("continent=europe", False),
        ("continent!=europe", False),
        ("continent=/.*/", False),
        ("continent>=0", False),
        ("nothing!=x", False),
        ("nothing=/.*/", False),
        # Numbers compare as numbers, whatever they look like.
        ("cores>=4", True),
        ("cores=>4", True),
        ("cores<=4", True),
        ("cores=<4", True),
        ("cores>4", False),
        ("cores<4", False),
        ("cores>=4.0", True),
        ("cores==4.0", True),
        ("cores!=4.0", False),
        ("cores<10", True),
        ("cores>-1", True),
        ("release>9", True),
        ("release>9.5", True),
        ("load<1", True),
        ("load>=0.75", True),
        ("tiny<0.1", True),
        ("cores<1e3", True),
        # One side is no number: both are text.
        ("country>4", True),
        ("cores<x", True),
        ("cores=four", False),
        ("virtual=true", True),
        ("virtual=True", False),
        # A list holds if any element does, a mapping if any key does.
        ("disks=sdb", True),
        ("disks=sdc", False),
        ("disks!=sda", True),
        ("disks=/^sd/", True),
        ("disks>=6", True),
        ("empty!=x", False),
        ("mounts=/srv", True),
        ("mounts=xfs", False),
        ("mounts=/^.srv$/", True),
        ("url=a=b", True),
    ],
)
def test_a_fact_compares_as_mcollective_says_and_numbers_as_numbers(fact: str, is_match: bool) -> None:
    assert from_options(facts=[fact]).matches(WEB1) is is_match


def test_mixed_terms_are_facts_where_they_read_as_facts_and_classes_elsewhere() -> None:
    # Given what a user writes after -W
    made = from_options(mixed=["/dev_server/ country=de", "nginx cores>=4 /a=b/"])

    # Then what has an operator is a fact, unless it is a regular expression
    assert made.classes == ("/dev_server/", "nginx", "/a=b/")
    assert made.facts == (FactTerm("country", "==", "de"), FactTerm("cores", ">=", "4"))


@pytest.mark.parametrize("text", ["", "country", "country=", "=de", "  = x", "country de", "!x", "<=4", "c\n"])
def test_what_is_no_comparison_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(FilterError, match="cannot be understood: expected fact, operator, value as in country=de"):
        parse_fact(text)


@pytest.mark.parametrize(
    "options",
    [
        {"classes": ["/(/"]},
        {"classes": ["/a"]},
        {"classes": ["/"]},
        {"classes": ["//"]},
        {"classes": [""]},
        {"identities": ["/[/"]},
        {"identities": [""]},
        {"agents": ["/*/"]},
        {"facts": ["country=/(/"]},
        {"facts": ["country=~("]},
        {"mixed": ["/(/"]},
        {"classes": [r"/(?=look)ahead/"]},
        {"classes": [r"/(a)\1/"]},
        {"classes": ["/\ud800/"]},
        {"facts": ["country=/" + "a" * (MAX_PATTERN_LENGTH + 1) + "/"]},
    ],
)
def test_what_cannot_be_understood_is_refused_before_it_is_sent(options: dict[str, list[str]]) -> None:
    with pytest.raises(FilterError):
        from_options(**options)


def test_a_refused_expression_is_named_with_its_reason() -> None:
    with pytest.raises(FilterError, match=r"/\(/ cannot be used: missing \).*no look-around"):
        from_options(classes=["/(/"])


def test_an_operator_of_another_protocol_version_is_refused() -> None:
    with pytest.raises(FilterError, match="operator 'like' of fact 'country' is not one of == "):
        Filter(facts=(FactTerm("country", "like", "d%"),)).check()


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){12}$", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_an_expression_made_to_explode_takes_linear_time(pattern: str) -> None:
    # Given a fact that sends a backtracking engine into 2^100,000 steps
    subject = Subject("web1", facts={"text": "a" * 100_000 + "!"})

    # When such an expression is asked about it, then there is an answer at all
    assert from_options(facts=[f"text=/{pattern}/"]).matches(subject) is False


@pytest.mark.parametrize("pattern", ["a" * 10_000, "(" * 10_000, "((a{100}){100}){100}", "a{1,1000}{1,1000}"])
def test_an_expression_too_large_is_refused(pattern: str) -> None:
    with pytest.raises(FilterError):
        Filter(classes=(f"/{pattern}/",)).matches(WEB1)


def test_names_that_are_not_text_match_no_expression() -> None:
    assert not from_options(classes=["/./"]).matches(Subject("web1", classes=frozenset({"\ud800"})))
    assert not from_options(facts=["x=/./"]).matches(Subject("web1", facts={"x": "\ud800"}))


@pytest.mark.parametrize(
    ("left", "operator", "right"),
    [
        ("9" * 300, "<", "1" + "0" * 299),
        ("9" * 5000, "<", "1"),
        ("1e999", ">", "2"),
        ("1" * 301, "==", "1" * 301 + ".0"),
    ],
)
def test_huge_numbers_break_nothing(left: str, operator: str, right: str) -> None:
    Filter(facts=(FactTerm("n", operator, right),)).matches(Subject("web1", facts={"n": left}))


def test_a_large_integer_is_not_rounded() -> None:
    subject = Subject("web1", facts={"serial": 2**63 + 1})
    assert from_options(facts=[f"serial>{2**63}"]).matches(subject)
    assert not from_options(facts=[f"serial={2**63}"]).matches(subject)


def test_merging_asks_for_everything_once() -> None:
    one = from_options(classes=["nginx"], facts=["country=de"], identities=["web1"])
    other = from_options(classes=["nginx", "/dev/"], facts=["country=de", "cores>2"], agents=["iptables"])

    merged = one.merged(other)

    assert merged == Filter(
        identities=("web1",),
        classes=("nginx", "/dev/"),
        facts=(FactTerm("country", "==", "de"), FactTerm("cores", ">", "2")),
        agents=("iptables",),
    )
    assert one.merged(Filter()) == one


def test_a_filter_says_what_it_asks_for() -> None:
    assert str(Filter()) == "every node"
    assert not Filter()
    made = from_options(identities=["web1"], classes=["/dev/"], facts=["a=/x/", "b!=2"], agents=["iptables"])
    assert str(made) == "identity=web1, class=/dev/, fact a=/x/, fact b!=2, agent=iptables"
    for part in ("identities", "classes", "facts", "agents"):
        assert Filter(**{part: getattr(made, part)})


# Properties

FACT_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.:]{0,20}", fullmatch=True)
FACT_VALUES = st.text(min_size=1, max_size=30).filter(lambda text: text == text.strip())
NAMES = st.from_regex(r"[a-z][a-z0-9_:.]{0,8}", fullmatch=True)


def _is_slashed(value: str) -> bool:
    return len(value) > 2 and value[0] == value[-1] == "/"


@given(FACT_NAMES, st.sampled_from([o for o in OPERATORS if o != "=~"]), FACT_VALUES)
@example("a", "==", "=b")
@example("a", "==", "~b")
@example("a", "<", "=3")
@example("a", ">", "=")
@example("a", "==", ">3")
@example("a", "==", "//")
def test_a_printed_comparison_reads_as_itself(fact: str, operator: str, value: str) -> None:
    if operator == "==" and _is_slashed(value):
        return
    term = fact_term(fact, operator, value)
    assert parse_fact(str(term)) == term


@given(FACT_NAMES, st.from_regex(r"[a-z0-9.^$*/]{1,10}", fullmatch=True))
def test_a_printed_expression_reads_as_itself(fact: str, pattern: str) -> None:
    try:
        term = fact_term(fact, "=~", f"/{pattern}/")
    except FilterError:
        return
    assert parse_fact(str(term)) == term


@given(st.text(max_size=60))
@example("a" * 3 + "=" + " " * 100 + "b")
def test_any_text_is_a_fact_or_an_error_of_ours(text: str) -> None:
    try:
        term = parse_fact(text)
    except FilterError:
        return
    assert term.matches({term.fact: "x"}) in (True, False)


@given(st.lists(st.text(alphabet=st.characters(), max_size=20), max_size=4))
@example(["\ud800", "/\udfff/"])
def test_any_names_are_a_filter_or_an_error_of_ours(names: list[str]) -> None:
    try:
        made = from_options(identities=names, classes=names, agents=names)
    except FilterError:
        return
    assert made.matches(WEB1) in (True, False)


SUBJECTS = st.builds(
    Subject,
    identity=NAMES,
    classes=st.frozensets(NAMES, max_size=3),
    agents=st.frozensets(NAMES, max_size=3),
    facts=st.dictionaries(NAMES, st.one_of(NAMES, st.integers(), st.lists(NAMES, max_size=2)), max_size=3),
)
FILTERS = st.builds(
    Filter,
    identities=st.lists(NAMES, max_size=2).map(tuple),
    classes=st.lists(st.one_of(NAMES, NAMES.map("/{}/".format)), max_size=2).map(tuple),
    facts=st.lists(st.builds(FactTerm, NAMES, st.sampled_from(OPERATORS), NAMES), max_size=2).map(tuple),
    agents=st.lists(NAMES, max_size=2).map(tuple),
)


@given(FILTERS, SUBJECTS)
def test_a_filter_matches_what_all_its_parts_match(made: Filter, subject: Subject) -> None:
    parts: list[Filter] = [Filter(classes=(name,)) for name in made.classes]
    parts += [Filter(agents=(name,)) for name in made.agents]
    parts += [Filter(facts=(term,)) for term in made.facts]
    identities = [Filter(identities=(name,)) for name in made.identities]

    is_named = not identities or any(part.matches(subject) for part in identities)

    assert made.matches(subject) is (is_named and all(part.matches(subject) for part in parts))


@given(FILTERS, FILTERS, SUBJECTS)
def test_a_merged_filter_never_matches_more_unless_it_names_more(one: Filter, other: Filter, subject: Subject) -> None:
    if not (one.identities and other.identities) and one.merged(other).matches(subject):
        assert one.matches(subject)
        assert other.matches(subject)


@given(FILTERS)
def test_a_filter_survives_the_wire(made: Filter) -> None:
    assert msgspec.json.decode(msgspec.json.encode(made), type=Filter) == made


@given(st.dictionaries(st.sampled_from(["facts", "classes", "identities", "agents", "compound"]), st.text()))
def test_a_filter_from_the_wire_is_typed(plain: dict[str, Any]) -> None:
    if plain:
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(msgspec.json.encode(plain), type=Filter)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (filters.Filter(classes=tuple(f"/{n}/" for n in range(65))), "65 regular expressions; at most 64 "),
        (
            filters.Filter(facts=tuple(filters.FactTerm("a", "=~", str(n)) for n in range(65))),
            "65 regular expressions; at most 64 ",
        ),
        (filters.Filter(agents=tuple(f"/{n}{'x' * 900}/" for n in range(10))), "expressions of 9030 characters in all"),
        (filters.Filter(identities=tuple(f"n{n}" for n in range(10_001))), "10001 terms; at most 10000 "),
    ],
)
def test_a_filter_that_asks_for_too_much_is_refused_before_any_of_it_is_compiled(
    made: filters.Filter, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "compiled", lambda pattern: pytest.fail(f"compiled {pattern}"))
    with pytest.raises(FilterError, match=why):
        made.check()


def test_a_filter_at_its_limits_is_used_and_compiled_once() -> None:
    made = filters.Filter(
        identities=tuple(f"n{n}" for n in range(9_936)), classes=tuple(f"/once{n}|x/" for n in range(64))
    )
    before = patterns.compiled.cache_info().misses
    assert made.check().matches(filters.Subject("n7", frozenset({"x"})))
    assert patterns.compiled.cache_info().misses - before == 64


@pytest.mark.parametrize(
    "made",
    [
        filters.Filter(identities=("web1", "web2")),
        filters.Filter(classes=("web",)),
        filters.Filter(agents=("rpcutil",)),
        filters.Filter(facts=(filters.FactTerm("country", "==", "de"),)),
        filters.Filter(compound=(filters.Or((filters.Class("db"), filters.Fact("country", "==", "de"))),)),
    ],
    ids=str,
)
def test_a_filter_that_takes_too_long_to_compare_is_given_up(
    made: filters.Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a node that the filter is for, and a clock on which each comparison takes a while
    subject = filters.Subject("web2", frozenset({"web"}), frozenset({"rpcutil"}), {"country": "de"})
    assert made.check().matches(subject)
    monkeypatch.setattr(evaluation, "MAX_COMPARING_S", -1.0)

    # When it is asked again, then it is neither matched nor passed over
    with pytest.raises(FilterError, match="it takes more than -1 s to compare with what this node has"):
        made.matches(subject)


def test_the_time_that_a_data_source_takes_is_its_own() -> None:
    # Given somebody who has compared for 0.1 s, and then asks a source for ten minutes
    now = iter((0.0, 0.1, 600.1, 600.4, 600.7))
    patience = evaluation.Patience(lambda: next(now))
    assert patience.asking(lambda source, arguments: {source: arguments}, "slow", ("a",)) == {"slow": ("a",)}

    # When it has compared for 0.3 s more, then some time is left; and after as much again none
    patience.check()
    with pytest.raises(FilterError, match="it takes more than"):
        patience.check()


@pytest.mark.parametrize(
    "made",
    [
        filters.Filter(facts=tuple(filters.FactTerm("packages", ">=", f"p{n:05}") for n in range(10_000))),
        filters.Filter(compound=(filters.Or(tuple(filters.Fact("digits", "==", f"8{n}") for n in range(1_900))),)),
        filters.Filter(
            compound=(filters.Or(tuple(filters.Fact("text", "=~", f"((a{{30}}){{30}}b)c{n}") for n in range(64))),)
        ),
    ],
    ids=["many terms on a long list", "long numbers", "expressions without an end in sight"],
)
def test_no_filter_keeps_a_node_busy_for_long(made: filters.Filter) -> None:
    facts = {"packages": [f"p{n:05}" for n in range(10_000)], "digits": ["9" * 300] * 2_000, "text": "a" * 100_000}
    with pytest.raises(FilterError, match=r"it takes more than 0\.5 s to compare"):
        made.check().matches(filters.Subject("web1", facts=facts))
