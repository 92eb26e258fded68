# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a file that declares agents: all of it, with the line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from mco_agents.iptables import Iptables
from mco_client.schema.agent_file import MAX_FILE_BYTES, check, read_schema
from mco_rpc.errors import ConfigError
from mco_rpc.schema import ActionSchema, AgentSchema, Input

HEAD = '"""Agents."""\nfrom mco_rpc.agent import Agent, Aggregate, Input, Output, action\n'


def found(text: str | bytes, folder: Path, name: str = "toy.py") -> list[tuple[int, str]]:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(finding.line, finding.text) for finding in check(file).findings]


def agent(body: str) -> str:
    return f'{HEAD}class Toy(Agent):\n    """A toy."""\n{body}'


def test_a_good_file_gives_its_schemas() -> None:
    file = Path(sys.modules[Iptables.__module__].__file__ or "").resolve()
    # The bundled one imports its neighbours, which a single file cannot; its schema is as good.
    checked = check(file)
    assert [finding.text for finding in checked.findings] == [
        "it cannot be loaded: ImportError: attempted relative import with no known parent package"
    ]


def test_nothing_is_wrong_with_a_good_agent(tmp_path: Path) -> None:
    text = agent(
        """    @action("Play", inputs={"x": Input("string", "X"), "y": Input("string", "Y", optional=True)})
    def play(self, x, y="", *, z=1):
        return {}

    @action("Take anything", inputs={"x": Input("string", "X")})
    def take(self, **inputs):
        return {}
"""
    )
    assert found(text, tmp_path) == []
    assert [schema.name for schema in check(tmp_path / "toy.py").schemas] == ["toy"]
    assert not (tmp_path / "__pycache__").exists()
    assert "mco_validated" not in sys.modules


@pytest.mark.parametrize(
    ("body", "line", "why"),
    [
        ("    def play(self:\n", 5, "'(' was never closed"),
        ("    pass\n", 3, "agent toy has no action"),
        ("    oops\n", 5, "it cannot be loaded: NameError: name 'oops' is not defined"),
        ("    raise SystemExit(3)\n", 5, "it cannot be loaded: SystemExit: 3"),
        ('    @action("P", input={})\n    def play(self): ...\n', 5, "TypeError: action() got an unexpected keyword"),
        (
            '    @action("P", inputs={"x": Input("strnig", "X")})\n    def play(self, x): ...\n',
            5,
            "toy#play input x: type 'strnig' is not one of",
        ),
        (
            '    @action("P", aggregates=[Aggregate("summary", "x")])\n    def play(self): ...\n',
            5,
            "toy#play aggregate summary(x): there is no output 'x'",
        ),
        (
            '\n    @action("P", inputs={"name": Input("string", "X")})\n    def play(self, nmae): ...\n',
            6,
            "toy#play: input name is declared, and the method does not take it, did you mean nmae?",
        ),
        (
            '    @action("P", inputs={"x": Input("string", "X", optional=True)})\n    def play(self, x): ...\n',
            5,
            "toy#play: input x may be left out, and the method's parameter has no default",
        ),
        ('    @action("P")\n    def play(self, x): ...\n', 5, "toy#play: the method needs x, which is no input"),
        ('    @action("")\n    def play(self): ...\n', 5, "toy#play: it has no description"),
        ('    @action("P")\n    async def play(self): ...\n', 5, "toy#play: it is a coroutine"),
        ('    requires = "99"\n    @action("P")\n    def play(self): ...\n', 3, "requires version 99; this is"),
        ('    @action("P")\n    def play(self): ...\n    other = play\n    del play\n', 3, "has no method 'play'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(body: str, line: int, why: str, tmp_path: Path) -> None:
    lines = found(agent(body), tmp_path)
    assert [(at, text) for at, text in lines if why in text and at == line], lines


def test_a_mistake_in_an_input_is_told_where_the_input_is(tmp_path: Path) -> None:
    text = agent(
        """    @action(
        "P",
        inputs={
            "good": Input("string", "X"),
            "bad": Input("list", "X"),
        },
        outputs={"state": Output("string", "S")},
        aggregates=[Aggregate("average", "state")],
    )
    def play(self, good, bad): ...
"""
    )
    assert found(text, tmp_path) == [
        (9, "toy#play input bad: a list needs choices"),
        (12, "toy#play aggregate average(state): it takes numbers, and the output is of type string"),
    ]


def test_all_mistakes_are_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = agent(
        """    @action("P", inputs={"x": Input("list", "X")}, display="never")
    def play(self, y): ...
class Other(Agent):
    name = "toy"
"""
    )
    assert [line for line, _ in found(text, tmp_path)] == [5, 5, 5, 5, 7, 7, 7]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"x = 1\n", "it defines no subclass of mco_rpc.agent.Agent"),
        (b"\xff", "(unicode error) 'utf-8' codec can't decode byte 0xff"),
        (b"\0", "null bytes"),
        (b"(" * 10_000, "too many nested parentheses"),
        (f"{HEAD}from mco_agents.rpcutil import Rpcutil\n".encode(), "it defines no subclass"),
    ],
)
def test_what_is_no_agent_is_refused(text: bytes, why: str, tmp_path: Path) -> None:
    [(_, told)] = found(text, tmp_path)
    assert why in told


@pytest.mark.parametrize("make", ["missing", "folder", "fifo", "large", "zero"])
def test_what_is_no_file_is_an_error_at_once(make: str, tmp_path: Path) -> None:
    file = tmp_path / "toy.py"
    if make == "folder":
        file.mkdir()
    elif make == "fifo":
        os.mkfifo(file)
    elif make == "large":
        with file.open("wb") as sparse:
            sparse.truncate(MAX_FILE_BYTES + 1)
    elif make == "zero":
        file.symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match=r"toy\.py (cannot be read|is not a file|has 1,048,577 bytes)"):
        check(file)


# JSON.


def plain() -> dict[str, Any]:
    return json.loads(json.dumps(Iptables.schema().to_json()))  # type: ignore[no-any-return]


def test_an_exported_schema_is_good(tmp_path: Path) -> None:
    assert found(json.dumps(plain()), tmp_path, "toy.json") == []
    assert read_schema(tmp_path / "toy.json") == Iptables.schema()


def test_all_that_is_wrong_with_a_schema_is_told(tmp_path: Path) -> None:
    wrong = plain()
    wrong["autor"] = "x"
    wrong["actions"]["block"]["mutatign"] = True
    wrong["actions"]["block"]["inputs"]["ipaddr"] |= {"validate": "ip_adress", "lenght": 3}
    wrong["actions"]["block"]["outputs"]["blocked"]["display"] = "x"
    wrong["actions"]["block"]["aggregates"][0]["fucntion"] = "x"
    told = [text for _, text in found(json.dumps(wrong), tmp_path, "toy.json")]
    assert [text.partition(";")[0] for text in told] == [
        "unknown key 'autor', did you mean author?",
        "actions.block: unknown key 'mutatign', did you mean mutating?",
        "actions.block: aggregates: unknown key 'fucntion', did you mean function?",
        "actions.block: inputs.ipaddr: unknown key 'lenght', did you mean max_length?",
        "actions.block: outputs.blocked: unknown key 'display', did you mean display_as?",
        (
            "iptables#block input ipaddr: validate='ip_adress' is not /an expression/ or one of shellsafe, "
            "ipv4_address, ipv6_address, ip_address, ip_network, did you mean ip_address?"
        ),
    ]
    with pytest.raises(ConfigError, match="unknown key 'autor'"):
        read_schema(tmp_path / "toy.json")


@pytest.mark.parametrize("text", ["", "[", "[]", "null", '{"name": 1}', "[" * 100_000, '{"actions": []}', b"\xff\xfe"])
def test_what_is_no_schema_is_told(text: str | bytes, tmp_path: Path) -> None:
    [(_, told)] = found(text, tmp_path, "toy.json")
    assert told.startswith("it is not the JSON of a schema: ")


def test_a_slip_in_the_json_has_a_line(tmp_path: Path) -> None:
    [(line, told)] = found('{\n"name": "x",\n"version" "1"\n}', tmp_path, "toy.json")
    assert (line, "':' delimiter" in told) == (3, True)


def test_an_expression_that_never_ends_does_not_keep_us(tmp_path: Path) -> None:
    bomb = Input("string", "x", validate="/(a+)+$/", default="a" * 60 + "!")
    schema = AgentSchema("toy", "x", "1", {"play": ActionSchema("play", "x", {"x": bomb})})
    [(_, told)] = found(json.dumps(schema.to_json()), tmp_path, "toy.json")
    assert "its default is not allowed" in told
