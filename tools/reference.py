# SPDX-License-Identifier: Apache-2.0
"""Write the pages of docs/reference that say what the code says: its agents, its data sources and its settings.

A page is never edited by hand; a test compares each with what this program would write.

    python tools/reference.py           write the pages
    python tools/reference.py --check   only say whether they are current; status 1 if one is not
"""

from __future__ import annotations

import argparse
import importlib.metadata
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mco_registry.settings import RegistrySettings
from mco_rpc.config import PREFIX, ClientSettings, NodeSettings
from mco_rpc.data import SourceSchema
from mco_rpc.schema import ActionSchema, AgentSchema, Input

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
_MARK = "<!-- Written by tools/reference.py from the code: do not edit. -->"
_CONFIGURATION = """\
{mark}

# Configuration

Both sides read one YAML file. A key that is not listed here is an error, with the nearest known key as a suggestion,
and so is a value of the wrong type. Seconds may have a fraction, except those of the heartbeat.

Every setting can be given as a variable of the environment, which wins over the file: `{prefix}` and the key in
capitals, for instance `{prefix}TIMEOUT_S=20`. Lists are split at commas, mappings are written as YAML. An empty
variable counts as not set; a `{prefix}` variable that is no setting of either side is an error.

## Who asks

Read by `mco` and by features. The first of these files that is there:

1. the one given with `--config`, to behave with `-D config=FILE`, or in `{prefix}CONFIG`; it has to exist
2. `~/.config/mco/client.yaml`, or `$XDG_CONFIG_HOME/mco/client.yaml` if that variable is set
3. `/etc/mco/client.yaml`

{client}

Without `caller`, the name of `key_file` is the caller's name: `alice` for `alice.key`. Features have time-outs of
their own: `-D discovery_timeout=2` and `-D timeout=5`, both in seconds, are the defaults. `mco rpc` waits as long as
the action itself may take, and one second more, unless `-t` says otherwise.

The connector `replay` answers from a recording: [Record and replay](../guides/record-and-replay.md).

## Who answers

Read by `mco-node`: the file given with `--config`, or in `{prefix}CONFIG`, or `/etc/mco/node.yaml`.

{node}

Facts, classes and `trusted_callers` are read again while the node runs; everything else is read at its start. The
connector `memory` exists only inside one process: `mco demo --memory`, tests, and `mco_lab.memory.MemoryFleet`.

### Settings of agents

`agents` holds a mapping for each agent that is to differ:

<!-- run: node-settings -->
```yaml
agents:
  iptables:
    backend: nftables
    table: mco_block
  rpcutil:
    enabled: false
```

The iptables agent knows `backend` (`auto`, `iptables`, `iptables-nft`, `iptables-legacy`, `nftables` or `memory`),
`chain` (for the iptables back ends; default `MCO-BLOCK`) and `table` (for nftables; default `mco_block`).

## The registry

Read by `mco registry`: the file given with `--config`, or `/etc/mco/registry.yaml`; `{prefix}CONFIG` is the client's
and is not asked. Without `database` it is `/var/lib/mco/registry.sqlite` for root, and
`~/.local/state/mco/registry.sqlite` for others. See [The registry](../guides/registry.md).

{registry}
"""
_ATTRIBUTE = re.compile(r"^    (\w+): (.*)$")


def agents_page() -> str:
    """Return what every installed agent can be asked."""
    entries = sorted(importlib.metadata.entry_points(group="mco.agents"), key=lambda entry: entry.name)
    lines = [
        _MARK,
        "",
        "# Agents",
        "",
        "What comes with mco-behave. A running node says the same of the agents it really offers:",
        "",
        "<!-- run: fleet -->",
        "```console",
        "$ mco plugin list",
        "$ mco plugin doc iptables",
        "```",
        "",
        "An input in brackets may be left out. An action that *changes the node* asks before it is sent to every node.",
        "How to write an agent of your own: [Writing agents](../guides/writing-agents.md).",
    ]
    for entry in entries:
        lines += _agent(entry.load().schema(), entry.load().setting_names)
    return "\n".join(lines) + "\n"


def data_sources_page() -> str:
    """Return what every installed data source can be asked."""
    lines = [
        _MARK,
        "",
        "# Data sources",
        "",
        "What comes with mco-behave. A running node says the same of those it really has:",
        "",
        "<!-- run: fleet -->",
        "```console",
        "$ mco rpc rpcutil data_sources -I web1",
        "$ mco rpc rpcutil get_data source=fstat query=/etc/hosts -I web1",
        "```",
        "",
        "A field that is not known has no value, and compares as false. What they are for and how to write one:",
        "[Data sources](../guides/data-sources.md).",
    ]
    for entry in sorted(importlib.metadata.entry_points(group="mco.data"), key=lambda entry: entry.name):
        lines += _data_source(entry.load().schema(), entry.load().setting_names)
    return "\n".join(lines) + "\n"


def _data_source(schema: SourceSchema, setting_names: Sequence[str]) -> list[str]:
    names = ", ".join(f"`{name}`" for name in ("enabled", "timeout_s", *setting_names))
    limit = f"It may take {schema.timeout_s:g} s."
    lines = [
        "",
        f"## {schema.name}",
        "",
        f"{schema.description} {limit} Settings, under `data: {schema.name}:`: {names}.",
    ]
    arguments = [(_input_name(name, given), _cell(_input(given))) for name, given in schema.arguments.items()]
    fields = [(f"`{name}`", field.type, _cell(field.description)) for name, field in schema.fields.items()]
    lines += ["", *_table(("argument", "what it is"), arguments)] if arguments else []
    return [*lines, "", *_table(("field", "type", "what it is"), fields)]


def _agent(schema: AgentSchema, setting_names: Sequence[str]) -> list[str]:
    lines = ["", f"## {schema.name}", "", schema.description]
    if setting_names:
        names = ", ".join(f"`{name}`" for name in setting_names)
        lines += ["", f"Settings, under `agents: {schema.name}:` of the node's configuration: {names}."]
    for _, action in sorted(schema.actions.items()):
        lines += _action(schema.name, action)
    return lines


def _action(agent: str, action: ActionSchema) -> list[str]:
    changes = " It *changes the node*." if action.mutating else ""
    limit = f"The node answers `timed out` after {action.timeout_s:g} s."
    shown = "" if action.display == "always" else f" Shown unasked: {action.display}."
    lines = ["", f"### {agent}: {action.name}", "", f"{action.description}.{changes} {limit}{shown}"]
    if action.inputs:
        rows = [(_input_name(name, given), given.type, _cell(_input(given))) for name, given in action.inputs.items()]
        lines += ["", *_table(("input", "type", "what it is"), rows)]
    if action.outputs:
        rows = [(f"`{name}`", output.type, _cell(output.description)) for name, output in action.outputs.items()]
        lines += ["", *_table(("output", "type", "what it is"), rows)]
    if action.aggregates:
        made = ", ".join(f"{each.function} of `{each.output}`" for each in action.aggregates)
        lines += ["", f"Of all nodes together: {made}."]
    return lines


def _input_name(name: str, declared: Input) -> str:
    is_needed = not declared.optional and declared.default is None
    return f"`{name}`" if is_needed else f"[`{name}`]"


def _input(declared: Input) -> str:
    parts = [declared.description]
    if declared.choices:
        parts.append("one of " + ", ".join(declared.choices))
    if declared.validate:
        parts.append(f"checked as `{declared.validate}`")
    if declared.default is not None:
        parts.append(f"default `{json.dumps(declared.default)}`")
    parts.append(f"at most {declared.max_length}" if declared.type in ("string", "array", "hash") else "")
    return "; ".join(part for part in parts if part)


def configuration_page() -> str:
    """Return every setting of who asks, of who answers, and of the registry."""
    kinds = (ClientSettings, NodeSettings, RegistrySettings)
    client, node, registry = ("\n".join(_settings(kind)) for kind in kinds)
    return _CONFIGURATION.format(mark=_MARK, prefix=PREFIX, client=client, node=node, registry=registry)


def _settings(kind: type[Any]) -> list[str]:
    described = _described(kind)
    rows = []
    for field in msgspec.structs.fields(kind):
        if field.name not in described:
            raise SystemExit(f"{kind.__name__}.{field.name} is not described in its class's docstring")
        rows.append((f"`{field.name}`", _default(field.default), _cell(described[field.name])))
    return _table(("key", "default", "what it is"), rows)


def _described(kind: type[Any]) -> dict[str, str]:
    """Return what the docstrings of a class and of those above it say of each attribute."""
    found: dict[str, str] = {}
    for above in reversed(kind.__mro__):
        text = inspect.cleandoc(above.__doc__ or "").partition("Attributes:\n")[2]
        for line in text.splitlines():
            match = _ATTRIBUTE.match(line)
            if match:
                found[match[1]] = match[2].replace("``", "`").rstrip(".")
    return found


def _default(value: object) -> str:
    if isinstance(value, tuple):
        value = list(value)
    return f"`{json.dumps(value)}`" if value not in ("", [], {}) and value is not msgspec.NODEFAULT else "empty"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(heads)} |",
        f"|{'|'.join('---' for _ in heads)}|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES: Mapping[str, Callable[[], str]] = {
    "agents.md": agents_page,
    "configuration.md": configuration_page,
    "data-sources.md": data_sources_page,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or say which are stale."""
    parser = argparse.ArgumentParser(description="Write the generated pages of docs/reference.")
    parser.add_argument("--check", action="store_true", help="change nothing; status 1 if a page is not current")
    options = parser.parse_args(arguments)
    stale = [name for name, page in PAGES.items() if not _is_current(FOLDER / name, page())]
    for name in stale:
        if options.check:
            print(f"docs/reference/{name} is not current; run: .venv/bin/python tools/reference.py")
        else:
            (FOLDER / name).write_text(PAGES[name](), "utf-8")
            print(f"docs/reference/{name} is written")
    return 1 if stale and options.check else 0


def _is_current(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text("utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
