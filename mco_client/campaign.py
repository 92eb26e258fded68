# SPDX-License-Identifier: Apache-2.0
"""One call to many nodes as its options say: in waves and batches, until all were asked or too many failed."""

from __future__ import annotations

from typing import Any

from mco_client.call import Call
from mco_client.connection import Connection
from mco_client.core import Core, Pause
from mco_client.plan import CallOptions, Share
from mco_client.results import Results, joined
from mco_rpc.filters import Filter


class Campaign:
    """The calls to the nodes' batches, one after the other.

    Args:
        nodes: whom to ask, in this order.
        absent: how many more should have been there; they count as failed where too many failures end the call.
    """

    def __init__(
        self,
        connection: Connection,
        agent: str,
        action: str,
        inputs: dict[str, Any],
        nodes: tuple[str, ...],
        options: CallOptions,
        timeout_s: float,
        absent: int = 0,
    ) -> None:
        self._absent = absent
        self._connection = connection
        self._agent, self._action, self._inputs = agent, action, inputs
        self.nodes, self._options, self._timeout_s = nodes, options, timeout_s
        self.calls: list[Call] = []
        self._stopped = ""

    @property
    def is_sent(self) -> bool:
        """Whether anybody may have been reached."""
        return any(call.is_sent for call in self.calls)

    def cancel(self) -> Call | None:
        """Ask nobody else, and nobody again; return the call whose nodes may be at work, if there is one."""
        self._stopped = "stopped: it was cancelled"
        running = self.calls[-1] if self.calls else None
        if running is None:
            return None
        running.give_up()
        return running if running.waiting else None

    def core(self) -> Core[Results]:
        """Ask; yield what the nodes say, and return the results of all."""
        for pause_s, batch in self._options.batches(self.nodes):
            if pause_s and not self._stopped:
                yield Pause(pause_s)
            if self._stopped:
                break
            call = self._call(batch)
            self.calls.append(call)
            yield from call.core()
            self._stopped = self._stopped or self._failed_too_often()
        return self.results()

    def results(self) -> Results:
        """Return what came so far; who was not asked is named."""
        parts = [call.results() for call in self.calls if call.is_sent]
        planned = tuple(node for _, batch in self._options.batches(self.nodes) for node in batch)
        asked = {node for part in parts for node in part.expected}
        in_a_wave = set(planned)
        untouched = tuple(node for node in planned if node not in asked)
        return joined(
            self._agent,
            self._action,
            parts,
            expected=planned,
            untouched=untouched,
            left_out=tuple(node for node in self.nodes if node not in in_a_wave),
            stopped=self._stopped if untouched else "",
            timeout_s=self._timeout_s,
        )

    def _call(self, nodes: tuple[str, ...]) -> Call:
        options = self._options
        return Call(
            self._connection,
            self._agent,
            self._action,
            self._inputs,
            node_filter=Filter(),
            targets=nodes,
            timeout_s=self._timeout_s,
            noop=options.noop,
            follow=options.follow,
            retries=options.retries,
            retry_sleep_s=options.retry_sleep_s,
        )

    def _failed_too_often(self) -> str:
        """Return why nobody else may be asked; nothing if somebody may."""
        limit = self._options.abort_on
        if not isinstance(limit, Share):
            return ""
        asked = failed = self._absent
        for call in self.calls:
            results = call.results()
            asked += len(results.expected)
            failed += len(results.failed) + len(results.missing)
        if not limit.is_exceeded(failed, asked):
            return ""
        return f"stopped: {failed} of {asked} failed or kept silent, more than the {limit} allowed"
