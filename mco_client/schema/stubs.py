# SPDX-License-Identifier: Apache-2.0
"""Typed Python from schemas: one client class an agent, whose methods take its inputs and are checked by mypy.

A schema may come from a node: nothing in it becomes code but as the name of something or inside a literal.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator

from mco_client.rpc import RpcClient
from mco_client.text import one_line
from mco_rpc.schema import ActionSchema, AgentSchema, Input, Output

MARK = "# Written by `mco plugin stubs` from schemas: do not edit, write it again."
_TYPES = {
    "string": "str",
    "list": "str",
    "boolean": "bool",
    "integer": "int",
    "float": "float",
    "number": "float",
    "array": "list[Any]",
    "hash": "dict[str, Any]",
    "any": "Any",
}
_HEAD = '''\
# ruff: noqa
{mark}
"""Typed clients of the agents {agents}."""

from __future__ import annotations

from typing import Any, Literal, TypedDict, cast

from mco_client import Connection, Result, Results, RpcClient

'''
_CLASS = """
class {name}(RpcClient):
    {docstring}

    def __init__(self, connection: Connection | None = None, **options: Any) -> None:
        super().__init__({agent!r}, connection, **options)
"""
_METHOD = """
    def {method}(self{parameters}) -> Results:
        {docstring}
        return self.call({action!r}, **{{{inputs}}})
"""
_OPTIONAL = """
    def {method}(self{parameters}) -> Results:
        {docstring}
        given: dict[str, Any] = {{{inputs}}}
        return self.call({action!r}, **{{name: value for name, value in given.items() if value is not None}})
"""
_OUTPUTS = '''
    @staticmethod
    def {method}(result: Result) -> {outputs}:
        """Return what a node answered, typed."""
        return cast({outputs}, result.data)
'''
# What instances of RpcClient have beside the class's own names.
_INSTANCE = frozenset(
    ("agent", "connection", "discovery_timeout_s", "last_results", "options", "progress", "stats", "timeout_s")
)
# What the code of a method, and its annotations, mean by these names.
_BUILTINS = frozenset(("str", "bool", "int", "float", "list", "dict"))
# What the body of a class means by these.
_IN_CLASS = _BUILTINS | {"Any", "Literal", "Result", "Results", "cast", "staticmethod"}


def module(schemas: Iterable[AgentSchema]) -> str:
    """Return a module with a client for each schema."""
    known = sorted(schemas, key=lambda schema: schema.name)
    agents = ", ".join(one_line(f"{schema.name} {schema.version} ({schema.digest})") for schema in known)
    text = _HEAD.format(mark=MARK, agents=_quoted(agents))
    names = _Names({"Any", "Literal", "TypedDict", "cast", "Connection", "Result", "Results", "RpcClient"})
    return text + "".join(part for schema in known for part in _client(schema, names))


class _Names:
    """Names that are taken, in one scope; each new one is an identifier like no other."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def of(self, text: str) -> str:
        name = re.sub(r"[^A-Za-z0-9_]", "_", text)
        if not name or name[0].isdigit() or name.startswith("_"):
            name = f"x{name}"
        while name in self._taken or keyword.iskeyword(name):
            name += "_"
        self._taken.add(name)
        return name


def _client(schema: AgentSchema, names: _Names) -> Iterator[str]:
    stem = _camel(schema.name)
    methods = _Names({*dir(RpcClient), *_INSTANCE, *_IN_CLASS})
    made = []
    for name, action in sorted(schema.actions.items()):
        method = methods.of(name)
        outputs = ""
        if action.outputs:
            outputs = names.of(f"{stem}{_camel(name)}Outputs")
            yield _typed_dict(outputs, f"What {schema.name}#{name} gives.", action.outputs)
        made.append(_method(method, name, action))
        if outputs:
            made.append(_OUTPUTS.format(method=methods.of(f"{method}_outputs"), outputs=outputs))
    yield _CLASS.format(name=names.of(f"{stem}Client"), docstring=_docstring(schema.description), agent=schema.name)
    yield from made
    yield "\n"


def _typed_dict(name: str, about: str, outputs: dict[str, Output]) -> str:
    rows = [(field, f"{_TYPES[declared.type]} | None") for field, declared in outputs.items()]
    if all(field.isidentifier() and not keyword.iskeyword(field) and field.isascii() for field, _ in rows):
        fields = "".join(f"    {field}: {kind}\n" for field, kind in rows)
        return f"\nclass {name}(TypedDict):\n    {_docstring(about)}\n\n{fields}\n"
    fields = ", ".join(f"{field!r}: {kind}" for field, kind in rows)
    return f"\n{name} = TypedDict({name!r}, {{{fields}}})\n\n"


def _method(method: str, action: str, declared: ActionSchema) -> str:
    parameters = _Names({"self", "given", "Any", "Literal", *_BUILTINS})
    needed, optional, inputs = [], [], []
    for name, given in declared.inputs.items():
        parameter = parameters.of(name)
        kind = _kind(given)
        is_optional = given.optional or given.default is not None
        inputs.append(f"{name!r}: {_value(parameter, given.type, is_optional=is_optional)}")
        if is_optional:
            optional.append(f"{parameter}: {kind} | None = None")
        else:
            needed.append(f"{parameter}: {kind}")
    listed = "".join(f", {parameter}" for parameter in [*needed, *optional])
    return (_OPTIONAL if optional else _METHOD).format(
        method=method,
        parameters=f", *{listed}" if listed else "",
        docstring=_docstring(declared.description),
        action=action,
        inputs=", ".join(inputs),
    )


def _value(parameter: str, kind: str, *, is_optional: bool) -> str:
    """Return the value that is sent; for mypy an int is a float, for a node it is not."""
    if kind != "float":
        return parameter
    return f"None if {parameter} is None else float({parameter})" if is_optional else f"float({parameter})"


def _kind(declared: Input) -> str:
    if declared.choices and declared.type in ("list", "string"):
        return f"Literal[{', '.join(repr(choice) for choice in declared.choices)}]"
    return _TYPES[declared.type]


def _camel(text: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", text)) or "X"


def _docstring(text: str) -> str:
    return f'"""{_quoted(one_line(text))}"""'


def _quoted(text: str) -> str:
    r"""Return text that ends no literal and begins no escape: backslashes are doubled, quotes escaped."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
