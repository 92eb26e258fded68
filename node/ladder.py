# SPDX-License-Identifier: Apache-2.0
"""The rungs from a message to an action that may run; nothing here runs one, waits for anything, or answers.

Whatever fails is raised: what the caller is told as a `RequestError`, what nobody is told as another error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mco_rpc import names
from mco_rpc.agent import Agent
from mco_rpc.connector import Packet
from mco_rpc.errors import (
    ActionAborted,
    Denied,
    FilterError,
    InvalidData,
    MessageError,
    RequestError,
    SecurityError,
    UnknownAction,
)
from mco_rpc.filters import Subject
from mco_rpc.messages import Request, decode_request
from mco_rpc.replay import ReplayGuard
from mco_rpc.schema import ActionSchema, AgentSchema
from mco_rpc.security import Security
from mco_rpc.suggestion import did_you_mean

from .answers import SHOWN, said
from .authorization import Authorization


@dataclass(frozen=True, slots=True)
class Call:
    """An action to run, with all the rungs below it climbed."""

    agent: Agent
    schema: ActionSchema
    data: dict[str, Any]


class Ladder:
    """What a request has to pass on this node.

    Args:
        subject: what filters are asked about, now; with a deadline on `time.monotonic`'s clock, data sources too.
        agents: the agents of this node by name.
        schemas: their schemas.
        max_body_bytes: the largest message that is read.
    """

    def __init__(
        self,
        *,
        subject: Callable[[float | None], Subject],
        agents: Mapping[str, Agent],
        schemas: Mapping[str, AgentSchema],
        collectives: tuple[str, ...],
        security: Security,
        guard: ReplayGuard,
        authorization: Authorization,
        max_body_bytes: int,
    ) -> None:
        self._subject = subject
        self._agents, self._schemas = agents, schemas
        self._collectives = collectives
        self._security = security
        self._guard = guard
        self._authorization = authorization
        self._max_body_bytes = max_body_bytes

    def authentic(self, packet: Packet) -> Request:
        """Return the request in a message; raise `SecurityError` or `MessageError`, of which nobody is told."""
        if len(packet.body) > self._max_body_bytes:
            raise MessageError(f"{len(packet.body)} bytes; at most {self._max_body_bytes} are read")
        principal = self._security.verify(packet.body, packet.signer, packet.signature)
        request = decode_request(packet.body)
        if not names.is_name(request.id):
            raise MessageError(f"{request.id[:64]!r} cannot be the id of a request")
        if request.caller != principal:
            raise SecurityError(f"signed by {principal}, but claims to be from {request.caller!r}")
        return request

    def let_in(self, request: Request) -> float | None:
        """Return the seconds that are left to begin, None if it names others; raise what the caller is told."""
        left_s = self._guard.admit(request)
        if request.collective not in self._collectives:
            raise Denied(f"this node is not in collective {request.collective!r}")
        if request.reply_to is not None and not names.is_reply_key_of(request.caller, request.reply_to):
            raise Denied(f"{request.caller} may not have replies sent to {request.reply_to!r}")
        is_named = request.targets is None or self._security.principal in request.targets
        return left_s if is_named else None

    def admit(self, request: Request, until: float | None) -> Call | None:
        """Return the call to make, None if the request is for others; raise what the caller is told.

        Args:
            until: on `time.monotonic`'s clock, when data sources have to have answered; None without any.
        """
        asks_data = request.filter.needs_data
        # Who may not have the action run may not ask data sources: whether somebody answers would tell what they say.
        refused = self._refusal(request) if asks_data else None
        subject = self._subject(until)
        if refused is not None:
            subject = dataclasses.replace(subject, data=_untold)
        try:
            if not request.filter.check().matches(subject):
                return None
        except _Untold:
            pass
        except FilterError as e:
            raise InvalidData(f"filter: {e}") from e
        if refused is not None:
            raise refused
        agent, schema = self._declared(request)
        data = schema.check_inputs(request.agent, request.data)
        if request.noop and schema.mutating and not schema.noop:
            raise ActionAborted(f"noop: {request.agent}#{request.action} would run; it cannot say what it would change")
        if not asks_data:
            self._authorize(request)
        return Call(agent, schema, data)

    def _declared(self, request: Request) -> tuple[Agent, ActionSchema]:
        agent = self._agents.get(request.agent)
        if agent is None:
            raise UnknownAction(
                f"this node offers no agent {request.agent[:SHOWN]!r}{did_you_mean(request.agent, self._agents)}"
            )
        return agent, self._schemas[request.agent].action(request.action)

    def _authorize(self, request: Request) -> None:
        try:
            self._authorization.authorize(request)
        except BaseException as e:  # whatever it raises denies, an exit too
            where = f"{request.agent}#{request.action}"
            raise Denied(f"{request.caller} may not call {where} here: {said(e)}") from e

    def _refusal(self, request: Request) -> RequestError | None:
        """Return why the caller may not have the action run, whatever its inputs are."""
        try:
            self._declared(request)
            self._authorize(request)
        except RequestError as e:
            return e
        return None


class _Untold(FilterError):
    """A filter came to where a data source would decide, and its caller may not ask."""


def _untold(_source: str, _arguments: tuple[str, ...]) -> Mapping[str, Any]:
    raise _Untold
