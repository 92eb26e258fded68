# SPDX-License-Identifier: Apache-2.0
"""A page for each installed agent, and one that lists them, from their schemas and the docstrings of their classes."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reference_text import MARK, cell, input_name, input_text, table

from mco_rpc.agent import Agent
from mco_rpc.schema import ActionSchema, AgentSchema, Input, Output

INDEX = """\
{mark}

# Agents

What comes with mco-behave. A running node says the same of the agents it really offers, and `mco inventory` why it does
not offer another:

<!-- run: fleet -->
```console
$ mco plugin list
$ mco plugin doc iptables
```

{table}

An action that *changes* the node asks before it is sent to every node; with `--noop` it says what it would change,
where the agent's page says so. How to write an agent of your own: [Writing agents](../guides/writing-agents.md), or in
[any language](../guides/external-agents.md). What of testinfra and goss is covered: [Coverage](coverage.md).
"""
# Where an agent with conditions of its own is offered; for others the code says it.
WHERE = {
    "cron": "where the folder of cron's jobs is",
    "haproxy": "where HAProxy's control socket is",
    "iptables": "where the commands of iptables or nftables are installed",
    "nrpe": "where an `nrpe.cfg` is",
    "package": "where apt or dnf is installed",
    "port": "where the kernel shows its sockets in `/proc/net`",
    "postgresql": "where `psql` is installed",
    "process": "where `/proc` shows all processes",
    "service": "where systemd runs, or init scripts are",
}
# A value for an input of this name; the schema has to allow it.
EXAMPLES: Mapping[str, tuple[object, ...]] = {
    "action": ("status",),
    "agent": ("iptables",),
    "algorithm": ("sha256",),
    "backend": ("web",),
    "command": ("uptime", "check_load", "/usr/bin/true"),
    "fact": ("country",),
    "facts": (["country", "kernel"],),
    "file": ("/etc/ssl/certs/ca-certificates.crt",),
    "filter": ({"classes": ["/web/"]},),
    "host": ("db1.example.net", "192.0.2.7"),
    "interface": ("eth0",),
    "ipaddr": ("192.0.2.7",),
    "item": ("collectives",),
    "lines": (20,),
    "level": ("debug",),
    "name": ("net.ipv4.ip_forward", "www.example.net", "backup"),
    "package": ("curl",),
    "path": ("/etc/hosts",),
    "pattern": ("nginx", "/^127/"),
    "pid": (1,),
    "port": (443, "443"),
    "query": ("/etc/hosts",),
    "requests": (["3f1b6c0e5d2a4b7f"],),
    "schedule": ("0 4 * * *",),
    "server": ("web1",),
    "service": ("nginx",),
    "source": ("fstat",),
    "state": ("drain", "ready"),
    "url": ("https://www.example.net/",),
    "user": ("root",),
    "value": ("1",),
}
# Where those of one agent differ.
OF_ACTION: Mapping[str, Mapping[str, object]] = {
    "certificate#file": {"path": "/etc/ssl/certs/ssl-cert-snakeoil.pem"},
    "cron#ensure": {"name": "backup", "command": "/usr/local/bin/backup"},
    "cron#remove": {"name": "backup"},
    "cron#status": {"name": "backup"},
    "dns#resolve": {"name": "www.example.net"},
    "file#ensure": {"path": "/etc/motd", "content": "Welcome"},
    "file#list": {"path": "/etc"},
    "file#match": {"pattern": "127.0.0.1"},
    "file#remove": {"path": "/srv/old"},
    "file#tail": {"path": "/var/log/syslog"},
    "file#touch": {"path": "/run/maintenance"},
    "host#mounts": {"mount": "/srv"},
    "nrpe#runcommand": {"command": "check_load"},
    "process#signal": {"pattern": "nginx", "signal": "HUP"},
    "rpcutil#get_data": {"source": "fstat", "query": "/etc/hosts"},
}
_ANYTHING: Mapping[str, tuple[object, ...]] = {
    "string": ("web1", "/etc/hosts", "192.0.2.7", "1", "a"),
    "boolean": (True,),
    "integer": (1,),
    "float": (1.5,),
    "number": (1,),
    "array": (["a"],),
    "hash": ({},),
    "any": ("a",),
}


def agents() -> list[tuple[str, type[Agent]]]:
    """Return the installed agents by name."""
    entries = sorted(importlib.metadata.entry_points(group="mco.agents"), key=lambda entry: entry.name)
    return [(entry.name, entry.load()) for entry in entries]


def index_page() -> str:
    """Return the page that lists all agents."""
    rows = []
    for name, kind in agents():
        schema = kind.schema()
        changing = sum(action.mutating for action in schema.actions.values())
        changes = f"{changing} of {len(schema.actions)}" if changing else "no"
        rows.append((f"[{name}](agents/{name}.md)", cell(schema.description.rstrip(".")), changes, where(kind)))
    heads = ("agent", "what it is for", "actions that change", "offered")
    return INDEX.format(mark=MARK, table="\n".join(table(heads, rows)))


def agent_pages() -> dict[str, str]:
    """Return the page of each agent, by its path below docs/reference."""
    return {f"agents/{name}.md": "\n".join(_page(kind)) + "\n" for name, kind in agents()}


def where(kind: type[Agent]) -> str:
    """Return where nodes offer an agent."""
    if kind.why_off:
        return "nowhere, until it is switched on"
    if kind.activate_when is Agent.activate_when:
        return "everywhere"
    of_commands = inspect.getclosurevars(kind.activate_when).nonlocals.get("commands")
    if of_commands:
        return f"where {' or '.join(f'`{command}`' for command in of_commands)} is installed"
    return WHERE.get(kind.schema().name, "where its check says so")


def _page(kind: type[Agent]) -> Iterator[str]:
    schema = kind.schema()
    yield from (MARK, "", f"# {schema.name}", "", schema.description)
    described = inspect.cleandoc(kind.__doc__ or "").partition("\n")[2].strip()
    if described:
        yield from ("", described.replace("``", "`"))
    yield from ("", f"Offered {where(kind)}. Version {schema.version}.")
    if kind.why_off:
        yield from ("", f"A node says why: {kind.why_off}.")
    names = ", ".join(f"`{name}`" for name in ("enabled", *kind.setting_names))
    yield from ("", f"Settings, under `agents: {schema.name}:` of the node's configuration: {names}.", "")
    rows = [
        (f"[{name}](#{name})", cell(action.description), "yes" if action.mutating else "no")
        for name, action in sorted(schema.actions.items())
    ]
    yield from table(("action", "what it does", "changes"), rows)
    for _, action in sorted(schema.actions.items()):
        yield from _action(schema, action)


def _action(schema: AgentSchema, action: ActionSchema) -> Iterator[str]:
    yield from ("", f"## {action.name}", "", " ".join(_sentences(action)), "", "```console")
    yield from (f"$ {line}" for line in example_lines(schema, action))
    yield "```"
    if action.inputs:
        rows = [(input_name(name, given), given.type, cell(input_text(given))) for name, given in action.inputs.items()]
        yield from ("", *table(("input", "type", "what it is"), rows))
    if action.outputs:
        rows = [(f"`{name}`", output.type, cell(_output(output))) for name, output in action.outputs.items()]
        yield from ("", *table(("output", "type", "what it is"), rows))
    if action.aggregates:
        made = ", ".join(f"{each.function} of `{each.output}`" for each in action.aggregates)
        yield from ("", f"Of all nodes together: {made}.")


def _sentences(action: ActionSchema) -> Iterator[str]:
    yield f"{action.description}."
    if action.mutating:
        yield "It *changes the node*."
        yield "With `--noop` it says what it would change." if action.noop else "It cannot say what it would change."
    yield f"The node answers `timed out` after {action.timeout_s:g} s."
    if action.display != "always":
        yield f"Shown unasked: {action.display}."


def _output(declared: Output) -> str:
    if declared.default is None:
        return declared.description
    return f"{declared.description}; default `{json.dumps(declared.default)}`"


def example_lines(schema: AgentSchema, action: ActionSchema) -> list[str]:
    """Return commands that ask for an action, with values that its schema allows."""
    words = ["mco", "rpc", schema.name, action.name]
    given = OF_ACTION.get(f"{schema.name}#{action.name}", {})
    for name, declared in action.inputs.items():
        is_needed = not declared.optional and declared.default is None
        if is_needed or name in given:
            value = _example(f"{schema.name}#{action.name}", name, declared, given)
            words.append(f"{name}={value if isinstance(value, str) else json.dumps(value)}")
    line = f"{shlex.join(words)} -I web1"
    return [line, f"{line} --noop"] if action.mutating and action.noop else [line]


def _example(where: str, name: str, declared: Input, given: Mapping[str, object]) -> object:
    own = (given[name],) if name in given else ()
    for value in (*own, *EXAMPLES.get(name, ()), *declared.choices, *_ANYTHING.get(declared.type, ())):
        if _is_allowed(declared, value):
            return value
    raise SystemExit(f"{where}: no example for input {name}: add one to EXAMPLES of tools/agent_pages.py")


def _is_allowed(declared: Input, value: Any) -> bool:
    """Say whether a value is one as it is typed: the client reads a text as the input's type."""
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        declared.check(declared.parse(text))
    except ValueError:
        return False
    return True


def nav(lines: Sequence[str]) -> list[str]:
    """Return the lines of mkdocs.yml with the agents' pages as they are now."""
    first, last = (next(n for n, line in enumerate(lines) if mark in line) for mark in ("# agents:", "# end of agents"))
    indent = lines[first][: lines[first].index("#")]
    pages = [f"{indent}    - {name}: reference/agents/{name}.md" for name, _ in agents()]
    return [
        *lines[: first + 1],
        f"{indent}- Agents:",
        f"{indent}    - All agents: reference/agents.md",
        *pages,
        *lines[last:],
    ]
