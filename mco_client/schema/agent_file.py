# SPDX-License-Identifier: Apache-2.0
"""Everything that is wrong with a file that declares agents, with the line: a Python file, or a schema as JSON.

A Python file is run to be read, as a node would do: only files that are trusted are to be given here.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from mco_rpc import __version__
from mco_rpc.agent import Agent
from mco_rpc.errors import ConfigError
from mco_rpc.external_file import inspect as inspect_external
from mco_rpc.external_file import is_external, unknown_keys
from mco_rpc.schema import ActionSchema, AgentSchema
from mco_rpc.soundness import is_older, problems
from mco_rpc.suggestion import did_you_mean
from mco_rpc.validation import may_match

MAX_FILE_BYTES = 1024 * 1024
_MODULE = "mco_validated"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, and the line; 0 if it cannot be told."""

    text: str
    line: int = 0


@dataclass
class Checked:
    """What a file declares, and what is wrong with it."""

    schemas: list[AgentSchema] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def check(file: Path) -> Checked:
    """Return what is found in a file; raise `ConfigError` if it cannot be read."""
    body = _read(file)
    made = Checked()
    if file.suffix == ".json":
        made.findings = list(_of_json(body, made.schemas))
    else:
        made.findings = sorted(_of_python(file, body, made.schemas), key=lambda finding: finding.line)
    return made


def read_schema(file: Path) -> AgentSchema:
    """Return the sound schema in a JSON file; raise `ConfigError` with all that is wrong with it."""
    made = check(file)
    if made.findings:
        raise ConfigError("; ".join(f"{file}: {finding.text}" for finding in made.findings))
    return made.schemas[0]


def _read(file: Path) -> bytes:
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{file} is not a file")
        if found.st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{file} has {found.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        return file.read_bytes()
    except OSError as e:
        raise ConfigError(f"{file} cannot be read: {e.strerror}") from e


# JSON.


def _of_json(body: bytes, schemas: list[AgentSchema]) -> Iterator[Finding]:
    try:
        plain = json.loads(body)
        if is_external(plain):
            yield from _of_external(plain, schemas)
            return
        schema = msgspec.convert(plain, AgentSchema)
    except (msgspec.ValidationError, RecursionError, ValueError) as e:
        line = e.lineno if isinstance(e, json.JSONDecodeError) else 0
        yield Finding(f"it is not the JSON of a schema: {e}", line)
        return
    yield from (Finding(text) for text in unknown_keys(plain))
    # Whoever gave the file may have given an expression that never ends.
    yield from (Finding(problem.text) for problem in problems(schema, matches=may_match))
    schemas.append(schema)


def _of_external(plain: object, schemas: list[AgentSchema]) -> Iterator[Finding]:
    schema, _, found = inspect_external(plain, may_match)
    yield from map(Finding, found)
    if schema is not None:
        schemas.append(schema)


# Python.


def _of_python(file: Path, body: bytes, schemas: list[AgentSchema]) -> Iterator[Finding]:
    try:
        tree = ast.parse(body, str(file))
    except SyntaxError as e:
        yield Finding(f"{e.msg}", e.lineno or 0)
        return
    except (ValueError, RecursionError, MemoryError) as e:
        yield Finding(f"it is not Python: {e}")
        return
    module = _module(file)
    if isinstance(module, Finding):
        yield module
        return
    kinds = [kind for kind in vars(module).values() if _is_agent_of(kind, module)]
    if not kinds:
        yield Finding("it defines no subclass of mco_rpc.agent.Agent")
    lines = {node.name: node.lineno for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    fields = _lines_of_texts(tree)
    names: dict[str, str] = {}
    for kind in kinds:
        schema = kind.declared_schema()
        line = lines.get(kind.__name__, 0)
        if schema.name in names:
            yield Finding(f"{kind.__name__} and {names[schema.name]} are both called {schema.name!r}", line)
        names[schema.name] = kind.__name__
        yield from _of_class(kind, schema, line, fields)
        schemas.append(schema)


def _is_agent_of(kind: object, module: ModuleType) -> bool:
    return isinstance(kind, type) and issubclass(kind, Agent) and kind.__module__ == module.__name__


def _module(file: Path) -> ModuleType | Finding:
    """Run the file as a node would; return why it cannot be run if it raises."""
    spec = importlib.util.spec_from_file_location(_MODULE, file)
    if spec is None or spec.loader is None:
        return Finding("its name does not end in .py or .json")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    is_written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as e:
        lines = [frame.lineno for frame in traceback.extract_tb(e.__traceback__) if frame.filename == str(file)]
        return Finding(f"it cannot be loaded: {type(e).__name__}: {e}", (lines[-1] if lines else 0) or 0)
    finally:
        del sys.modules[_MODULE]
        sys.dont_write_bytecode = is_written
    return module


def _lines_of_texts(tree: ast.AST) -> dict[tuple[int, str], int]:
    """Return where each text stands in a decorator: (first line of the method, text) -> line."""
    found: dict[tuple[int, str], int] = {}
    for method in ast.walk(tree):
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and method.decorator_list:
            for node in (node for decorator in method.decorator_list for node in ast.walk(decorator)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found[method.decorator_list[0].lineno, node.value] = node.lineno
    return found


def _of_class(
    kind: type[Agent], schema: AgentSchema, line: int, fields: Mapping[tuple[int, str], int]
) -> Iterator[Finding]:
    if not schema.description:
        yield Finding(f"agent {schema.name} has no description: the first line of the class's docstring", line)
    if not schema.actions:
        yield Finding(f"agent {schema.name} has no action: a method below @action(...)", line)
    for problem in problems(schema):
        first = _line_of(kind, problem.action) or line
        yield Finding(problem.text, fields.get((first, problem.field), first))
    if schema.requires and is_older(__version__, schema.requires):
        yield Finding(f"agent {schema.name} requires version {schema.requires}; this is {__version__}", line)
    for name, action in schema.actions.items():
        where = f"{schema.name}#{name}"
        method = getattr(kind, name, None)
        if not callable(method):
            yield Finding(f"{where}: the class has no method {name!r}: what wraps it hides its name", line)
        else:
            yield from (Finding(f"{where}: {text}", _line_of(kind, name)) for text in _of_method(method, action))


def _line_of(kind: type[Agent], action: str) -> int:
    method = getattr(kind, action, None) if action else None
    code = getattr(inspect.unwrap(method), "__code__", None) if callable(method) else None
    return code.co_firstlineno if code else 0


def _of_method(method: Callable[..., Any], action: ActionSchema) -> Iterator[str]:
    """Yield where a method does not take what its action declares."""
    if not action.description:
        yield "it has no description"
    _, *parameters = inspect.signature(method).parameters.values()
    if inspect.iscoroutinefunction(method):
        yield "it is a coroutine; actions run in threads"
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    named = {each.name: each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    for name, declared in action.inputs.items():
        if name not in named:
            if not takes_any:
                yield f"input {name} is declared, and the method does not take it{did_you_mean(name, named)}"
        elif declared.optional and declared.default is None and named[name].default is inspect.Parameter.empty:
            yield f"input {name} may be left out, and the method's parameter has no default"
    for name, parameter in named.items():
        if name not in action.inputs and parameter.default is inspect.Parameter.empty:
            yield f"the method needs {name}, which is no input{did_you_mean(name, action.inputs)}"
