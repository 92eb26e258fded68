# SPDX-License-Identifier: Apache-2.0
"""Replies that are not as the schema of their node says are reported, by field, nodes and version."""

from __future__ import annotations

from typing import Any

from mco_client.results import Result
from mco_client.schema.deviations import MAX_DEVIATIONS, deviations
from mco_client.schema.learning import Known, Version
from mco_rpc.schema import ActionSchema, AgentSchema, Output

OUTPUTS = {"blocked": Output("boolean", "x"), "rules": Output("integer", "x")}
OLD = AgentSchema("iptables", "x", "1.0", {"look": ActionSchema("look", "x", outputs=OUTPUTS)})
NEW_OUTPUTS = {**OUTPUTS, "chain": Output("string", "x")}
NEW = AgentSchema("iptables", "x", "1.1", {"look": ActionSchema("look", "x", outputs=NEW_OUTPUTS)})
KNOWN = Known("iptables", (Version(OLD.digest, OLD, ("web1", "web2", "web10")), Version(NEW.digest, NEW, ("db1",))))
GOOD: dict[str, Any] = {"blocked": True, "rules": 1}


def found(*results: Result) -> list[str]:
    return [deviation.text for deviation in deviations(KNOWN, "look", results)]


def test_replies_as_declared_are_none() -> None:
    assert found(Result("web1", 0, data=GOOD), Result("db1", 0, data={**GOOD, "chain": None})) == []


def test_fields_that_are_unknown_missing_or_of_another_type_are_told_for_all_their_nodes() -> None:
    wrong = {"blocked": "yes", "rules": 1, "colour": "red"}
    assert found(
        Result("web10", 0, data=wrong), Result("web2", 0, data=wrong), Result("db1", 0, data=GOOD)
    ) == [
        "iptables 1.0 gives output 'blocked' wrong: expected boolean, got 'yes': web2, web10",
        "iptables 1.0 gives output 'colour', which its schema does not declare: web2, web10",
        "iptables 1.1 does not give output 'chain', which its schema declares: db1",
    ]  # fmt: skip


def test_the_reply_itself_says_which_schema_it_follows() -> None:
    # Given a node that was updated between the discovery and the call
    assert found(Result("web1", 0, data={**GOOD, "chain": "x"}, schema=NEW.digest)) == []
    assert found(Result("web1", 0, data={}, schema="0" * 16)) == [], "of which nothing is known"


def test_failures_and_nodes_without_a_schema_are_not_judged() -> None:
    assert found(Result("web1", 1, data={"x": 1}), Result("stranger", 0, data={"x": 1})) == []
    assert deviations(KNOWN, "unknown", [Result("web1", 0, data={"x": 1})]) == []


def test_there_is_an_end_to_it_and_it_is_safe() -> None:
    many = {f"x{number}": 1 for number in range(1000)}
    assert len(found(Result("web1", 0, data=many))) == MAX_DEVIATIONS
    [text] = [text for text in found(Result("web1", 0, data={**GOOD, "\x1b[2J\n": 1})) if "1b" in text]
    assert all(c.isprintable() for c in text)


def test_as_plain_data() -> None:
    [told] = deviations(KNOWN, "look", [Result("web1", 0, data={"blocked": True})])
    assert told.to_dict() == {
        "field": "rules", "problem": "missing", "nodes": ["web1"], "version": "iptables 1.0", "digest": OLD.digest
    }  # fmt: skip
