# SPDX-License-Identifier: Apache-2.0
"""The ladder from a message to its reply; a request for this node leaves an audit record, and a reply if one is due.

The rungs, in order: size, signature over the raw bytes, decoding, clock skew and time to live, replay,
collective, filter, the action, its inputs, authorization, a bounded worker with a deadline, its outputs,
the audit, the reply. A request whose filter is for others is counted and leaves neither; one whose caller is not
authentic is recorded and not answered.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mco_rpc import names
from mco_rpc.agent import Agent, deadline
from mco_rpc.connector import Packet
from mco_rpc.errors import (
    ActionAborted,
    Denied,
    Expired,
    FilterError,
    InvalidData,
    MessageError,
    RequestError,
    SchemaError,
    SecurityError,
    UnknownAction,
)
from mco_rpc.filters import Subject
from mco_rpc.messages import Request, decode_request
from mco_rpc.replay import ReplayGuard
from mco_rpc.schema import ActionSchema
from mco_rpc.security import Security
from mco_rpc.status import Status
from mco_rpc.suggestion import did_you_mean

from .answers import SHOWN, Answers
from .authorization import Authorization
from .workers import Busy, Job, Workers

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Call:
    """A request that passed the ladder so far."""

    request: Request
    agent: Agent
    schema: ActionSchema
    data: dict[str, Any]
    arrived: float
    left_s: float


class Dispatcher:
    """Takes messages on the connector's thread, answers from the workers' threads.

    Args:
        subject: what filters are asked about, now.
        agents: the agents of this node by name.
        max_body_bytes: the largest message that is read.
    """

    def __init__(
        self,
        *,
        subject: Callable[[], Subject],
        agents: Mapping[str, Agent],
        collectives: tuple[str, ...],
        security: Security,
        guard: ReplayGuard,
        authorization: Authorization,
        workers: Workers,
        answers: Answers,
        max_body_bytes: int,
    ) -> None:
        self._subject = subject
        self._agents = agents
        self._schemas = {name: agent.schema() for name, agent in agents.items()}
        self._collectives = collectives
        self._security = security
        self._guard = guard
        self._authorization = authorization
        self._workers = workers
        self._answers = answers
        self._max_body_bytes = max_body_bytes

    def receive(self, packet: Packet) -> None:
        """Take one message up the ladder; never raise."""
        arrived = time.monotonic()
        self._answers.count("received")
        try:
            request = self._authentic(packet)
        except (SecurityError, MessageError) as e:
            self._answers.reject(packet, e)
            return
        try:
            call = self._admit(request, arrived)
        except RequestError as e:
            self._answers.give(request, arrived, e.status, str(e), e.data)
        except SecurityError as e:
            self._answers.reject(packet, e)
        except Exception as e:
            _log.exception("request %s: the ladder failed", request.id)
            self._answers.give(
                request, arrived, Status.UNKNOWN_ERROR, f"the node failed: {type(e).__name__}: {_said(e)}"
            )
        else:
            if call is None:
                self._answers.count("filtered")
            else:
                self._hand_over(call)

    def _authentic(self, packet: Packet) -> Request:
        if len(packet.body) > self._max_body_bytes:
            raise MessageError(f"{len(packet.body)} bytes; at most {self._max_body_bytes} are read")
        principal = self._security.verify(packet.body, packet.signer, packet.signature)
        request = decode_request(packet.body)
        if not names.is_name(request.id):
            raise MessageError(f"{request.id[:64]!r} cannot be the id of a request")
        if request.caller != principal:
            raise SecurityError(f"signed by {principal}, but claims to be from {request.caller!r}")
        return request

    def _admit(self, request: Request, arrived: float) -> _Call | None:
        """Return the call to make, None if the request is for others; raise what the caller is told."""
        left_s = self._guard.admit(request)
        if request.collective not in self._collectives:
            raise Denied(f"this node is not in collective {request.collective!r}")
        if request.reply_to is not None and not names.is_reply_key_of(request.caller, request.reply_to):
            raise Denied(f"{request.caller} may not have replies sent to {request.reply_to!r}")
        if not self._is_for_us(request):
            return None
        agent = self._agents.get(request.agent)
        if agent is None:
            raise UnknownAction(
                f"this node offers no agent {request.agent[:SHOWN]!r}{did_you_mean(request.agent, self._agents)}"
            )
        schema = self._schemas[request.agent].action(request.action)
        data = schema.check_inputs(request.agent, request.data)
        if request.noop and schema.mutating:
            raise ActionAborted(f"noop: {request.agent}#{request.action} would run; it cannot say what it would change")
        try:
            self._authorization.authorize(request)
        except BaseException as e:  # whatever it raises denies, an exit too
            where = f"{request.agent}#{request.action}"
            raise Denied(f"{request.caller} may not call {where} here: {_said(e)}") from e
        return _Call(request, agent, schema, data, arrived, left_s)

    def _is_for_us(self, request: Request) -> bool:
        subject = self._subject()
        if request.targets is not None and subject.identity not in request.targets:
            return False
        try:
            return request.filter.check().matches(subject)
        except FilterError as e:
            raise InvalidData(f"filter: {e}") from e

    def _hand_over(self, call: _Call) -> None:
        request, schema = call.request, call.schema
        where = f"{request.agent}#{request.action}"
        try:
            self._workers.submit(
                Job(
                    start_by=call.arrived + call.left_s,
                    timeout_s=schema.timeout_s,
                    work=lambda until: self._work(call, until),
                    on_timeout=lambda: self._answers.give(
                        request,
                        call.arrived,
                        Status.TIMED_OUT,
                        f"{where} did not end within {schema.timeout_s:g} s",
                    ),
                    on_late_start=lambda: self._answers.give(
                        request,
                        call.arrived,
                        Expired.status,
                        f"{where} waited {call.left_s:.3g} s for a free worker and was not begun",
                    ),
                    on_stop=lambda is_begun: self._answers.give(
                        request,
                        call.arrived,
                        Status.ABORTED,
                        f"this node stopped before {where} ended; what it did is unknown"
                        if is_begun
                        else f"this node is stopping; {where} was not begun",
                    ),
                )
            )
        except Busy as e:
            self._answers.give(request, call.arrived, Status.ABORTED, str(e))

    def _work(self, call: _Call, until: float) -> Callable[[], None]:
        """Run the action and return the answer to give; the agent's every mistake is answered for."""
        request, where = call.request, f"{call.request.agent}#{call.request.action}"
        deadline.set(until)
        _log.info("request %s: %s for %s", request.id, where, request.caller)
        try:
            status, message, data = _outcome(call)
        except BaseException as e:
            status, message, data = Status.UNKNOWN_ERROR, f"{where} failed: {type(e).__name__}: {_said(e)}", {}
            _log.exception("request %s: %s failed", request.id, where)
        return lambda: self._answers.give(request, call.arrived, status, message, data)


def _outcome(call: _Call) -> tuple[Status, str, dict[str, Any]]:
    """Run the action and return what to answer; raise what the agent should not have."""
    agent = call.request.agent
    try:
        made = getattr(call.agent, call.schema.name)(**call.data)
        return Status.OK, "", call.schema.check_outputs(agent, made)
    except RequestError as e:
        return Status(e.status), str(e), dict(e.data)
    except SchemaError as e:
        _log.error("request %s: %s", call.request.id, e)
        return Status.UNKNOWN_ERROR, str(e), {}


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "it cannot even say why"
