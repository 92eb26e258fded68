# SPDX-License-Identifier: Apache-2.0
"""The base class of agents: what a node can be asked, as methods with a schema.

>>> class Greeter(Agent):
...     \"\"\"Say hello.\"\"\"
...     @action("Greet somebody", inputs={"name": Input("string", "whom")}, outputs={"text": Output("string", "it")})
...     def greet(self, name: str) -> dict[str, object]:
...         return {"text": f"hello {name}"}
>>> Greeter(settings={}).greet("you")
{'text': 'hello you'}
>>> list(Greeter.schema().actions)
['greet']
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, ClassVar, Protocol, TypeVar

from mco_rpc.command import MAX_OUTPUT_BYTES, Completed, command_exists, run
from mco_rpc.errors import ConfigError, TimedOut
from mco_rpc.schema import ActionSchema, AgentSchema, Input, Output
from mco_rpc.suggestion import did_you_mean

__all__ = [
    "Action",
    "Agent",
    "Input",
    "NodeView",
    "Output",
    "action",
    "command_exists",
    "deadline",
    "time_left_s",
]

Action = Callable[..., dict[str, Any]]
_Method = TypeVar("_Method", bound=Callable[..., Any])
_DECLARED = "__mco_action__"

# When the call in this thread has to be over, on time.monotonic's clock; the node sets it.
deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class NodeView(Protocol):
    """What an agent may know of the node it runs on."""

    @property
    def identity(self) -> str:
        """The node's name in the collective."""

    @property
    def collectives(self) -> tuple[str, ...]:
        """The collectives it answers in."""

    def facts(self) -> Mapping[str, Any]:
        """Return its facts as they are now."""

    def classes(self) -> frozenset[str]:
        """Return the configuration management classes it has."""

    def agents(self) -> Mapping[str, AgentSchema]:
        """Return the schemas of the agents it offers."""

    def problems(self) -> list[str]:
        """Return what is wrong with it: facts that cannot be read, agents that did not load."""

    def stats(self) -> dict[str, Any]:
        """Return its counters."""

    def settings(self) -> Mapping[str, Any]:
        """Return its configuration, secrets left out."""

    def broker_addresses(self) -> list[str]:
        """Return the addresses of the broker it is connected to or may connect to."""


def action(
    description: str,
    *,
    inputs: Mapping[str, Input] | None = None,
    outputs: Mapping[str, Output] | None = None,
    display: str = "always",
    timeout_s: float | None = None,
    mutating: bool = False,
) -> Callable[[_Method], _Method]:
    """Declare a method as an action; its inputs come as keywords, its return value is the outputs.

    Args:
        timeout_s: seconds it may take; the agent's own limit if None.
        mutating: whether it changes anything on the node.
    """

    def declare(method: _Method) -> _Method:
        schema = ActionSchema(
            name=getattr(method, "__name__", ""),
            description=description,
            inputs=dict(inputs or {}),
            outputs=dict(outputs or {}),
            display=display,
            timeout_s=timeout_s or 0.0,
            mutating=mutating,
        )
        setattr(method, _DECLARED, schema)
        return method

    return declare


class Agent:
    """A kind of question a node answers; subclasses declare actions.

    Attributes:
        name: what callers call it; the class name in lower case unless it is given.
        timeout_s: seconds an action may take unless it says otherwise.
        activate_when: why this node cannot offer the agent with these settings, or None if it can.
        setting_names: the keys that ``agents: {NAME: {...}}`` of the node's configuration may hold.
    """

    name: ClassVar[str] = ""
    version: ClassVar[str] = "1.0"
    timeout_s: ClassVar[float] = 10.0
    setting_names: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def activate_when(settings: Mapping[str, object]) -> str | None:
        """Return None: an agent is active everywhere unless it says otherwise."""
        return None

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        self._node = node
        self.settings: Mapping[str, Any] = settings or {}
        for key in self.settings:
            if key not in self.setting_names:
                known = ", ".join(self.setting_names) or "none"
                raise ConfigError(
                    f"agents: {self.schema().name}: unknown setting {key!r}"
                    f"{did_you_mean(key, self.setting_names)}; known are: {known}"
                )

    @property
    def node(self) -> NodeView:
        """The node this agent runs on."""
        if self._node is None:
            raise ConfigError(f"agent {self.schema().name} was made without a node, and needs one")
        return self._node

    @classmethod
    def schema(cls) -> AgentSchema:
        """Return what this agent can be asked.

        Raises:
            SchemaError: the declaration is not sound.
        """
        actions = {}
        for attribute in dir(cls):
            declared = getattr(getattr(cls, attribute, None), _DECLARED, None)
            if isinstance(declared, ActionSchema):
                timed = declared.timeout_s or cls.timeout_s
                actions[declared.name] = _with_timeout(declared, timed)
        description = (cls.__doc__ or "").strip().partition("\n")[0]
        return AgentSchema(cls.name or cls.__name__.lower(), description, cls.version, actions).check()

    def run(
        self, *argv: str, stdin: bytes = b"", check: bool = False, max_output_bytes: int = MAX_OUTPUT_BYTES
    ) -> Completed:
        """Run a command within the deadline of the call that this thread works for.

        Args:
            check: whether a status other than 0 aborts the action.

        Raises:
            TimedOut: the deadline passed; the command's process group was killed.
            ActionAborted: it is not installed or, with ``check``, failed.
        """
        left_s = time_left_s(self.timeout_s)
        if left_s <= 0:
            raise TimedOut(f"no time was left to run `{argv[0]}`")
        until = time.monotonic() + left_s
        return run(argv, deadline=until, stdin=stdin, check=check, max_output_bytes=max_output_bytes)


def time_left_s(default: float) -> float:
    """Return the seconds left to the call in this thread, ``default`` outside of one."""
    at = deadline.get()
    return default if at is None else at - time.monotonic()


def _with_timeout(schema: ActionSchema, timeout_s: float) -> ActionSchema:
    import msgspec

    return msgspec.structs.replace(schema, timeout_s=timeout_s)
