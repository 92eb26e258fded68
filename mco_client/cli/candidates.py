# SPDX-License-Identifier: Apache-2.0
"""What may come next on a command line: nodes, agents, actions, inputs and their values, facts, classes.

What a node said is offered only if every shell takes it as it stands: no blank, quote or sign that means something.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from mco_client.cli import fleet_names
from mco_client.cli.fleet_names import Names
from mco_client.text import natural, one_line
from mco_rpc.settings import DISCOVERY_KINDS

if TYPE_CHECKING:
    from mco_client.cli.application import Verb
    from mco_client.schema.cache import SchemaCache
    from mco_rpc.schema import ActionSchema, AgentSchema, Input

Items = list[CompletionItem]
MAX_ITEMS = 2000
MAX_HELP = 80
_MAX_WORD = 200
# The first lines of a source file, where it says what it is.
_HEAD_LINES = 4
# Beside letters and digits; nothing here means anything to bash, zsh or fish inside a word.
_HARMLESS = frozenset("_.:/@+=,-")
_NOT_FIRST = frozenset("-+=:/@,")


def is_harmless(word: str) -> bool:
    """Say whether a word is the same word in every shell, without quotes, and is not taken for an option."""
    return (
        0 < len(word) <= _MAX_WORD
        and word[0] not in _NOT_FIRST
        and all(c in _HARMLESS or (c.isalnum() and c.isprintable()) for c in word)
    )


def items(words: Iterable[str], begun: str, *, before: str = "") -> Items:
    """Return the words that continue what was begun.

    Args:
        before: what stands before each of them in the same word of the line.
    """
    return described(dict.fromkeys(words, ""), begun, before=before)


def described(words: Mapping[str, str], begun: str, *, before: str = "") -> Items:
    """Return the same of words with descriptions."""
    found = sorted((word for word in words if word.startswith(begun) and is_harmless(word)), key=natural)
    return [
        CompletionItem(f"{before}{word}", help=_short(words[word]) if words[word] else None)
        for word in found[:MAX_ITEMS]
    ]


def _short(text: str) -> str:
    """Return a description on one line, fit for a terminal and not wider than a column."""
    line = one_line(text[:_MAX_WORD], 2 * _MAX_WORD).removesuffix(".")
    return line if len(line) <= MAX_HELP else f"{line[: MAX_HELP - 3]}..."


def of_context(ctx: click.Context) -> Names:
    """Return the names of the fleet that the options on the line lead to."""
    config: Path | None = ctx.params.get("config")
    return fleet_names.names(config, ctx.params.get("collective"))


def nodes(ctx: click.Context, _: click.Parameter, begun: str) -> Items:
    """Complete the name of a node."""
    return items(of_context(ctx).nodes, begun)


def collectives(ctx: click.Context, _: click.Parameter, begun: str) -> Items:
    """Complete the name of a collective."""
    return items(of_context(ctx).collectives, begun)


def classes(ctx: click.Context, _: click.Parameter, begun: str) -> Items:
    """Complete a class."""
    return items(of_context(ctx).classes, begun)


def agents(ctx: click.Context, _: click.Parameter, begun: str) -> Items:
    """Complete the name of an agent."""
    return described(_agents(ctx), begun)


def facts(ctx: click.Context, _: click.Parameter, begun: str) -> Items:
    """Complete a filter on a fact: its name, and behind ``=`` the values it was seen with."""
    known = of_context(ctx).facts
    name, mark, value = begun.partition("=")
    if mark:
        return items(known.get(name, ()), value, before=f"{name}=")
    return items([f"{each}=" for each in known], begun)


def fact_names(ctx: click.Context, _: click.Parameter, begun: str) -> Items:
    """Complete the name of a fact."""
    return items(of_context(ctx).facts, begun)


def mixed(ctx: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """Complete the last word of classes and facts together; several stand in quotes."""
    before, blank, last = begun.rpartition(" ")
    found = [*classes(ctx, parameter, last), *facts(ctx, parameter, last)]
    return [CompletionItem(f"{before}{blank}{item.value}", help=item.help) for item in found]


def discovery(_: click.Context, __: click.Parameter, begun: str) -> Items:
    """Complete the kind of a discovery."""
    return items(DISCOVERY_KINDS, begun)


def commands(places: Mapping[str, str], begun: str) -> Items:
    """Complete the name of a command; none of them is loaded for it, and so none can keep the others from it.

    Args:
        places: name -> ``module:attribute``.
    """
    return described({name: _about(name, place.partition(":")[0]) for name, place in places.items()}, begun)


def _about(command: str, module: str) -> str:
    """Return what the first line of a module says of its command: the text behind ``mco NAME``."""
    import importlib.util

    with contextlib.suppress(Exception):
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None:
            with Path(spec.origin).open(encoding="utf-8") as source:
                head = "".join(itertools.islice(source, _HEAD_LINES))
            found = re.search(rf"``mco {re.escape(command)}``: (.+)", head)
            return found[1].rstrip('"').strip() if found else ""
    return ""


def files(_: click.Context, __: click.Parameter, begun: str) -> Items:
    """Let the shell complete the name of a file."""
    return [CompletionItem(begun, type="file")]


def words_of_a_call(ctx: click.Context, _: click.Parameter, begun: str) -> Items:
    """Complete what comes after ``mco rpc``: an agent, one of its actions, its inputs, their values."""
    given = ctx.params.get("given") or ()
    if not given:
        return described(_agents(ctx), begun)
    agent = schema_of(ctx, given[0])
    if agent is None:
        return []
    if len(given) == 1:
        return described({name: action.description for name, action in agent.actions.items()}, begun)
    action = agent.actions.get(given[1])
    return inputs(ctx, action, given[2:], begun) if action else []


def words_of_application(ctx: click.Context, agent: str, verbs: Mapping[str, Verb], unsaid: str, begun: str) -> Items:
    """Complete what comes after the name of an application: a verb, its inputs, their values."""
    given = [word for word in ctx.params.get("given") or () if "=" not in word]
    chosen = next((word for word in given[:2] if word in verbs), unsaid if given else "")
    found = (
        []
        if chosen in given or len(given) > 1
        else described({name: verb.about for name, verb in verbs.items()}, begun)
    )
    schema = schema_of(ctx, agent) if chosen else None
    action = schema.actions.get(verbs[chosen].action or chosen) if schema else None
    if action is None:
        return found
    from mco_client.cli.application import input_of

    left = [input_of(taken) for taken in verbs[chosen].takes][len(given) - (chosen in given) :]
    declared = action.inputs.get(left[0]) if left else None
    if declared is not None:
        found += items(_values(ctx, left[0], declared), begun)
    return found + inputs(ctx, action, ctx.params.get("given") or (), begun)


def inputs(ctx: click.Context, action: ActionSchema, given: Iterable[str], begun: str) -> Items:
    """Complete ``key=value`` for an action."""
    there = {word.partition("=")[0] for word in given}
    name, mark, value = begun.partition("=")
    if mark:
        declared = action.inputs.get(name)
        return items(_values(ctx, name, declared), value, before=f"{name}=") if declared else []
    left = {f"{name}=": declared.description for name, declared in action.inputs.items() if name not in there}
    return described(left, begun)


def schema_of(ctx: click.Context, agent: str) -> AgentSchema | None:
    """Return what is known of an agent."""
    offered = of_context(ctx).agents
    if offered:
        return _cache().get(offered[agent].digest) if agent in offered else None
    return next((schema for schema in _cache().schemas() if schema.name == agent), None)


def _agents(ctx: click.Context) -> dict[str, str]:
    """Return the agents of the fleet and what they are for; where it was never asked, those seen before."""
    offered = of_context(ctx).agents
    if offered:
        return {name: agent.about for name, agent in offered.items()}
    return {schema.name: schema.description for schema in _cache().schemas()}


def _cache() -> SchemaCache:
    from mco_client import cached
    from mco_client.schema.cache import SchemaCache

    return SchemaCache(cached.folder_of("schemas", os.environ))


def _values(ctx: click.Context, name: str, declared: Input) -> Iterable[str]:
    """Return what an input may be, as far as anybody can know."""
    if declared.choices:
        return declared.choices
    if declared.type == "boolean":
        return ("true", "false")
    if name == "fact":
        return of_context(ctx).facts
    return of_context(ctx).agents if name == "agent" else ()
