# SPDX-License-Identifier: Apache-2.0
"""The statistics of the last call, under the names MCollective's users know, and what it did not count."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mco_client.results import Result, Results
from mco_rpc.status import Status

if TYPE_CHECKING:
    from mco_client.discovery import Discovered


@dataclass
class Stats:
    """Numbers and names of one call; times are in seconds, ``starttime`` since the epoch.

    Attributes:
        source: who knew the nodes: ``broadcast``, ``inventory prod.yaml``.
        late: nodes that answered the discovery after it had ended, and so were not asked, and after how many seconds.
        retried: nodes of whom the answer is not the first one that they were asked for.
        schemas: nodes by the digest of the agent's schema that they have.
    """

    requestid: str = ""
    starttime: float = 0.0
    discoverytime: float = 0.0
    blocktime: float = 0.0
    totaltime: float = 0.0
    discovered: int = 0
    discovered_nodes: list[str] = field(default_factory=list)
    responses: int = 0
    okcount: int = 0
    failcount: int = 0
    responsesfrom: list[str] = field(default_factory=list)
    noresponsefrom: list[str] = field(default_factory=list)
    unexpectedresponsefrom: list[str] = field(default_factory=list)
    offline: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    timed_out: list[str] = field(default_factory=list)
    unverified: dict[str, str] = field(default_factory=dict)
    unverified_more: int = 0
    source: str = ""
    absent: dict[str, str] = field(default_factory=dict)
    late: dict[str, float] = field(default_factory=dict)
    retried: list[str] = field(default_factory=list)
    untouched: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    stopped: str = ""
    schemas: dict[str, list[str]] = field(default_factory=dict)
    aggregate_summary: list[dict[str, Any]] = field(default_factory=list)
    aggregate_failures: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def of_discovery(cls, found: Discovered, took_s: float) -> Stats:
        """Return the numbers of a discovery."""
        return cls(
            discovered=len(found.nodes),
            discovered_nodes=list(found.nodes),
            discoverytime=took_s,
            unverified=dict(found.unverified),
            unverified_more=found.unverified_more,
            absent=dict(found.absent),
            source=found.source,
        )

    def take_answers(self, results: Collection[Result]) -> None:
        """Count answers."""
        self.responses = len(results)
        self.okcount = sum(result.status == Status.OK for result in results)
        self.failcount = self.responses - self.okcount
        self.responsesfrom = [result.sender for result in results]

    def take(self, results: Results) -> None:
        """Count what came."""
        self.take_answers(results)
        self.noresponsefrom = results.missing
        self.unexpectedresponsefrom = [result.sender for result in results.unexpected]
        self.offline = list(results.offline)
        self.lost = list(results.lost)
        self.denied = results.denied
        self.timed_out = results.timed_out
        self.unverified = dict(results.unverified)
        self.unverified_more = results.unverified_more
        self.absent = dict(results.absent)
        self.late = dict(results.late)
        self.retried = [result.sender for result in results if result.attempt > 1]
        self.untouched = list(results.untouched)
        self.left_out = list(results.left_out)
        self.stopped = results.stopped
        self.schemas = results.schemas

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as ``-j`` prints it."""
        return dataclasses.asdict(self)
