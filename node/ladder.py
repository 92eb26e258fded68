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
    ClockSkew,
    Denied,
    Expired,
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
from mco_rpc.schema import ActionSchema
from mco_rpc.security import Security
from mco_rpc.suggestion import did_you_mean

from .authorization import Authorization
from .draining import Draining
from .offer import Offer
from .shown import SHOWN, said
from .tally import Rung


@dataclass(frozen=True, slots=True)
class Call:
    """An action to run, with all the rungs below it climbed."""

    agent: Agent
    schema: ActionSchema
    data: dict[str, Any]


@dataclass(slots=True)
class Climb:
    """How far one message has come, and what it can be given.

    Attributes:
        arrived: on `time.monotonic`'s clock.
        rung: where it ends if it comes no further.
    """

    offer: Offer
    arrived: float
    rung: Rung = Rung.SIZE


class Ladder:
    """What a request has to pass on this node.

    Args:
        subject: what filters are asked about, now; with a deadline on `time.monotonic`'s clock, data sources too.
        max_body_bytes: the largest message that is read.
    """

    def __init__(
        self,
        *,
        subject: Callable[[Offer, float | None], Subject],
        collectives: tuple[str, ...],
        security: Security,
        guard: ReplayGuard,
        authorization: Authorization,
        draining: Draining,
        max_body_bytes: int,
    ) -> None:
        self._subject = subject
        self._draining = draining
        self._collectives = collectives
        self._security = security
        self._guard = guard
        self._authorization = authorization
        self._max_body_bytes = max_body_bytes

    def authentic(self, packet: Packet, climb: Climb) -> Request:
        """Return the request in a message; raise `SecurityError` or `MessageError`, of which nobody is told."""
        if len(packet.body) > self._max_body_bytes:
            raise MessageError(f"{len(packet.body)} bytes; at most {self._max_body_bytes} are read")
        climb.rung = Rung.SIGNATURE
        principal = self._security.verify(packet.body, packet.signer, packet.signature)
        climb.rung = Rung.DECODING
        request = decode_request(packet.body)
        if not names.is_name(request.id):
            raise MessageError(f"{request.id[:64]!r} cannot be the id of a request")
        climb.rung = Rung.SIGNATURE
        if request.caller != principal:
            raise SecurityError(f"signed by {principal}, but claims to be from {request.caller!r}")
        return request

    def let_in(self, request: Request, climb: Climb) -> float | None:
        """Return the seconds that are left to begin, None if it names others; raise what the caller is told."""
        try:
            left_s = self._guard.admit(request)
        except Expired as e:
            climb.rung = Rung.SKEW if isinstance(e, ClockSkew) else Rung.TIME
            raise
        except SecurityError:
            climb.rung = Rung.REPLAY
            raise
        climb.rung = Rung.COLLECTIVE
        if request.collective not in self._collectives:
            raise Denied(f"this node is not in collective {request.collective!r}")
        climb.rung = Rung.REPLY_KEY
        if request.reply_to is not None and not names.is_reply_key_of(request.caller, request.reply_to):
            raise Denied(f"{request.caller} may not have replies sent to {request.reply_to!r}")
        climb.rung = Rung.FILTER
        is_named = request.targets is None or self._security.principal in request.targets
        return left_s if is_named else None

    def admit(self, request: Request, climb: Climb, until: float | None) -> Call | None:
        """Return the call to make, None if the request is for others; raise what the caller is told.

        Args:
            until: on `time.monotonic`'s clock, when data sources have to have answered; None without any.
        """
        climb.rung = Rung.FILTER
        asks_data = request.filter.needs_data
        # Who may not have the action run may not ask data sources: whether somebody answers would tell what they say.
        refused = self._refusal(request, climb) if asks_data else None
        subject = self._subject(climb.offer, until)
        if refused is not None:
            subject = dataclasses.replace(subject, data=_untold)
        try:
            if not request.filter.check().matches(subject):
                return None
        except _Untold:
            pass
        except FilterError as e:
            climb.rung = Rung.BAD_FILTER
            raise InvalidData(f"filter: {e}") from e
        if refused is not None:
            climb.rung = Rung.ACTION if isinstance(refused, UnknownAction) else Rung.AUTHORIZATION
            raise refused
        climb.rung = Rung.ACTION
        agent, schema = self._declared(request, climb)
        climb.rung = Rung.INPUT
        data = schema.check_inputs(request.agent, request.data)
        climb.rung = Rung.NOOP
        if request.noop and schema.mutating and not schema.noop:
            raise ActionAborted(f"noop: {request.agent}#{request.action} would run; it cannot say what it would change")
        if not asks_data:
            climb.rung = Rung.AUTHORIZATION
            self._authorize(request)
        climb.rung = Rung.DRAIN
        self._draining.check(request.agent)
        return Call(agent, schema, data)

    def _declared(self, request: Request, climb: Climb) -> tuple[Agent, ActionSchema]:
        agent = climb.offer.agents.get(request.agent)
        if agent is None:
            raise UnknownAction(
                f"this node offers no agent {request.agent[:SHOWN]!r}{did_you_mean(request.agent, climb.offer.agents)}"
            )
        return agent, climb.offer.schemas[request.agent].action(request.action)

    def _authorize(self, request: Request) -> None:
        try:
            self._authorization.authorize(request)
        except BaseException as e:  # whatever it raises denies, an exit too
            where = f"{request.agent}#{request.action}"
            raise Denied(f"{request.caller} may not call {where} here: {said(e)}") from e

    def _refusal(self, request: Request, climb: Climb) -> RequestError | None:
        """Return why the caller may not have the action run, whatever its inputs are."""
        try:
            self._declared(request, climb)
            self._authorize(request)
        except RequestError as e:
            return e
        return None


class _Untold(FilterError):
    """A filter came to where a data source would decide, and its caller may not ask."""


def _untold(_source: str, _arguments: tuple[str, ...]) -> Mapping[str, Any]:
    raise _Untold
