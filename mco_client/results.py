# SPDX-License-Identifier: Apache-2.0
"""Results that carry their population, and the one place where they are counted and judged.

Absence is failure: nobody asked, somebody silent or somebody we cannot verify is never a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from mco_client.text import listed, natural, one_line, with_reasons
from mco_rpc.errors import ExpectationFailed
from mco_rpc.status import Status

if TYPE_CHECKING:
    from mco_client.stats import Stats
    from mco_client.values import Values

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Result:
    """What one node answered.

    Attributes:
        status: a `mco_rpc.status.Status`, or a number that this version does not know.
        ran_s: seconds on the node from the request's arrival to its reply.
        took_s: seconds here from asking to the reply.
        schema: digest of the agent's schema on the node; empty if the node did not say.
        attempt: which time of asking it answers: 1 for the first.
    """

    sender: str
    status: int
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    ran_s: float = 0.0
    took_s: float = 0.0
    schema: str = ""
    attempt: int = 1

    @property
    def is_ok(self) -> bool:
        """Whether the action ran and succeeded."""
        return self.status == Status.OK

    @property
    def status_text(self) -> str:
        """The status in words."""
        return Status(self.status).text if self.status in set(Status) else f"status {self.status}"

    def value(self, output: str) -> Any:
        """Return an output, or what a path such as ``"facts.os.release"`` finds in it; None if it is not there."""
        seen: Any = self.data
        if output in seen:
            return seen[output]
        for name in output.split("."):
            if not isinstance(seen, Mapping) or name not in seen:
                return None
            seen = seen[name]
        return seen

    def has(self, **values: object) -> bool:
        """Say whether the action succeeded and its outputs are as given."""
        return self.is_ok and all(_same(self.data.get(name, _MISSING), value) for name, value in values.items())


@dataclass(frozen=True)
class Results(Sequence[Result]):
    """The answers of a call together with everybody who should have given one.

    Attributes:
        expected: who was asked.
        offline: those of them whom the broker says are not there: they did not get the request.
        lost: those who went away after they were asked; whether the action ran there, nobody knows.
        begun: those who said that they begin, and did not answer.
        unexpected: answers of nodes that were not asked; they take no part in any judgement.
        unverified: nodes whose answers were not believed, and why.
        unverified_more: such answers beyond those that ``unverified`` names.
        absent: those of ``expected`` who were named, not found, and so not asked, and why.
        untouched: those of ``expected`` who were not asked because the call was stopped before their turn.
        stopped: why it was stopped; empty if it was not.
        left_out: nodes that were found and not chosen, by a limit or because they are in no wave; not ``expected``.
        late: nodes that answered the discovery after it had ended, and after how many seconds: they match, and were not
            asked, so there is no verdict about the whole fleet.
        doubts: why whoever named the nodes may not know everybody.
        stats: the numbers of the call.
    """

    agent: str
    action: str
    expected: tuple[str, ...]
    answers: tuple[Result, ...] = ()
    offline: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    begun: tuple[str, ...] = ()
    unexpected: tuple[Result, ...] = ()
    unverified: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    unverified_more: int = 0
    timeout_s: float = 0.0
    untouched: tuple[str, ...] = ()
    stopped: str = ""
    left_out: tuple[str, ...] = ()
    late: Mapping[str, float] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    stats: Stats | None = field(default=None, compare=False, repr=False)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Result]: ...
    def __getitem__(self, index: int | slice) -> Result | Sequence[Result]:
        return self.answers[index]

    def __len__(self) -> int:
        return len(self.answers)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.answers)

    def by_node(self) -> dict[str, Result]:
        """Return the answers by the node that gave them."""
        return {result.sender: result for result in self.answers}

    @property
    def missing(self) -> list[str]:
        """The nodes that were asked and did not answer, offline and lost ones included."""
        answered = {result.sender for result in self.answers}
        return sorted((node for node in self.expected if node not in answered), key=natural)

    @property
    def silent(self) -> list[str]:
        """The nodes that did not answer and of whom nobody knows why."""
        known = {*self.offline, *self.lost, *self.absent, *self.untouched}
        return [node for node in self.missing if node not in known]

    @property
    def failed(self) -> list[Result]:
        """The answers that are not ok, for whatever reason."""
        return [result for result in self.answers if not result.is_ok]

    @property
    def denied(self) -> list[str]:
        """The nodes that said that we may not."""
        return [result.sender for result in self.answers if result.status == Status.DENIED]

    @property
    def timed_out(self) -> list[str]:
        """The nodes on which the action did not end in time."""
        return [result.sender for result in self.answers if result.status == Status.TIMED_OUT]

    @property
    def schemas(self) -> dict[str, list[str]]:
        """The nodes by the digest of the agent's schema that they have, as far as they said."""
        nodes: dict[str, list[str]] = {}
        for result in self.answers:
            if result.schema:
                nodes.setdefault(result.schema, []).append(result.sender)
        return nodes

    def values(self, output: str) -> Values:
        """Return one output of all who succeeded, by node; who should have it and has not is `Values.missing`.

        Args:
            output: its name, or a path into it: ``"facts.os.release"``.
        """
        from mco_client.values import Values

        seen = {result.sender: result.value(output) for result in self.answers if result.is_ok}
        by_node = {node: value for node, value in seen.items() if value is not None}
        return Values(output, by_node, tuple(node for node in self.expected if node not in by_node))

    def sorted_by(self, output: str, *, reverse: bool = False) -> list[Result]:
        """Return the answers that have an output, the smallest first."""
        by_node = self.by_node()
        return [by_node[node] for node, _ in self.values(output).known.sorted(reverse=reverse)]

    def where(self, **values: object) -> list[Result]:
        """Return the successful answers whose outputs are as given."""
        return [result for result in self.answers if result.has(**values)]

    def count(self, result: object = _MISSING, /, **values: object) -> int:
        """Return how many successful answers have the outputs given: ``count(blocked=True)``."""
        if result is not _MISSING:
            return self.answers.count(result)
        return len(self.where(**values))

    def require_ok(self) -> Results:
        """Return these results if every node that was asked succeeded.

        Raises:
            ExpectationFailed: it names every node that did not, with its reason.
        """
        return self.require_all()

    def require_all(self, **values: object) -> Results:
        """Return these results if every node that was asked succeeded with the outputs given.

        Raises:
            ExpectationFailed: how many of how many, who, what they said instead, and who said nothing.
        """
        wrong = [result for result in self.answers if result.is_ok and not result.has(**values)]
        parts = _not_as_asked(wrong, values, len(self.expected))
        parts += [text for text in (_failures(self.failed), *self._absences()) if text]
        if not self.expected and not parts:
            parts = ["no node was asked"]
        if parts:
            raise ExpectationFailed(f"{self.agent}#{self.action}: {'; '.join(parts)}")
        return self

    def _absences(self) -> list[str]:
        of = f"of {len(self.expected)}"
        texts = []
        if silent := self.silent:
            waited = f" within {self.timeout_s:g} s" if self.timeout_s else ""
            begun = sorted(set(silent) & set(self.begun), key=natural)
            of_them = f" (begun, and not ended: {listed(begun)})" if begun else ""
            texts.append(f"no reply{waited} from {len(silent)} {of}: {listed(silent)}{of_them}")
        if self.offline:
            texts.append(f"offline, {len(self.offline)} {of}: {listed(self.offline)}")
        if self.absent:
            texts.append(f"expected, and not found, {len(self.absent)} {of}: {with_reasons(self.absent)}")
        if self.lost:
            texts.append(f"went away after they were asked, {len(self.lost)} {of}: {listed(self.lost)}")
        if self.untouched:
            why = f" ({self.stopped})" if self.stopped else ""
            texts.append(f"not asked, {len(self.untouched)} {of}: {listed(self.untouched)}{why}")
        if overdue := {node: f"{after_s:.1f} s" for node, after_s in self.late.items() if node not in self.absent}:
            texts.append(f"answered the discovery too late, and not asked: {with_reasons(overdue)}")
        texts += [f"who should be there is not surely known: {one_line(doubt)}" for doubt in self.doubts]
        if self.unverified or self.unverified_more:
            texts.append(f"answered, but not believed: {with_reasons(self.unverified, self.unverified_more)}")
        return texts


def joined(agent: str, action: str, parts: Sequence[Results], **rest: Any) -> Results:
    """Return the results of several calls as one, with ``rest`` as its other fields."""
    return Results(
        agent=agent,
        action=action,
        answers=tuple(result for part in parts for result in part.answers),
        offline=tuple(node for part in parts for node in part.offline),
        lost=tuple(node for part in parts for node in part.lost),
        begun=tuple(node for part in parts for node in part.begun),
        unexpected=tuple(result for part in parts for result in part.unexpected),
        unverified={node: why for part in parts for node, why in part.unverified.items()},
        unverified_more=sum(part.unverified_more for part in parts),
        **rest,
    )


def _not_as_asked(wrong: Iterable[Result], values: Mapping[str, object], asked: int) -> list[str]:
    """Return a text for each output that is not as it should be: ``not blocked on 2 of 27: web3, web9``."""
    texts = []
    for name, value in values.items():
        bad = [result for result in wrong if not result.has(**{name: value})]
        if not bad:
            continue
        where = f"on {len(bad)} of {asked}"
        if isinstance(value, bool) and all(isinstance(result.data.get(name), bool) for result in bad):
            texts.append(f"{'not ' if value else ''}{name} {where}: {listed(result.sender for result in bad)}")
        else:
            seen = (f"{r.sender} ({one_line(repr(r.data.get(name)))})" for r in sorted(bad, key=_by_sender))
            texts.append(f"{name} is not {value!r} {where}: {', '.join(seen)}")
    return texts


def _failures(failed: Sequence[Result]) -> str:
    """Return who failed, equal reasons together."""
    reasons: dict[str, list[str]] = {}
    for result in failed:
        reasons.setdefault(f"{result.status_text}: {one_line(result.message)}", []).append(result.sender)
    return "; ".join(f"{listed(nodes)}: {why}" for why, nodes in reasons.items())


def _by_sender(result: Result) -> list[tuple[int, int, str]]:
    return natural(result.sender)


def _same(seen: object, wanted: object) -> bool:
    # 1 == True in Python, but a count of 1 is no yes, in a list neither.
    if isinstance(seen, Mapping) and isinstance(wanted, Mapping):
        return seen.keys() == wanted.keys() and all(_same(seen[name], wanted[name]) for name in seen)
    if isinstance(seen, list | tuple) and isinstance(wanted, list | tuple):
        return len(seen) == len(wanted) and all(map(_same, seen, wanted))
    return isinstance(seen, bool) == isinstance(wanted, bool) and seen == wanted
