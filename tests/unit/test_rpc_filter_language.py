# SPDX-License-Identifier: Apache-2.0
"""The language of compound expressions: what it reads as, what it says of mistakes, and that its trees are limited."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mco_rpc import filters
from mco_rpc.errors import FilterError, MessageError
from mco_rpc.filters import (
    MAX_DEPTH,
    OPERATORS,
    And,
    Class,
    Data,
    Fact,
    Filter,
    Identity,
    Not,
    Offers,
    Or,
    Subject,
    Term,
    from_options,
    parse,
    patterns,
)
from mco_rpc.filters.parser import MAX_EXPRESSION_LENGTH
from mco_rpc.messages import Request, decode_request, encode

A, B, C = Class("a"), Class("b"), Class("c")
DE = Fact("country", "==", "de")


def data(field: str, operator: str, value: str, *arguments: str, source: str = "fstat") -> Data:
    return Data(source, arguments, field, operator, value)


# Reading


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a", A),
        ("  a\n", A),
        ("/a.b/", Class("/a.b/")),
        ("acme::dev_server", Class("acme::dev_server")),
        ("country=de", DE),
        ("country==de", DE),
        ("country = de", DE),
        ("country!=de", Fact("country", "!=", "de")),
        ("country=/^d/", Fact("country", "=~", "^d")),
        ("country=~/^d/", Fact("country", "=~", "^d")),
        ("country=~^d", Fact("country", "=~", "^d")),
        ("country=~'a b'", Fact("country", "=~", "a b")),
        ("cores>=4", Fact("cores", ">=", "4")),
        ("cores=>4", Fact("cores", ">=", "4")),
        ("cores=<4", Fact("cores", "<=", "4")),
        ("cores<4", Fact("cores", "<", "4")),
        ("cores>-1", Fact("cores", ">", "-1")),
        ("url=a=b&c", Fact("url", "==", "a=b&c")),
        # not, then and, then or
        ("a and b or c", Or((And((A, B)), C))),
        ("a or b and c", Or((A, And((B, C))))),
        ("a and b and c", And((A, B, C))),
        ("a and (b and c)", And((A, And((B, C))))),
        ("not a and b", And((Not(A), B))),
        ("not (a and b)", Not(And((A, B)))),
        ("!a or b", Or((Not(A), B))),
        ("! a and !b", And((Not(A), Not(B)))),
        ("!!a", Not(Not(A))),
        ("not not a", Not(Not(A))),
        ("not(a)and(b)", And((Not(A), B))),
        ("((a))", A),
        # a regular expression may stand before a parenthesis, hold parentheses, blanks and slashes
        ("(/a/)", Class("/a/")),
        ("(country=/a/ or b)", Or((Fact("country", "=~", "a"), B))),
        ("!(/^(a|b)/)", Not(Class("/^(a|b)/"))),
        ("os=/Red Hat/ and a", And((Fact("os", "=~", "Red Hat"), A))),
        ("path=/usr/lib/", Fact("path", "=~", "usr/lib")),
        (r"path=/a\/b/", Fact("path", "=~", r"a\/b")),
        # quotes
        ("os='Red Hat'", Fact("os", "==", "Red Hat")),
        ('os="(a)"', Fact("os", "==", "(a)")),
        ("os='/x/'", Fact("os", "==", "/x/")),
        ("os='and'", Fact("os", "==", "and")),
        (r"os='it\'s'", Fact("os", "==", "it's")),
        (r"path='C:\Temp\\x'", Fact("path", "==", r"C:\Temp\x")),
        ("os=''", Fact("os", "==", "")),
        ("'my fact'=1", Fact("my fact", "==", "1")),
        ("'a b'", Class("a b")),
        ("'/a b and c/'", Class("/a b and c/")),
        # words of the language are names where they do not stand alone
        ("android and ornate or nothing", Or((And((Class("android"), Class("ornate"))), Class("nothing")))),
        ("a=android", Fact("a", "==", "android")),
        ("and=1", Fact("and", "==", "1")),
        ("not-a", Class("not-a")),
        ("AND", Class("AND")),
        # data sources
        ("fstat('/etc/hosts').size>0", data("size", ">", "0", "/etc/hosts")),
        ('fstat("/etc/hosts").md5=/baa37/', data("md5", "=~", "baa37", "/etc/hosts")),
        ("fstat(/etc/hosts).present", data("present", "==", "true", "/etc/hosts")),
        ("puppet().enabled=false", data("enabled", "==", "false", source="puppet")),
        ("!puppet().enabled", Not(data("enabled", "==", "true", source="puppet"))),
        ("x('a', \"b c\", d).e != 'f g'", data("e", "!=", "f g", "a", "b c", "d", source="x")),
        ("x(')').e=1 and a", And((data("e", "==", "1", ")", source="x"), A))),
        # what other options ask for
        ("identity(web1)", Identity("web1")),
        ("identity('/^web/')", Identity("/^web/")),
        ("agent(/^ip/)", Offers("/^ip/")),
        ("agent('x').version=1.0", data("version", "==", "1.0", "x", source="agent")),
        ("class('a')", A),
    ],
)
def test_an_expression_reads_as_its_tree_and_is_printed_so_that_it_does_again(text: str, tree: Term) -> None:
    assert parse(text) == tree
    assert parse(str(tree)) == tree


def test_the_rule_of_a_released_policy_reads_as_its_author_meant_it() -> None:
    assert parse("(puppet().enabled=false and environment=production) or environment=development") == Or(
        (
            And((data("enabled", "==", "false", source="puppet"), Fact("environment", "==", "production"))),
            Fact("environment", "==", "development"),
        )
    )


@pytest.mark.parametrize(
    ("text", "column", "why"),
    [
        ("", 1, "the expression is empty: expected a fact (country=de), a class (web, /web/), a data source"),
        ("   ", 4, "the expression is empty: expected a fact"),
        ("a and", 6, "after and, found the end"),
        ("a and or b", 7, "after and, found or"),
        ("and a", 1, "not or (, found and"),
        ("not", 4, "after not, found the end"),
        ("(a", 1, "this ( is never closed: expected ) before the end"),
        ("a and (b or (c)", 7, "this ( is never closed"),
        ("(country=de and x('y').z", 1, "this ( is never closed"),
        ("a)", 2, "this ) closes nothing: there is no ( before it"),
        ("()", 2, "nothing stands between ( and ): expected a fact"),
        ("(a and)", 7, "after and, found )"),
        ("'abc", 1, "this quote is never closed: expected another '"),
        ('os="Red Hat', 4, 'this quote is never closed: expected another "'),
        ("x('a).b=1", 3, "this quote is never closed: expected another '"),
        ("/web", 1, "this regular expression is never closed: expected / before a blank, ) or the end; a path is put"),
        ("mounts=/srv", 8, "a path is put into quotes: '/srv'"),
        ("a=/srv and b=/", 3, "this regular expression is never closed"),
        ("os=/deb/i", 4, "'i' follows the regular expression; its flags stand in front of it: /(?i)deb/"),
        ("/de/=country", 1, "a regular expression stands for classes; a fact is called by its name"),
        ("country=", 9, "expected a value after =, found the end"),
        ("(country!=)", 11, "expected a value after !=, found )"),
        ("country= and a", 10, "expected a value after =, found and; the word itself is put into quotes: 'and'"),
        ("=de", 1, "expected the name of a fact before ="),
        ("country===de", 8, "unknown operator ===; operators are = == != =~ < <= > >="),
        ("country=!de", 8, "unknown operator =!"),
        ("country~de", 8, "unknown operator ~"),
        ("a && b", 3, "&& is written `and`"),
        ("a || b", 3, "|| is written `or`"),
        ("a & b", 3, "& is written `and`"),
        ("a AND b", 3, "AND is written `and`"),
        ("a, b", 2, ", is written `and`"),
        ("a=1&&b=2", 4, "&& is written `and`"),
        ("a and && b", 7, "found &&, which is written `and`"),
        ("a b", 3, "expected `and`, `or` or the end, found b; terms are joined with `and` or `or`, and a value with"),
        ("(os=Red Hat)", 9, "expected `and`, `or` or ), found Hat; "),
        ("a not b", 3, "expected `and`, `or` or the end, found not"),
        ("a/b=c", 2, "what has a / in it is put into quotes"),
        ("country!=/^d/", 10, "!= takes no regular expression; expected not in front of the term, and ="),
        ("cores>/4/", 7, "> takes no regular expression; expected a value"),
        ("a and /(?=look)/", 7, "(RE2 syntax: no look-around, no back-references)"),
        (r"country=/(a)\1/", 9, "no back-references"),
        ("country=~'('", 10, "cannot be used: missing )"),
        ("''", 1, "an empty name matches nothing"),
        ("a or '/x'", 6, "regular expression /x is not closed"),
        ("fstat('/x')", 6, "fstat(...) says many things: expected one of its fields after it, as in fstat(...).field"),
        ("fstat('/x').", 13, "expected the name of a field after the dot, found the end"),
        ("fstat('/x').=1", 13, "expected the name of a field after the dot, found ="),
        ("fstat('/x' '/y').size", 12, "expected , or ) after an argument, found '/y'"),
        ("fstat('/x'", 11, "expected , or ) after an argument, found the end"),
        ("fstat ('/x').size", 7, "a source and its ( stand together: fstat('/etc/hosts').size>0"),
        ("identity(a, b)", 1, "identity(...) takes one name or /expression/; found 2"),
        ("fstat('/x').size = ", 20, "expected a value after =, found the end"),
        ("fstat('/x').size<>3", 17, "unknown operator <>"),
        ("(a) = 3", 5, "expected `and` or `or`, found =: what is compared is a fact, or a field of a data source"),
    ],
)
def test_a_mistake_is_told_with_its_place_in_peoples_words(text: str, column: int, why: str) -> None:
    with pytest.raises(FilterError) as told:
        parse(text)
    head, shown, caret = str(told.value).split("\n")
    assert head.startswith(f"expression, column {column}: ")
    assert why in head
    assert shown == f"  {text}"
    assert caret == " " * (column + 1) + "^"


def test_a_long_expression_is_shown_around_the_mistake_and_control_characters_do_not_move_the_caret() -> None:
    text = "a and " * 100 + "'\x1b[2J' && c" + " or c" * 100
    with pytest.raises(FilterError) as told:
        parse(text)
    _, shown, caret = str(told.value).split("\n")
    assert shown.startswith("  ...")
    assert shown.endswith("...")
    assert len(shown) < 120
    assert "\x1b" not in shown
    assert shown[caret.index("^") :].startswith("&& c or c")


@pytest.mark.parametrize(
    "text",
    ["(" * 5_000 + "a" + ")" * 5_000, "a and " * 1_900 + "a", "a=1 or " * 1_900 + "a"],
)
def test_an_expression_as_long_as_may_be_is_read_without_recursion(text: str) -> None:
    assert parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a" * (MAX_EXPRESSION_LENGTH + 1), f"at most {MAX_EXPRESSION_LENGTH} are allowed"),
        ("!" * 10_000 + "a", f"nested more than {MAX_DEPTH} deep"),
        ("(a and " * 60 + "a" + ")" * 60, f"nested more than {MAX_DEPTH} deep"),
        (" or ".join(["a"] * 2_001), "more than 2000 terms"),
        (" or ".join(["x().y"] * 65), "more than 64 questions to data sources"),
        (f"x({','.join('a' * 17)}).y", "more than 16 arguments"),
        (f"x('{'a' * 4097}').y", "or one of more than 4096 characters"),
        (" or ".join(f"/{n}/" for n in range(65)), "65 regular expressions; at most 64 "),
    ],
)
def test_what_is_too_large_is_refused(text: str, why: str) -> None:
    with pytest.raises(FilterError, match=why):
        from_options(compound=[text])


def test_several_expressions_must_all_hold() -> None:
    made = from_options(compound=["a or b", "country=de", "a or b"])
    assert made.compound == (Or((A, B)), DE)
    german = Subject("web1", frozenset("b"), facts={"country": "de"})
    assert made.matches(german)
    assert not made.matches(Subject("web1", frozenset("b")))
    assert not made.matches(Subject("web1", facts={"country": "de"}))


def test_the_package_brings_no_parser_and_no_engine_with_it() -> None:
    program = "import sys, mco_rpc.filters; print([m for m in ('lark', 're2', 'difflib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# The wire


def request(*compound: Term) -> Request:
    return Request(
        id="1", collective="c", agent="a", action="b", caller="k", sender="s", sent_at=0.0, ttl_s=1.0,
        filter=Filter(compound=compound),
    )  # fmt: skip


def body(tree: str) -> bytes:
    mark = b'{"is":"class","name":"MARK"}'
    whole = encode(request(Class("MARK")))
    assert whole.count(mark) == 1
    return whole.replace(mark, tree.encode())


def test_a_tree_goes_over_the_wire() -> None:
    tree = parse("(country=de or not x('a').b>3) and /c/ and identity(n) and agent(y)")
    assert decode_request(encode(request(tree))).filter.compound == (tree,)


@pytest.mark.parametrize(
    "tree",
    [
        '{"is":"class","name":"a","more":1}',
        '{"is":"xor","terms":[]}',
        '{"name":"a"}',
        '{"is":"and","terms":[]}',
        '{"is":"or","terms":[{"is":"class","name":"a"}]}',
        '{"is":"not"}',
        '{"is":"not","term":null}',
        '{"is":"fact","fact":"a","operator":"==","value":1}',
        '{"is":"data","source":"x","arguments":"y","field":"z","operator":"==","value":"1"}',
        '"country=de"',
    ],
)
def test_what_is_no_tree_is_refused_on_arrival(tree: str) -> None:
    assert decode_request(body('{"is":"class","name":"a"}')).filter.compound == (A,)
    with pytest.raises(MessageError):
        decode_request(body(tree))


@pytest.mark.parametrize("levels", [MAX_DEPTH, 500, 900, 10_000, 100_000])
def test_hostile_nesting_is_an_error_and_nothing_worse(levels: int) -> None:
    tree = '{"is":"not","term":' * levels + '{"is":"class","name":"a"}' + "}" * levels
    with pytest.raises((MessageError, FilterError)) as told:
        decode_request(body(tree)).filter.check()
    assert len(str(told.value)) < 200


@pytest.mark.parametrize("opening", ['{"is":"and","terms":[', '{"is":"data","arguments":[', "["])
def test_hostile_nesting_that_never_ends_is_an_error(opening: str) -> None:
    with pytest.raises(MessageError):
        decode_request(body(opening * 50_000))


def test_a_deep_tree_that_arrives_can_be_shown_and_is_not_evaluated() -> None:
    tree: Term = A
    for _ in range(800):
        tree = Not(tree)
    made = Filter(compound=(tree,))
    assert str(made) == "select an expression nested 801 deep"
    assert made.as_expression() is None
    for ask in (made.check, lambda: made.matches(Subject("web1"))):
        with pytest.raises(FilterError, match=f"nested more than {MAX_DEPTH} deep"):
            ask()


@pytest.mark.parametrize(
    ("term", "why"),
    [
        (Class("/(/"), "cannot be used"),
        (Class("/a"), "is not closed"),
        (Identity(""), "an empty name matches nothing"),
        (Offers("/*/"), "cannot be used"),
        (Fact("a", "like", "b"), "operator 'like' of fact 'a' is not one of == "),
        (Fact("", "==", "b"), "a fact without a name"),
        (Fact("a", "=~", "("), "cannot be used"),
        (Data("x", (), "y", "like", "z"), r"operator 'like' of x\(...\).y is not one of == "),
        (Data("x y", (), "y", "==", "z"), "data source 'x y': expected a word of letters, digits and _"),
        (Data("x", (), "y()", "==", "z"), "field 'y\\(\\)': expected a word"),
        (Data("x", (), "y", "=~", "(a)\\1"), "no back-references"),
    ],
)
def test_what_cannot_be_understood_in_a_tree_is_refused(term: Term, why: str) -> None:
    with pytest.raises(FilterError, match=why):
        Filter(compound=(And((A, Not(term))),)).check()


def test_a_tree_is_measured_before_any_of_it_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "compiled", lambda pattern: pytest.fail(f"compiled {pattern}"))
    many = Or(tuple(Fact("a", "=~", str(n)) for n in range(65)))
    with pytest.raises(FilterError, match="65 regular expressions; at most 64 "):
        Filter(compound=(many,)).check()
    with pytest.raises(FilterError, match="65 regular expressions; at most 64 "):
        Filter(classes=("/x/",), compound=(Or(many.terms[:64]),)).check()


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){12}$"])
def test_an_expression_made_to_explode_ends_at_once_wherever_it_stands(pattern: str) -> None:
    # Given 50 kB of text on a node that send a backtracking engine into 2^50,000 steps
    text = "a" * 50_000 + "!"
    subject = Subject(
        "web1", classes=frozenset({text}), agents=frozenset({text}), facts={"x": text}, data=lambda *_: {"y": text}
    )

    # When it is asked for there, then there is an answer at all
    for made in (
        from_options(classes=[f"/{pattern}/"]),
        from_options(facts=[f"x=/{pattern}/"]),
        from_options(compound=[f"/{pattern}/"]),
        from_options(compound=[f"x=/{pattern}/"]),
        from_options(compound=[f"s('a').y=/{pattern}/"]),
        from_options(compound=[f"agent('/{pattern}/')"]),
    ):
        assert made.matches(subject) is False


# Evaluation


class Sources:
    """Data sources that remember what they were asked."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    def __call__(self, source: str, arguments: tuple[str, ...]) -> Mapping[str, Any]:
        self.asked.append((source, arguments))
        if source not in self.fields:
            raise FilterError(f"there is no data source {source!r}")
        found: Mapping[str, Any] = self.fields[source]
        return found


def matches(text: str, subject: Subject) -> bool:
    return from_options(compound=[text]).matches(subject)


@pytest.mark.parametrize(
    ("text", "is_match"),
    [
        ("web", True),
        ("/^we/", True),
        ("not web", False),
        ("db or web", True),
        ("db and web", False),
        ("cores>=4.0", True),
        ("cores<10", True),
        ("country!=fr", True),
        ("missing!=x", False),
        ("not missing=x", True),
        ("null=/./", False),
        ("virtual", False),
        ("virtual=true", True),
        ("disks=sdb", True),
        ("disks!=sda", True),
        ("mounts='/srv'", True),
        ("identity(web1) and agent(rpcutil)", True),
        ("identity(/^db/) or agent(puppet)", False),
        ("s('a').size>0", True),
        ("s('a').size<10 and s('a').size=5.0", True),
        ("s('a').present", True),
        ("s('a').absent", False),
        ("not s('a').absent", True),
        ("s('a').nothing!=x", False),
        ("s('a').names=y", True),
        ("s('a').names=/^z/", False),
        ("s('a').by_name=k", True),
    ],
)
def test_an_expression_holds_as_its_terms_do(text: str, is_match: bool) -> None:
    source = {"size": 5, "present": True, "absent": False, "nothing": None, "names": ["x", "y"], "by_name": {"k": 1}}
    subject = Subject(
        "web1",
        classes=frozenset({"web"}),
        agents=frozenset({"rpcutil"}),
        facts={
            "country": "de", "cores": 4, "virtual": True, "null": None, "disks": ["sda", "sdb"],
            "mounts": {"/srv": "xfs"},
        },
        data=Sources(s=source),
    )  # fmt: skip
    assert matches(text, subject) is is_match


def test_a_source_is_asked_once_for_the_same_arguments() -> None:
    sources = Sources(s={"a": 1, "b": 2})
    assert matches("s('x').a=1 and s('x').b=2 and s('y').a=1 and s('x').a<2", Subject("web1", data=sources))
    assert sources.asked == [("s", ("x",)), ("s", ("y",))]


@pytest.mark.parametrize("text", ["s().a=1 and no", "not (s().a=1 or web)", "(s().a=1 and web) and no"])
def test_a_source_is_not_asked_if_the_rest_decides(text: str) -> None:
    sources = Sources(s={"a": 1})
    assert not matches(text, Subject("web1", frozenset({"web"}), data=sources))
    assert sources.asked == []


def test_other_kinds_and_expressions_decide_before_a_source_is_asked() -> None:
    sources = Sources(s={"a": 1})
    for made in (from_options(compound=["s().a", "no"]), from_options(classes=["no"], compound=["s().a"])):
        assert not made.matches(Subject("web1", data=sources))
    assert sources.asked == []


def test_an_unknown_source_fails_the_whole_expression_and_so_does_an_unknown_field() -> None:
    subject = Subject("web1", data=Sources(s={"size": 1, "mode": 2}))
    with pytest.raises(FilterError, match="no data source 't'"):
        matches("not t('x').y", subject)
    with pytest.raises(
        FilterError, match=r"data source s\('x'\) has no field 'sise', did you mean size\?; it has mode, size"
    ):
        matches("not s('x').sise=1", subject)
    with pytest.raises(FilterError, match=r"s\('x'\).size asks a data source, and there are none here"):
        matches("s('x').size=1", Subject("web1"))


def test_a_name_that_is_no_source_fails_an_expression_that_would_not_come_to_ask_it() -> None:
    known: list[frozenset[str]] = []

    def check(names: Any) -> None:
        known.append(frozenset(names))
        raise FilterError("there is no data source 't'")

    subject = Subject("web1", frozenset({"web"}), data=Sources(s={}), check_sources=check)
    with pytest.raises(FilterError, match="no data source 't'"):
        matches("web or t('x').y or s().z", subject)
    assert known == [frozenset({"s", "t"})]
    assert matches("web or db", subject)


def test_a_filter_knows_which_sources_it_asks() -> None:
    made = from_options(classes=["a"], compound=["a or not (s().x and b)", "t('1').y=2 and s('2').z"])
    assert made.needs_data
    assert made.data_sources() == {"s", "t"}
    plain = from_options(classes=["a"], compound=["a or b"])
    assert not plain.needs_data
    assert plain.data_sources() == frozenset()


# The whole filter


def test_a_filter_with_expressions_says_so() -> None:
    made = from_options(identities=["web1"], compound=["a or b"])
    assert bool(Filter(compound=(A,)))
    assert str(made) == "identity=web1, select a or b"


def test_merging_takes_the_expressions_of_both_once() -> None:
    one, other = from_options(compound=["a", "b"]), from_options(compound=["b", "c"])
    assert one.merged(other).compound == (A, B, C)


def test_every_filter_that_asks_for_something_is_one_expression() -> None:
    made = from_options(
        identities=["web1", "/^db/"],
        classes=["a", "/b/"],
        facts=["country=de"],
        agents=["x"],
        compound=["a and b", "a or c"],
    )
    text = made.as_expression()
    assert text == (
        "(identity('web1') or identity('/^db/')) and a and /b/ and agent('x') and country=de and a and b and (a or c)"
    )
    assert from_options(compound=[text]).as_expression() == text
    assert Filter().as_expression() is None


def test_a_filter_that_came_as_an_input_is_checked() -> None:
    made = from_options(classes=["a"], compound=["b or not c"])
    assert Filter.from_json(made.to_json()) == made
    deep: dict[str, Any] = {"is": "class", "name": "a"}
    for _ in range(60):
        deep = {"is": "not", "term": deep}
    for wrong in ("x", {"classes": 1}, {"color": []}, {"classes": ["/(/"]}, {"compound": [deep]}):
        with pytest.raises(FilterError):
            Filter.from_json(wrong)


# Properties

WORDS = st.from_regex(r"[a-z][a-z0-9_.:-]{0,6}", fullmatch=True)
TEXTS = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), st.text("\\'\"/()=! ab", max_size=8))
NAMES = st.one_of(WORDS, TEXTS.filter(lambda text: text and not text.startswith("/")), WORDS.map("/{}/".format))
EXPRESSIONS = st.one_of(
    WORDS, st.sampled_from(["a b", "x/y", "(a|b)", "^a and b$", "[)]", "'", "\\d\\/", "a\\\\", "/x/"])
)


def compared(kind: Any, *fields: Any) -> Any:
    plain = st.builds(kind, *fields, st.sampled_from([o for o in OPERATORS if o != "=~"]), st.one_of(WORDS, TEXTS))
    return st.one_of(plain, st.builds(kind, *fields, st.just("=~"), EXPRESSIONS))


IDENTIFIERS = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)
LEAVES = st.one_of(
    st.builds(Class, NAMES),
    st.builds(Identity, NAMES),
    st.builds(Offers, NAMES),
    compared(Fact, st.one_of(WORDS, TEXTS.filter(bool))),
    compared(Data, IDENTIFIERS, st.lists(TEXTS, max_size=3).map(tuple), IDENTIFIERS),
)


def trees(leaves: Any) -> Any:
    def grown(inner: Any) -> Any:
        several = st.lists(inner, min_size=2, max_size=3).map(tuple)
        return st.one_of(st.builds(Not, inner), st.builds(And, several), st.builds(Or, several))

    return st.recursive(leaves, grown, max_leaves=8)


@given(trees(LEAVES))
@example(And((And((A, B)), Or((A, Or((B, C)))))))
@example(Fact("a", "=~", "x and y"))
@example(Fact("a", "==", "not"))
@example(Fact("and", "==", "&&"))
@example(Class("/x or y/"))
@example(Fact("a", "==", "\\"))
@example(Fact("a", "==", "b \\"))
@example(Data("x", ("\\", "\\'", "a\\\\b"), "y", "==", "z"))
def test_a_printed_tree_reads_as_itself(tree: Term) -> None:
    assert parse(str(tree)) == tree


@given(trees(LEAVES))
def test_a_tree_survives_the_wire(tree: Term) -> None:
    made = Filter(compound=(tree,))
    assert msgspec.json.decode(msgspec.json.encode(made), type=Filter) == made
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Filter) == made
    assert Filter.from_json(made.to_json()) == made


PIECES = st.sampled_from(
    ["a", "/b/", "c=d", " ", "and", "or", "not", "!", "(", ")", "'", '"', "/", "=", "!=", "=~", "<", ">", "x('y').z",
     "fstat(", ").", ",", "\\", "&", "|", "\n", "\x00", "é", "/(/", "[", "*"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=14).map("".join), st.lists(PIECES).map(" ".join)))
@example("\ud800")
@example("/\ud800/")
@example("a=/" + " " * 2000)
@example("'" + "\\" * 1001)
def test_any_text_is_a_tree_or_an_error_of_ours(text: str) -> None:
    try:
        tree = parse(text)
    except FilterError as e:
        assert str(e)  # noqa: PT017
        return
    assert parse(str(tree)) == tree


SMALL = st.sampled_from("abc")
SMALL_LEAVES = st.one_of(
    st.builds(Class, SMALL),
    st.builds(Class, SMALL.map("/{}/".format)),
    st.builds(Identity, SMALL),
    st.builds(Offers, SMALL),
    st.builds(Fact, SMALL, st.sampled_from(OPERATORS), st.one_of(SMALL, st.sampled_from(["1", "2.5"]))),
    st.builds(Data, st.just("s"), SMALL.map(lambda x: (x,)), SMALL, st.sampled_from(OPERATORS), st.sampled_from("ab1")),
)
VALUES = st.one_of(SMALL, st.integers(0, 3), st.booleans(), st.none(), st.lists(SMALL, max_size=2))
FIELDS = st.fixed_dictionaries(dict.fromkeys("abc", VALUES))
SUBJECTS = st.builds(
    lambda identity, classes, agents, facts, fields: Subject(
        identity, classes, agents, facts, lambda _, arguments: fields[arguments[0]]
    ),
    SMALL,
    st.frozensets(SMALL),
    st.frozensets(SMALL),
    st.dictionaries(SMALL, VALUES),
    st.fixed_dictionaries(dict.fromkeys("abc", FIELDS)),
)
SMALL_TREES = trees(SMALL_LEAVES)


def holds(tree: Term, subject: Subject) -> bool:
    return Filter(compound=(tree,)).matches(subject)


@given(SMALL_TREES, SMALL_TREES, SUBJECTS)
def test_de_morgan(one: Term, other: Term, subject: Subject) -> None:
    assert holds(Not(And((one, other))), subject) is holds(Or((Not(one), Not(other))), subject)
    assert holds(Not(Or((one, other))), subject) is holds(And((Not(one), Not(other))), subject)


@given(SMALL_TREES, st.lists(SUBJECTS, max_size=6))
def test_a_filter_and_its_negation_partition_a_fleet(tree: Term, fleet: list[Subject]) -> None:
    assert [holds(tree, node) for node in fleet] == [not holds(Not(tree), node) for node in fleet]


@given(SMALL_TREES, SMALL_TREES, SUBJECTS)
def test_joined_terms_hold_as_their_parts_do(one: Term, other: Term, subject: Subject) -> None:
    first, second = holds(one, subject), holds(other, subject)
    assert holds(And((one, other)), subject) is (first and second)
    assert holds(Or((one, other)), subject) is (first or second)


SMALL_FILTERS = st.builds(
    Filter,
    identities=st.lists(SMALL, max_size=2).map(tuple),
    classes=st.lists(SMALL, max_size=2).map(tuple),
    facts=st.lists(st.builds(filters.FactTerm, SMALL, st.sampled_from(OPERATORS), SMALL), max_size=2).map(tuple),
    agents=st.lists(SMALL, max_size=1).map(tuple),
    compound=st.lists(SMALL_TREES, max_size=2).map(tuple),
)


@given(SMALL_FILTERS, SMALL_FILTERS, SUBJECTS)
def test_a_merged_filter_asks_for_both(one: Filter, other: Filter, subject: Subject) -> None:
    # Identities are alternatives, so they add up; everything else must hold.
    merged = one.merged(other)
    named = msgspec.structs.replace
    names = Filter(identities=one.identities + other.identities)
    rest = [named(each, identities=()) for each in (one, other)]
    assert merged.matches(subject) is (names.matches(subject) and all(each.matches(subject) for each in rest))


@given(SMALL_FILTERS, SUBJECTS)
def test_a_filter_and_its_expression_match_the_same_nodes(made: Filter, subject: Subject) -> None:
    text = made.as_expression()
    if text is None:
        assert not made
    else:
        assert from_options(compound=[text]).matches(subject) is made.matches(subject)
