# SPDX-License-Identifier: Apache-2.0
"""The JSON file of an external agent: a schema, and below the key ``external`` how its executable is asked.

Both sides read it: a node to offer the agent, an operator to see what is wrong with it. Nothing here runs anything.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from mco_rpc import __version__
from mco_rpc.agent import Agent
from mco_rpc.errors import SchemaError
from mco_rpc.schema import ActionSchema, AgentSchema, Aggregate, Input, Matches, Output
from mco_rpc.soundness import is_older, problems
from mco_rpc.suggestion import did_you_mean
from mco_rpc.validation import matches

KEY = "external"
PROTOCOL = 1
_ACTION = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


class ActivateIf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What has to be there.

    Attributes:
        commands: each has to be on the node's PATH.
        files: each path has to exist.
    """

    commands: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


class External(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the executable is asked.

    Attributes:
        protocol: the version of what it reads and prints.
        command: its file, in the folder of the JSON file; the one that has the agent's name if empty.
        activate_if: what a node needs to offer the agent.
        activation_check: whether the executable itself is asked, too.
        settings: the keys that ``agents: {NAME: {...}}`` of the node's configuration may hold.
        facts: whether it gets the node's facts.
    """

    protocol: int
    command: str = ""
    activate_if: ActivateIf = ActivateIf()
    activation_check: bool = False
    settings: tuple[str, ...] = ()
    facts: bool = False


def is_external(plain: object) -> bool:
    """Say whether a JSON file is about an external agent."""
    return isinstance(plain, dict) and KEY in plain


def read(body: bytes, check: Matches = matches) -> tuple[AgentSchema, External]:
    """Return what a file says.

    Args:
        check: runs expressions on defaults: `validation.may_match` for a file that is not trusted.

    Raises:
        SchemaError: all that is wrong with it, each with its key.
    """
    schema, external, found = inspect(decoded(body), check)
    if found or schema is None or external is None:
        raise SchemaError("; ".join(found))
    return schema, external


def decoded(body: bytes) -> Any:
    """Return what is in a JSON file; raise `SchemaError` with the line."""
    try:
        return json.loads(body)
    except json.JSONDecodeError as e:
        raise SchemaError(f"line {e.lineno}: not JSON: {e.msg}") from e
    except (ValueError, RecursionError) as e:
        raise SchemaError(f"not JSON: {e}") from e


def inspect(plain: object, check: Matches = matches) -> tuple[AgentSchema | None, External | None, list[str]]:
    """Return what a file says as far as it can be read, and all that is wrong with it."""
    if not is_external(plain) or not isinstance(plain, dict):
        return None, None, [f"expected an object with the key {KEY!r}"]
    plain = dict(plain)
    said = plain.pop(KEY)
    external, found = None, []
    try:
        external = msgspec.convert(said, External)
        found += list(_of_external(external))
    except (msgspec.ValidationError, RecursionError) as e:
        found.append(_at_key(str(e), f"{KEY}."))
    schema = None
    try:
        schema = msgspec.convert(_completed(plain), AgentSchema)
        found += unknown_keys(plain)
        found += list(_of_schema(schema, check))
    except (msgspec.ValidationError, RecursionError) as e:
        found += list(_ill_typed(plain)) or [_at_key(str(e), "")]
    return schema, external, found


def unknown_keys(plain: Mapping[str, Any]) -> list[str]:
    """Return each key that a schema does not have, with its path; the schema has been read from it."""
    found = [*_unknown("", plain, AgentSchema)]
    for name, action in plain.get("actions", {}).items():
        where = f"actions.{name}: "
        found += _unknown(where, action, ActionSchema)
        for each in action.get("aggregates", ()):
            found += _unknown(f"{where}aggregates: ", each, Aggregate)
        for kind, struct in (("inputs", Input), ("outputs", Output)):
            for key, declared in action.get(kind, {}).items():
                found += _unknown(f"{where}{kind}.{key}: ", declared, struct)
    return found


def _unknown(where: str, plain: Mapping[str, Any], struct: type[msgspec.Struct]) -> Iterator[str]:
    known = struct.__struct_fields__
    for key in plain:
        if key not in known:
            yield f"{where}unknown key {key!r}{did_you_mean(key, known)}; known are: {', '.join(known)}"


def _completed(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a schema in which each action has its name and, where it says nothing, the agent's own time-out."""
    actions = plain.get("actions")
    if not isinstance(actions, dict):
        return plain
    given = {"timeout_s": plain["timeout_s"]} if "timeout_s" in plain else {}
    return {
        **plain,
        "actions": {
            name: {"name": name, **given, **action} if isinstance(action, dict) else action
            for name, action in actions.items()
        },
    }


def _of_external(external: External) -> Iterator[str]:
    if external.protocol != PROTOCOL:
        yield f"{KEY}.protocol: expected {PROTOCOL}, found {external.protocol}"
    if "/" in external.command or external.command.startswith("."):
        yield f"{KEY}.command: {external.command!r} is no name of a file beside this one"


def _of_schema(schema: AgentSchema, check: Matches) -> Iterator[str]:
    if not schema.description:
        yield "description: the agent has none"
    if not schema.actions:
        yield "actions: there is none"
    if schema.requires and is_older(__version__, schema.requires):
        yield f"requires: it asks for version {schema.requires}; this is {__version__}"
    for name, action in schema.actions.items():
        if not _ACTION.match(name) or keyword.iskeyword(name):
            yield f"actions.{name}: small letters, digits and _ are allowed in its name, the first is a letter"
        elif hasattr(Agent, name):
            yield f"actions.{name}: every agent has something of this name; take another"
        if not action.description:
            yield f"actions.{name}.description: it has none"
        if action.noop and not action.mutating:
            yield f"actions.{name}.noop: only what is `mutating` can be asked what it would change"
        for key in action.inputs:
            if not key.isidentifier() or not key.isascii():
                yield f"actions.{name}.inputs.{key}: letters, digits and _ are allowed, and no digit in front"
    yield from (problem.text for problem in problems(schema, matches=check))


def _ill_typed(plain: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong below ``actions``, with the names that msgspec leaves out."""
    actions = plain.get("actions")
    for name, action in actions.items() if isinstance(actions, dict) else ():
        wrong = []
        for kind, struct in (("inputs", Input), ("outputs", Output)):
            fields = action.get(kind) if isinstance(action, dict) else None
            for key, declared in fields.items() if isinstance(fields, dict) else ():
                wrong += list(_converted(declared, struct, f"actions.{name}.{kind}.{key}"))
        named = {"name": name, **action} if isinstance(action, dict) else action
        yield from wrong or _converted(named, ActionSchema, f"actions.{name}")


def _converted(plain: object, struct: type[msgspec.Struct], where: str) -> Iterator[str]:
    try:
        msgspec.convert(plain, struct)
    except (msgspec.ValidationError, RecursionError) as e:
        yield _at_key(str(e), f"{where}.")


def _at_key(text: str, before: str) -> str:
    """Turn msgspec's "... - at `$.actions[...]`" into "actions[...]: ..."."""
    message, mark, path = text.rpartition(" - at `$")
    path = f"{before}{path.rstrip('`').lstrip('.')}".rstrip(".")
    return f"{path}: {message}" if mark else f"{before.rstrip('.')}{': ' if before else ''}{text}"
