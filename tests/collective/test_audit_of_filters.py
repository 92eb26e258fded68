# SPDX-License-Identifier: Apache-2.0
"""What a filter made a node do is on record, also where it did not match; a look whether it is there is counted."""

from __future__ import annotations

from typing import Any

from mco_node.daemon import Node
from mco_rpc.filters import from_options


def test_what_a_request_was_for_is_on_record(collective: Any, caller: Any, node: Node) -> None:
    request = caller.send(caller.request(filter=from_options(facts=["country=de"])))
    caller.reply_to(request)
    assert collective.records(request)[0]["filter"] == "fact country=de"


def test_who_had_data_sources_asked_is_on_record_though_nothing_matched(
    collective: Any, caller: Any, node: Node
) -> None:
    # Given a filter that only a data source can decide, and that does not match
    request = caller.send(caller.request(filter=from_options(compound=["fstat('/').type=file"])))
    # Then nothing is answered, and that it was asked is on record
    (record,) = collective.records(request)
    assert (record["outcome"], record["status"]) == ("filtered", None)
    assert record["filter"] == "select fstat('/').type=file"
    assert caller.replies == []


def test_a_look_whether_the_node_is_there_is_counted_and_not_recorded(collective: Any, caller: Any, node: Node) -> None:
    # Given a ping that nobody waits for, and a question after it
    look = caller.send(caller.request("discovery", "ping", reply_to=None))
    caller.ask("rpcutil", "ping")
    # Then the look left a number, and no line
    assert node.stats()["counters"]["probed"] == 1
    assert look.id not in {entry["request"] for entry in collective.audits["web1"].entries}
