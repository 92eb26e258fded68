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

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar, TypeVar

from mco_rpc import __version__
from mco_rpc.command import MAX_OUTPUT_BYTES, Completed, command_exists, run
from mco_rpc.current import current
from mco_rpc.errors import ConfigError, TimedOut
from mco_rpc.lines import Lines
from mco_rpc.node_view import NodeView
from mco_rpc.schema import DEFAULT_TIMEOUT_S, ActionSchema, AgentSchema, Aggregate, Input, Output
from mco_rpc.soundness import is_older
from mco_rpc.suggestion import did_you_mean

__all__ = [
    "Action",
    "Agent",
    "Aggregate",
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
_INLINE = "__mco_inline__"

# When the call in this thread has to be over, on time.monotonic's clock; the node sets it.
deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


def action(
    description: str,
    *,
    inputs: Mapping[str, Input] | None = None,
    outputs: Mapping[str, Output] | None = None,
    display: str = "always",
    timeout_s: float | None = None,
    mutating: bool = False,
    noop: bool = False,
    is_inline: bool = False,
    aggregates: Sequence[Aggregate] = (),
) -> Callable[[_Method], _Method]:
    """Declare a method as an action; its inputs come as keywords, its return value is the outputs.

    Args:
        timeout_s: seconds it may take; the agent's own limit if None.
        mutating: whether it changes anything on the node.
        noop: whether it obeys `Agent.is_noop`: says what it would change, and changes nothing.
        is_inline: whether it runs on the thread that reads from the broker, without a worker's deadline: for what
            answers from memory at once, and for nothing else, for meanwhile the node hears nobody.
        aggregates: what a client makes of an output of all nodes: ``[Aggregate("summary", "state")]``.
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
            noop=noop,
            aggregates=tuple(aggregates),
        )
        setattr(method, _DECLARED, schema)
        setattr(method, _INLINE, is_inline)
        return method

    return declare


class Agent:
    """A kind of question a node answers; subclasses declare actions.

    Attributes:
        name: what callers call it; the class name in lower case unless it is given.
        requires: the oldest version of the node that it runs on; any if empty.
        timeout_s: seconds an action may take unless it says otherwise.
        activate_when: why this node cannot offer the agent with these settings, or None if it can.
        why_off: why a node does not offer it unless its configuration says ``enabled: true``; offered if empty.
        setting_names: the keys that ``agents: {NAME: {...}}`` of the node's configuration may hold.
    """

    name: ClassVar[str] = ""
    version: ClassVar[str] = "1.0"
    author: ClassVar[str] = ""
    license: ClassVar[str] = ""
    url: ClassVar[str] = ""
    requires: ClassVar[str] = ""
    timeout_s: ClassVar[float] = DEFAULT_TIMEOUT_S
    why_off: ClassVar[str] = ""
    setting_names: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def activate_when(settings: Mapping[str, object]) -> str | None:
        """Return None: an agent is active everywhere unless it says otherwise."""
        return None

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        if self.requires and is_older(__version__, self.requires):
            raise ConfigError(
                f"agent {self.schema().name} requires version {self.requires} of the node; this is {__version__}"
            )
        self._node = node
        self.settings: Mapping[str, Any] = settings or {}
        for key in self.settings:
            if key not in self.setting_names:
                known = ", ".join(self.setting_names) or "none"
                raise ConfigError(
                    f"agents: {self.schema().name}: unknown setting {key!r}"
                    f"{did_you_mean(key, self.setting_names)}; known are: {known}"
                )

    def setting(self, key: str, default: Any) -> Any:
        """Return a setting of the same type as its default; raise `ConfigError` if it is of another."""
        import msgspec

        try:
            return msgspec.convert(self.settings.get(key, default), type(default))
        except msgspec.ValidationError as e:
            raise ConfigError(f"agents: {self.schema().name}: {key}: {e}") from e

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
        return cls.declared_schema().check()

    @classmethod
    def declared_schema(cls) -> AgentSchema:
        """Return what the class declares, sound or not."""
        actions = {}
        for attribute in dir(cls):
            declared = getattr(getattr(cls, attribute, None), _DECLARED, None)
            if isinstance(declared, ActionSchema):
                timed = declared.timeout_s or cls.timeout_s
                actions[declared.name] = _with_timeout(declared, timed)
        description = (cls.__doc__ or "").strip().partition("\n")[0]
        return AgentSchema(
            name=cls.name or cls.__name__.lower(),
            description=description,
            version=cls.version,
            actions=actions,
            author=cls.author,
            license=cls.license,
            url=cls.url,
            timeout_s=cls.timeout_s,
            requires=cls.requires,
        )

    @classmethod
    def is_inline(cls, action_name: str) -> bool:
        """Say whether an action answers from memory at once."""
        return bool(getattr(getattr(cls, action_name, None), _INLINE, False))

    @property
    def is_noop(self) -> bool:
        """Whether the caller wants to know what would be changed, and nothing changed."""
        return current().is_noop

    def tell(self, text: str = "", **data: Any) -> None:
        """Tell a caller who follows how it goes: ``self.tell("copied", percent=40)``; ends here if he cancelled."""
        current().cancellation.check()
        current().tell("progress", text, data)

    def check_cancelled(self) -> None:
        """End here, by raising `Cancelled`, if the caller wished so; long loops look now and then."""
        current().cancellation.check()

    def run(
        self,
        *argv: str,
        stdin: bytes = b"",
        check: bool = False,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
        is_streamed: bool = False,
        timeout_s: float | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
    ) -> Completed:
        """Run a command within the deadline of the call that this thread works for.

        Args:
            check: whether a status other than 0 aborts the action.
            is_streamed: whether a caller who follows sees what it prints as it prints it.
            timeout_s: seconds it may take, if that is over before the call's deadline.
            environment: all its variables; the node's own if None.
            user: who runs it, with the groups of that user; the node's own if None.

        Raises:
            TimedOut: the deadline passed; the command's process group was killed.
            Cancelled: the caller wished that it ends; the same.
            ActionAborted: it is not installed or, with ``check``, failed.
        """
        left_s = time_left_s(self.timeout_s)
        if left_s <= 0:
            raise TimedOut(f"no time was left to run `{argv[0]}`")
        if timeout_s is not None:
            left_s = min(left_s, timeout_s)
        request = current()
        with Lines(request.tell) if is_streamed and request.is_followed else contextlib.nullcontext() as lines:
            return run(
                argv,
                deadline=time.monotonic() + left_s,
                stdin=stdin,
                check=check,
                max_output_bytes=max_output_bytes,
                cancellation=request.cancellation,
                on_output=lines.add if lines else None,
                environment=environment,
                cwd=cwd,
                user=user,
            )


def time_left_s(default: float) -> float:
    """Return the seconds left to the call in this thread, ``default`` outside of one."""
    at = deadline.get()
    return default if at is None else at - time.monotonic()


def _with_timeout(schema: ActionSchema, timeout_s: float) -> ActionSchema:
    import msgspec

    return msgspec.structs.replace(schema, timeout_s=timeout_s)
