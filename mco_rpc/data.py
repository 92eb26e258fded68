# SPDX-License-Identifier: Apache-2.0
"""The base class of data sources: what a filter can ask a node beyond its facts, as fields with a schema.

It says what a source is; asking one in time, once for many callers, is the node's work.

>>> class Load(DataSource):
...     \"\"\"Say how busy the node is.\"\"\"
...     arguments = {"minutes": Input("list", "Over how long", choices=("1", "5", "15"), default="1")}
...     fields = {"average": Output("float", "Processes that want to run")}
...     def query(self, minutes: str) -> dict[str, object]:
...         return {"average": os.getloadavg()[("1", "5", "15").index(minutes)]}
>>> import os
>>> sorted(Load().query("5"))
['average']
>>> Load.schema().check_arguments(())
('1',)
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from mco_rpc.agent import NodeView, command_exists, time_left_s
from mco_rpc.command import MAX_OUTPUT_BYTES, Completed, run
from mco_rpc.current import current
from mco_rpc.errors import ConfigError, FilterError, SchemaError, TimedOut
from mco_rpc.schema import ActionSchema, AgentSchema, Input, Output
from mco_rpc.suggestion import did_you_mean
from mco_rpc.validation import shown

__all__ = ["DataSource", "Input", "NodeView", "Output", "SourceSchema", "command_exists", "time_left_s"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


class SourceSchema(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that a node says about a data source.

    Attributes:
        timeout_s: seconds it may take.
        arguments: by name, in the order in which a filter gives them.
        fields: what it answers; a field that it does not know is None, and compares as false.
    """

    name: str
    description: str
    timeout_s: float
    arguments: dict[str, Input] = {}
    fields: dict[str, Output] = {}

    def check(self) -> SourceSchema:
        """Return this schema if it is sound; raise `SchemaError` with what is not, and where."""
        for what, name in (("name", self.name), *(("field", name) for name in self.fields)):
            if not _NAME.match(name):
                raise SchemaError(
                    f"data source {self.name!r}: {what} {name!r} cannot be used in a filter: small letters, digits "
                    "and _ are allowed, and the first is a letter"
                )
        if not self.fields:
            raise SchemaError(f"data source {self.name}: it declares no fields, so nothing could be asked")
        AgentSchema(self.name, self.description, "1.0", {"query": self._query()}).check()
        return self

    def check_arguments(self, given: Sequence[str]) -> tuple[Any, ...]:
        """Return the arguments in canonical form, with defaults filled in.

        Raises:
            FilterError: there are too many or too few, or one is not what it should be.
        """
        if len(given) > len(self.arguments):
            taken = ", ".join(self.arguments) if self.arguments else "no argument"
            raise FilterError(f"data source {self.name} takes {taken}, and was given {len(given)} arguments")
        checked = []
        for number, (name, declared) in enumerate(self.arguments.items()):
            if number < len(given):
                checked.append(self._argument(name, declared, given[number]))
            elif declared.default is None and not declared.optional:
                raise FilterError(f"data source {self.name}: argument {name} is required: {declared.description}")
            else:
                checked.append(declared.default)
        return tuple(checked)

    def _argument(self, name: str, declared: Input, text: str) -> Any:
        where = f"data source {self.name}: argument {name}"
        if "\0" in text:
            raise FilterError(f"{where}: {shown(text)} holds a null byte")
        try:
            text.encode()
            return declared.check(declared.parse(text))
        except UnicodeEncodeError as e:
            raise FilterError(f"{where}: {shown(text)} holds half a character") from e
        except ValueError as e:
            raise FilterError(f"{where}: {e}") from e

    def check_fields(self, data: object) -> dict[str, Any]:
        """Return what a source gave, with defaults filled in; raise `SchemaError` if the source has a fault."""
        return self._query().check_outputs(self.name, data)

    def to_json(self) -> dict[str, Any]:
        """Return this schema as plain data."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def _query(self) -> ActionSchema:
        return ActionSchema("query", self.description, self.arguments, self.fields, timeout_s=self.timeout_s)


class DataSource:
    """A kind of question a filter may ask a node; subclasses declare ``arguments`` and ``fields``, and answer.

    Attributes:
        name: what filters call it; the class name in lower case unless it is given.
        timeout_s: seconds a query may take; the configuration may say otherwise.
        keep_s: seconds for which an answer is good enough for whoever asks the same; 0 if it costs nothing.
        setting_names: the keys that ``data: {NAME: {...}}`` of the node's configuration may hold beside
            ``enabled`` and ``timeout_s``.
    """

    name: ClassVar[str] = ""
    arguments: ClassVar[Mapping[str, Input]] = {}
    fields: ClassVar[Mapping[str, Output]] = {}
    timeout_s: float = 5.0
    keep_s: ClassVar[float] = 1.0
    setting_names: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def activate_when(settings: Mapping[str, object]) -> str | None:
        """Return why this node cannot offer the source with these settings, or None if it can."""
        return None

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        self._node = node
        self.settings: Mapping[str, Any] = settings or {}
        known = ("timeout_s", *self.setting_names)
        for key in self.settings:
            if key not in known:
                raise ConfigError(
                    f"data: {self.schema().name}: unknown setting {key!r}{did_you_mean(key, known)}; "
                    f"known are: {', '.join(('enabled', *known))}"
                )
        self.timeout_s = self.setting("timeout_s", type(self).timeout_s)
        if not 0 < self.timeout_s < float("inf"):
            raise ConfigError(f"data: {self.schema().name}: timeout_s: expected more than 0, got {self.timeout_s:g}")

    def setting(self, key: str, default: Any) -> Any:
        """Return a setting of the same type as its default; raise `ConfigError` if it is of another."""
        try:
            return msgspec.convert(self.settings.get(key, default), type(default))
        except msgspec.ValidationError as e:
            raise ConfigError(f"data: {self.schema().name}: {key}: {e}") from e

    @property
    def node(self) -> NodeView:
        """The node this source runs on."""
        if self._node is None:
            raise ConfigError(f"data source {self.schema().name} was made without a node, and needs one")
        return self._node

    @classmethod
    def schema(cls) -> SourceSchema:
        """Return what this source can be asked; raise `SchemaError` if the declaration is not sound."""
        description = (cls.__doc__ or "").strip().partition("\n")[0]
        name = cls.name or cls.__name__.lower()
        return SourceSchema(name, description, cls.timeout_s, dict(cls.arguments), dict(cls.fields)).check()

    def query(self, *arguments: Any) -> dict[str, Any]:
        """Return the fields; whatever it raises fails the whole filter, with its text."""
        raise NotImplementedError

    def run(self, *argv: str, check: bool = False, max_output_bytes: int = MAX_OUTPUT_BYTES) -> Completed:
        """Run a command within the deadline of the query that this thread works for.

        Raises:
            TimedOut: the deadline passed; the command's process group was killed.
            ActionAborted: it is not installed or, with ``check``, failed.
        """
        left_s = time_left_s(self.timeout_s)
        if left_s <= 0:
            raise TimedOut(f"no time was left to run `{argv[0]}`")
        return run(
            argv,
            deadline=time.monotonic() + left_s,
            check=check,
            max_output_bytes=max_output_bytes,
            cancellation=current().cancellation,
        )
