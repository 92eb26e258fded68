# SPDX-License-Identifier: Apache-2.0
"""A data source is a class that declares arguments and fields."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from mco_rpc.agent import deadline
from mco_rpc.current import Current, working_for
from mco_rpc.data import DataSource, Input, Output, SourceSchema
from mco_rpc.errors import ActionAborted, Cancelled, ConfigError, FilterError, SchemaError, TimedOut

ARGUMENTS = {
    "minutes": Input("list", "Over how long", choices=("1", "5", "15"), default="1"),
    "least": Input("integer", "What counts", optional=True),
}
FIELDS = {"average": Output("number", "Processes that want to run"), "unit": Output("string", "Of what", default="-")}


class Load(DataSource):
    """Say how busy the node is.

    This is not part of the description.
    """

    timeout_s = 2.0
    setting_names = ("factor",)
    arguments = ARGUMENTS
    fields = FIELDS

    def query(self, minutes: str, least: int | None = None) -> dict[str, Any]:
        return {"average": (least or 1) * self.setting("factor", 1)}


def test_a_class_is_its_schema() -> None:
    schema = Load.schema()
    assert (schema.name, schema.description, schema.timeout_s) == ("load", "Say how busy the node is.", 2.0)
    assert (list(schema.arguments), list(schema.fields)) == (["minutes", "least"], ["average", "unit"])


def test_a_schema_is_plain_data() -> None:
    assert json.loads(json.dumps(Load.schema().to_json())) == {
        "name": "load",
        "description": "Say how busy the node is.",
        "arguments": {
            "minutes": {"type": "list", "description": "Over how long", "choices": ["1", "5", "15"], "default": "1"},
            "least": {"type": "integer", "description": "What counts", "optional": True},
        },
        "fields": {
            "average": {"type": "number", "description": "Processes that want to run"},
            "unit": {"type": "string", "description": "Of what", "default": "-"},
        },
        "timeout_s": 2.0,
    }


@pytest.mark.parametrize(("given", "checked"), [((), ("1", None)), (("15",), ("15", None)), (("5", "7"), ("5", 7))])
def test_arguments_are_read_as_their_types_and_filled_in(given: tuple[str, ...], checked: tuple[object, ...]) -> None:
    assert Load.schema().check_arguments(given) == checked


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("2",), "data source load: argument minutes: '2' is not one of 1, 5, 15"),
        (("5", "x"), "data source load: argument least: expected integer, got 'x'"),
        (("5", "1", "2"), "data source load takes minutes, least, and was given 3 arguments"),
        (("5\0",), "data source load: argument minutes: '5\\x00' holds a null byte"),
        (("\ud800",), "data source load: argument minutes: '\\ud800' holds half a character"),
    ],
)
def test_wrong_arguments_are_named(given: tuple[str, ...], why: str) -> None:
    with pytest.raises(FilterError) as raised:
        Load.schema().check_arguments(given)
    assert str(raised.value) == why


def test_a_required_argument_that_is_missing_is_named() -> None:
    schema = SourceSchema("x", "y", 5.0, {"path": Input("string", "Where to look")}, {"z": Output("any", "z")})
    with pytest.raises(FilterError, match=r"^data source x: argument path is required: Where to look$"):
        schema.check_arguments(())


def test_no_arguments_is_said_so() -> None:
    with pytest.raises(FilterError, match=r"^data source x takes no argument, and was given 1 arguments$"):
        SourceSchema("x", "y", 5.0, {}, {"z": Output("any", "z")}).check_arguments(("1",))


def test_fields_that_were_left_out_are_filled_in() -> None:
    assert Load.schema().check_fields({}) == {"average": None, "unit": "-"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"averag": 1}, "load#query returned 'averag', which its schema does not declare"),
        ({"average": "1"}, "load#query returned 'average' that its schema does not allow: expected number, got '1'"),
        (None, "load#query returned NoneType, expected a mapping"),
    ],
)
def test_fields_that_are_not_as_declared_are_the_sources_fault(data: object, why: str) -> None:
    with pytest.raises(SchemaError) as raised:
        Load.schema().check_fields(data)
    assert str(raised.value).startswith(why)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": "No-Good"}, "name 'No-Good' cannot be used in a filter"),
        ({"name": "x" * 65}, "cannot be used in a filter"),
        ({"fields": {"a.b": Output("any", "x")}}, "field 'a.b' cannot be used in a filter"),
        ({"fields": {}}, "it declares no fields"),
        ({"fields": {"a": Output("text", "x")}}, "type 'text' is not one of"),
        ({"arguments": {"a": Input("text", "x")}}, "type 'text' is not one of"),
        ({"timeout_s": 0.0}, "timeout_s of 0.0, expected more than 0"),
    ],
)
def test_a_declaration_that_is_not_sound_is_refused(changes: dict[str, Any], why: str) -> None:
    kind = type("Mine", (Load,), changes)
    with pytest.raises(SchemaError, match=why):
        kind.schema()


def test_settings_are_checked_and_typed() -> None:
    assert Load(settings={"factor": 3}).query("1") == {"average": 3}
    assert Load(settings={"timeout_s": 7}).timeout_s == 7.0
    assert Load().timeout_s == 2.0


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (
            {"factr": 1},
            "data: load: unknown setting 'factr', did you mean factor?; known are: enabled, timeout_s, factor",
        ),
        ({"timeout_s": 0}, "data: load: timeout_s: expected more than 0, got 0"),
        ({"timeout_s": float("nan")}, "data: load: timeout_s: expected more than 0, got nan"),
        ({"timeout_s": "long"}, "data: load: timeout_s: Expected `float`, got `str`"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Load(settings=settings)
    assert str(raised.value) == why


def test_a_setting_of_another_type_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^data: load: factor: Expected `int`, got `str`$"):
        Load(settings={"factor": "two"}).query("1")


def test_a_source_without_a_node_says_that_it_needs_one() -> None:
    with pytest.raises(ConfigError, match="data source load was made without a node, and needs one"):
        _ = Load().node


def test_a_source_applies_everywhere_unless_it_says_otherwise() -> None:
    assert Load.activate_when({}) is None


def test_a_command_runs_within_the_deadline_of_the_query() -> None:
    # Given a query that must be over soon, then its command is killed with all it started
    token = deadline.set(time.monotonic() + 0.2)
    try:
        with pytest.raises(TimedOut, match="did not end before the deadline and was killed"):
            Load().run("sh", "-c", "sleep 600 & wait")
    finally:
        deadline.reset(token)


def test_a_command_is_not_begun_without_time() -> None:
    token = deadline.set(time.monotonic() - 1)
    try:
        with pytest.raises(TimedOut, match="no time was left to run `touch`"):
            Load().run("touch", f"/tmp/never-{os.getpid()}")
    finally:
        deadline.reset(token)


def test_a_command_says_what_it_printed() -> None:
    assert Load().run("echo", "hello").stdout == "hello\n"
    with pytest.raises(ActionAborted, match="`false` ended with status 1"):
        Load().run("false", check=True)


def test_a_command_ends_when_the_request_is_cancelled() -> None:
    request = Current()
    request.cancellation.cancel("the caller gave up")
    with working_for(request), pytest.raises(Cancelled):
        Load().run("sleep", "600")


def test_the_base_class_answers_nothing() -> None:
    with pytest.raises(NotImplementedError):
        DataSource().query()
