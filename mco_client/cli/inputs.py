# SPDX-License-Identifier: Apache-2.0
"""From ``key=value`` words to the inputs of an action, by the schema that the fleet itself gives.

Mistakes are told here, before anything is sent to the nodes. What a node says of its agent is text from
elsewhere: a schema that cannot be used is no reason to fail, and none to skip a question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mco_client.schema.learning import Known
from mco_client.schema.text import call_of
from mco_client.text import listed, one_line
from mco_rpc.errors import ConfigError, RequestError
from mco_rpc.schema import ActionSchema, AgentSchema
from mco_rpc.suggestion import did_you_mean
from mco_rpc.validation import may_match


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


def checked_by_all(known: Known, action: str, texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs as every known version of the agent takes them.

    Raises:
        ConfigError: they are wrong for some; it says for which nodes, unless it is for all.
    """
    right, wrong = [], {}
    for version in known.versions:
        try:
            right.append(checked(version.schema, action, texts))
        except ConfigError as e:
            wrong[version.digest] = str(e)
    if not wrong:
        for data in right:
            if all(_is_taken(version.schema, action, data) for version in known.versions):
                return data
        raise ConfigError(
            f"{known.agent}#{action}: no value is right for all nodes, for their versions of the agent take "
            f"different types ({one_line(known.difference())}); ask them one version at a time"
        )
    if len({text.partition("\n")[0] for text in wrong.values()}) == 1 and not right:
        raise ConfigError(next(iter(wrong.values())))
    lines = []
    for version in known.versions:
        if version.digest in wrong:
            first, mark, rest = wrong[version.digest].partition("\n")
            lines.append(f"{first}; so on {listed(version.nodes)} ({known.name_of(version)}){mark}{rest}")
    hint = ["nothing was sent to the others either; leave these nodes out, or ask them on their own"] if right else []
    raise ConfigError("\n".join([*lines, *hint]))


def checked(schema: AgentSchema, action: str, texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs as the action takes them; what is no text is one of its values already.

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
    return f"usage: {call_of(agent, action)}"


def _usages(schema: AgentSchema, action: str) -> list[str]:
    """Return how to call the action that was probably meant."""
    near = did_you_mean(action, schema.actions).removeprefix(", did you mean ").removesuffix("?")
    return [usage(schema.name, schema.actions[near])] if near in schema.actions else []


def _is_taken(schema: AgentSchema, action: str, data: Mapping[str, Any]) -> bool:
    try:
        schema.action(action).check_inputs(schema.name, dict(data), may_match)
    except RequestError:
        return False
    return True


def _parsed(action: ActionSchema, name: str, text: Any) -> Any:
    declared = action.inputs.get(name)
    return (
        declared.parse(text) if declared and isinstance(text, str) else text
    )  # check_inputs says what is wrong with the name
