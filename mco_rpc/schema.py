# SPDX-License-Identifier: Apache-2.0
"""What an agent can be asked: its actions, their inputs and their outputs (MCollective's DDL).

The same declaration checks what comes in and what goes out, documents the agent, and is sent to clients
as JSON, so that an operator's machine needs no agent code. Whether a declaration is sound says `mco_rpc.soundness`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from mco_rpc.errors import InvalidData, MissingData, SchemaError, UnknownAction
from mco_rpc.suggestion import did_you_mean
from mco_rpc.validation import VALIDATORS, check_type, is_expression, matches, shown

DISPLAYS = ("always", "ok", "failed")
AGGREGATE_FUNCTIONS = ("summary", "average", "sum", "min", "max")
DEFAULT_MAX_LENGTH = 4096
DEFAULT_TIMEOUT_S = 10.0
DIGEST_LENGTH = 32  # hexadecimal digits: 128 bits
# Says whether a text matches an expression: `validation.matches`, or `may_match` for a schema from elsewhere.
Matches = Callable[[str, str], bool]


class Input(msgspec.Struct, frozen=True, omit_defaults=True):
    """One input of an action.

    Attributes:
        type: one of `mco_rpc.validation.TYPES`; ``list`` is one of ``choices``.
        prompt: a short name, for forms.
        validate: a name in `mco_rpc.validation.VALIDATORS`, or ``/a regular expression/`` that must match wholly.
        choices: the only values.
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
        if self.type == "float" and isinstance(value, int) and not isinstance(value, bool):
            try:
                value = float(value)
            except OverflowError as e:
                raise ValueError("too large for a float") from e
        check_type(self.type, value)
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
        if is_expression(validate):
            if not matches(validate[1:-1], value):
                raise ValueError(f"{shown(value)} does not match {validate}")
            return value
        validator = VALIDATORS.get(validate)
        if validator is None:  # of a schema from a later version; who sent it checks it
            return value
        try:
            return validator(value)
        except ValueError as e:
            raise ValueError(f"{shown(value)} is not valid: {e}") from e

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


_WORDS = dict.fromkeys(("true", "t", "yes", "y", "1", "on"), True) | dict.fromkeys(
    ("false", "f", "no", "n", "0", "off"), False
)


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """One output of an action; every reply holds it, with its default where the action gave none.

    Attributes:
        display_as: its heading in tables and summaries; its name if nothing is said.
    """

    type: str
    description: str
    display_as: str = ""
    default: Any = None

    def check(self, value: object) -> None:
        """Raise `ValueError` if it cannot be this output; nothing at all (None) always can."""
        if value is not None:
            check_type(self.type, value)


class Aggregate(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client makes of one output of all nodes.

    Attributes:
        function: one of `AGGREGATE_FUNCTIONS`; ``summary`` counts how often each value was given.
        format: how a number is shown, such as ``%.2f``; for ``summary`` a value and its count, such as ``%-10s %d``.
    """

    function: str
    output: str
    format: str = ""


class ActionSchema(msgspec.Struct, frozen=True, omit_defaults=True):
    """One action.

    Attributes:
        display: which replies a client shows unasked: always, ok or failed.
        timeout_s: seconds after which the node answers ``timed out``.
        mutating: whether it changes anything on the node.
        noop: whether it can be asked what it would change, without changing it.
        aggregates: what a client shows of all replies together.
    """

    name: str
    description: str
    inputs: dict[str, Input] = {}
    outputs: dict[str, Output] = {}
    display: str = "always"
    timeout_s: float = DEFAULT_TIMEOUT_S
    mutating: bool = False
    noop: bool = False
    aggregates: tuple[Aggregate, ...] = ()

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
                raise InvalidData(f"{where}: unknown input {shown(name)}{did_you_mean(name, self.inputs)}; {known}")
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
                raise SchemaError(f"{where} returned {shown(name)}, which its schema does not declare")
            try:
                declared.check(value)
            except ValueError as e:
                raise SchemaError(f"{where} returned {name!r} that its schema does not allow: {e}") from e
        return {name: data.get(name, declared.default) for name, declared in self.outputs.items()}


class AgentSchema(msgspec.Struct, frozen=True, omit_defaults=True, dict=True):
    """All that a node says about an agent.

    Attributes:
        timeout_s: seconds an action may take unless it says otherwise.
        requires: the oldest version of the node that it runs on.
    """

    name: str
    description: str
    version: str
    actions: dict[str, ActionSchema] = {}
    author: str = ""
    license: str = ""
    url: str = ""
    timeout_s: float = DEFAULT_TIMEOUT_S
    requires: str = ""

    def action(self, name: str) -> ActionSchema:
        """Return an action; raise `UnknownAction` with the nearest names if there is none."""
        try:
            return self.actions[name]
        except KeyError:
            raise UnknownAction(
                f"agent {self.name} has no action {shown(name)}{did_you_mean(name, self.actions)}; "
                f"it has {', '.join(sorted(self.actions))}"
            ) from None

    def check(self, *, is_foreign: bool = False) -> AgentSchema:
        """Return this schema if it is sound; raise `SchemaError` with the first thing that is wrong, and where.

        Args:
            is_foreign: a node sent it: what could keep us busy for as long as it likes is left to the node.
        """
        from mco_rpc.soundness import problems  # which reads these classes

        for problem in problems(self, is_foreign=is_foreign):
            raise SchemaError(problem.text)
        return self

    @functools.cached_property
    def digest(self) -> str:
        """What names this schema, whatever its version says."""
        return digest_of(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return this schema as plain data, as it is sent and cached; raise `SchemaError` if JSON cannot say it."""
        plain: dict[str, Any] = msgspec.json.decode(canonical(self, is_ordered=False))
        return plain

    @classmethod
    def from_json(cls, plain: object) -> AgentSchema:
        """Return the schema that a node sent as plain data; raise `SchemaError` if it holds none.

        What a later version of this project may say beyond ours is passed over.
        """
        try:
            return msgspec.convert(plain, cls).check(is_foreign=True)
        except (msgspec.ValidationError, RecursionError) as e:
            raise SchemaError(f"not an agent schema: {e}") from e


def canonical(plain: object, *, is_ordered: bool = True) -> bytes:
    """Return the one JSON text of plain data: no spaces, UTF-8, and keys in order unless they shall stay as they are.

    Raises:
        SchemaError: JSON cannot say it.
    """
    try:
        return msgspec.json.encode(plain, order="sorted" if is_ordered else None)
    except (TypeError, ValueError, RecursionError) as e:
        raise SchemaError(f"it cannot be written as JSON: {e}") from e


def digest_of(plain: object) -> str:
    """Return the digest of a schema as plain data, also of one that says more than this version knows.

    >>> digest_of(AgentSchema("greeter", "Say hello.", "1.0").to_json())
    '0bb8448c28adb99e6dfa951669a9f018'
    """
    return hashlib.sha256(canonical(plain)).hexdigest()[:DIGEST_LENGTH]
