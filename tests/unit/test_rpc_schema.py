# SPDX-License-Identifier: Apache-2.0
"""What a schema lets in and out, and how it says no."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mco_rpc.errors import InvalidData, MissingData, SchemaError, UnknownAction
from mco_rpc.schema import ActionSchema, AgentSchema, Input, Output
from mco_rpc.validation import TYPES, may_match

GOOD: dict[str, list[Any]] = {
    "string": ["", "x", "ä"],
    "list": ["on"],
    "boolean": [True, False],
    "integer": [0, -1, 2**70],
    "float": [0.5, -1.0, 3],
    "number": [0, 0.5],
    "array": [[], [1, "x"]],
    "hash": [{}, {"a": [1]}],
    "any": ["x", 1, 0.5, None, True, [1], {"a": 1}],
}
BAD: dict[str, list[Any]] = {
    "string": [1, 0.5, None, True, ["x"], {"a": 1}],
    "list": [1, None, ["on"]],
    "boolean": [0, 1, "true", None],
    "integer": [0.5, 1.0, "1", True, None],
    "float": [10**400, "0.5", True, None, math.nan, math.inf],
    "number": ["1", True, None, math.nan, -math.inf],
    "array": ["x", 1, {"a": 1}, None],
    "hash": ["x", [1], None],
    "any": [math.nan, math.inf],
}


def declared(kind: str, **more: Any) -> Input:
    return Input(kind, "a value", choices=("on", "off") if kind == "list" else (), **more)


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_takes_its_values_and_nothing_else(kind: str) -> None:
    for value in GOOD[kind]:
        assert declared(kind).check(value) == value
    for value in BAD[kind]:
        with pytest.raises(ValueError):
            declared(kind).check(value)


def test_a_refusal_shows_what_was_expected_and_what_was_seen_in_bounds() -> None:
    with pytest.raises(ValueError, match=r"^expected integer, got 'four'$"):
        Input("integer", "x").check("four")
    with pytest.raises(ValueError) as refused:
        Input("integer", "x").check("x" * 100_000)
    assert len(str(refused.value)) < 200
    assert "(100002 characters)" in str(refused.value)


@pytest.mark.parametrize(
    ("value", "what"),
    [("x" * 6, "6 characters"), (list(range(6)), "6 elements"), ({str(n): n for n in range(6)}, "6 elements")],
)
def test_what_is_too_long_is_refused(value: Any, what: str) -> None:
    with pytest.raises(ValueError, match=f"{what}; at most 5 are allowed"):
        Input("any", "x", max_length=5).check(value)
    assert Input("any", "x", max_length=6).check(value) == value


def test_there_is_a_limit_where_the_author_set_none() -> None:
    assert Input("string", "x").check("x" * 4096)
    with pytest.raises(ValueError, match="4097 characters; at most 4096"):
        Input("string", "x").check("x" * 4097)


def test_a_list_is_one_of_its_choices() -> None:
    with pytest.raises(ValueError, match="'maybe' is not one of on, off"):
        declared("list").check("maybe")


def test_an_expression_must_match_wholly() -> None:
    vm = Input("string", "x", validate="/[a-z]+/")
    assert vm.check("abc") == "abc"
    for text in ("abc1", "1abc", "abc\n", ""):
        with pytest.raises(ValueError, match=r"does not match /\[a-z\]\+/"):
            vm.check(text)


@pytest.mark.parametrize("text", ["; rm -rf /", "-j ACCEPT", "$(reboot)"])
def test_a_validator_refuses_and_says_what_it_saw(text: str) -> None:
    with pytest.raises(ValueError, match="is not valid: only letters, digits") as refused:
        Input("string", "x", validate="shellsafe").check(text)
    assert repr(text) in str(refused.value)


def test_a_validator_gives_the_canonical_form() -> None:
    assert Input("string", "x", validate="ip_network").check("10.0.0.1/32") == "10.0.0.1"


BLOCK = ActionSchema(
    "block",
    "Block an address",
    inputs={
        "ipaddr": Input("string", "An address", validate="ip_address"),
        "reason": Input("string", "Why", optional=True),
        "seconds": Input("integer", "For how long", default=60),
    },
    outputs={"blocked": Output("boolean", "Whether it is"), "rules": Output("integer", "How many", default=0)},
)


def test_inputs_come_out_canonical_with_defaults() -> None:
    assert BLOCK.check_inputs("iptables", {"ipaddr": "::FFFF"}) == {"ipaddr": "::ffff", "seconds": 60}
    assert BLOCK.check_inputs("iptables", {"ipaddr": "::1", "reason": "", "seconds": 0})["seconds"] == 0


def test_a_missing_input_is_named_with_its_description() -> None:
    with pytest.raises(MissingData, match=r"^iptables#block: input ipaddr is required: An address$"):
        BLOCK.check_inputs("iptables", {"reason": "x"})


@pytest.mark.parametrize("value", ["10.0.0.256", 1, None, ["10.0.0.1"]])
def test_a_bad_input_is_named(value: Any) -> None:
    with pytest.raises(InvalidData, match=r"^iptables#block: input ipaddr: "):
        BLOCK.check_inputs("iptables", {"ipaddr": value})


def test_an_unknown_input_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InvalidData, match="unknown input 'ipadr', did you mean ipaddr\\?; it takes ipaddr, reason"):
        BLOCK.check_inputs("iptables", {"ipadr": "10.0.0.1"})
    with pytest.raises(InvalidData, match="unknown input 'x'; it takes no inputs"):
        ActionSchema("ping", "x").check_inputs("rpcutil", {"x": 1})
    with pytest.raises(InvalidData) as refused:
        BLOCK.check_inputs("iptables", {"x" * 100_000: 1})
    assert len(str(refused.value)) < 300


def test_outputs_are_completed_and_in_the_declared_order() -> None:
    assert BLOCK.check_outputs("iptables", {"blocked": True}) == {"blocked": True, "rules": 0}
    assert list(BLOCK.check_outputs("iptables", {"rules": 1, "blocked": None})) == ["blocked", "rules"]


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        (None, "returned NoneType, expected a mapping"),
        ("done", "returned str, expected a mapping"),
        ({"x": 1}, "returned 'x', which its schema does not declare"),
        ({1: 1}, "returned 1, which its schema does not declare"),
        ({"blocked": 1}, "returned 'blocked' that its schema does not allow: expected boolean, got 1"),
    ],
)
def test_an_agent_that_returns_what_it_did_not_declare_is_at_fault(returned: object, why: str) -> None:
    with pytest.raises(SchemaError, match=f"^iptables#block {why}"):
        BLOCK.check_outputs("iptables", returned)


def agent(**inputs: Input) -> AgentSchema:
    return AgentSchema("iptables", "x", "1.0", {"block": ActionSchema("block", "x", inputs=inputs)})


@pytest.mark.parametrize(
    ("field", "why"),
    [
        (Input("text", "x"), "iptables#block input a: type 'text' is not one of string"),
        (Input("string", "x", validate="shelsafe"), "validate='shelsafe' is not /an expression/ or one of shellsafe"),
        (Input("string", "x", validate="/a"), "validate='/a' is not /an expression/"),
        (Input("string", "x", validate="/"), "validate='/' is not /an expression/"),
        (Input("string", "x", validate="//"), "validate='//' is not /an expression/"),
        (Input("string", "x", validate="/(/"), r"validate='/\(/' is not an expression: missing \)"),
        (Input("array", "x", validate="shellsafe"), "checks text, and nothing of type array"),
        (Input("any", "x", validate="shellsafe"), "checks text, and nothing of type any"),
        (Input("list", "x"), "a list needs choices"),
        (Input("integer", "x", default="1"), "its default is not allowed: expected integer, got '1'"),
        (Input("string", "x", default="b", choices=("a",)), "its default is not allowed: 'b' is not one of a"),
    ],
)
def test_an_unsound_declaration_is_refused_where_it_is(field: Input, why: str) -> None:
    with pytest.raises(SchemaError, match=why):
        agent(a=field).check()


@pytest.mark.parametrize(
    ("action", "why"),
    [
        (ActionSchema("block", "x", outputs={"a": Output("text", "x")}), "iptables#block output a: type 'text'"),
        (ActionSchema("block", "x", display="never"), "display 'never' is not one of always, ok, failed"),
        (ActionSchema("block", "x", timeout_s=0), "timeout_s of 0"),
        (ActionSchema("block", "x", timeout_s=-1.0), "timeout_s of -1"),
        (ActionSchema("block", "x", timeout_s=math.nan), "timeout_s of nan"),
    ],
)
def test_an_unsound_action_is_refused(action: ActionSchema, why: str) -> None:
    with pytest.raises(SchemaError, match=why):
        AgentSchema("iptables", "x", "1.0", {"block": action}).check()


def test_an_agent_needs_a_name_for_the_wire() -> None:
    with pytest.raises(SchemaError, match="agent name 'ip tables' cannot be used"):
        AgentSchema("ip tables", "x", "1.0").check()


def test_an_unknown_action_is_named_with_the_nearest_and_all_known() -> None:
    schema = AgentSchema("iptables", "x", "1.0", {"block": BLOCK, "unblock": BLOCK})
    assert schema.action("block") is BLOCK
    with pytest.raises(UnknownAction, match=r"no action 'blck', did you mean block\?; it has block, unblock$"):
        schema.action("blck")


def test_a_schema_travels_as_json() -> None:
    schema = AgentSchema("iptables", "x", "1.0", {"block": BLOCK})
    assert AgentSchema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


@pytest.mark.parametrize(
    "plain",
    [
        None,
        [],
        "iptables",
        {"name": "iptables"},
        {"name": "x", "description": "x", "version": 1},
        {"name": "a b", "description": "x", "version": "1"},
    ],
)
def test_what_is_no_schema_is_refused(plain: object) -> None:
    with pytest.raises(SchemaError):
        AgentSchema.from_json(plain)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "1", "1"),
        ("list", "on", "on"),
        ("boolean", "Yes", True),
        ("boolean", "0", False),
        ("boolean", "off", False),
        ("integer", "12", 12),
        ("integer", "-1", -1),
        ("float", "2", 2.0),
        ("float", "0.5", 0.5),
        ("number", "2", 2),
        ("array", "a, b", ["a", "b"]),
        ("array", '["a", 1]', ["a", 1]),
        ("hash", '{"a": 1}', {"a": 1}),
        ("any", "plain words", "plain words"),
    ],
)
def test_a_word_on_the_command_line_becomes_its_value(kind: str, text: str, value: Any) -> None:
    made = declared(kind).parse(text)
    assert made == value
    assert type(made) is type(value)
    assert declared(kind).check(made) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("boolean", "maybe"),
        ("integer", "four"),
        ("integer", "0x10"),
        ("integer", "true"),
        ("float", "1e999"),
        ("float", "NaN"),
        ("float", "9" * 400),
        ("hash", "a=1"),
        ("hash", "[" * 100_000),
        ("array", "[" * 100_000),
    ],
)
def test_a_word_that_is_no_such_value_is_refused_by_the_check(kind: str, text: str) -> None:
    with pytest.raises(ValueError):
        declared(kind).check(declared(kind).parse(text))


@given(st.sampled_from(TYPES), st.text(max_size=40))
@example("float", "9" * 400)
@example("any", "\ud800")
@example("any", "[" * 5000)
def test_any_word_is_a_value_or_a_value_error(kind: str, text: str) -> None:
    field = declared(kind)
    try:
        field.check(field.parse(text))
    except ValueError:
        return


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["ipaddr", "reason", "seconds", "x"]), JSON, max_size=3))
def test_any_data_is_accepted_or_refused_with_a_status(data: dict[str, Any]) -> None:
    try:
        checked = BLOCK.check_inputs("iptables", data)
    except (InvalidData, MissingData):
        return
    assert BLOCK.check_inputs("iptables", checked) == checked


def test_an_expression_from_elsewhere_is_checked_as_far_as_re2_goes() -> None:
    assert may_match("[a-z]+", "abc")
    assert not may_match("[a-z]+", "abc1")
    assert not may_match("(a+)+", "a" * 5000 + "!")
    assert may_match("(?=x)y", "z"), "look-around is for who sent it"
    assert may_match("x" * 1025, "z")


def test_the_schema_of_a_node_is_taken_without_running_it() -> None:
    # Given an expression and a default that would keep Python busy for ever
    bomb = Input("string", "x", validate="/(a+)+$/", default="a" * 60 + "!")
    plain = {**AgentSchema("x", "x", "1").to_json(), "actions": {"y": {"name": "y", "description": "y"}}}
    plain["actions"]["y"]["inputs"] = {"z": msgspec.to_builtins(bomb)}
    made = AgentSchema.from_json(plain)
    with pytest.raises(InvalidData, match="does not match"):
        made.actions["y"].check_inputs("x", {"z": "a" * 60 + "!"}, may_match)
