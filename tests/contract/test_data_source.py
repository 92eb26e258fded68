# SPDX-License-Identifier: Apache-2.0
"""What every data source does, those that are shipped and one of a test: as declared, in time, whatever is asked."""

from __future__ import annotations

import importlib.metadata
import json
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mco_agents.rpcutil import Rpcutil
from mco_node.data.sources import Sources
from mco_rpc.data import DataSource, Input, Output, SourceSchema
from mco_rpc.errors import FilterError
from mco_rpc.validation import check_type

# A good question to each, that can be put to any host.
QUESTIONS = {
    "agent": ("rpcutil",),
    "collective": ("mcollective",),
    "daemon": (),
    "fact": ("os.name",),
    "fstat": ("/etc/passwd",),
    "memory": ("a",),
    "package": ("dpkg",),
    "port": ("127.0.0.1:22/tcp",),
    "process": ("/./",),
    "service": ("cron",),
}
# fmt: off
HOSTILE = [
    "", " ", "-", "--", "-rf", "--help", "-h /", "\0", "a\0b", "\n", "a\nb", "\r\n", "\x1b[31mred", "../../etc/passwd",
    "/", "/dev/zero", "/dev/stdin", "/proc/self/mem", "*", "?", "[a-z]", "${x}", "$(reboot)", "`reboot`", "; reboot",
    "%s%n", "'", '"', "\\", "\N{SNOWMAN}", "\ud800", "\udcff", "x" * 10_000, "/" + "x/" * 5_000, "(" * 500, "/(a+)+$/",
    "/(/", "9" * 400, "-1", "1e999", "nan", "." * 1000, '"' * 999, "a." * 500, "true", "null", "[]", "{}", "@", ":",
    "a:b:c", "%", "| cat",
]
# fmt: on


class Memory(DataSource):
    """Answer from memory; the sibling of the others for tests."""

    arguments = {"key": Input("string", "Anything", max_length=64)}  # noqa: RUF012 - as in anybody's file
    fields = {"value": Output("string", "What is kept under it"), "kept": Output("boolean", "Whether it is")}  # noqa: RUF012

    def query(self, key: str) -> dict[str, Any]:
        return {"value": key, "kept": True} if key == "a" else {"kept": False}


def kinds() -> Mapping[str, type[DataSource]]:
    found = {entry.name: entry.load() for entry in importlib.metadata.entry_points(group="mco.data")}
    return {**found, "memory": Memory}


@pytest.fixture(params=sorted(QUESTIONS))
def kind(request: pytest.FixtureRequest) -> type[DataSource]:
    """A class of data sources that applies to this host."""
    found = kinds()[request.param]
    if why_not := found.activate_when({}):
        pytest.skip(f"{request.param}: {why_not}")
    return found


@pytest.fixture
def sources(kind: type[DataSource]) -> Sources:
    node: Any = SimpleNamespace(
        facts=lambda: {"os": {"name": "Debian"}},
        agents=lambda: {"rpcutil": Rpcutil.schema()},
        collectives=("mcollective",),
        stats=lambda: {
            "version": "1.0",
            "uptime_s": 1.0,
            "log_level": "info",
            "drained": None,
            "workers": {"running": 1, "waiting": 0, "hanging": 0},
        },
        problems=list,
    )
    return Sources({kind.schema().name: kind(node)})


def name_of(sources: Sources) -> str:
    (name,) = sources.schemas()
    return name


def soon() -> float:
    return time.monotonic() + 20


def answer_or_refusal(sources: Sources, argument: str) -> str:
    """Ask; return nothing if there is an answer, which can be sent, and else what was said."""
    try:
        fields = sources.query(name_of(sources), (argument,), soon())
    except FilterError as e:
        said = str(e)
    else:
        msgspec.json.encode(dict(fields))
        return ""
    assert "it failed: " not in said, "the source raised what it should have foreseen"
    return said


def test_every_shipped_one_is_in_this_suite() -> None:
    assert set(kinds()) == set(QUESTIONS)


def test_the_schema_is_sound_and_plain_data(kind: type[DataSource]) -> None:
    schema = kind.schema()
    plain = json.loads(json.dumps(schema.to_json()))
    assert msgspec.convert(plain, SourceSchema) == schema
    assert schema.description.endswith(".")
    assert all(each.description for each in (*schema.arguments.values(), *schema.fields.values()))


def test_the_entry_point_has_the_name_that_filters_use(kind: type[DataSource]) -> None:
    assert kinds()[kind.schema().name] is kind


def test_it_says_whether_it_applies(kind: type[DataSource]) -> None:
    assert kind.activate_when({}) is None


def test_a_good_question_is_answered_with_every_field_as_declared(sources: Sources) -> None:
    name = name_of(sources)
    schema = sources.schemas()[name]
    fields = sources.query(name, QUESTIONS[name], soon())
    assert list(fields) == list(schema.fields)
    assert any(value is not None for value in fields.values())
    for field, value in fields.items():
        if value is not None:
            check_type(schema.fields[field].type, value)
    msgspec.json.encode(dict(fields))


def test_the_same_question_has_the_same_kind_of_answer(sources: Sources) -> None:
    name = name_of(sources)
    ask = sources.session(soon())
    assert ask(name, QUESTIONS[name]) is ask(name, QUESTIONS[name])


@pytest.mark.parametrize("argument", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_question_is_answered_or_refused(sources: Sources, argument: str) -> None:
    said = answer_or_refusal(sources, argument)
    assert len(said) < 1000
    assert said.isprintable()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(argument=st.text(max_size=40))
def test_any_text_is_answered_or_refused(sources: Sources, argument: str) -> None:
    answer_or_refusal(sources, argument)


@pytest.mark.parametrize("arguments", [(), ("a", "b"), ("a",) * 1000])
def test_a_wrong_number_of_arguments_is_refused(sources: Sources, arguments: tuple[str, ...]) -> None:
    name = name_of(sources)
    if arguments == QUESTIONS[name]:
        pytest.skip("it takes none")
    with pytest.raises(FilterError, match=f"^data source {name}(: argument .* is required: | takes )"):
        sources.query(name, arguments, soon())


def test_without_time_it_refuses(sources: Sources) -> None:
    name = name_of(sources)
    with pytest.raises(FilterError, match="no time was left to ask it"):
        sources.query(name, QUESTIONS[name], time.monotonic() - 1)


def test_many_may_ask_at_once(sources: Sources) -> None:
    name = name_of(sources)
    gate = threading.Barrier(16)

    def ask() -> Mapping[str, Any]:
        gate.wait(20)
        return sources.query(name, QUESTIONS[name], soon())

    with ThreadPoolExecutor(16) as pool:
        answers = [each.result(60) for each in [pool.submit(ask) for _ in range(16)]]
    assert {tuple(answer) for answer in answers} == {tuple(sources.schemas()[name].fields)}


def test_an_unknown_setting_is_refused_and_a_time_out_is_taken(kind: type[DataSource]) -> None:
    assert kind(settings={"timeout_s": 1.5}).timeout_s == 1.5
    with pytest.raises(Exception, match=f"^data: {kind.schema().name}: unknown setting 'no_such'"):
        kind(settings={"no_such": 1})
