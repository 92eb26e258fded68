# SPDX-License-Identifier: Apache-2.0
"""How replies are shown, when one node says more than anybody wants to read."""

from __future__ import annotations

import pytest

from mco_client.cli import replies
from mco_client.cli.asked import Shown
from mco_client.cli.showing import Answered
from mco_client.results import Result, Results
from mco_client.schema.learning import Known
from mco_client.stats import Stats


def test_a_node_that_gives_outputs_without_end_does_not_fill_the_rows_of_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Given a node that gives what no schema declares, and others that give what they should
    nodes = [f"web{number}" for number in range(1, 51)]
    answers = [Result(node, 0, data={"pong": 1.5}) for node in nodes]
    answers.append(Result("web51", 0, data={"pong": 1.5} | {f"extra{number:06}": number for number in range(100_000)}))

    # When they are shown
    results = Results("rpcutil", "ping", tuple(result.sender for result in answers), tuple(answers))
    replies.say(Answered(results, None, Stats(), Known("rpcutil"), Shown()))

    # Then what is left out is counted, and everybody is there
    printed = capsys.readouterr().out
    assert "    ... 99,901 more outputs; -j prints all" in printed
    assert "extra000098: 98" in printed
    assert "extra000099" not in printed
    assert "50 nodes: web[1:50]\n" in printed
