# SPDX-License-Identifier: Apache-2.0
"""Receive answers that were asked for elsewhere: with ``reply_to``, by another process of the same caller.

Who receives did not ask, so it knows no population: it can say who answered, and never who did not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

from mco_client.believing import MAX_UNVERIFIED, signer_of, verified
from mco_client.connection import LOST, REPLY, Connection
from mco_client.core import Inbox
from mco_client.results import Result
from mco_client.text import one_line
from mco_rpc import names
from mco_rpc.connector import Packet
from mco_rpc.errors import BrokerError, ConfigError, IdentityTaken, MessageError, SecurityError
from mco_rpc.messages import Reply


@dataclass(frozen=True, slots=True)
class Received:
    """One answer, and what it answers."""

    request_id: str
    agent: str
    action: str
    result: Result


class Receiver:
    """Takes what nodes send to ``reply_to=TOKEN`` of this caller, from when it is entered.

    Args:
        connection: of this caller; for nothing else.
        token: what is named in ``reply_to``; only one receiver at a time can have it.

    Attributes:
        unverified: the first answers that were not believed, and why.
        unverified_more: how many more there were.
    """

    def __init__(self, connection: Connection, token: str) -> None:
        self._connection = connection
        self._inbox = Inbox()
        self._token = check_token(token)
        connection.answer_to(token, self._inbox)
        self.unverified: list[str] = []
        self.unverified_more = 0

    def __enter__(self) -> Receiver:
        try:
            self._connection.open()
        except IdentityTaken as e:
            raise IdentityTaken(
                f"reply_to: somebody else receives what is sent to {self._token!r} of this caller, or did until a "
                "moment ago; take another token, or try again later"
            ) from e
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def receive(self, timeout_s: float) -> Iterator[Received]:
        """Yield what comes, until nothing has for ``timeout_s``.

        Raises:
            BrokerError: the connection was lost; what was sent meanwhile may be, too.
        """
        while True:
            arrival = self._inbox.get(timeout_s)
            if arrival is None:
                return
            kind, _, what = arrival
            if kind == LOST or isinstance(what, BrokerError):
                raise what if isinstance(what, BrokerError) else BrokerError("the connection was lost")
            if kind == REPLY and (received := self._believed(what)) is not None:
                yield received

    def _believed(self, packet: Packet) -> Received | None:
        try:
            reply = verified(packet, self._connection.security)
        except (SecurityError, MessageError) as e:
            if len(self.unverified) < MAX_UNVERIFIED:
                self.unverified.append(one_line(f"{signer_of(packet)}: {e}"))
            else:
                self.unverified_more += 1
            return None
        if not isinstance(reply, Reply):
            return None
        took_s = max(0.0, time.time() - reply.sent_at)
        result = Result(reply.sender, reply.status, reply.message, reply.data, reply.ran_s, took_s, reply.schema)
        return Received(reply.id, reply.agent, reply.action, result)


def check_token(token: str) -> str:
    """Return a token that answers can be addressed with.

    Raises:
        ConfigError: it is none.
    """
    if not token or "." in token or not names.is_name(token):
        raise ConfigError(f"reply_to: {token!r} cannot be used: letters, digits and _ @ : + - are allowed, and no dot")
    return token
