# SPDX-License-Identifier: Apache-2.0
"""Answer to a broadcast: I am here, and your filter matches me."""

from __future__ import annotations

import time

from mco_rpc.agent import Agent, action
from mco_rpc.schema import Output


class Discovery(Agent):
    """Say that this node is there; the request's filter decides who answers."""

    timeout_s = 2.0

    @action("Say that this node is there", outputs={"pong": Output("float", "seconds since the epoch, by its clock")})
    def ping(self) -> dict[str, object]:
        """Return the node's time."""
        return {"pong": time.time()}
