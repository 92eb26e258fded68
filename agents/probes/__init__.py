# SPDX-License-Identifier: Apache-2.0
"""Questions to other machines, each asked in a short-lived process of its own; nothing here keeps a connection.

What they need (TLS, X.509, DNS) would stay in the node's memory for good, up to half as much again as the node itself
has; and a name server that does not answer can only be left by ending the process that waits for it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from mco_rpc.errors import ActionAborted, Denied, InvalidData, TimedOut

if TYPE_CHECKING:
    from mco_rpc.agent import Agent

_MODULE = ("-P", "-m", f"{__name__}.child")
MAX_ANSWER_BYTES = 4 * 1024 * 1024
REFUSED = "refused_with"  # the status of the error that the process ended with
_ERRORS = {int(error.status): error for error in (InvalidData, Denied, ActionAborted)}
# What the process needs beyond the time of the question itself, on a busy machine.
_GRACE_S = 2.0
# Why nothing was reached, for the descriptions of outputs.
FAULTS = "refused, timed_out, no_route, unresolvable, reset, closed, denied, tls, protocol or failed"


def ask(agent: Agent, probe: str, timeout_s: float, **question: Any) -> dict[str, Any]:
    """Ask a question in a process of its own, within the deadline of the call.

    Args:
        probe: the module beside this one whose function ``probe`` answers.
        timeout_s: what the answer may take; who is late is answered ``fault: timed_out``.

    Raises:
        InvalidData: the question makes no sense to the probe.
        Denied: this node may not ask it.
        ActionAborted: this node cannot ask it.
    """
    import msgspec  # not in the process that asks: the standard library's is lighter there

    argv = (sys.executable, *_MODULE, probe)
    stdin = msgspec.json.encode({**question, "timeout_s": timeout_s})
    try:
        done = agent.run(*argv, stdin=stdin, max_output_bytes=MAX_ANSWER_BYTES, timeout_s=timeout_s + _GRACE_S)
    except TimedOut:  # it hangs where only its end helps: in the resolver of the C library
        return late(timeout_s)
    try:
        answer: dict[str, Any] = msgspec.json.decode(done.stdout)
    except (msgspec.DecodeError, UnicodeError) as e:
        raise ActionAborted(f"the process that asks ended without an answer: {done}") from e
    if REFUSED in answer:
        raise _ERRORS.get(answer[REFUSED], ActionAborted)(answer["reason"])
    return answer


def late(timeout_s: float) -> dict[str, Any]:
    """Return the answer of who was late."""
    return {"fault": "timed_out", "reason": f"no answer within {timeout_s:g} s"}


def bounded(timeout_s: float, left_s: float) -> float:
    """Return how long a question may take so that its answer is still in time."""
    return max(0.1, min(timeout_s, left_s - _GRACE_S))
