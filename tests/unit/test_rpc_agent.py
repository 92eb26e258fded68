# SPDX-License-Identifier: Apache-2.0
"""An agent is a class whose methods declare what they take and give."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mco_rpc.agent import Agent, Input, Output, action, command_exists, deadline, time_left_s
from mco_rpc.errors import ActionAborted, ConfigError, SchemaError, TimedOut


class Greeter(Agent):
    """Say hello.

    This is not part of the description.
    """

    timeout_s = 4.0
    setting_names = ("language", "volume")

    @action("Greet", inputs={"name": Input("string", "whom")}, outputs={"text": Output("string", "it")})
    def greet(self, name: str) -> dict[str, Any]:
        return {"text": f"hello {name}"}

    @action("Shout", timeout_s=1.5, mutating=True, display="failed")
    def shout(self) -> dict[str, Any]:
        return {}

    def helper(self) -> None:
        """Not an action."""


class LoudGreeter(Greeter):
    """Say hello, loudly."""

    name = "loud"
    version = "2.0"

    @action("Greet loudly", inputs={"name": Input("string", "whom")}, outputs={"text": Output("string", "it")})
    def greet(self, name: str) -> dict[str, Any]:
        return {"text": f"HELLO {name}"}


class Plain(Agent):
    """Take no settings."""


def test_a_class_is_its_schema() -> None:
    schema = Greeter.schema()
    assert (schema.name, schema.description, schema.version) == ("greeter", "Say hello.", "1.0")
    assert set(schema.actions) == {"greet", "shout"}
    assert (schema.actions["greet"].timeout_s, schema.actions["shout"].timeout_s) == (4.0, 1.5)
    assert (schema.actions["shout"].mutating, schema.actions["shout"].display) == (True, "failed")
    assert schema.actions["greet"].mutating is False


def test_a_subclass_inherits_and_overrides_actions() -> None:
    schema = LoudGreeter.schema()
    assert (schema.name, schema.version) == ("loud", "2.0")
    assert schema.actions["greet"].description == "Greet loudly"
    assert set(schema.actions) == {"greet", "shout"}
    assert Greeter.schema().actions["greet"].description == "Greet"


def test_an_action_is_called_as_a_method() -> None:
    assert Greeter().greet(name="you") == {"text": "hello you"}


def test_an_unsound_declaration_is_a_schema_error() -> None:
    class Broken(Agent):
        @action("x", inputs={"a": Input("text", "x")})
        def do(self) -> None: ...

    with pytest.raises(SchemaError, match="broken#do input a: type 'text'"):
        Broken.schema()


def test_settings_are_known_by_name() -> None:
    assert Greeter(settings={"volume": 3}).settings == {"volume": 3}
    with pytest.raises(
        ConfigError,
        match=r"agents: greeter: unknown setting 'volum', did you mean volume\?; known are: language, volume",
    ):
        Greeter(settings={"volum": 3})
    with pytest.raises(ConfigError, match="known are: none"):
        Plain(settings={"x": 1})


def test_an_agent_without_a_node_says_so() -> None:
    with pytest.raises(ConfigError, match="agent greeter was made without a node"):
        _ = Greeter().node
    node: Any = object()
    assert Greeter(node).node is node


def test_an_agent_is_active_unless_it_says_why_not() -> None:
    class Picky(Agent):
        """Needs something."""

        activate_when = staticmethod(command_exists("no-such-command"))  # type: ignore[assignment]

    assert Greeter.activate_when({}) is None
    assert Picky.activate_when({}) == "no-such-command is not installed"


def test_a_command_runs_within_the_calls_deadline() -> None:
    agent = Greeter()
    assert agent.run("cat", stdin=b"x").stdout == "x"
    with pytest.raises(ActionAborted, match="`false` ended with status 1"):
        agent.run("false", check=True)

    # Given a call with next to no time left
    token = deadline.set(time.monotonic() + 0.2)
    try:
        assert 0 < time_left_s(100.0) <= 0.2
        with pytest.raises(TimedOut, match="`sleep 3600` did not end before the deadline"):
            agent.run("sleep", "3600")
        # And when it has none, nothing is begun
        with pytest.raises(TimedOut, match="no time was left to run `touch`"):
            agent.run("touch", "/nowhere/at/all")
    finally:
        deadline.reset(token)
    assert time_left_s(100.0) == 100.0
