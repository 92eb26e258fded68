# SPDX-License-Identifier: Apache-2.0
"""Tell a daemon what to do: load again, log more, take no more work, end. It decides nothing; the daemon does it."""

from __future__ import annotations

import time
from typing import Any

from mco_rpc.agent import Agent, action, time_left_s
from mco_rpc.current import current
from mco_rpc.schema import Aggregate, Input, Output

NAME = Input("string", "Name of an agent", prompt="Agent", max_length=64, validate="/[A-Za-z0-9][A-Za-z0-9_.:+-]*/")
REASON = Input(
    "string",
    "Why, for whoever is refused",
    prompt="Reason",
    optional=True,
    default="",
    max_length=256,
    validate=r"/[^\x00-\x1f\x7f]*/",
)
WAIT = Input("boolean", "Answer when what runs has ended", prompt="Wait", optional=True, default=False)
LEVEL = Input("list", "What is logged: this and worse", prompt="Level", choices=("debug", "info", "warning", "error"))
CHANGED = Output("boolean", "Whether anything is different now", display_as="Changed")
RELOADED = {
    "changed": CHANGED,
    "added": Output("array", "Names that were not there before", display_as="Added"),
    "removed": Output("array", "Names that are not there any more", display_as="Removed"),
    "replaced": Output("array", "Names that are loaded anew", display_as="Replaced"),
    "problems": Output("array", "What did not load; of that the old one stays", display_as="Problems"),
}
STATE = {
    "changed": CHANGED,
    "before": Output("hash", "Since when it was drained, by whom and why; nothing if it was not", display_as="Before"),
    "after": Output("hash", "The same now, or with noop would be", display_as="After"),
}
STILL_RUNNING = Output(
    "array", "Requests that wait or run: caller, request, agent, action, since_s", display_as="Still running"
)
STATS = {
    "version": Output("string", "Version of the daemon", display_as="Version"),
    "pid": Output("integer", "Process id on the node", display_as="Process"),
    "started_at": Output("float", "Seconds since the epoch", display_as="Started"),
    "uptime_s": Output("float", "Seconds since it started", display_as="Uptime"),
    "clock": Output("float", "Seconds since the epoch, by its clock", display_as="Clock"),
    "threads": Output("integer", "Threads in the process", display_as="Threads"),
    "hanging_actions": Output("integer", "Actions that run past their deadline", display_as="Hanging"),
    "inactive_agents": Output("hash", "Agents it does not offer, and why", display_as="Not offered"),
    "counters": Output("hash", "Messages received, and by what became of them", display_as="Requests"),
    "in_progress": Output("integer", "Messages that wait or run, this one too", display_as="In progress"),
    "rungs": Output("hash", "Messages by the rung of the ladder where they ended", display_as="Rungs"),
    "sent": Output("hash", "Replies, acknowledgements and progress that were sent", display_as="Sent"),
    "actions": Output("hash", "By agent#action: calls, failed and seconds", display_as="Actions"),
    "audit_failures": Output("integer", "Records that could not be kept", display_as="Audit failures"),
    "workers": Output("hash", "Threads for actions: running, waiting, hanging", display_as="Workers"),
    "connection": Output("hash", "Whether, since when, and how often again", display_as="Connection"),
    "process": Output("hash", "Memory, CPU time, open files", display_as="Process"),
    "rivals": Output("hash", "Other daemons that claim its identity: count, and the last one", display_as="Rivals"),
    "drained": Output("hash", "Since when, by whom and why; nothing if it works", display_as="Drained"),
    "last_reload": Output("hash", "When, of what, and what came of it", display_as="Last reload"),
    "log_level": Output("string", "What is logged: this and worse", display_as="Log level"),
}
COUNT = [Aggregate("summary", "changed")]
# So much before its own deadline a wait ends, so that the answer is in time.
_MARGIN_S = 1.0


class Controller(Agent):
    """Tell the daemon what to do.

    A drained node answers nobody but who uses the agents controller, discovery and rpcutil. Neither that nor the log
    level is remembered across a restart.
    """

    timeout_s = 30.0

    @action(
        "Say how the daemon fares",
        outputs=STATS,
        aggregates=[Aggregate("summary", "version"), Aggregate("summary", "log_level")],
    )
    def stats(self) -> dict[str, Any]:
        """Return the counters."""
        return self.node.stats()

    @action(
        "Load one agent again; one that does not load stays as it was",
        inputs={"agent": NAME},
        outputs=RELOADED,
        mutating=True,
        aggregates=COUNT,
    )
    def reload_agent(self, agent: str) -> dict[str, Any]:
        """Load the file, or the agent of a package that was installed since."""
        return self.node.control.reload_agent(agent)

    @action(
        "Load all agents and data sources again; what does not load stays as it was",
        outputs=RELOADED,
        mutating=True,
        aggregates=COUNT,
    )
    def reload_agents(self) -> dict[str, Any]:
        """Load all files; of what is installed, look again whether it applies to this node."""
        return self.node.control.reload_agents()

    @action(
        "Gather facts now",
        outputs={"facts": Output("integer", "How many there are", display_as="Facts"), **RELOADED},
        timeout_s=120.0,
        mutating=True,
        aggregates=COUNT,
    )
    def reload_facts(self) -> dict[str, Any]:
        """Run the executables, and say which facts are different."""
        return self.node.control.reload_facts()

    @action(
        "Log from this level on",
        inputs={"level": LEVEL},
        outputs={
            "changed": CHANGED,
            "before": Output("string", "The level before", display_as="Before"),
            "after": Output("string", "The level now, or with noop would be", display_as="After"),
        },
        mutating=True,
        noop=True,
        aggregates=[Aggregate("summary", "after")],
    )
    def log_level(self, level: str) -> dict[str, Any]:
        """Set it until the daemon is restarted."""
        return self.node.control.log_level(level, is_noop=self.is_noop)

    @action(
        "Take no more work; what runs goes on",
        inputs={"reason": REASON, "wait": WAIT},
        outputs={**STATE, "still_running": STILL_RUNNING},
        timeout_s=300.0,
        mutating=True,
        noop=True,
        aggregates=COUNT,
    )
    def drain(self, reason: str = "", wait: bool = False) -> dict[str, Any]:
        """Refuse everybody, but who looks after the node."""
        control = self.node.control
        told = control.drain(current().caller, reason, is_noop=self.is_noop)
        until = time.monotonic() + time_left_s(self.timeout_s) - _MARGIN_S if wait and not self.is_noop else None
        return {**told, "still_running": control.still_running(until, self.check_cancelled)}

    @action("Take work again", outputs=STATE, mutating=True, noop=True, aggregates=COUNT)
    def resume(self) -> dict[str, Any]:
        """End a drain."""
        return self.node.control.resume(current().caller, is_noop=self.is_noop)

    @action(
        "End the daemon once what runs has ended; what started it decides whether it comes back",
        outputs={"still_running": STILL_RUNNING},
        mutating=True,
    )
    def exit(self) -> dict[str, Any]:
        """Answer, then drain and stop."""
        return self.node.control.exit(current().caller)

    @action(
        "Have a new process of the daemon take over, without losing a request",
        outputs={
            "changed": CHANGED,
            "before": Output("hash", "pid and version of the old process", display_as="Before"),
            "after": Output("hash", "The same of the new one", display_as="After"),
        },
        timeout_s=60.0,
        mutating=True,
        aggregates=COUNT,
    )
    def restart(self) -> dict[str, Any]:
        """Answer from the old process; if no new one can start, it stays and says why."""
        return self.node.control.restart(current().caller, time.monotonic() + time_left_s(self.timeout_s) - _MARGIN_S)
