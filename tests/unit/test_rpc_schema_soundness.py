# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a declaration: all of it, where it is; and what names a schema whatever its version says."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mco_rpc.agent import Agent, action
from mco_rpc.errors import ConfigError, SchemaError
from mco_rpc.schema import ActionSchema, AgentSchema, Aggregate, Input, Output, canonical, digest_of
from mco_rpc.soundness import is_older, problems
from mco_rpc.validation import VALIDATORS

STATE = {"state": Output("string", "State"), "load": Output("float", "Load")}


def schema(*aggregates: Aggregate, **fields: Any) -> AgentSchema:
    look = ActionSchema("look", "Look", outputs=STATE, aggregates=aggregates)
    return AgentSchema("toy", "A toy", "1.0", {"look": look}, **fields)


def texts(schema: AgentSchema) -> list[str]:
    return [problem.text for problem in problems(schema)]


def test_everything_that_is_wrong_is_told_not_the_first_thing() -> None:
    wrong = AgentSchema(
        "t o y",
        "x",
        "1",
        {
            "a": ActionSchema("a", "A", {"x": Input("strnig", "X"), "y": Input("integer", "Y", choices=("1",))}),
            "b": ActionSchema("c", "B", outputs={"z": Output("integer", "Z", default="1")}, display="never"),
        },
        timeout_s=0.0,
        requires="new",
    )
    found = list(problems(wrong))
    assert [problem.field for problem in found] == ["", "", "", "x", "y", "", "", "z"]
    assert [(problem.action, problem.text) for problem in found] == [
        ("", "agent name 't o y' cannot be used on the wire"),
        ("", "t o y: requires='new': expected a version such as 0.1 or 1.2.3"),
        ("", "t o y: timeout_s of 0.0, expected more than 0"),
        (
            "a",
            (
                "t o y#a input x: type 'strnig' is not one of string, list, boolean, integer, float, number, array, "
                "hash, any, did you mean string?"
            ),
        ),
        ("a", "t o y#a input y: choices are texts, and no value of type integer is one of them"),
        ("b", "t o y#b: it calls itself 'c'"),
        ("b", "t o y#b: display 'never' is not one of always, ok, failed"),
        ("b", "t o y#b output z: its default is not allowed: expected integer, got '1'"),
    ]


@pytest.mark.parametrize("default", [object(), "\ud800", {1j: 1}])
def test_what_json_cannot_say_is_no_default(default: Any) -> None:
    wrong = AgentSchema("a", "A", "1", {"b": ActionSchema("b", "B", {"x": Input("any", "X", default=default)})})
    assert any("it cannot be written as JSON" in text for text in texts(wrong)), texts(wrong)


@pytest.mark.parametrize(
    ("aggregate", "why"),
    [
        (Aggregate("sumary", "state"), "'sumary' is not one of summary, average, sum, min, max, did you mean summary?"),
        (Aggregate("summary", "stat"), "there is no output 'stat', did you mean state?"),
        (Aggregate("average", "state"), "it takes numbers, and the output is of type string"),
        (Aggregate("average", "load", "%"), "is not text with placeholders"),
        (Aggregate("average", "load", "%n"), "is not text with placeholders"),
        (Aggregate("average", "load", "%999999999d"), "is not text with placeholders"),
        (Aggregate("average", "load", "load"), "expected one placeholder such as %.2f"),
        (Aggregate("average", "load", "%s %s"), "expected one placeholder such as %.2f"),
        (Aggregate("summary", "state", "%d %s"), "expected %s for a value and then %d for its count"),
        (Aggregate("summary", "state", "%s"), "expected %s for a value and then %d for its count"),
    ],
)
def test_an_unsound_aggregate_is_refused(aggregate: Aggregate, why: str) -> None:
    [text] = texts(schema(aggregate))
    assert text.startswith(f"toy#look aggregate {aggregate.function}({aggregate.output}): ")
    assert why in text


@pytest.mark.parametrize(
    "aggregate",
    [
        Aggregate("average", "load"),
        Aggregate("sum", "load", "%.2f s"),
        Aggregate("max", "load", "100%% is %-5.1f"),
        Aggregate("summary", "state", "%-10s %d"),
    ],
)
def test_a_sound_aggregate_passes(aggregate: Aggregate) -> None:
    assert texts(schema(aggregate)) == []


def test_the_aggregates_of_a_node_that_are_wrong_spoil_nothing_else() -> None:
    made = AgentSchema.from_json(schema(Aggregate("frequency", "state")).to_json())
    assert made.actions["look"].aggregates == (Aggregate("frequency", "state"),)


@pytest.mark.parametrize(
    ("name", "ours"),
    [("ipv4address", "ipv4_address"), ("ipv6address", "ipv6_address"), ("ipaddress", "ip_address"),
     ("ipv4", "ipv4_address"), ("ipv6", "ipv6_address")],
)  # fmt: skip
def test_the_names_that_users_of_mcollective_know_are_taken(name: str, ours: str) -> None:
    assert VALIDATORS[name] is VALIDATORS[ours]
    taken = AgentSchema("a", "A", "1", {"b": ActionSchema("b", "B", {"x": Input("string", "X", validate=name)})})
    assert taken.check() is taken


def test_an_expression_without_slashes_is_refused_with_what_was_expected() -> None:
    wrong = AgentSchema("a", "A", "1", {"b": ActionSchema("b", "B", {"x": Input("string", "X", validate="^a+$")})})
    with pytest.raises(
        SchemaError, match=r"validate='\^a\+\$' is not /an expression/ or one of shellsafe, ipv4_address"
    ):
        wrong.check()


# Digests.


def test_a_digest_names_what_is_declared_and_not_the_order_of_its_keys() -> None:
    plain = schema().to_json()
    turned = json.loads(json.dumps(plain), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert list(turned) != list(plain)
    assert digest_of(turned) == digest_of(plain) == schema().digest
    assert AgentSchema.from_json(json.loads(json.dumps(plain))).digest == schema().digest


@pytest.mark.parametrize("changed", [{"author": "x"}, {"requires": "1"}, {"timeout_s": 11.0}])
def test_everything_that_is_declared_is_in_the_digest(changed: dict[str, Any]) -> None:
    assert schema(**changed).digest != schema().digest


def test_a_digest_is_what_it_was() -> None:
    # It crosses the wire and names files: a change is one of the protocol.
    assert canonical({"b": [1, 2.0], "a": "ä"}) == '{"a":"ä","b":[1,2.0]}'.encode()
    assert digest_of({"b": [1, 2.0], "a": "ä"}) == "154c9953a834f088438cfa966f8bf799"


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
        max_leaves=8,
    )
)
def test_a_digest_survives_the_wire(plain: object) -> None:
    try:
        before = digest_of(plain)
    except SchemaError:  # half a character
        return
    assert digest_of(json.loads(json.dumps(plain))) == before


def test_what_a_later_version_says_beyond_ours_is_passed_over() -> None:
    plain = schema().to_json()
    plain["colour"] = "red"
    plain["actions"]["look"]["outputs"]["state"]["unit"] = "s"
    plain["actions"]["look"]["inputs"] = {"x": {"type": "string", "description": "X", "validate": "phase_of_moon"}}
    made = AgentSchema.from_json(plain)
    assert made.action("look").check_inputs("toy", {"x": "full"}) == {"x": "full"}
    assert digest_of(plain) != made.digest, "and the digest is of all of it"


# What a class says of itself.


class Weather(Agent):
    """Say how the weather is."""

    author = "A. Author"
    license = "Apache-2.0"
    url = "https://example.net/weather"
    timeout_s = 3.0
    requires = "0.1"

    @action("Look out", outputs={"sky": Output("string", "Sky")}, aggregates=[Aggregate("summary", "sky")])
    def look(self) -> dict[str, Any]:
        return {"sky": "blue"}


def test_a_class_declares_who_made_it_and_what_it_needs() -> None:
    made = Weather.schema()
    assert (made.author, made.license, made.url) == ("A. Author", "Apache-2.0", "https://example.net/weather")
    assert (made.timeout_s, made.requires) == (3.0, "0.1")
    assert made.action("look").aggregates == (Aggregate("summary", "sky"),)
    assert Weather()


def test_a_node_that_is_too_old_does_not_offer_it() -> None:
    class Later(Weather):
        requires: ClassVar[str] = "99.1"

    with pytest.raises(ConfigError, match=r"^agent later requires version 99\.1 of the node; this is "):
        Later()


@pytest.mark.parametrize(
    ("version", "required", "older"),
    [
        ("0.1.0", "0.1", False),
        ("0.1", "0.1.0", False),
        ("0.1.0", "0.1.1", True),
        ("0.9", "0.10", True),
        ("1.0", "0.10", False),
        ("1.2.dev3+x", "1.2", False),
        ("1.2.dev3+x", "1.3", True),
    ],
)
def test_versions_are_compared_as_numbers(version: str, required: str, older: bool) -> None:
    assert is_older(version, required) is older
