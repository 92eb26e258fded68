# SPDX-License-Identifier: Apache-2.0
"""Agents that are executables in any language: make a class of each, if it is sound and can be trusted.

Where they are found is `external_files`' concern, what goes in and out of the executable `external_call`'s, and what
may stand in the JSON file `mco_rpc.external_file`'s.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from mco_rpc.agent import Agent, action, time_left_s
from mco_rpc.current import Current, current
from mco_rpc.errors import ActionAborted, ConfigError, McoError, RequestError, SchemaError
from mco_rpc.external_file import PROTOCOL, External, decoded, is_external, read
from mco_rpc.ownership import why_not_trusted
from mco_rpc.schema import ActionSchema, AgentSchema
from mco_rpc.turns import Turns

from .external_call import Question, ask
from .external_files import executables

MAX_FILE_BYTES = 1024 * 1024
ACTIVATION_TIMEOUT_S = 5.0


def external_agent(file: Path) -> list[type[Agent]]:
    """Return the agent that a JSON file declares, none if it is about something else.

    Raises:
        ConfigError: it cannot be trusted, or its executable is not there or cannot be trusted.
        SchemaError: what is wrong with what it says, and where.
    """
    try:
        body = _read(file)
        if not is_external(decoded(body)):
            return []
    except (OSError, McoError):
        if not executables(file):  # somebody else's file
            return []
        raise
    return [_class(file, body)]


def _read(file: Path) -> bytes:
    _check_trusted(file)
    size_bytes = file.stat().st_size
    if size_bytes > MAX_FILE_BYTES:
        raise ConfigError(f"it has {size_bytes:,} bytes; at most {MAX_FILE_BYTES:,} are read")
    return file.read_bytes()


def _check_trusted(path: Path) -> None:
    if why_not := why_not_trusted(path.stat()):
        raise ConfigError(f"{path}: {why_not}")


def _command(file: Path, external: External) -> Path:
    """Return the executable that belongs to a JSON file, if it can be trusted."""
    if external.command:
        command = file.parent / external.command
        if not command.is_file():
            raise ConfigError(f"external.command: there is no file {command}")
        if not os.access(command, os.X_OK):
            raise ConfigError(f"external.command: {command} is not executable: run chmod +x on it")
    else:
        found = executables(file)
        if not found:
            raise ConfigError(
                f"there is no executable {file.stem}, with any ending, beside it; if the file is there, run chmod +x "
                f"on it; one that ends in .py belongs into a folder {file.stem}/, together with the JSON file"
            )
        if len(found) > 1:
            names = ", ".join(each.name for each in found)
            raise ConfigError(f"{names} are all executable; name the right one with external.command")
        command = found[0]
    _check_trusted(command)
    return command


def _class(file: Path, body: bytes) -> type[Agent]:
    _check_trusted(file.parent)
    schema, external = read(body)
    if schema.name != file.stem:
        raise SchemaError(f"name: it calls itself {schema.name!r}, expected {file.stem!r} as in the file's name")
    command = _command(file, external).absolute()  # it will run in another folder
    members: dict[str, Any] = {name: _method(each) for name, each in schema.actions.items()}
    members |= {
        "__doc__": schema.description,
        "__module__": __name__,
        "name": schema.name,
        "version": schema.version,
        "author": schema.author,
        "license": schema.license,
        "url": schema.url,
        "requires": schema.requires,
        "timeout_s": schema.timeout_s,
        "setting_names": external.settings,
        "activate_when": staticmethod(_activation(schema, external, command)),
        "_schema": schema,
        "_external": external,
        "_command": command,
    }
    return type(schema.name, (ExternalAgent,), members)


def _method(schema: ActionSchema) -> Callable[..., dict[str, Any]]:
    def ask_it(self: ExternalAgent, **inputs: Any) -> dict[str, Any]:
        return self._answer(schema, inputs)

    ask_it.__name__ = schema.name
    return action(schema.description)(ask_it)


def _activation(schema: AgentSchema, external: External, command: Path) -> Callable[[Mapping[str, object]], str | None]:
    def why_not(settings: Mapping[str, object]) -> str | None:
        for name in external.activate_if.commands:
            if not shutil.which(name):
                return f"{name} is not installed"
        for path in external.activate_if.files:
            if not Path(path).exists():
                return f"{path} is not there"
        if not external.activation_check:
            return None
        texts = {"protocol": PROTOCOL, "kind": "activation_check", "agent": schema.name}
        question = Question(f"{schema.name}: activation check", texts, {}, settings, is_answer_needed=False)
        try:
            ask(command, question, Current(), time.monotonic() + ACTIVATION_TIMEOUT_S)
        except RequestError as e:
            return str(e)
        return None

    return why_not


class ExternalAgent(Agent):
    """An agent whose actions an executable answers."""

    _schema: ClassVar[AgentSchema]
    _external: ClassVar[External]
    _command: ClassVar[Path]

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._turns = Turns()

    @classmethod
    def declared_schema(cls) -> AgentSchema:
        """Return what the JSON file says."""
        return cls._schema

    def _answer(self, schema: ActionSchema, inputs: dict[str, Any]) -> dict[str, Any]:
        """Ask the executable, one change at a time, and return its outputs."""
        where = f"{self._schema.name}#{schema.name}"
        until = time.monotonic() + time_left_s(schema.timeout_s)
        with self._turns.one(where, schema.timeout_s) if schema.mutating else contextlib.nullcontext():
            try:
                _check_trusted_now(where, self._command)
                return ask(self._command, self._question(where, schema, inputs, until), current(), until)
            except RequestError as e:
                self._check_failed(schema, e)
                raise

    def _question(self, where: str, schema: ActionSchema, inputs: Mapping[str, Any], until: float) -> Question:
        request = current()
        texts: dict[str, object] = {
            "protocol": PROTOCOL,
            "kind": "request",
            "agent": self._schema.name,
            "action": schema.name,
            "caller": request.caller,
            "request_id": request.request_id,
            "collective": request.collective,
            "identity": self._node.identity if self._node else "",
            "deadline_s": round(max(0.0, until - time.monotonic()), 3),
            "noop": request.is_noop,
        }
        if self._external.facts:
            texts["facts"] = dict(self.node.facts())
        return Question(where, texts, inputs, self.settings)

    def _check_failed(self, schema: ActionSchema, error: RequestError) -> None:
        """Raise `SchemaError` if outputs came with a failure that the schema does not have."""
        try:
            schema.check_outputs(self._schema.name, error.data)
        except SchemaError as e:
            raise SchemaError(f"{error}; beside that, {e}") from error


def _check_trusted_now(where: str, command: Path) -> None:
    """Raise `ActionAborted` if the executable is gone, or somebody else could have written it since it was found."""
    try:
        _check_trusted(command)
    except FileNotFoundError as e:
        raise ActionAborted(f"{where}: {command} is gone") from e
    except (OSError, McoError) as e:
        raise ActionAborted(f"{where}: it was not run: {e}") from e
