# SPDX-License-Identifier: Apache-2.0
"""From ``key=value`` words to the inputs of an action, by the schema that the fleet itself gives.

Mistakes are told here, before anything is sent to the nodes. What a node says of its agent is text from
elsewhere: a schema that cannot be used is no reason to fail, and none to skip a question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mco_client.call import Call
from mco_client.connection import Connection
from mco_client.text import one_line
from mco_rpc.errors import ConfigError, RequestError, SchemaError
from mco_rpc.filters import Filter
from mco_rpc.schema import ActionSchema, AgentSchema, Input
from mco_rpc.suggestion import did_you_mean
from mco_rpc.validation import may_match

# Asked together, so that one that hangs, or lies, is not the only one.
ASKED_FOR_SCHEMA = 3


def words(given: Iterable[str]) -> dict[str, str]:
    """Return the inputs that ``key=value`` words name, as text.

    Raises:
        ConfigError: a word is not of this form, or names a key for a second time.
    """
    texts: dict[str, str] = {}
    for word in given:
        name, mark, text = word.partition("=")
        if not mark or not name:
            raise ConfigError(f"input {word!r} cannot be understood: expected key=value, as in fact=country")
        if name in texts:
            raise ConfigError(f"input {name} is given twice: {texts[name]!r} and {text!r}")
        texts[name] = text
    return texts


def schemas_of(
    connection: Connection, agent: str, nodes: Sequence[str], *, is_first_enough: bool
) -> list[AgentSchema] | str:
    """Return what some of the nodes say that the agent can be asked, or why none did.

    Args:
        is_first_enough: whether the first usable answer ends the wait; else all who were asked are awaited, because
            a single one may lie.
    """
    targets = tuple(nodes[:ASKED_FOR_SCHEMA])
    call = Call(
        connection,
        "rpcutil",
        "schema_of",
        {"agent": agent},
        node_filter=Filter(),
        targets=targets,
        timeout_s=connection.settings.discovery_timeout_s,
    )
    schemas: list[AgentSchema] = []
    reasons = []
    for result in call:
        if not result.is_ok:
            reasons.append(f"{result.sender}: {result.status_text}: {result.message}")
            continue
        try:
            schemas.append(AgentSchema.from_json(result.data.get("schema")))
        except SchemaError as e:
            reasons.append(f"{result.sender}: {e}")
        else:
            if is_first_enough:
                break
    return schemas or one_line("; ".join(reasons)) or f"no reply from {', '.join(targets)}"


def is_harmless(schemas: Iterable[AgentSchema], action: str) -> bool:
    """Say whether all that is known of an action agrees that it changes nothing."""
    declared = [schema.actions.get(action) for schema in schemas]
    return bool(declared) and all(each is not None and not each.mutating for each in declared)


def checked(schema: AgentSchema, action: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the inputs as the action takes them.

    Raises:
        ConfigError: the action or an input is unknown, missing or not allowed; with how it is to be called.
    """
    declared: ActionSchema | None = None
    data: dict[str, Any] = {}
    try:
        declared = schema.action(action)
        data = {name: _parsed(declared, name, text) for name, text in texts.items()}
        declared.check_inputs(schema.name, data, may_match)
    except RequestError as e:
        usages = [usage(schema.name, declared)] if declared else _usages(schema, action)
        raise ConfigError("\n".join([one_line(e, 1000), *usages])) from e
    return data


def usage(agent: str, action: ActionSchema) -> str:
    """Return how to call an action: ``usage: mco rpc iptables block ipaddr=STRING [force=BOOLEAN]``."""
    parts = ["usage: mco rpc", agent, action.name]
    for name, declared in action.inputs.items():
        part = f"{name}={_kind(declared)}"
        is_needed = not declared.optional and declared.default is None
        parts.append(part if is_needed else f"[{part}]")
    return one_line(" ".join(parts), 1000)


def _usages(schema: AgentSchema, action: str) -> list[str]:
    """Return how to call the action that was probably meant."""
    near = did_you_mean(action, schema.actions).removeprefix(", did you mean ").removesuffix("?")
    return [usage(schema.name, schema.actions[near])] if near in schema.actions else []


def _parsed(action: ActionSchema, name: str, text: str) -> Any:
    declared = action.inputs.get(name)
    return declared.parse(text) if declared else text  # check_inputs says what is wrong with the name


def _kind(declared: Input) -> str:
    return "|".join(declared.choices) if declared.choices else declared.type.upper()
