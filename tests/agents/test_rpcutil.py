# SPDX-License-Identifier: Apache-2.0
"""What rpcutil says about a node; every answer is one that its own schema allows."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mco_agents.discovery import Discovery
from mco_agents.rpcutil import Rpcutil
from mco_rpc.errors import ActionAborted, ConfigError, InvalidData, MissingData, RequestError, UnknownAction
from mco_rpc.filters import from_options
from mco_rpc.filters.verdict import Verdict
from mco_rpc.messages import Reply, encode
from mco_rpc.schema import AgentSchema


@pytest.fixture
def rpcutil(node: Any) -> Rpcutil:
    return Rpcutil(node)


def ask(agent: Rpcutil, action: str, /, **data: Any) -> dict[str, Any]:
    """Call an action as a node does: inputs and outputs are checked, and the answer can be sent."""
    schema = agent.schema().action(action)
    made = schema.check_outputs("rpcutil", getattr(agent, action)(**schema.check_inputs("rpcutil", data)))
    encode(Reply(id="1", collective="c", agent="rpcutil", action=action, sender="s", sent_at=0.0, data=made))
    return made


def test_ping_is_the_time_on_the_node(rpcutil: Rpcutil) -> None:
    # When it is pinged between two looks at the clock
    before = time.time()
    pong = ask(rpcutil, "ping")["pong"]

    # Then its answer is in between
    assert before <= pong <= time.time()


def test_inventory_is_all_at_once(rpcutil: Rpcutil, node: Any) -> None:
    # Given a node with a problem
    node.wrong.append("facts.yaml: broken")

    # When its inventory is taken, then all is there
    assert ask(rpcutil, "inventory") == {
        "identity": "web1",
        "version": "0.1.0",
        "collectives": ["mcollective", "second"],
        "agents": ["discovery", "rpcutil"],
        "inactive_agents": {"iptables": "iptables is not installed"},
        "classes": ["dev_server", "web"],
        "facts": {"country": "de", "cores": 4, "empty": None},
        "problems": ["facts.yaml: broken"],
    }


def test_inventory_holds_copies(rpcutil: Rpcutil, node: Any) -> None:
    # Given an inventory
    facts = ask(rpcutil, "inventory")["facts"]

    # When the node's facts change meanwhile, then it stays as it is
    node.known["country"] = "fr"
    assert facts["country"] == "de"


@pytest.mark.parametrize(
    ("fact", "value", "exists"),
    [("country", "de", True), ("cores", 4, True), ("empty", None, True), ("planet", None, False)],
)
def test_get_fact_says_the_value_and_whether_it_is_there(
    rpcutil: Rpcutil, fact: str, value: object, exists: bool
) -> None:
    # When one fact is asked for, then its name, its value and whether it is there are said
    assert ask(rpcutil, "get_fact", fact=fact) == {"fact": fact, "value": value, "exists": exists}


def test_get_facts_says_those_that_are_there(rpcutil: Rpcutil) -> None:
    # When several are asked for, some of which are no facts, or not even names
    values = ask(rpcutil, "get_facts", facts=["country", "planet", "empty", 7, ["country"], None])["values"]

    # Then those that are there are said
    assert values == {"country": "de", "empty": None}


def test_agent_inventory_has_a_row_an_agent(rpcutil: Rpcutil) -> None:
    # When the agents are asked for, then they come in order
    assert ask(rpcutil, "agent_inventory")["agents"] == [
        {
            "name": "discovery",
            "version": "1.0",
            "description": "Say that this node is there; the request's filter decides who answers.",
            "digest": Discovery.schema().digest,
        },
        {
            "name": "rpcutil",
            "version": "1.0",
            "description": "Ask a node about itself.",
            "digest": Rpcutil.schema().digest,
        },
    ]


def test_schema_of_is_what_a_client_needs(rpcutil: Rpcutil) -> None:
    # When a schema is asked for
    plain = ask(rpcutil, "schema_of", agent="rpcutil")["schema"]

    # Then a client can read it, and it is the agent's
    assert AgentSchema.from_json(plain) == Rpcutil.schema()


def test_schema_of_no_agent_is_an_error_with_a_suggestion(rpcutil: Rpcutil) -> None:
    # When the schema of an agent that is not there is asked for, then the nearest one is named
    with pytest.raises(
        UnknownAction,
        match=r"^this node offers no agent 'rpcutl', did you mean rpcutil\?; it offers discovery, rpcutil$",
    ):
        ask(rpcutil, "schema_of", agent="rpcutl")


def test_explain_filter_says_which_terms_hold_and_which_decide(rpcutil: Rpcutil) -> None:
    # When it is asked about a filter of all kinds
    made = from_options(
        identities=["web1"],
        classes=["web"],
        facts=["country=de"],
        agents=["rpcutil"],
        compound=["file('/etc/hosts').path=/hosts$/ and cores>4"],
    )
    answer = ask(rpcutil, "explain_filter", filter=made.to_json())

    # Then the verdict is that of the filter, with what was seen; the data source was not needed
    verdict = Verdict.from_json(answer["verdict"])
    assert answer["matches"] is verdict.matches is False
    assert [(f.text, f.held, f.seen) for f in verdict.findings] == [
        ("all of", False, ""),
        ("identity('web1')", True, "web1"),
        ("web", True, "web"),
        ("agent('rpcutil')", True, "rpcutil"),
        ("country=de", True, '"de"'),
        ("file('/etc/hosts').path=/hosts$/", None, "not asked"),
        ("cores>4", False, "4"),
    ]
    assert [f.text for f in verdict.findings if f.decided] == ["all of", "cores>4"]


def test_explain_filter_gives_data_sources_the_time_that_is_left(rpcutil: Rpcutil) -> None:
    made = from_options(compound=["file('/x').left_s>0 and file('/x').left_s<=20"])
    assert ask(rpcutil, "explain_filter", filter=made.to_json())["matches"] is True


def test_explain_filter_says_what_a_data_source_cannot(rpcutil: Rpcutil) -> None:
    made = from_options(compound=["not no_such('/x').y"])
    answer = ask(rpcutil, "explain_filter", filter=made.to_json())
    assert answer["matches"] is False
    assert answer["verdict"]["error"] == "there is no data source 'no_such'"


@pytest.mark.parametrize(
    "plain",
    [
        {"color": ["red"]},
        {"classes": "web"},
        {"classes": ["/(/"]},
        {"compound": [{"is": "xor"}]},
        {"compound": ["country=de"]},
        {"compound": [{"is": "fact", "fact": "a", "operator": "like", "value": "b"}]},
    ],
)
def test_explain_filter_refuses_what_is_none(rpcutil: Rpcutil, plain: dict[str, Any]) -> None:
    with pytest.raises(InvalidData, match=r"^filter: "):
        ask(rpcutil, "explain_filter", filter=plain)


def test_explain_filter_refuses_what_is_nested_too_deep(rpcutil: Rpcutil) -> None:
    deep: dict[str, Any] = {"is": "class", "name": "a"}
    for _ in range(900):
        deep = {"is": "not", "term": deep}
    with pytest.raises(InvalidData, match=r"^filter: .*(nested|recursion)"):
        ask(rpcutil, "explain_filter", filter={"compound": [deep]})


@pytest.mark.parametrize("query", ["second", ["second"]])
def test_get_data_is_what_a_data_source_says(rpcutil: Rpcutil, query: object) -> None:
    # When a data source is asked, with a text or a list of texts, then its fields are said
    said = ask(rpcutil, "get_data", source="collective", query=query)
    assert said == {"source": "collective", "query": ["second"], "fields": {"member": True}}


def test_get_data_takes_a_number_for_its_text(rpcutil: Rpcutil) -> None:
    # When a command line has made a number of what was asked, then it is a text again
    assert ask(rpcutil, "get_data", source="collective", query=443)["query"] == ["443"]


@pytest.mark.parametrize(
    ("data", "error", "why"),
    [
        ({"source": "fsat"}, InvalidData, "there is no data source 'fsat', did you mean fstat?; this node has: coll"),
        ({"source": "package", "query": "x"}, InvalidData, "data source package is not on this node: no dpkg here"),
        ({"source": "fstat"}, ActionAborted, "data source fstat: argument path is required: Absolute path of a file"),
        (
            {"source": "fstat", "query": ["/a", "/b"]},
            ActionAborted,
            "data source fstat takes path, and was given 2 arg",
        ),
        ({"source": "fstat", "query": "x"}, ActionAborted, "data source fstat('x'): expected an absolute path such as"),
    ],
)
def test_get_data_that_cannot_be_had_is_an_error(
    rpcutil: Rpcutil, data: Any, error: type[RequestError], why: str
) -> None:
    # When a data source is not there or does not answer, then that is said
    with pytest.raises(error) as raised:
        ask(rpcutil, "get_data", **data)
    assert type(raised.value) is error
    assert str(raised.value).startswith(why)


def test_data_sources_are_told_with_those_that_are_not_there(rpcutil: Rpcutil) -> None:
    # When the data sources are asked for, then their schemas are said, and why others are not there
    said = ask(rpcutil, "data_sources")
    assert list(said["sources"]) == ["collective", "fstat"]
    assert said["sources"]["collective"] == {
        "name": "collective",
        "description": "Say whether the node is in a collective.",
        "timeout_s": 5.0,
        "arguments": {"collective": {"type": "string", "description": "Name of a collective", "max_length": 128}},
        "fields": {"member": {"type": "boolean", "description": "Whether the node answers in it"}},
    }
    assert said["inactive"] == {"package": "no dpkg here"}


def test_collective_info_is_the_collectives(rpcutil: Rpcutil) -> None:
    # When the collectives are asked for, then they are said
    assert ask(rpcutil, "collective_info") == {"collectives": ["mcollective", "second"]}


def test_daemon_stats_are_the_nodes(rpcutil: Rpcutil, node: Any) -> None:
    # When the daemon's numbers are asked for, then they are the node's
    assert ask(rpcutil, "daemon_stats") == node.stats()


@pytest.mark.parametrize(("item", "value"), [("identity", "web1"), ("workers", 8), ("brokers", ["amqp://lab@h/"])])
def test_get_config_item_is_a_setting(rpcutil: Rpcutil, item: str, value: object) -> None:
    # When a setting is asked for, then its value is said
    assert ask(rpcutil, "get_config_item", item=item) == {"value": value}


@pytest.mark.parametrize(("item", "whose"), [("agents", "agents"), ("data", "data sources")])
def test_get_config_item_keeps_the_secrets_of_plug_ins(rpcutil: Rpcutil, item: str, whose: str) -> None:
    # When the settings of agents or data sources are asked for, then they are not said
    with pytest.raises(ActionAborted, match=f"^the {whose}' own settings may hold secrets and are not sent$"):
        ask(rpcutil, "get_config_item", item=item)


def test_get_config_item_that_is_none_is_an_error_with_a_suggestion(rpcutil: Rpcutil) -> None:
    # When a setting that is none is asked for, then the nearest one is named
    with pytest.raises(InvalidData, match=r"^there is no configuration item 'worker', did you mean workers\?$"):
        ask(rpcutil, "get_config_item", item="worker")


@pytest.mark.parametrize(
    ("action", "data", "error"),
    [
        ("get_fact", {}, MissingData),
        ("get_fact", {"fact": 7}, InvalidData),
        ("get_fact", {"fact": "x" * 257}, InvalidData),
        ("get_facts", {"facts": "country"}, InvalidData),
        ("get_facts", {"facts": ["x"] * 257}, InvalidData),
        ("schema_of", {"agent": "x" * 129}, InvalidData),
        ("get_config_item", {"item": "x" * 129}, InvalidData),
        ("ping", {"fact": "country"}, InvalidData),
        ("get_data", {}, MissingData),
        ("get_data", {"source": "fstat", "query": True}, InvalidData),
        ("get_data", {"source": "fstat", "query": 1.5}, InvalidData),
        ("get_data", {"source": "fstat", "query": {"a": "b"}}, InvalidData),
        ("get_data", {"source": "fstat", "query": ["/x", None]}, InvalidData),
    ],
)
def test_wrong_inputs_are_refused(rpcutil: Rpcutil, action: str, data: Any, error: type[RequestError]) -> None:
    # When an input is not what it should be, then that is said
    with pytest.raises(error, match=f"^rpcutil#{action}: "):
        ask(rpcutil, action, **data)


def test_nothing_it_does_changes_the_node() -> None:
    # Given all its actions, then none is declared to change anything
    assert not any(action.mutating for action in Rpcutil.schema().actions.values())


def test_it_takes_no_settings(node: Any) -> None:
    # When it is given one, then that is said
    with pytest.raises(ConfigError, match=r"^agents: rpcutil: unknown setting 'x'; known are: none$"):
        Rpcutil(node, {"x": 1})
