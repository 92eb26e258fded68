# SPDX-License-Identifier: Apache-2.0
"""Write the pages of docs/reference that say what the code says: its agents, data sources, illnesses, settings.

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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from agent_pages import agent_pages, index_page, nav
from reference_text import MARK, cell, input_name, input_text, table

from mco_client.doctor.finding import found
from mco_client.doctor.illnesses import ILLNESSES
from mco_registry.settings import RegistrySettings
from mco_rpc.config import PREFIX, ClientSettings, NodeSettings
from mco_rpc.data import SourceSchema

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
NAVIGATION = ROOT / "mkdocs.yml"
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


def data_sources_page() -> str:
    """Return what every installed data source can be asked."""
    lines = [
        MARK,
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
    arguments = [(input_name(name, given), cell(input_text(given))) for name, given in schema.arguments.items()]
    fields = [(f"`{name}`", field.type, cell(field.description)) for name, field in schema.fields.items()]
    lines += ["", *table(("argument", "what it is"), arguments)] if arguments else []
    return [*lines, "", *table(("field", "type", "what it is"), fields)]


def illnesses_page() -> str:
    """Return every illness that ``mco doctor`` knows."""
    lines = [
        MARK,
        "",
        "# Illnesses",
        "",
        "What [`mco doctor`](../guides/doctor.md) finds, and what it advises. Each is caused by a test. A name in",
        "capitals is filled in from the case. A *warning* keeps nothing from working.",
    ]
    for area in dict.fromkeys(illness.area for illness in ILLNESSES.values()):
        rows = []
        for code, illness in ILLNESSES.items():
            if illness.area == area:
                mark = f"`{code}`{' (warning)' if illness.is_warning else ''}"
                rows.append((mark, *map(cell, (illness.symptom, illness.cause, found(code, "").advice))))
        lines += ["", f"## {area[:1].upper()}{area[1:]}", ""]
        lines += table(("code", "what one notices", "what it comes from", "what to do"), rows)
    return "\n".join(lines) + "\n"


def configuration_page() -> str:
    """Return every setting of who asks, of who answers, and of the registry."""
    kinds = (ClientSettings, NodeSettings, RegistrySettings)
    client, node, registry = ("\n".join(_settings(kind)) for kind in kinds)
    return _CONFIGURATION.format(mark=MARK, prefix=PREFIX, client=client, node=node, registry=registry)


def _settings(kind: type[Any]) -> list[str]:
    described = _described(kind)
    rows = []
    for field in msgspec.structs.fields(kind):
        if field.name not in described:
            raise SystemExit(f"{kind.__name__}.{field.name} is not described in its class's docstring")
        rows.append((f"`{field.name}`", _default(field.default), cell(described[field.name])))
    return table(("key", "default", "what it is"), rows)


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


def pages() -> dict[Path, str]:
    """Return the text of every generated page, and of the navigation that has to name each."""
    made = {
        "agents.md": index_page(),
        **agent_pages(),
        "configuration.md": configuration_page(),
        "data-sources.md": data_sources_page(),
        "illnesses.md": illnesses_page(),
    }
    navigation = "\n".join(nav(NAVIGATION.read_text("utf-8").split("\n")))
    return {NAVIGATION: navigation} | {FOLDER / name: text for name, text in made.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or say which are stale."""
    parser = argparse.ArgumentParser(description="Write the generated pages of docs/reference.")
    parser.add_argument("--check", action="store_true", help="change nothing; status 1 if a page is not current")
    options = parser.parse_args(arguments)
    made = pages()
    stale = [file for file, text in made.items() if not _is_current(file, text)]
    gone = [file for file in sorted((FOLDER / "agents").glob("*.md")) if file not in made]
    for file in (*stale, *gone):
        name = file.relative_to(ROOT)
        if options.check:
            print(f"{name} is not current; run: .venv/bin/python tools/reference.py")
        elif file in gone:
            file.unlink()
            print(f"{name} is removed: there is no such agent")
        else:
            file.parent.mkdir(exist_ok=True)
            file.write_text(made[file], "utf-8")
            print(f"{name} is written")
    return 1 if (stale or gone) and options.check else 0


def _is_current(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text("utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
