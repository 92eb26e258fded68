# SPDX-License-Identifier: Apache-2.0
"""The data sources about what the node has at hand: facts as structures, agents, collectives."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from mco_agents.discovery import Discovery
from mco_node.data.agent import AgentSource
from mco_node.data.collective import Collective
from mco_node.data.fact import Fact, parts
from mco_node.data.sources import Sources
from mco_rpc.errors import FilterError

FACTS = {
    "os": {"name": "Debian", "release": {"major": 12}},
    "disks": [{"name": "sda", "gb": 100}, {"name": "sdb"}],
    "eth0.12": {"mtu": 1500},
    "interfaces": {"eth0.12": {"mtu": 9000}, "0": "first", "": "nobody"},
    "flat.name": "flat",
    "flat": {"name": "deep"},
    "nothing": None,
    "empty": [],
}


def look(source: str, argument: str) -> dict[str, Any]:
    node: Any = SimpleNamespace(
        facts=lambda: FACTS,
        agents=lambda: {"discovery": Discovery.schema()},
        collectives=("mcollective", "second"),
    )
    kinds = {"agent": AgentSource, "collective": Collective, "fact": Fact}
    sources = Sources({name: kind(node) for name, kind in kinds.items()})
    return dict(sources.query(source, (argument,), time.monotonic() + 20))


@pytest.mark.parametrize(
    ("path", "value", "count"),
    [
        ("os.name", "Debian", None),
        ("os.release.major", 12, None),
        ("os.release", {"major": 12}, 1),
        ("disks", FACTS["disks"], 2),
        ("disks.0.name", "sda", None),
        ("disks.1", {"name": "sdb"}, 1),
        ('"eth0.12".mtu', 1500, None),
        ('interfaces."eth0.12".mtu', 9000, None),
        ("interfaces.0", "first", None),
        ("flat.name", "flat", None),
        ('"flat".name', "deep", None),
        ("nothing", None, None),
        ("empty", [], 0),
    ],
)
def test_a_path_leads_to_a_value(path: str, value: object, count: int | None) -> None:
    assert look("fact", path) == {"exists": True, "value": value, "count": count}


@pytest.mark.parametrize(
    "path",
    [
        "missing",
        "os.missing",
        "os.name.x",
        "disks.2",
        "disks.-1",
        "disks.name",
        "disks.0x0",
        "disks.²",
        "os.0",
        "nothing.x",
        "eth0.12.mtu",
        "disks.99999999999999999999",
        "disks." + "9" * 900,
    ],
)
def test_a_path_that_leads_nowhere_has_no_value(path: str) -> None:
    assert look("fact", path) == {"exists": False, "value": None, "count": None}


def test_keys_with_dots_are_quoted() -> None:
    assert parts('a."b.c".0') == ["a", "b.c", "0"]
    assert parts("a b.c-d") == ["a b", "c-d"]


@pytest.mark.parametrize(
    ("path", "at"), [(".", 1), ("a.", 1), (".a", 1), ("a..b", 3), ('a."b', 3), ('a"b"', 1), ('""', 1)]
)
def test_a_path_that_cannot_be_understood_says_where(path: str, at: int) -> None:
    with pytest.raises(FilterError, match=f"the path cannot be understood at character {at}: expected a key, or "):
        look("fact", path)


def test_an_empty_path_is_no_path() -> None:
    with pytest.raises(FilterError, match="expected the path of a fact such as "):
        look("fact", "")


def test_an_agent_is_what_its_schema_says() -> None:
    seen = look("agent", "discovery")
    schema = Discovery.schema()
    assert (seen["present"], seen["agent"], seen["version"]) == (True, "discovery", schema.version)
    assert (seen["description"], seen["actions"]) == (schema.description, sorted(schema.actions))
    assert seen["timeout"] == seen["timeout_s"] == schema.timeout_s


def test_an_agent_that_is_not_offered_is_not_present() -> None:
    seen = look("agent", "iptables")
    assert (seen.pop("present"), seen.pop("agent")) == (False, "iptables")
    assert set(seen.values()) == {None}


def test_a_node_is_in_its_collectives() -> None:
    assert [look("collective", name)["member"] for name in ("mcollective", "second", "third")] == [True, True, False]
