# SPDX-License-Identifier: Apache-2.0
"""What an agent can be asked: its actions, their inputs and their outputs (MCollective's DDL).

The same declaration checks what comes in and what goes out, documents the agent, and is sent to clients
as JSON, so that an operator's machine needs no agent code.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable
from typing import Any

import msgspec

from mco_rpc import names
from mco_rpc.errors import InvalidData, MissingData, SchemaError, UnknownAction
from mco_rpc.suggestion import did_you_mean
from mco_rpc.validation import VALIDATORS, matches, regex

TYPES = ("string", "list", "boolean", "integer", "float", "number", "array", "hash", "any")
DISPLAYS = ("always", "ok", "failed")
DEFAULT_MAX_LENGTH = 4096
# Says whether a text matches an expression: `validation.matches`, or `may_match` for a schema from elsewhere.
Matches = Callable[[str, str], bool]


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One input of an action.

    Attributes:
        type: one of `TYPES`; ``list`` is one of ``choices``.
        validate: a name in `mco_rpc.validation.VALIDATORS`, or ``/a regular expression/`` that must match wholly.
        max_length: characters of a string, elements of an array or hash.
    """

    type: str
    description: str
    prompt: str = ""
    optional: bool = False
    default: Any = None
    validate: str | None = None
    choices: tuple[str, ...] = ()
    max_length: int = DEFAULT_MAX_LENGTH

    def check(self, value: object, matches: Matches = matches) -> Any:
        """Return the value in its canonical form.

        Args:
            matches: runs the expression of ``validate``.

        Raises:
            ValueError: what was expected and what was seen.
        """
        _check_type(self.type, value)
        if isinstance(value, str | list | dict) and len(value) > self.max_length:
            what = "characters" if isinstance(value, str) else "elements"
            raise ValueError(f"{len(value)} {what}; at most {self.max_length} are allowed")
        if self.choices and value not in self.choices:
            raise ValueError(f"{value!r} is not one of {', '.join(self.choices)}")
        if self.validate and isinstance(value, str):
            return self._validated(value, matches)
        return value

    def _validated(self, value: str, matches: Matches) -> str:
        validate = self.validate or ""
        if _is_expression(validate):
            if not matches(validate[1:-1], value):
                raise ValueError(f"{_shown(value)} does not match {validate}")
            return value
        try:
            return VALIDATORS[validate](value)
        except ValueError as e:
            raise ValueError(f"{_shown(value)} is not valid: {e}") from e

    def parse(self, text: str) -> Any:
        """Return the value that a person means by ``text`` on a command line.

        Raises:
            ValueError: it is no value of this type.
        """
        if self.type in ("string", "list"):
            return text
        if self.type == "boolean" and text.lower() in _WORDS:
            return _WORDS[text.lower()]
        if self.type == "array" and not text.lstrip().startswith("["):
            return [word.strip() for word in text.split(",")]
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            value = text
        if self.type == "float" and isinstance(value, int) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):
                return float(value)
        return value


_WORDS = {
    "true": True,
    "yes": True,
    "1": True,
    "on": True,
    "false": False,
    "no": False,
    "0": False,
    "off": False,
}


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One output of an action; every reply holds it, with its default where the action gave none."""

    type: str
    description: str
    display_as: str = ""
    default: Any = None


class ActionSchema(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One action.

    Attributes:
        display: which replies a client shows unasked: always, ok or failed.
        timeout_s: seconds after which the node answers ``timed out``.
        mutating: whether it changes anything on the node.
    """

    name: str
    description: str
    inputs: dict[str, Input] = {}
    outputs: dict[str, Output] = {}
    display: str = "always"
    timeout_s: float = 10.0
    mutating: bool = False

    def check_inputs(self, agent: str, data: dict[str, Any], matches: Matches = matches) -> dict[str, Any]:
        """Return the inputs in canonical form, with defaults filled in.

        Args:
            matches: runs expressions; `validation.may_match` if a node sent this schema.

        Raises:
            MissingData: a required input is not there.
            InvalidData: an input is unknown or not what it should be.
        """
        where = f"{agent}#{self.name}"
        for name in data:
            if name not in self.inputs:
                known = f"it takes {', '.join(self.inputs)}" if self.inputs else "it takes no inputs"
                raise InvalidData(f"{where}: unknown input {_shown(name)}{did_you_mean(name, self.inputs)}; {known}")
        checked = {}
        for name, declared in self.inputs.items():
            if name in data:
                try:
                    checked[name] = declared.check(data[name], matches)
                except ValueError as e:
                    raise InvalidData(f"{where}: input {name}: {e}") from e
            elif declared.default is not None:
                checked[name] = declared.default
            elif not declared.optional:
                raise MissingData(f"{where}: input {name} is required: {declared.description}")
        return checked

    def check_outputs(self, agent: str, data: object) -> dict[str, Any]:
        """Return what an action gave, with defaults filled in.

        Raises:
            SchemaError: it gave something that its schema does not allow: the agent has a fault.
        """
        where = f"{agent}#{self.name}"
        if not isinstance(data, dict):
            raise SchemaError(f"{where} returned {type(data).__name__}, expected a mapping of its outputs")
        for name, value in data.items():
            declared = self.outputs.get(name)
            if declared is None:
                raise SchemaError(f"{where} returned {_shown(name)}, which its schema does not declare")
            try:
                if value is not None:
                    _check_type(declared.type, value)
            except ValueError as e:
                raise SchemaError(f"{where} returned {name!r} that its schema does not allow: {e}") from e
        return {name: data.get(name, declared.default) for name, declared in self.outputs.items()}


class AgentSchema(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that a node says about an agent."""

    name: str
    description: str
    version: str
    actions: dict[str, ActionSchema] = {}

    def action(self, name: str) -> ActionSchema:
        """Return an action; raise `UnknownAction` with the nearest names if there is none."""
        try:
            return self.actions[name]
        except KeyError:
            raise UnknownAction(
                f"agent {self.name} has no action {_shown(name)}{did_you_mean(name, self.actions)}; "
                f"it has {', '.join(sorted(self.actions))}"
            ) from None

    def check(self, *, is_foreign: bool = False) -> AgentSchema:
        """Return this schema if it is sound.

        Args:
            is_foreign: a node sent it: its expressions are not compiled and its defaults not checked, for either
                could keep us busy for as long as it likes, and the node has done both.

        Raises:
            SchemaError: what is wrong with the declaration, and where.
        """
        if not names.is_name(self.name):
            raise SchemaError(f"agent name {self.name!r} cannot be used on the wire")
        for action in self.actions.values():
            if action.display not in DISPLAYS:
                raise SchemaError(
                    f"{self.name}#{action.name}: display {action.display!r} is not one of {', '.join(DISPLAYS)}"
                )
            if not (action.timeout_s > 0 and math.isfinite(action.timeout_s)):
                raise SchemaError(f"{self.name}#{action.name}: timeout_s of {action.timeout_s}, expected more than 0")
            for kind, fields in (("input", action.inputs), ("output", action.outputs)):
                for name, declared in fields.items():
                    where = f"{self.name}#{action.name} {kind} {name}"
                    if declared.type not in TYPES:
                        raise SchemaError(f"{where}: type {declared.type!r} is not one of {', '.join(TYPES)}")
                    if isinstance(declared, Input):
                        _check_input(where, declared, is_foreign=is_foreign)
        return self

    def to_json(self) -> dict[str, Any]:
        """Return this schema as plain data, as it is sent and cached."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @classmethod
    def from_json(cls, plain: object) -> AgentSchema:
        """Return the schema that a node sent as plain data; raise `SchemaError` if it holds none."""
        try:
            return msgspec.convert(plain, cls).check(is_foreign=True)
        except msgspec.ValidationError as e:
            raise SchemaError(f"not an agent schema: {e}") from e


def _check_input(where: str, declared: Input, *, is_foreign: bool) -> None:
    validate = declared.validate
    if validate and declared.type not in ("string", "list"):
        raise SchemaError(f"{where}: validate={validate!r} checks text, and nothing of type {declared.type}")
    if validate and _is_expression(validate):
        try:
            if not is_foreign:
                regex(validate[1:-1])
        except (re.error, OverflowError, RecursionError) as e:
            raise SchemaError(f"{where}: validate={validate!r} is not an expression: {e}") from e
    elif validate and validate not in VALIDATORS:
        raise SchemaError(f"{where}: validate={validate!r} is not /an expression/ or one of {', '.join(VALIDATORS)}")
    if declared.type == "list" and not declared.choices:
        raise SchemaError(f"{where}: a list needs choices")
    if declared.default is not None and not is_foreign:
        try:
            declared.check(declared.default)
        except ValueError as e:
            raise SchemaError(f"{where}: its default is not allowed: {e}") from e


def _is_expression(validate: str) -> bool:
    return len(validate) > 2 and validate.startswith("/") and validate.endswith("/")


def _check_type(wanted: str, value: object) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_right = {
        "string": isinstance(value, str),
        "list": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": is_number and isinstance(value, int),
        "float": is_number and isinstance(value, float),
        "number": is_number,
        "array": isinstance(value, list | tuple),
        "hash": isinstance(value, dict),
        "any": True,
    }[wanted]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a number that can be sent")
    if not is_right:
        raise ValueError(f"expected {wanted}, got {_shown(value)}")


def _shown(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"
