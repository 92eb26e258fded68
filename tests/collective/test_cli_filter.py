# SPDX-License-Identifier: Apache-2.0
"""``-S``, ``mco filter explain`` and ``mco describe-filter``, against nodes in this process and against none."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from mco_client.cli.main import main
from mco_client.connection import Connection
from mco_lab.memory import MemoryFleet
from mco_rpc.config import ClientSettings

HOSTS: dict[str, dict[str, Any]] = {
    "web1": {"classes": ["acme::dev_server", "web"], "facts": {"country": "de", "cores": 4}},
    "web2": {"classes": ["web"], "facts": {"country": "de", "cores": 8, "os": "Red Hat"}},
    "web10": {"classes": ["web"], "facts": {"country": "fr", "cores": 8}},
    "db1": {"facts": {"cores": 2}},
}
SETTINGS = ClientSettings(
    connector="memory", caller="operator", discovery_window_s=0.25, discovery_timeout_s=20.0, timeout_s=20.0
)


class Ran(NamedTuple):
    """What a run of ``mco`` left."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Mco = Callable[..., Ran]


@pytest.fixture(scope="module")
def fleet() -> Iterator[MemoryFleet]:
    with MemoryFleet(HOSTS, SETTINGS) as fleet:
        yield fleet


@pytest.fixture
def mco(fleet: MemoryFleet, capsys: pytest.CaptureFixture[str]) -> Mco:
    """Run ``mco`` as the fleet's caller."""
    base = fleet.connection()

    def connect(_: Path | None, changes: Mapping[str, Any]) -> Connection:
        settings = msgspec.structs.replace(base.settings, **changes)
        return Connection(settings, connector=fleet.broker.connector, security=base.security)

    def run(line: str) -> Ran:
        capsys.readouterr()
        status = main(shlex.split(line), connect)
        said = capsys.readouterr()
        return Ran(status, said.out, said.err)

    return run


@pytest.fixture
def alone(capsys: pytest.CaptureFixture[str]) -> Mco:
    """Run ``mco`` where nothing can be connected to."""

    def connect(_: Path | None, __: Mapping[str, Any]) -> Connection:
        pytest.fail("it tried to connect")

    def run(line: str) -> Ran:
        capsys.readouterr()
        status = main(shlex.split(line), connect)
        said = capsys.readouterr()
        return Ran(status, said.out, said.err)

    return run


# -S


@pytest.mark.parametrize(
    ("options", "nodes"),
    [
        ("-S 'country=de and not /dev/'", ["web2"]),
        ("--select 'country=fr or cores<4'", ["db1", "web10"]),
        ("-S web -S '!country=de'", ["web10"]),
        ("-C web -S 'cores=8' -F country=de", ["web2"]),
        ("-S \"os='Red Hat' or identity(/^db/)\"", ["db1", "web2"]),
        ("-I web1 -I web2 -S cores>4 --dt 0.3", ["web2"]),
        ("-S \"fact('cores').value>4 and web\"", ["web2", "web10"]),
    ],
)
def test_an_expression_says_who_is_asked(options: str, nodes: list[str], mco: Mco) -> None:
    assert mco(f"find {options}").out.split() == nodes


def test_an_expression_that_cannot_be_understood_is_told_before_anybody_is_asked(alone: Mco) -> None:
    ran = alone("find -S 'country=de and'")
    assert ran.status == 1
    assert ran.out == ""
    first, shown, caret = ran.err.splitlines()
    assert first.startswith("mco: expression, column 15: expected a fact (country=de), a class")
    assert first.endswith("after and, found the end")
    assert (shown, caret) == ("  country=de and", " " * 16 + "^")


# mco filter explain, on live nodes


def test_a_node_says_which_terms_hold_and_which_decide(mco: Mco) -> None:
    ran = mco("filter explain 'country=fr or (cores>4 and not /dev/)' --node web1")
    assert ran.status == 2
    assert ran.out == (
        "web1: does not match\n"
        "   no   at least one of\n"
        '-> no     country=fr  "de"\n'
        "   no     all of\n"
        "-> no       cores>4   4\n"
        "   no       not\n"
        "-> yes        /dev/   acme::dev_server\n"
    )
    assert ran.err == ""


def test_a_match_ends_with_0(mco: Mco) -> None:
    ran = mco("filter explain -C web -F country=de --node web1 --node web2")
    assert ran.status == 0
    assert ran.out == (
        "web1, web2: matches\n"
        "   yes  all of\n"
        "-> yes    web         web\n"
        '-> yes    country=de  "de"\n'
    )  # fmt: skip


def test_everybody_is_asked_unless_nodes_are_named(mco: Mco) -> None:
    ran = mco("filter explain country=de -j")
    assert ran.status == 2
    verdicts = ran.json["verdicts"]
    assert {node: verdict["matches"] for node, verdict in verdicts.items()} == {
        "db1": False, "web1": True, "web2": True, "web10": False,
    }  # fmt: skip
    assert list(verdicts) == ["db1", "web1", "web2", "web10"]
    assert ran.json["expression"] == "country=de"
    assert ran.json["failed"] == {}
    assert verdicts["db1"]["findings"] == [
        {"depth": 0, "kind": "fact", "text": "country=de", "held": False, "decided": True, "seen": "no such fact"}
    ]


def test_nodes_that_the_filter_names_are_asked_and_no_others(mco: Mco) -> None:
    ran = mco("filter explain -I web1 -S cores>4 -j")
    assert ran.status == 2
    assert list(ran.json["verdicts"]) == ["web1"]


def test_a_data_source_says_what_it_saw_and_what_it_cannot_say(mco: Mco) -> None:
    ran = mco("filter explain \"fact('cores').value>4\" --node web1 --node web2")
    assert ran.status == 2
    assert "-> no   fact('cores').value>4  4" in ran.out
    assert "-> yes  fact('cores').value>4  8" in ran.out

    ran = mco("filter explain \"web or fcat('cores').value>4\" --node web1")
    assert ran.status == 1
    assert ran.out.startswith("web1: cannot say: there is no data source")
    assert "did you mean fact?" in ran.out


def test_a_node_that_is_not_there_is_an_error_beside_those_that_are(mco: Mco) -> None:
    ran = mco("filter explain web --node web1 --node nobody")
    assert ran.status == 1
    assert ran.out.startswith("web1: matches\n")
    assert ran.out.endswith("\nnobody: offline\n")
    assert mco("filter explain web --node web1 --node nobody -j").json["failed"] == {"nobody": "offline"}
    assert mco("filter explain web --node nobody").status == 1


# mco filter explain, on nothing but what is given


def test_a_described_node_is_explained_without_a_connection(alone: Mco, tmp_path: Path) -> None:
    (tmp_path / "facts.yaml").write_text("country: de\ncores: 4\nsince: 2026-01-31\n")
    (tmp_path / "classes.txt").write_text("web\n\nntp\n")
    (tmp_path / "classes.yaml").write_text("[web, ntp]")
    described = f"--facts {tmp_path}/facts.yaml"
    for classes in (f"{tmp_path}/classes.txt", f"{tmp_path}/classes.yaml", "web,ntp", "'web, ntp'"):
        ran = alone(f"filter explain 'cores>3 and ntp and since=/^2026/' {described} --classes {classes}")
        assert ran.status == 0, ran
        assert ran.out.startswith("the node described: matches\n")
    ran = alone("filter explain 'identity(web1) and agent(x) and not c' --identity web1 --agents x,y --classes a,b -j")
    assert ran.status == 0
    assert list(ran.json["verdicts"]) == ["web1"]
    assert alone(f"filter explain -F cores>4 {described}").status == 2


def test_a_described_node_has_no_data_sources(alone: Mco) -> None:
    ran = alone("filter explain \"a and fstat('/x').present\" --classes a")
    assert ran.status == 1
    assert ran.out.splitlines()[0] == (
        "the node described: cannot say: fstat('/x').present asks a data source, and there are none here"
    )
    assert alone("filter explain \"b and fstat('/x').present\" --classes a").status == 2


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("filter explain", "give an EXPRESSION or filter options: nothing matches every node."),
        ("filter explain 'a or' --classes a", "expression, column 5: expected a fact"),
        ("filter explain a --classes a --node web1", "--node asks a live node; --facts, --classes, --agents and"),
        ("filter explain a --facts no/such/file", "no/such/file: No such file or directory"),
        ("filter explain a --classes no/such/file", "--classes no/such/file: there is no such file, and no name of"),
        ("filter explain a --facts FOLDER/list.yaml", "list.yaml: expected `key: value` lines, found list"),
        ("filter explain a --classes FOLDER/mapping.yaml", "mapping.yaml: expected a list of class names"),
        ("filter explain a --classes FOLDER/latin1", "latin1: byte 1 is not UTF-8"),
        ("describe-filter", "give an EXPRESSION or filter options"),
        ("describe-filter 'a b'", "expression, column 3: expected `and`"),
        ("describe-filter -C '/(/'", "regular expression /(/ cannot be used"),
    ],
)
def test_what_cannot_be_done_is_told(line: str, why: str, alone: Mco, tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("[a]")
    (tmp_path / "mapping.yaml").write_text("a: b")
    (tmp_path / "latin1").write_bytes(b"a\xe9")
    ran = alone(line.replace("FOLDER", str(tmp_path)))
    assert ran.status == 1
    assert ran.out == ""
    assert why in ran.err
    assert "Traceback" not in ran.err


def test_what_comes_from_files_reaches_no_terminal_raw(alone: Mco, tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text('{"motd": "\\u001b[2J\\u202e\\nx"}')
    ran = alone(f"filter explain motd=x --facts {tmp_path}/facts.json")
    assert "\x1b" not in ran.out
    assert "\u202e" not in ran.out
    assert len(ran.out.splitlines()) == 2


# mco describe-filter


@pytest.mark.parametrize("command", ["describe-filter", "describe_filter"])
def test_a_filter_is_described_in_words(command: str, alone: Mco) -> None:
    ran = alone(f"{command} -C /dev/ -S 'country=de and not (web or cores<4)'")
    assert ran.status == 0
    assert ran.out == (
        "A node matches if all of these hold:\n"
        "  - it has a class that matches /dev/\n"
        "  - its fact country is de\n"
        "  - this does not hold:\n"
        "    - at least one of these holds:\n"
        "      - it has the class web\n"
        "      - its fact cores is less than 4 (as a number)\n"
        "\n"
        "As one expression: /dev/ and country=de and not (web or cores<4)\n"
    )


def test_a_filter_is_described_as_json(alone: Mco) -> None:
    ran = alone("describe-filter 'web or x' -F cores=4 -j")
    assert ran.json["expression"] == "cores=4 and (web or x)"
    assert ran.json["words"][0] == "A node matches if all of these hold:"
    assert ran.json["filter"] == {
        "facts": [["cores", "==", "4"]],
        "compound": [{"is": "or", "terms": [{"is": "class", "name": "web"}, {"is": "class", "name": "x"}]}],
    }


@pytest.mark.parametrize("line", ["filter --help", "filter explain --help", "describe-filter --help", "--help"])
def test_help_is_there(line: str, alone: Mco) -> None:
    ran = alone(line)
    assert ran.status == 0
    assert "filter" in ran.out
    if "explain" in line:
        assert "2  some node does not match" in ran.out
