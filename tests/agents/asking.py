# SPDX-License-Identifier: Apache-2.0
"""Ask an agent as a node does: its inputs and outputs are checked by its own schema."""

from __future__ import annotations

from typing import Any

from mco_rpc.agent import Agent
from mco_rpc.current import Current, working_for
from mco_rpc.messages import Reply, encode


def ask(agent: Agent, action: str, /, noop: bool = False, **data: Any) -> dict[str, Any]:
    """Return what the agent answers; raise what it raises."""
    schema, name = agent.schema().action(action), agent.schema().name
    with working_for(Current(is_noop=noop)):
        made = schema.check_outputs(name, getattr(agent, action)(**schema.check_inputs(name, data)))
    encode(Reply(id="1", collective="c", agent=name, action=action, sender="s", sent_at=0.0, data=made))
    return made
