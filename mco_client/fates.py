# SPDX-License-Identifier: Apache-2.0
"""What becomes of each node of a call: who is awaited, who said what, who is gone, and who is to be asked again.

It sends nothing and waits for nothing, and what it is told was verified before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mco_client.results import Result
from mco_client.text import listed
from mco_client.told import Started, Told
from mco_rpc.messages import Ack, Answer, Progress, Reply
from mco_rpc.status import Status

# What a node may tell before it answers one request; honest ones end at half of it and say so.
MAX_TOLD_BYTES = 8 * 1024 * 1024
# Answers that the same question may get rid of; whoever may not, or does not exist, is not asked again.
RETRIED = frozenset({Status.ABORTED, Status.UNKNOWN_ERROR, Status.TIMED_OUT, Status.EXPIRED})


class Fates:
    """The nodes of one call, over all its attempts.

    Args:
        targets: who is asked; nobody knows if None.
        attempts: how often at most.
        is_followed: whether what nodes say before they answer is wanted.

    Attributes:
        attempt_of: the ids of all requests that were sent, and the number of their attempt, from 1.
        waiting: the known nodes that may still answer the present attempt.
        answers: the last word of each node so far.
        held: those of them that are failures another attempt may get rid of.
        begun: who said that the action begins.
    """

    def __init__(self, targets: tuple[str, ...] | None, attempts: int, *, is_followed: bool) -> None:
        self._targets, self._known = targets, frozenset(targets or ())
        self._attempts, self._is_followed = attempts, is_followed
        self.attempt = 1
        self.attempt_of: dict[str, int] = {}
        self.waiting: dict[str, None] = {}
        self.answers: dict[str, Result] = {}
        self.held: dict[str, Result] = {}
        self.begun: dict[str, None] = {}
        self.unexpected: list[Result] = []
        self._said: dict[tuple[str, str], int] = {}
        self._told_bytes: Counter[tuple[str, str]] = Counter()
        self._offline: set[str] = set()
        self._lost: set[str] = set()
        self._may_have_it: set[str] = set()

    @property
    def offline(self) -> tuple[str, ...]:
        """Who did not get the request and has not answered, in order."""
        return tuple(sorted(node for node in self._offline if node not in self.answers))

    @property
    def lost(self) -> tuple[str, ...]:
        """Who went away after it was asked and has not answered, in order."""
        return tuple(sorted(node for node in self._lost if node not in self.answers))

    @property
    def to_ask_again(self) -> tuple[str, ...]:
        """Who failed so that another attempt may help, or has not answered."""
        return tuple(node for node in self._targets or () if node in self.held or node not in self.answers)

    def count_ok(self) -> int:
        """Return how many succeeded."""
        return sum(result.is_ok for result in self.answers.values())

    def begin(self, targets: tuple[str, ...] | None, request_ids: Iterable[str]) -> None:
        """Expect the answers to an attempt."""
        self.attempt_of |= dict.fromkeys(request_ids, self.attempt)
        self.waiting = dict.fromkeys(targets or ())

    def sent_again(self) -> None:
        """Note that the present attempt was sent, and an earlier one before it."""
        self._may_have_it.update(self.waiting.keys() - self._offline)
        self._offline.difference_update(self.waiting)
        self._lost.difference_update(self.waiting)

    def gone(self, node: str, *, is_asked: bool) -> None:
        """Note that a node is not there, be it that the present attempt reached it before."""
        if node in self.waiting:
            # Whom an earlier attempt may have reached went away after it was asked.
            (self._lost if is_asked or node in self._may_have_it else self._offline).add(node)
            del self.waiting[node]

    def heard(self, answer: Answer, took_s: float, size_bytes: int = 0) -> Result | Started | Told | None:
        """Take what a node said, in so many bytes; return it if it is news."""
        if isinstance(answer, Reply):
            return self._answered(answer, took_s)
        if not self._is_news(answer, size_bytes):
            return None
        if isinstance(answer, Ack):
            self.begun[answer.sender] = None
            return Started(answer.sender, took_s)
        return Told(answer.sender, answer.number, answer.stream, answer.text, answer.data, took_s)

    def _answered(self, reply: Reply, took_s: float) -> Result | None:
        """Keep an answer; return it if it is the node's last word."""
        node, attempt = reply.sender, self.attempt_of[reply.id]
        result = Result(
            node, reply.status, reply.message, reply.data, reply.ran_s, took_s, schema=reply.schema, attempt=attempt
        )
        if self._targets is not None and node not in self._known:
            self.unexpected.append(result)
            return None
        if node in self.answers and node not in self.held:
            return None
        is_of_now = attempt == self.attempt
        if result.status in RETRIED and not (is_of_now and attempt == self._attempts):
            if is_of_now or node not in self.held:  # else it was sent twice
                self.answers[node] = self.held[node] = result
            if is_of_now:
                self.waiting.pop(node, None)
            return None
        self.answers[node] = result
        self.waiting.pop(node, None)
        self.held.pop(node, None)
        return result

    def _is_news(self, said: Ack | Progress, size_bytes: int) -> bool:
        """Say whether we follow, the node was asked and has not answered, and this was not said before."""
        node = said.sender
        is_asked = self._targets is None or node in self._known
        if not self._is_followed or not is_asked or (node in self.answers and node not in self.held):
            return False
        number = said.number if isinstance(said, Progress) else 0
        self._told_bytes[node, said.id] += size_bytes
        if self._told_bytes[node, said.id] > MAX_TOLD_BYTES:
            return False
        last = self._said.get((node, said.id), -1)
        self._said[node, said.id] = max(last, number)
        return number > last

    def __str__(self) -> str:
        answered = len(self.answers)
        if self._targets is None:
            return f"{answered} had answered"
        fates = [f"{answered} of {len(self._targets)} had answered"]
        if self.waiting:
            fates.append(f"what became of it is unknown on {listed(self.waiting)}")
        if self.lost:
            fates.append(f"went away after they were asked: {listed(self.lost)}")
        if self.offline:
            fates.append(f"offline: {listed(self.offline)}")
        return "; ".join(fates)
