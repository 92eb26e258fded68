# SPDX-License-Identifier: Apache-2.0
"""What the registry can be asked: who should be there, all about one node, how the registry fares."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from mco_rpc.agent import Agent, Input, NodeView, Output, action, time_left_s
from mco_rpc.errors import ActionAborted, FilterError, InvalidData, McoError
from mco_rpc.filters import Filter

from .intake import Intake
from .known import Known, content_from
from .selection import Selection, selection_of, verdict
from .store import Store
from .writer import Writer

FLUSH_S = 1.0
# A page that would take longer is cut, and the next one goes on there.
LEAVE_S = 5.0
MAX_LIMIT = 5000
MAX_TOLD_PROBLEMS = 100
_MAX_PROBLEM_LENGTH = 300
_BRIEF_ROWS, _WHOLE_ROWS = 1000, 100
IDENTITY = Input("string", "Name of a node", prompt="Node", max_length=128)
TIME = "seconds since the epoch, by the registry's clock"


@dataclass(frozen=True, slots=True)
class Records:
    """Everything that answers are made of."""

    store: Store
    writer: Writer
    intake: Intake
    max_page_bytes: int
    clock: Callable[[], float] = time.time

    def judged(self) -> tuple[float, float]:
        """Return until when, and since when, everything that nodes said is in the database."""
        now = self.clock()
        since = self.intake.listening_since
        return self.writer.failing_since or now, now if since is None else since


class RegistryAgent(Agent):
    """Know which nodes there should be, from what they say of themselves."""

    name = "registry"
    timeout_s = 30.0

    def __init__(self, node: NodeView, records: Records) -> None:
        super().__init__(node)
        self._records = records

    @action(
        "Name the nodes that a filter is for, and say whether they are there",
        inputs={
            "filter": Input("hash", "A filter, as in a request", prompt="Filter", optional=True, max_length=16),
            "after": Input("string", "Begin after this name", prompt="After", optional=True, max_length=128),
            "agent": Input("string", "Say the digest of its schema", prompt="Agent", optional=True, max_length=128),
            "limit": Input("integer", "So many nodes at most", prompt="Limit", optional=True, default=1000),
        },
        outputs={
            "nodes": Output(
                "array", "By name: identity, state, last_seen, version, is_sure; schema and problem if any"
            ),
            "next": Output("string", "Ask again after this name; empty if that is all"),
            "residual": Output("hash", "The part of the filter that only the nodes themselves can decide"),
            "warnings": Output("array", "Why the answer may not be complete"),
            "now": Output("float", f"When this was said, {TIME}"),
            "listening_since": Output("float", f"Since when it misses nothing, {TIME}"),
        },
    )
    def nodes(
        self, filter: Mapping[str, Any] | None = None, after: str = "", agent: str = "", limit: int = 1000
    ) -> dict[str, Any]:
        """Return a page of nodes; one of whom it cannot be said is named, with ``is_sure`` false."""
        if not 0 < limit <= MAX_LIMIT:
            raise InvalidData(f"registry#nodes: limit of {limit}; expected 1 to {MAX_LIMIT}")
        selection = _selection(filter or {})
        self._records.writer.flush(FLUSH_S)
        try:
            rows, following = self._page(selection, after, agent, limit)
        except McoError as e:
            raise ActionAborted(str(e)) from e
        _, since = self._records.judged()
        return {
            "nodes": rows,
            "next": following,
            "residual": msgspec.to_builtins(selection.residual),
            "warnings": self._warnings(),
            "now": self._records.clock(),
            "listening_since": since,
        }

    @action(
        "Say all that is known of a node",
        inputs={"identity": IDENTITY},
        outputs={
            "identity": Output("string", "Its name"),
            "state": Output("string", "present, expected, silent or stopped", display_as="State"),
            "version": Output("string", "Version of its daemon"),
            "first_seen": Output("float", TIME),
            "last_seen": Output("float", TIME),
            "interval_s": Output("float", "Seconds between its registrations"),
            "collectives": Output("array", "Collectives it answers in"),
            "agents": Output("hash", "Agents it offers: version and digest of the schema"),
            "classes": Output("array", "Its classes"),
            "facts": Output("hash", "Its facts"),
            "incomplete": Output("array", "Of what it has more than is known here"),
            "problem": Output("string", "What is wrong with its registration"),
        },
    )
    def show(self, identity: str) -> dict[str, Any]:
        """Return one node."""
        self._records.writer.flush(FLUSH_S)
        try:
            known = self._records.store.node(identity)
        except McoError as e:
            raise ActionAborted(str(e)) from e
        if known is None:
            raise ActionAborted(f"no node {identity!r} has registered here; `mco nodes` names those that have")
        content = content_from(known.body)
        return {
            "problem": None,
            **self._row(known, *self._records.judged()),
            "first_seen": known.first_seen,
            "interval_s": known.interval_s,
            "collectives": list(content.collectives),
            "agents": msgspec.to_builtins(content.agents),
            "classes": list(content.classes),
            "facts": content.facts,
            "incomplete": list(content.incomplete),
        }

    @action(
        "Forget a node that will not come back; one that is there is known again soon",
        inputs={"identity": IDENTITY},
        outputs={"forgotten": Output("boolean", "Whether it was known")},
        mutating=True,
    )
    def forget(self, identity: str) -> dict[str, Any]:
        """Forget one node."""
        self._records.writer.flush(FLUSH_S)
        try:
            is_known = self._records.store.forget(identity)
        except McoError as e:
            raise ActionAborted(str(e)) from e
        self._records.intake.note(identity, None)
        return {"forgotten": is_known}

    @action(
        "Say how the registry fares",
        outputs={
            "known": Output("integer", "Nodes that are known; -1 if the database cannot say"),
            "listening_since": Output("float", f"Since when it misses nothing, {TIME}"),
            "database": Output("string", "Where it is kept"),
            "unwritten": Output("integer", "Nodes whose words wait for the database"),
            "warnings": Output("array", "What is wrong"),
            "problems": Output("hash", "What is wrong with the words of a node"),
            "counters": Output("hash", "Events by what became of them"),
        },
    )
    def stats(self) -> dict[str, Any]:
        """Return the counters, also while the database cannot be used."""
        records = self._records
        warnings = self._warnings()
        try:
            known = records.store.count()
        except McoError as e:
            known, warnings = -1, [*warnings, str(e)]
        problems = sorted(records.intake.problems().items())
        if len(problems) > MAX_TOLD_PROBLEMS:
            warnings.append(f"{len(problems)} nodes have problems; the first {MAX_TOLD_PROBLEMS} are told")
        return {
            "known": known,
            "listening_since": records.judged()[1],
            "database": str(records.store),
            "unwritten": records.writer.waiting,
            "warnings": warnings,
            "problems": {node: why[:_MAX_PROBLEM_LENGTH] for node, why in problems[:MAX_TOLD_PROBLEMS]},
            "counters": records.intake.counters(),
        }

    def _page(self, selection: Selection, after: str, agent: str, limit: int) -> tuple[list[dict[str, Any]], str]:
        """Return rows, and the name after which to go on."""
        rows: list[dict[str, Any]] = []
        begin, judged = after, self._records.judged()
        is_whole = selection.is_whole or bool(agent)
        size_bytes, chunk = 0, _WHOLE_ROWS if is_whole else _BRIEF_ROWS
        while True:
            found = self._records.store.page(after, chunk, selection.narrowed, is_whole=is_whole)
            for known in found:
                if after != begin and time_left_s(self.timeout_s) < LEAVE_S:
                    return rows, after
                after = known.identity
                try:
                    is_for = verdict(selection.node_filter, known)
                except (FilterError, ValueError, RecursionError):  # it says what nobody can compare: let it say itself
                    is_for = None
                if is_for is False:
                    continue
                row = self._row(known, *judged)
                row["is_sure"] = is_for is True
                if agent and (offered := content_from(known.body).agents.get(agent)):
                    row["schema"] = offered.schema
                rows.append(row)
                size_bytes += len(msgspec.json.encode(rows[-1]))
                if len(rows) >= limit or size_bytes >= self._records.max_page_bytes:
                    return rows, after
            if len(found) < chunk:
                return rows, ""

    def _row(self, known: Known, judged_at: float, listening_since: float) -> dict[str, Any]:
        row = {
            "identity": known.identity,
            "state": known.state(judged_at, listening_since),
            "last_seen": known.last_seen,
            "version": known.version,
        }
        problem = self._records.intake.problem_of(known.identity)
        return {**row, "problem": problem[:_MAX_PROBLEM_LENGTH]} if problem else row

    def _warnings(self) -> list[str]:
        writer = self._records.writer
        if writer.failing_since is None:
            return []
        since_s = self._records.clock() - writer.failing_since
        why = (writer.problem or "")[:_MAX_PROBLEM_LENGTH]
        return [
            f"for {since_s:.0f} s the registry could not write what nodes say, and tells what it knew before: {why}"
        ]


def _selection(plain: Mapping[str, Any]) -> Selection:
    try:
        return selection_of(msgspec.convert(plain, Filter))
    except (msgspec.ValidationError, FilterError, RecursionError) as e:
        raise InvalidData(f"registry#nodes: filter: {e}") from e
