# SPDX-License-Identifier: Apache-2.0
"""What every agent that is installed keeps to: what it declares, what it refuses, what a change says, what it costs."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mco_rpc.agent import Agent, deadline
from mco_rpc.current import Current, working_for
from mco_rpc.data import SourceSchema
from mco_rpc.errors import ActionAborted, ConfigError
from mco_rpc.filters import Subject
from mco_rpc.messages import Reply, encode
from mco_rpc.schema import ActionSchema, AgentSchema, Input
from tests.unmeasured import environment

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
LONGEST_S = 600.0
# Taken for an option by a command, for more than one word or line by a file or a log, for a colour by a terminal.
HOSTILE = ("a\0b", "a\nb", "a\rb", "a\x1b[31m", "a\x7f", "/a\0b", "/a\nb", "/a\x1b[31m", "/a\x7f")
OPTIONS = ("-x", "--help", "-", "-oProxyCommand=x")

NO_NOOP = {
    "controller#exit": "whoever asks wants to know nothing else",
    "controller#restart": "that a new process can start is only known once it has",
    "controller#reload_agent": "what loads is only known once it was loaded",
    "controller#reload_agents": "what loads is only known once it was loaded",
    "controller#reload_facts": "what is new is only known once it was gathered",
    "package#refresh": "what is new is only known once it was fetched",
}
NO_STATE = {
    "controller#exit": "nobody is there to say it",
    "controller#reload_agent": "it says by name what came, went and was replaced",
    "controller#reload_agents": "it says by name what came, went and was replaced",
    "controller#reload_facts": "it says by name what came, went and was replaced",
    "package#refresh": "all lists of all repositories are no small plain values",
    "shell#run": "what a command changes nobody knows but who asked for it",
}
EXPRESSION = "an expression, compiled by RE2, that meets texts only"
LOOKED_UP = "looked up among names that are known, and never passed on"
# Inputs that take any text.
ANY_TEXT = {
    "cron#ensure.command": "one line of text, or the agent says what it holds",
    "cron#ensure.schedule": "parsed field by field, and written as it was understood",
    "discovery#match.agent": LOOKED_UP,
    "discovery#ping.agent": LOOKED_UP,
    "file#ensure.content": "what is in a file is the caller's to say",
    "file#match.pattern": EXPRESSION,
    "package#list.pattern": EXPRESSION,
    "port#status.port": "parsed into a number, a protocol and an address",
    "process#count.pattern": EXPRESSION,
    "process#list.pattern": EXPRESSION,
    "process#signal.pattern": EXPRESSION,
    "rpcutil#get_config_item.item": LOOKED_UP,
    "rpcutil#get_data.source": LOOKED_UP,
    "rpcutil#get_fact.fact": LOOKED_UP,
    "rpcutil#schema_of.agent": LOOKED_UP,
    "service#list.pattern": EXPRESSION,
    "url#get.match": EXPRESSION,
}
# Inputs that may begin with a dash.
ANY_BEGIN = {
    "controller#drain.reason": "kept, and shown",
    "cron#remove.name": "the name of a file below a fixed folder",
    "cron#status.name": "the name of a file below a fixed folder",
    "dns#resolve.name": "packed into a datagram by a library",
    "file#ensure.target": "given to a system call",
    "file#list.pattern": "meets names only",
    "haproxy#servers.backend": LOOKED_UP,
    "haproxy#set_state.backend": LOOKED_UP,
    "haproxy#set_state.server": LOOKED_UP,
    "host#pressure.cgroup": "a path below a fixed folder",
    "host#set_sysctl.value": "written to a file of the kernel; numbers may be negative",
    "nrpe#runcommand.command": LOOKED_UP,
}
# Inputs of other types, which the schema cannot look into.
NOT_LOOKED_INTO = {
    "discovery#match.filter": "parsed as any filter of a request",
    "nrpe#runcommand.args": "the characters that nrpe.cfg allows, where it allows any",
    "rpcutil#cancel.requests": LOOKED_UP,
    "rpcutil#explain_filter.filter": "parsed as any filter of a request",
    "rpcutil#get_data.query": "checked by the data source",
    "rpcutil#get_facts.facts": LOOKED_UP,
    "shell#run.command": "anything is what it is for, where a node's owner allows that",
    "shell#run.environment": "names and texts without null characters",
    "url#get.headers": "names and printable texts, or the agent says which is not",
}
LONG_TEXT = {"file#ensure.content": "a small file"}
LONG_ACTIONS = {"file#tail": "it follows a file for as long as the caller wants, an hour at most"}
OTHERS_NAMES = {"mtime_seconds", "ctime_seconds", "atime_seconds"}  # as filemgr has called them since MCollective
# What may be missing on a machine although the agent is offered there.
MAY_ABORT = {"postgresql": "no server runs", "iptables": "only root may ask the packet filter"}
ASKED_BY_THE_CLIENT = {"discovery": "its answers are not shown as tables", "rpcutil": "the same"}
TESTED_ELSEWHERE = {
    "controller": "tests/collective/test_control.py",
    "iptables": "tests/unit/test_packet_filter_agent.py",
}
# What a node should not hold in its memory because an agent is there, and not because it is used.
HEAVY = (
    "asyncio", "behave", "click", "concurrent.futures", "cronsim", "cryptography", "dns", "http.client", "jinja2",
    "lark", "multiprocessing", "pika", "psutil", "re2", "rich", "sqlalchemy", "ssl", "subprocess", "tabulate",
    "urllib.request", "xml", "zoneinfo",
)  # fmt: skip


def agents() -> Mapping[str, type[Agent]]:
    found = {entry.name: entry.load() for entry in importlib.metadata.entry_points(group="mco.agents")}
    return dict(sorted(found.items()))


AGENTS = agents()
ACTIONS = [(agent, action) for agent in AGENTS.values() for action in agent.schema().actions.values()]
INPUTS = [
    (f"{agent.schema().name}#{action.name}.{name}", each)
    for agent, action in ACTIONS
    for name, each in action.inputs.items()
]
every_agent = pytest.mark.parametrize("kind", AGENTS.values(), ids=AGENTS)
every_action = pytest.mark.parametrize(
    ("kind", "action"), ACTIONS, ids=[f"{agent.schema().name}#{action.name}" for agent, action in ACTIONS]
)
every_input = pytest.mark.parametrize(("where", "declared"), INPUTS, ids=[where for where, _ in INPUTS])


class Node:
    """A node that has nothing but this machine."""

    identity = "here"
    collectives = ("mcollective",)
    control: Any = SimpleNamespace()

    def facts(self) -> Mapping[str, Any]:
        return {"os": {"name": "Linux"}}

    def classes(self) -> frozenset[str]:
        return frozenset()

    def agents(self) -> Mapping[str, AgentSchema]:
        return {name: kind.schema() for name, kind in AGENTS.items()}

    def subject(self, until: float | None = None) -> Subject:
        return Subject(self.identity, self.classes(), frozenset(AGENTS), self.facts(), lambda *_: {})

    def data(self, source: str, arguments: tuple[str, ...]) -> Mapping[str, Any]:
        return {}

    def data_sources(self) -> Mapping[str, SourceSchema]:
        return {}

    def inactive_data_sources(self) -> Mapping[str, str]:
        return {}

    def problems(self) -> list[str]:
        return []

    def stats(self) -> dict[str, Any]:
        return {"version": "1", "inactive_agents": {}}

    def settings(self) -> Mapping[str, Any]:
        return {"identity": self.identity}

    def broker_addresses(self) -> list[str]:
        return []


def refuses(declared: Input, value: str) -> bool:
    try:
        declared.check(value)
    except ValueError:
        return True
    return False


@every_agent
def test_it_says_what_it_is_for(kind: type[Agent]) -> None:
    schema = kind.schema()
    assert schema.name in AGENTS
    assert re.fullmatch(r"[A-Z][^\n]*\.", schema.description)
    assert schema.actions
    assert 0 < schema.timeout_s <= LONGEST_S


@every_action
def test_an_action_and_all_that_goes_in_and_out_is_described(kind: type[Agent], action: ActionSchema) -> None:
    assert re.fullmatch(r"[A-Z].*[^.]", action.description)
    for declared in (*action.inputs.values(), *action.outputs.values()):
        assert re.fullmatch(r"\S(.*([^.\s]|, \.{3}))?", declared.description)
    for name, declared in action.outputs.items():
        assert declared.display_as or kind.schema().name in ASKED_BY_THE_CLIENT, name
        declared.check(declared.default)
    method = getattr(kind, action.name)
    assert (inspect.getdoc(method) or "").endswith(".")
    assert [*inspect.signature(method).parameters][1:] == [*action.inputs]


@every_action
def test_its_time_is_bounded(kind: type[Agent], action: ActionSchema) -> None:
    where = f"{kind.schema().name}#{action.name}"
    assert 0 < action.timeout_s <= (3700 if where in LONG_ACTIONS else LONGEST_S)


@every_action
def test_names_tell_their_units(kind: type[Agent], action: ActionSchema) -> None:
    for name in {*action.inputs, *action.outputs} - OTHERS_NAMES:
        assert not re.fullmatch(r".*(timeout|interval|duration|delay|wait_for|_seconds|_sec|_ms|_kb|_mb)", name), name


@every_action
def test_a_change_says_what_was_and_what_is(kind: type[Agent], action: ActionSchema) -> None:
    where = f"{kind.schema().name}#{action.name}"
    if not action.mutating:
        assert not action.noop
        assert "changed" not in action.outputs
        return
    assert action.noop != (where in NO_NOOP), NO_NOOP.get(where, "it has no noop")
    is_telling = {"changed", "before", "after"} <= action.outputs.keys()
    assert is_telling != (where in NO_STATE), NO_STATE.get(where, "it does not tell the state")
    if not is_telling:
        return
    assert action.outputs["changed"].type == "boolean"
    assert action.outputs["before"].type == action.outputs["after"].type
    if action.noop:
        assert "noop" in action.outputs["after"].description


@every_input
def test_texts_are_bounded(where: str, declared: Input) -> None:
    assert declared.max_length <= (256 * 1024 if where in LONG_TEXT else 4096)
    if declared.type == "list":
        assert declared.choices


@every_input
def test_no_control_characters_come_in(where: str, declared: Input) -> None:
    if declared.type == "string":
        taken = [value for value in HOSTILE if not refuses(declared, value)]
        assert bool(taken) == (where in ANY_TEXT), taken
    else:
        assert (declared.type in ("any", "hash", "array")) == (where in NOT_LOOKED_INTO)


@every_input
def test_nothing_comes_in_that_a_command_takes_for_an_option(where: str, declared: Input) -> None:
    if declared.type == "string":
        taken = [value for value in OPTIONS if not refuses(declared, value)]
        assert bool(taken) == (where in ANY_TEXT or where in ANY_BEGIN), taken


def test_no_exception_outlives_what_it_was_made_for() -> None:
    actions = {f"{agent.schema().name}#{action.name}" for agent, action in ACTIONS}
    inputs = {where for where, _ in INPUTS}
    assert not (NO_NOOP.keys() | NO_STATE.keys() | LONG_ACTIONS.keys()) - actions
    assert not (ANY_TEXT.keys() | ANY_BEGIN.keys() | NOT_LOOKED_INTO.keys() | LONG_TEXT.keys()) - inputs
    assert not (ASKED_BY_THE_CLIENT.keys() | TESTED_ELSEWHERE.keys()) - AGENTS.keys()


@every_agent
def test_why_it_is_not_offered_is_a_sentence(kind: type[Agent], monkeypatch: pytest.MonkeyPatch) -> None:
    for settings in ({}, dict.fromkeys(kind.setting_names, 1)):
        for path in (None, ""):
            if path is not None:
                monkeypatch.setenv("PATH", path)
            why_not = kind.activate_when(settings)
            assert why_not is None or (why_not and why_not.isprintable() and len(why_not) < 300)


@every_agent
def test_a_setting_that_it_does_not_have_is_refused(kind: type[Agent]) -> None:
    with pytest.raises(ConfigError, match="unknown setting 'no_such_setting'"):
        kind(Node(), {"no_such_setting": 1})


def test_to_know_all_agents_takes_nothing_heavy() -> None:
    script = (
        "import importlib.metadata, json, sys\n"
        "found = {each.name: each.load() for each in importlib.metadata.entry_points(group='mco.agents')}\n"
        "for kind in found.values(): kind.schema()\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True, cwd="/"
    )
    assert json.loads(done.stdout) == []


@every_agent
def test_it_has_a_page_and_tests(kind: type[Agent]) -> None:
    name = kind.schema().name
    page = f"reference/agents/{name}.md"
    assert (ROOT / "docs" / page).read_text().startswith("<!--")
    assert page in (ROOT / "mkdocs.yml").read_text() or "reference/agents/" in (ROOT / "mkdocs.yml").read_text()
    assert f"({page.removeprefix('reference/')})" in (ROOT / "docs/reference/agents.md").read_text()
    elsewhere = TESTED_ELSEWHERE.get(name)
    assert [*ROOT.glob(elsewhere or f"tests/agents/test_{name}*.py")]


def is_asked_as_it_is(action: ActionSchema) -> bool:
    needs = [each for each in action.inputs.values() if not each.optional and each.default is None]
    return not action.mutating and not needs


ASKED = [(kind, action) for kind, action in ACTIONS if is_asked_as_it_is(action)]


def test_enough_is_asked_below() -> None:
    assert len({kind for kind, _ in ASKED}) >= 10


@pytest.mark.parametrize(
    ("kind", "action"),
    ASKED,
    ids=[f"{kind.schema().name}#{action.name}" for kind, action in ASKED],
)
def test_what_needs_no_inputs_answers_on_this_machine_as_declared(kind: type[Agent], action: ActionSchema) -> None:
    if why_not := kind.activate_when({}):
        pytest.skip(why_not)
    name = kind.schema().name
    agent = kind(Node(), {})
    token = deadline.set(time.monotonic() + action.timeout_s)
    try:
        with working_for(Current(caller="key=test")):
            inputs = action.check_inputs(name, {})
            made = action.check_outputs(name, getattr(agent, action.name)(**inputs))
    except ActionAborted as e:
        if name not in MAY_ABORT:
            raise
        pytest.skip(str(e))
    finally:
        deadline.reset(token)
    body = encode(Reply(id="1", collective="c", agent=name, action=action.name, sender="here", sent_at=0.0, data=made))
    assert len(body) < 1024 * 1024
    assert made.keys() == action.outputs.keys()
