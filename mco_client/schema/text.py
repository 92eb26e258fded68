# SPDX-License-Identifier: Apache-2.0
"""A schema as text for people: what can be asked, what it takes, what it gives; safe for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from mco_client.text import one_line
from mco_rpc.data import SourceSchema
from mco_rpc.schema import DEFAULT_MAX_LENGTH, ActionSchema, AgentSchema, Input, Output

MAX_LINES = 2000
_MAX_TEXT = 500


def of_agent(schema: AgentSchema) -> str:
    """Return what an agent can be asked."""
    return _joined(_agent(schema))


def of_source(schema: SourceSchema) -> str:
    """Return what a data source can be asked in a filter."""
    return _joined(_source(schema))


def call_of(agent: str, action: ActionSchema) -> str:
    """Return how to call an action: ``mco rpc iptables block ipaddr=STRING [force=BOOLEAN]``."""
    parts = ["mco rpc", agent, action.name]
    for name, declared in action.inputs.items():
        part = f"{name}={'|'.join(declared.choices) if declared.choices else declared.type.upper()}"
        is_needed = not declared.optional and declared.default is None
        parts.append(part if is_needed else f"[{part}]")
    return one_line(" ".join(parts), 1000)


def _agent(schema: AgentSchema) -> Iterator[str]:
    yield f"{_text(schema.name)}: {_text(schema.description)}"
    yield ""
    about = {
        "version": schema.version,
        "author": schema.author,
        "license": schema.license,
        "url": schema.url,
        "timeout": f"{schema.timeout_s:g} s",
        "requires": f"version {schema.requires} of the node" if schema.requires else "",
        "schema": schema.digest,
    }
    for name, value in about.items():
        if value:
            yield f"    {name:<9} {_text(value)}"
    for name in sorted(schema.actions):
        yield from _action(schema.name, schema.actions[name])


def _action(agent: str, action: ActionSchema) -> Iterator[str]:
    notes = [
        "changes the node" if action.mutating else "",
        "can be asked with noop" if action.noop else "",
        f"ends within {action.timeout_s:g} s",
        "" if action.display == "always" else f"shown unasked: {action.display}",
    ]
    yield ""
    yield call_of(agent, action)
    yield f"    {_text(action.description)} ({_text('; '.join(note for note in notes if note))})"
    yield from _table("inputs", {name: _input(declared) for name, declared in action.inputs.items()})
    yield from _table("outputs", {name: _output(declared) for name, declared in action.outputs.items()})
    if action.aggregates:
        made = ", ".join(f"{aggregate.function}({aggregate.output})" for aggregate in action.aggregates)
        yield f"    together: {_text(made)}"


def _source(schema: SourceSchema) -> Iterator[str]:
    arguments = ", ".join(f"'{name.upper()}'" for name in schema.arguments)
    yield f"{_text(schema.name)}: {_text(schema.description)}"
    yield ""
    for field in schema.fields:
        yield f"    {_text(f'{schema.name}({arguments}).{field}')}"
    yield from _table("arguments", {name: _input(declared) for name, declared in schema.arguments.items()})
    yield from _table("fields", {name: _output(declared) for name, declared in schema.fields.items()})


def _table(title: str, rows: Mapping[str, str]) -> Iterator[str]:
    if rows:
        width = min(20, max(len(_text(name)) for name in rows))
        yield f"    {title}:"
        for name, text in rows.items():
            yield f"        {_text(name):<{width}}  {_text(text)}"


def _input(declared: Input) -> str:
    parts = [f"{declared.type}: {declared.description}"]
    if declared.prompt and declared.prompt != declared.description:
        parts.append(f"prompt {declared.prompt!r}")
    if declared.choices:
        parts.append(f"one of {', '.join(declared.choices)}")
    if declared.validate:
        parts.append(f"checked as {declared.validate}")
    if declared.max_length != DEFAULT_MAX_LENGTH:
        parts.append(f"at most {declared.max_length} long")
    if declared.default is not None:
        parts.append(f"default {_json(declared.default)}")
    elif declared.optional:
        parts.append("may be left out")
    return "; ".join(parts)


def _output(declared: Output) -> str:
    parts = [f"{declared.type}: {declared.description}"]
    if declared.display_as:
        parts.append(f"shown as {declared.display_as!r}")
    if declared.default is not None:
        parts.append(f"default {_json(declared.default)}")
    return "; ".join(parts)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _text(text: str) -> str:
    return one_line(text, _MAX_TEXT)


def _joined(lines: Iterable[str]) -> str:
    whole = list(lines)
    if (more := len(whole) - MAX_LINES) > 0:
        whole[MAX_LINES:] = [f"... {more:,} more lines; -j prints all"]
    return "\n".join(whole)
