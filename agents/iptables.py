# SPDX-License-Identifier: Apache-2.0
"""The agent that blocks addresses; it asks the host's packet filter, and believes only what it reads back."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from typing import Any

from mco_rpc.agent import Agent, Aggregate, Input, NodeView, Output, action
from mco_rpc.errors import ActionAborted

from .packet_filter import Network, NotReached, PacketFilter
from .packet_filter.choice import SETTING_NAMES, Settings, choose, why_not
from .packet_filter.networks import covering, parse, why_not_block, written

# A host of containers has thousands of rules, and what cannot be read whole cannot be judged.
MAX_RULES_BYTES = 16 * 1024 * 1024
IPADDR = Input("string", "An IPv4 or IPv6 address or network", prompt="Address", validate="ip_network", max_length=49)
FORCE = Input("boolean", "Block also what cuts the node off", prompt="Force", optional=True, default=False)
ANSWER = {
    "output": Output("string", "The answer in words", display_as="Answer"),
    "blocked": Output("boolean", "Whether what comes from there is dropped", display_as="Blocked"),
}
CHANGE = ANSWER | {
    "changed": Output("boolean", "Whether a rule was made or taken away, or with noop would be", display_as="Changed"),
    "before": Output("boolean", "Whether it was surely blocked before", display_as="Before"),
    "after": Output("boolean", "Whether it is blocked now, or with noop would be", display_as="After"),
    "backend": Output("string", "The packet filter that was used", display_as="Back end"),
}
RULE = Output("string", "The blocked network that holds it", display_as="Rule")
BLOCKED = Aggregate("summary", "blocked")
CHANGED = Aggregate("summary", "changed")
LIST = Output("array", "The blocked addresses and networks, in order", display_as="Blocked", default=[])


class Iptables(Agent):
    """Block and unblock addresses in the host's packet filter."""

    setting_names = SETTING_NAMES
    activate_when = staticmethod(why_not)

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(node, settings)
        self._chosen = Settings.of(self.settings)
        self._filter: PacketFilter | None = None
        self._lock = threading.RLock()  # one change at a time, so that `before` and `after` belong to it

    @property
    def packet_filter(self) -> PacketFilter:
        """The host's packet filter, chosen when it is first needed."""
        if self._filter is None:
            with self._lock:
                self._filter = self._filter or choose(
                    self._chosen, functools.partial(self.run, max_output_bytes=MAX_RULES_BYTES)
                )
        return self._filter

    @action(
        "Drop what comes from an address",
        inputs={"ipaddr": IPADDR, "force": FORCE},
        outputs=CHANGE,
        mutating=True,
        noop=True,
        aggregates=[BLOCKED, CHANGED],
    )
    def block(self, ipaddr: str, force: bool = False) -> dict[str, object]:
        """Block; a second time changes nothing, and neither does an address inside a blocked network."""
        network = parse(ipaddr)
        reason = None if force else why_not_block(network, self.node.broker_addresses())
        if reason:
            raise ActionAborted(f"will not block {written(network)}: {reason}; force=true blocks it all the same")
        with self._lock:
            rules, is_sure = self._rules(network)
            before = is_sure and covering(network, rules) is not None
            if not before and not self.is_noop:
                self.packet_filter.block(network)
            return self._changed(network, before, is_changed=not before, wanted=True)

    @action(
        "Let in again what comes from an address",
        inputs={"ipaddr": IPADDR},
        outputs=CHANGE,
        mutating=True,
        noop=True,
        aggregates=[BLOCKED, CHANGED],
    )
    def unblock(self, ipaddr: str) -> dict[str, object]:
        """Unblock; what is not blocked is fine, what other rules block as well is refused."""
        network = parse(ipaddr)
        with self._lock:
            rules, is_sure = self._rules(network)
            others = [rule for rule in rules if rule != network]
            if covering(network, others):
                names = ", ".join(written(rule) for rule in others if rule.overlaps(network))
                raise ActionAborted(f"will not unblock {written(network)}: {names} blocks it too; unblock that")
            before = is_sure and network in rules
            is_changed = before or not is_sure
            if is_changed and not self.is_noop:
                self.packet_filter.unblock(network)
            return self._changed(network, before, is_changed=is_changed, wanted=False)

    @action(
        "Say whether an address is blocked",
        inputs={"ipaddr": IPADDR},
        outputs=ANSWER | {"rule": RULE},
        aggregates=[BLOCKED],
    )
    def isblocked(self, ipaddr: str) -> dict[str, object]:
        """Answer from the packet filter as it is now."""
        network = parse(ipaddr)
        rule = covering(network, self.packet_filter.blocked(network.version))
        return {**_answer(network, rule is not None), "rule": written(rule) if rule else None}

    @action("List what is blocked", outputs={"blocked": LIST})
    def listblocked(self) -> dict[str, object]:
        """Answer with both families, IPv4 first."""
        return {"blocked": [written(network) for network in self.packet_filter.blocked()]}

    def _rules(self, network: Network) -> tuple[list[Network], bool]:
        """Return the rules of the network's family, and whether they are surely asked."""
        try:
            return self.packet_filter.blocked(network.version), True
        except NotReached as e:  # every change repairs that, or says why it cannot
            return e.networks, False

    def _changed(self, network: Network, before: bool, *, is_changed: bool, wanted: bool) -> dict[str, object]:
        """Return the outputs of a change, if what the packet filter says now is what was wanted."""
        backend = self.packet_filter.name
        if self.is_noop:
            told = _answer(network, before)
            if is_changed:
                told["output"] = f"{told['output']}; it would {'' if wanted else 'not '}be"
            return {**told, "changed": is_changed, "before": before, "after": wanted, "backend": backend}
        after = covering(network, self.packet_filter.blocked(network.version)) is not None
        if after is not wanted:
            raise ActionAborted(
                f"{_answer(network, after)['output']}, though {backend} reported no error; look at its rules, "
                "and for what else changes them"
            )
        return {
            **_answer(network, after),
            "changed": is_changed,
            "before": before,
            "after": after,
            "backend": backend,
        }


def _answer(network: Network, is_blocked: bool) -> dict[str, object]:
    return {"output": f"{written(network)} is {'' if is_blocked else 'not '}blocked", "blocked": is_blocked}
