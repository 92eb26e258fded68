# SPDX-License-Identifier: Apache-2.0
"""The agent that tries whether others can be reached; that they cannot is an answer, so that it can be asserted."""

from __future__ import annotations

import re
from typing import Any

from mco_rpc.agent import Agent, Aggregate, Input, Output, action, time_left_s
from mco_rpc.errors import ActionAborted

from .probes import FAULTS, ask, bounded
from .probes.names import HOST, PORT, SOURCE

MAX_COUNT = 20
TIMEOUT = Input("number", "Seconds to wait at most", prompt="Timeout", optional=True, default=5)
FAMILY = Input(
    "list", "Which addresses of a name to use", optional=True, default="any", choices=("any", "ipv4", "ipv6")
)
COUNT = Input("integer", f"How many packets, 1 to {MAX_COUNT}", prompt="Count", optional=True, default=3)
WHY = {
    "fault": Output("string", f"Why not, in a word: {FAULTS}", display_as="Fault"),
    "reason": Output("string", "Why not, in the system's words", display_as="Reason"),
    "address": Output("string", "The address that was used", display_as="Address"),
}
_SUMMARY = re.compile(r"(\d+) packets transmitted, (\d+) received")
_TIMES = re.compile(r"rtt min/avg/max/mdev = ([0-9.]+)/([0-9.]+)/([0-9.]+)/")
_ADDRESS = re.compile(r"^PING [^(]*\(([0-9a-fA-F.:]+)", re.MULTILINE)
_SAID = re.compile(r"^From \S+ icmp_seq=\d+ (.+)$", re.MULTILINE)


class Nettest(Agent):
    """Try whether other hosts and their ports can be reached from here."""

    timeout_s = 30.0

    @action(
        "Send ICMP echo requests to a host",
        inputs={"host": HOST, "count": COUNT, "timeout_s": TIMEOUT, "source": SOURCE, "family": FAMILY},
        outputs={
            "reached": Output("boolean", "Whether at least one was answered", display_as="Reached"),
            "sent": Output("integer", "How many were sent", display_as="Sent"),
            "received": Output("integer", "How many were answered", display_as="Received"),
            "loss_percent": Output("number", "The share that was not", display_as="Loss %"),
            "rtt": Output("number", "The mean round trip, in milliseconds", display_as="RTT"),
            "rtt_min": Output("number", "The shortest round trip, in milliseconds", display_as="RTT min"),
            "rtt_max": Output("number", "The longest round trip, in milliseconds", display_as="RTT max"),
            **WHY,
        },
        aggregates=[Aggregate("summary", "reached"), Aggregate("average", "rtt", "%.3f")],
    )
    def ping(
        self, host: str, count: int = 3, timeout_s: float = 5, source: str = "", family: str = "any"
    ) -> dict[str, object]:
        """Have the command of that name ask, which may do so whoever runs the node."""
        wait_s = bounded(timeout_s, time_left_s(self.timeout_s))
        argv = ["ping", "-n", "-c", str(max(1, min(count, MAX_COUNT))), "-i", "0.2", "-w", str(max(1, round(wait_s)))]
        argv += {"ipv4": ["-4"], "ipv6": ["-6"]}.get(family, []) + (["-I", source] if source else [])
        done = self.run(*argv, "--", host)
        found = _SUMMARY.search(done.stdout)
        said = done.stderr.strip().rpartition("\n")[2].removeprefix("ping: ")
        if found is None:
            if done.returncode == 2 and said:
                return {"reached": False, "fault": _fault(said), "reason": said}
            raise ActionAborted(f"ping gave no result: {done}")
        sent, received = int(found[1]), int(found[2])
        times = _TIMES.search(done.stdout)
        address = _ADDRESS.search(done.stdout)
        made: dict[str, object] = {
            "reached": received > 0,
            "sent": sent,
            "received": received,
            "loss_percent": round(100 * (sent - received) / sent, 1) if sent else None,
            "address": address[1] if address else None,
        }
        if times:
            made |= dict(zip(("rtt_min", "rtt", "rtt_max"), map(float, times.groups()), strict=True))
        if not received:
            told = _SAID.search(done.stdout)
            reason = told[1] if told else f"no answer within {max(1, round(wait_s))} s"
            made |= {"fault": _fault(reason), "reason": reason}
        return made

    @action(
        "Try whether a TCP port takes a connection",
        inputs={"host": HOST, "port": PORT, "timeout_s": TIMEOUT, "source": SOURCE, "family": FAMILY},
        outputs={
            "connected": Output("boolean", "Whether it did", display_as="Connected", default=False),
            "took_s": Output("number", "Seconds that took, finding the name included", display_as="Seconds"),
            "source": Output("string", "The address of this node that was used", display_as="From"),
            **WHY,
        },
        aggregates=[Aggregate("summary", "connected"), Aggregate("average", "took_s", "%.4f")],
    )
    def connect(
        self, host: str, port: int, timeout_s: float = 5, source: str = "", family: str = "any"
    ) -> dict[str, Any]:
        """Connect and leave; nothing is sent."""
        wait_s = bounded(timeout_s, time_left_s(self.timeout_s))
        return ask(self, "connect", wait_s, host=host, port=port, source=source, family=family)


def _fault(said: str) -> str:
    """Return the word for what ping says.

    >>> _fault("nowhere.invalid: Name or service not known"), _fault("Destination Host Unreachable")
    ('unresolvable', 'no_route')
    """
    low = said.lower()
    if "not known" in low or "resolution" in low or "no address" in low:
        return "unresolvable"
    if "no answer" in low:
        return "timed_out"
    if "prohibited" in low or "filtered" in low or "not permitted" in low or "denied" in low:
        return "denied"
    return "no_route" if "unreachable" in low else "failed"
