# SPDX-License-Identifier: Apache-2.0
"""The ladder from a message to its reply; a request for this node leaves an audit record, and a reply if one is due.

The rungs, in order: size, signature over the raw bytes, decoding, clock skew and time to live, replay,
collective, filter, the action, its inputs, authorization, a bounded worker with a deadline, its outputs,
the audit, the reply. A request whose filter is for others is counted and leaves neither; one whose caller is not
authentic is recorded and not answered. A filter that asks data sources takes a while: it, and the rungs above it,
are climbed in the worker; and since only who may have the action run may ask them, it comes last.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mco_rpc.agent import deadline
from mco_rpc.connector import Packet
from mco_rpc.current import Cancellation, Current, current, working_for
from mco_rpc.errors import (
    Cancelled,
    Expired,
    MessageError,
    RequestError,
    SchemaError,
    SecurityError,
    TimedOut,
)
from mco_rpc.filters import Subject
from mco_rpc.messages import Request
from mco_rpc.replay import ReplayGuard
from mco_rpc.security import Security
from mco_rpc.status import Status

from .answers import Answers
from .authorization import Authorization
from .draining import Draining
from .ladder import Call, Climb, Ladder
from .offer import Offer
from .running import Running
from .shown import SHOWN, said
from .tally import Rung, Tally
from .telling import Teller
from .workers import Busy, Job, Workers

_log = logging.getLogger(__name__)


_DEFAULT_TIMEOUT_S = 10.0  # for an action that this node does not know, and whose filter is still to be decided


@dataclass(frozen=True, slots=True)
class _Taken:
    """A request that is for this node, as far as that is known without a worker.

    Attributes:
        left_s: seconds from its arrival in which it may be begun.
    """

    request: Request
    climb: Climb
    left_s: float
    cancellation: Cancellation
    teller: Teller

    @property
    def where(self) -> str:
        return f"{self.request.agent[:SHOWN]}#{self.request.action[:SHOWN]}"


class Dispatcher:
    """Takes messages on the connector's thread, answers from the workers' threads.

    Args:
        offer: what this node offers now.
        subject: what filters are asked about, now; with a deadline on `time.monotonic`'s clock, data sources too.
        max_body_bytes: the largest message that is read.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        offer: Callable[[], Offer],
        subject: Callable[[Offer, float | None], Subject],
        collectives: tuple[str, ...],
        security: Security,
        guard: ReplayGuard,
        authorization: Authorization,
        workers: Workers,
        answers: Answers,
        tally: Tally,
        draining: Draining,
        running: Running,
        max_body_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._offer = offer
        self._ladder = Ladder(
            subject=subject,
            collectives=collectives,
            security=security,
            guard=guard,
            authorization=authorization,
            draining=draining,
            max_body_bytes=max_body_bytes,
        )
        self._security = security
        self._workers = workers
        self._answers = answers
        self._clock = clock
        self._tally, self._running = tally, running

    def receive(self, packet: Packet) -> None:
        """Take one message up the ladder; never raise."""
        climb = Climb(self._offer(), time.monotonic())
        self._tally.receive()
        try:
            request = self._ladder.authentic(packet, climb)
        except (SecurityError, MessageError) as e:
            self._answers.reject(packet, climb.rung, e)
            return
        if _is_probe(request):
            self._tally.end(Rung.PROBE, "probed")
            return
        try:
            left_s = self._ladder.let_in(request, climb)
            if left_s is None:
                self._tally.end(Rung.FILTER, "filtered")
                return
            call = None if request.filter.needs_data else self._ladder.admit(request, climb, None)
        except RequestError as e:
            self._answers.give(request, climb, climb.rung, e.status, str(e), e.data)
        except SecurityError as e:
            self._answers.reject(packet, climb.rung, e)
        except Exception as e:
            _log.exception("request %s: the ladder failed", request.id)
            self._answers.give(
                request, climb, Rung.FAILED, Status.UNKNOWN_ERROR, f"the node failed: {type(e).__name__}: {said(e)}"
            )
        else:
            if call is None and not request.filter.needs_data:
                self._tally.end(Rung.FILTER, "filtered")
            else:
                self._hand_over(self._taken(request, climb, left_s), call)

    def cancel(self, request_id: str) -> str:
        """Cancel a request of the caller whom this thread works for; return what became of it."""
        return self._running.cancel(current().caller, request_id)

    def _taken(self, request: Request, climb: Climb, left_s: float) -> _Taken:
        teller = Teller(request, self._security.principal, self._clock, self._answers.tell)
        return _Taken(request, climb, left_s, self._running.add(request), teller)

    def _hand_over(self, taken: _Taken, call: Call | None) -> None:
        """Give a request to a worker, or answer it here if its action answers at once."""
        is_inline = call is not None and not taken.request.follow and call.agent.is_inline(call.schema.name)
        if call is not None and is_inline and not self._workers.is_stopping:
            self._work(taken, call, time.monotonic() + call.schema.timeout_s)()
            return
        timeout_s = call.schema.timeout_s if call else _timeout_s(taken.request, taken.climb.offer)
        try:
            self._workers.submit(
                Job(
                    start_by=taken.climb.arrived + taken.left_s,
                    timeout_s=timeout_s,
                    work=lambda until: self._work(taken, call, until),
                    on_timeout=lambda: self._answer(
                        taken, Rung.TIME_OUT, Status.TIMED_OUT, f"{taken.where} did not end within {timeout_s:g} s"
                    ),
                    on_late_start=lambda: self._answer(
                        taken,
                        Rung.LATE,
                        Expired.status,
                        f"{taken.where} waited {taken.left_s:.3g} s for a free worker and was not begun",
                    ),
                    on_stop=lambda is_begun: self._answer(
                        taken,
                        Rung.STOP,
                        Status.ABORTED,
                        f"this node stopped before {taken.where} ended; what it did is unknown"
                        if is_begun
                        else f"this node is stopping; {taken.where} was not begun",
                    ),
                )
            )
        except Busy as e:
            self._answer(taken, Rung.BUSY, Status.ABORTED, str(e))

    def _answer(
        self, taken: _Taken, rung: Rung, status: Status, message: str, data: Mapping[str, Any] | None = None
    ) -> None:
        """Give the one answer of a request."""
        taken.teller.end()
        self._running.remove(taken.request)
        self._answers.give(taken.request, taken.climb, rung, status, message, data)

    def _not_for_us(self, taken: _Taken) -> None:
        """Answer nothing, but leave a record: the caller had data sources asked."""
        self._running.remove(taken.request)
        self._answers.pass_over(taken.request, taken.climb)

    def _work(self, taken: _Taken, call: Call | None, until: float) -> Callable[[], None]:
        """Run the action and return the answer to give; the agent's every mistake is answered for."""
        request, climb = taken.request, taken.climb
        token = deadline.set(until)
        self._running.begin(request)
        _log.info("request %s: %s for %s", request.id, taken.where, request.caller)
        is_followed = request.follow and request.reply_to is not None
        at_work = Current(
            request.caller,
            request.noop,
            is_followed,
            taken.teller.tell,
            taken.cancellation,
            request.id,
            request.collective,
        )
        try:
            with working_for(at_work):
                climb.rung = Rung.CANCELLED
                taken.cancellation.check()
                call = call or self._ladder.admit(request, climb, until)
                if call is None:
                    return lambda: self._not_for_us(taken)
                taken.teller.begin()
                rung, status, message, data = _outcome(request, call)
        except RequestError as e:
            rung, status, message, data = climb.rung, Status(e.status), str(e), dict(e.data)
        except BaseException as e:
            rung = Rung.FAILED
            status, message, data = Status.UNKNOWN_ERROR, f"{taken.where} failed: {type(e).__name__}: {said(e)}", {}
            _log.exception("request %s: %s failed", request.id, taken.where)
        finally:
            deadline.reset(token)
        return lambda: self._answer(taken, rung, status, message, data)


def _is_probe(request: Request) -> bool:
    """Say whether it is a ping that nobody waits for: by it a caller learns from the broker whether we are there."""
    return request.agent == "discovery" and request.action == "ping" and request.reply_to is None


def _timeout_s(request: Request, offer: Offer) -> float:
    schema = offer.schemas.get(request.agent)
    declared = schema.actions.get(request.action) if schema else None
    return declared.timeout_s if declared else _DEFAULT_TIMEOUT_S


def _outcome(request: Request, call: Call) -> tuple[Rung, Status, str, dict[str, Any]]:
    """Run the action and return what to answer; raise what the agent should not have."""
    try:
        made = getattr(call.agent, call.schema.name)(**call.data)
        return Rung.OK, Status.OK, "", call.schema.check_outputs(request.agent, made)
    except Cancelled as e:
        where = f"{request.agent}#{call.schema.name}"
        return Rung.CANCELLED, Status.ABORTED, f"{where} was {e}; what it did until then is done", dict(e.data)
    except RequestError as e:
        rung = Rung.TIME_OUT if isinstance(e, TimedOut) else Rung.REFUSED
        return rung, Status(e.status), str(e), dict(e.data)
    except SchemaError as e:
        _log.error("request %s: %s", request.id, e)
        return Rung.OUTPUT, Status.UNKNOWN_ERROR, str(e), {}
