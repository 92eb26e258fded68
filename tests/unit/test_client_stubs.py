# SPDX-License-Identifier: Apache-2.0
"""Typed clients from schemas: they type-check, they work, and nothing that a node says becomes code."""

from __future__ import annotations

import ast
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mco_client.connection import Connection
from mco_client.rpc import RpcClient
from mco_client.schema import stubs
from mco_client.schema.stubs import module
from mco_lab.memory import MemoryFleet
from mco_rpc.schema import ActionSchema, AgentSchema, Aggregate, Input, Output
from mco_rpc.validation import TYPES

AGENT = '''
"""An agent with every type."""
from mco_rpc.agent import Agent, Input, Output, action

class Toy(Agent):
    """Play with every type."""

    @action("Give back what was taken", inputs={
        "s": Input("string", "S"), "choice": Input("list", "C", choices=("on", "off")), "b": Input("boolean", "B"),
        "i": Input("integer", "I"), "f": Input("float", "F"), "n": Input("number", "N"), "a": Input("array", "A"),
        "h": Input("hash", "H"), "x": Input("any", "X"), "class": Input("string", "A word of Python's", default="none"),
        "maybe": Input("float", "M", optional=True),
    }, outputs={"given": Output("hash", "What was taken", display_as="Given")})
    def give(self, **inputs):
        return {"given": inputs}

    @action("Have the name of something that clients have", outputs={"done": Output("boolean", "Done")})
    def discover(self):
        return {"done": True}
'''
GOOD = """
def use(toy: ToyClient) -> None:
    results = toy.give(
        s="s", choice="on", b=True, i=1, f=1, n=1.5, a=[1], h={"a": 1}, x=None, maybe=2
    )
    for result in results:
        given: dict[str, Any] | None = ToyClient.give_outputs(result)["given"]
    toy.discover_().require_all(done=True)
    with toy as same:
        same.give
"""


def schema_of(source: str, folder: Path) -> AgentSchema:
    (folder / "toy.py").write_text(source)
    made: dict[str, Any] = {"__name__": "toy"}
    exec(compile(source, "toy.py", "exec"), made)
    schema: AgentSchema = made["Toy"].schema()
    return schema


def mypy(text: str, folder: Path) -> str:
    file = folder / "typed.py"
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file=", str(file)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.mark.timeout(300)
def test_good_calls_type_check_and_bad_ones_do_not(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    text = module([schema_of(AGENT, tmp_path)])
    wrong = (
        ("    toy.discover_(x=1)", 'Unexpected keyword argument "x"'),
        (
            '    toy.give(choice="on", b=True, i=1, f=1, n=1, a=[], h={}, x=1)',
            'Missing named argument "s"',
        ),
        ("    toy.discover_('x')", "Too many arguments"),
        ("    toy.discover_().no_such_thing", 'has no attribute "no_such_thing"'),
        ('    ToyClient.give_outputs(next(iter(toy.discover_())))["gvien"]', 'has no key "gvien"'),
        ('    toy.give(s=1, choice="on", b=True, i=1, f=1, n=1, a=[], h={}, x=1)', '"s" to "give"'),
        ('    toy.give(s="", choice="maybe", b=True, i=1, f=1, n=1, a=[], h={}, x=1)', '"choice" to "give"'),
        ('    toy.give(s="", choice="on", b=True, i=1.5, f=1, n=1, a=[], h={}, x=1)', '"i" to "give"'),
        ('    toy.give(s="", choice="on", b=True, i=1, f=1, n=1, a={}, h={}, x=1)', '"a" to "give"'),
    )
    # When correct calls and one wrong call a line are checked together
    start = text + GOOD + "def misuse(toy: ToyClient) -> None:\n"
    first = start.count("\n") + 1
    told = mypy(start + "\n".join(line for line, _ in wrong) + "\n", tmp_path)
    # Then there is an error in each of those lines, and none elsewhere
    lines = [line for line in told.splitlines() if ": error: " in line]
    assert [int(line.split(":")[1]) for line in lines] == list(range(first, first + len(wrong))), told
    for line, (_, why) in zip(lines, wrong, strict=True):
        assert why in line


def loaded(text: str) -> types.ModuleType:
    made = types.ModuleType("typed")
    exec(compile(text, "typed.py", "exec"), made.__dict__)
    return made


def test_they_work_at_run_time(tmp_path: Path) -> None:
    typed = loaded(module([schema_of(AGENT, tmp_path)]))
    with MemoryFleet({"web1": {"settings": {"libdir": [str(tmp_path)]}}}) as fleet:
        toy = typed.ToyClient(fleet.connection())
        results = toy.give(s="s", choice="on", b=True, i=1, f=1, n=1.5, a=[1], h={"a": 1}, x=2)
        results.require_ok()
        assert toy.give_outputs(results[0])["given"] == {
            "s": "s", "choice": "on", "b": True, "i": 1, "f": 1.0, "n": 1.5, "a": [1], "h": {"a": 1}, "x": 2,
            "class": "none",
        }  # fmt: skip
        results = toy.give(s="s", choice="on", b=True, i=1, f=1, n=1, a=[], h={}, x=2, maybe=3, class_="first")
        assert results[0].data["given"] | {"class": "first", "maybe": 3.0} == results[0].data["given"]
        assert toy.discover() == ["web1"], "a method of the client's own is kept"
        toy.discover_().require_all(done=True)


def test_no_attribute_of_a_client_is_hidden() -> None:
    class Silent(Connection):
        def __init__(self) -> None:
            with MemoryFleet.of_hosts() as fleet:
                base = fleet.connection()
            super().__init__(base.settings, security=base.security)

    own = {name for name in vars(RpcClient("toy", Silent())) if not name.startswith("_")}
    assert own <= {*stubs._INSTANCE, *dir(RpcClient)}


EVIL = [
    'x"""\nimport os; os.abort()\n"""',
    "'); import os; os.abort() #",
    "\\",
    '"',
    "{x}",
    "%s",
    "class",
    "1",
    "",
    "a b",
    "a-b",
    "a_b",
    "ä",
    "\x1b[2J\n",
    "__init__",
    "self",
    "str",
    "list",
    "Any",
    "Results",
]


@pytest.mark.parametrize("name", ["staticmethod", "Any", "Literal", "Result", "Results", "cast"])
def test_no_action_changes_what_the_class_means_by_a_name(name: str) -> None:
    outputs = {"x": Output("any", "X")}
    actions = {name: ActionSchema(name, "X", outputs=outputs), "zz": ActionSchema("zz", "X", outputs=outputs)}
    made = loaded(module([AgentSchema("toy", "x", "1", actions)]))
    assert not hasattr(made.ToyClient, name)
    assert callable(getattr(made.ToyClient, f"{name}_"))


def test_nothing_that_a_node_says_becomes_code() -> None:
    inputs = {name: Input("list", name, choices=tuple(EVIL), optional=len(name) > 4) for name in EVIL}
    outputs = {name: Output("any", name, display_as=name) for name in EVIL}
    actions = {name: ActionSchema(name, name, inputs, outputs, aggregates=(Aggregate(name, name),)) for name in EVIL}
    text = module(AgentSchema(name, name, name, actions) for name in EVIL)
    tree = ast.parse(text)
    made = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {ast.unparse(node.func) for node in made}
    assert called <= {"self.call", "cast", "super", "super().__init__", "given.items", "float", "TypedDict"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    assert all(c.isprintable() or c == "\n" for c in text)
    clients = [node.name for node in tree.body if isinstance(node, ast.ClassDef) and node.name.endswith("Client")]
    loaded(text)
    assert len(set(clients)) == len(clients)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=4, unique=True), st.sampled_from(TYPES))
def test_any_names_make_a_module(names: list[str], kind: str) -> None:
    inputs = {name: Input(kind, name, choices=("x",) if kind == "list" else ()) for name in names}
    actions = {name: ActionSchema(name, name, inputs, {name: Output(kind, name)}) for name in names}
    text = module([AgentSchema("toy", "x", "1", actions)])
    loaded(text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            arguments = [each.arg for each in (*node.args.args, *node.args.kwonlyargs)]
            assert len(set(arguments)) == len(arguments)
