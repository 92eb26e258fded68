# SPDX-License-Identifier: Apache-2.0
"""The first version of an agent and of its test, to be changed: as a file for a libdir, or as a package."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mco_client.schema import scaffold_external
from mco_rpc.agent import Agent
from mco_rpc.errors import ConfigError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_AGENT = '''\
"""{description}"""

from typing import Any

from mco_rpc.agent import {imports}

STATE = {{"state": Output("string", "How it is", display_as="State")}}
{change}

class {class_name}(Agent):
    """{description}"""

{own_name}    version = "0.1"
    timeout_s = 10.0
'''
_CHANGE = 'CHANGE = STATE | {"changed": Output("boolean", "Whether something was changed", display_as="Changed")}\n'
_ASKS = '''
    @action("Say how it is", outputs=STATE, aggregates=[Aggregate("summary", "state")])
    def {action}(self) -> dict[str, Any]:
        """Look, and return what was seen; `self.run` runs a command within the call's deadline."""
        return {{"state": "unknown"}}
'''
_CHANGES = '''
    @action("Change it", inputs={{"reason": REASON}}, outputs=CHANGE, mutating=True)
    def {action}(self, reason: str = "") -> dict[str, Any]:
        """Change it if need be; a second time changes nothing."""
        return {{"state": "unknown", "changed": False}}
'''
_REASON = 'REASON = Input("string", "Why", prompt="Reason", optional=True, max_length=200)\n'
_TEST = '''\
"""What the agent {name} answers: as a class, and asked by a client."""

{head}

def test_the_schema_is_sound():
    schema = {class_name}.schema()
    assert schema.name == "{name}"
    assert set(schema.actions) == {{{actions}}}


def test_it_answers_through_the_whole_path():
    with MemoryFleet({{"web1": {settings}}}) as fleet:
        client = RpcClient("{name}", fleet.connection())
{calls}'''
_HEAD_OF_FILE = """\
import runpy
from pathlib import Path

from mco_client import RpcClient
from mco_lab.memory import MemoryFleet

LIBDIR = Path(__file__).resolve().parent.parent
{class_name} = runpy.run_path(str(LIBDIR / "{name}.py"))["{class_name}"]
"""
_HEAD_OF_PACKAGE = """\
from mco_client import RpcClient
from mco_lab.memory import MemoryFleet

from {module} import {class_name}
"""
_PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{distribution}"
version = "0.1"
description = "{description}"
requires-python = ">=3.11"
dependencies = ["mco-behave"]

[project.entry-points."mco.agents"]
{name} = "{module}:{class_name}"

[tool.setuptools]
packages = ["{module}"]
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be written.

    Attributes:
        asking: names of actions that only look; ``status`` if there is no other either.
        changing: names of actions that change something.
        language: of an executable that answers; a class in Python if empty.
    """

    name: str
    asking: Sequence[str] = ()
    changing: Sequence[str] = ()
    description: str = ""
    is_package: bool = False
    language: str = ""

    def check(self) -> Wanted:
        """Return it if it can be written; raise `ConfigError` with what cannot be a name."""
        _check_name("agent", self.name)
        if self.is_package and self.language:
            raise ConfigError("a package holds a class in Python; an executable in another language is for a libdir")
        if not self.description.isprintable() or set(self.description) & {'"', "\\"}:
            raise ConfigError(
                f"description {self.description!r} cannot be used: one line without quotes and backslashes"
            )
        actions = [*self.asking, *self.changing]
        for number, action in enumerate(actions):
            _check_name("action", action)
            if hasattr(Agent, action):
                raise ConfigError(f"action {action!r} cannot be used: every agent has something of this name")
            if action in actions[:number]:
                raise ConfigError(f"action {action!r} is given twice")
        return self


def files(wanted: Wanted) -> dict[Path, str]:
    """Return path -> text of what makes a working agent with a test."""
    wanted.check()
    if wanted.language:
        return scaffold_external.files(
            wanted.name, _description(wanted), _asking(wanted), wanted.changing, wanted.language
        )
    module = f"mco_agent_{wanted.name}"
    agent, test = _agent(wanted), _test(wanted, module)
    if not wanted.is_package:
        return {Path(f"{wanted.name}.py"): agent, Path(f"tests/test_{wanted.name}.py"): test}
    folder = Path(f"mco-agent-{wanted.name.replace('_', '-')}")
    pyproject = _PYPROJECT.format(
        distribution=folder,
        description=_description(wanted),
        name=wanted.name,
        module=module,
        class_name=_class(wanted),
    )
    return {
        folder / "pyproject.toml": pyproject,
        folder / module / "__init__.py": agent,
        folder / "tests" / f"test_{wanted.name}.py": test,
    }


def write(made: dict[Path, str], folder: Path) -> list[Path]:
    """Write files into a folder, all or none; return where they are.

    Raises:
        ConfigError: something is there already; nothing was written.
    """
    targets = {folder / path: text for path, text in made.items()}
    if there := [str(path) for path in targets if path.exists() or path.is_symlink()]:
        raise ConfigError(f"nothing was written, for this is there already: {', '.join(there)}")
    for path, text in targets.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        if text.startswith("#!"):
            path.chmod(0o755)
    return list(targets)


def _agent(wanted: Wanted) -> str:
    asking = _asking(wanted)
    imports = ["Agent", *(["Aggregate"] if asking else []), *(["Input"] if wanted.changing else []), "Output", "action"]
    return "".join(
        (
            _AGENT.format(
                description=_description(wanted),
                imports=", ".join(imports),
                change=f"{_CHANGE}{_REASON}" if wanted.changing else "",
                class_name=_class(wanted),
                own_name="" if _class(wanted).lower() == wanted.name else f'    name = "{wanted.name}"\n',
            ),
            *(_ASKS.format(action=action) for action in asking),
            *(_CHANGES.format(action=action) for action in wanted.changing),
        )
    )


def _test(wanted: Wanted, module: str) -> str:
    actions = [*_asking(wanted), *wanted.changing]
    calls = "".join(f'        client.call("{action}").require_all(state="unknown")\n' for action in actions)
    head = _HEAD_OF_PACKAGE if wanted.is_package else _HEAD_OF_FILE
    return _TEST.format(
        name=wanted.name,
        class_name=_class(wanted),
        head=head.format(name=wanted.name, module=module, class_name=_class(wanted)),
        actions=", ".join(f'"{action}"' for action in sorted(actions)),
        settings="{}" if wanted.is_package else '{"settings": {"libdir": [str(LIBDIR)]}}',
        calls=calls,
    )


def _asking(wanted: Wanted) -> Sequence[str]:
    return wanted.asking or ([] if wanted.changing else ["status"])


def _description(wanted: Wanted) -> str:
    return wanted.description or f"Say how {wanted.name} is on this host."


def _class(wanted: Wanted) -> str:
    return "".join(part.capitalize() for part in wanted.name.split("_"))


def _check_name(what: str, name: str) -> None:
    if not _NAME.match(name) or keyword.iskeyword(name):
        raise ConfigError(
            f"{what} {name!r} cannot be used: small letters, digits and _ are allowed, the first is a letter, "
            "and no word of Python's"
        )
