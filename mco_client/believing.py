# SPDX-License-Identifier: Apache-2.0
"""Which answers are believed: those that a trusted node signed, about what it was asked."""

from __future__ import annotations

from collections.abc import Collection

from mco_client.text import one_line
from mco_rpc.connector import Packet
from mco_rpc.errors import MessageError, SecurityError
from mco_rpc.messages import Answer, decode_answer
from mco_rpc.security import Security

MAX_REPLY_BYTES = 16 * 1024 * 1024
# Of those whose answers are not believed, so many are named; their names are theirs to choose.
MAX_UNVERIFIED = 100
MAX_SIGNER_LENGTH = 128


def verified(packet: Packet, security: Security) -> Answer:
    """Return what a node that we trust said.

    Raises:
        SecurityError: somebody else said it.
        MessageError: it is no answer.
    """
    if len(packet.body) > MAX_REPLY_BYTES:
        raise MessageError(f"a reply of {len(packet.body)} bytes; at most {MAX_REPLY_BYTES} are read")
    principal = security.verify(packet.body, packet.signer, packet.signature)
    answer = decode_answer(packet.body)
    if answer.sender != principal:
        raise SecurityError(f"signed by {principal}, but claims to be from {answer.sender!r}")
    return answer


def signer_of(packet: Packet) -> str:
    """Return who claims to have signed a packet; a name of his choice."""
    return packet.signer[:MAX_SIGNER_LENGTH] or "unknown"


class Belief:
    """Believes the answers to one question, and knows whose were not.

    Args:
        asked: the collective, the agent and the action of the question.
    """

    def __init__(self, security: Security, asked: tuple[str, str, str]) -> None:
        self._security, self._asked = security, asked
        self.unverified: dict[str, str] = {}
        self.unverified_more = 0

    def believed(self, packet: Packet, request_ids: Collection[str]) -> Answer | None:
        """Return an answer to one of some requests, None if it cannot be believed."""
        try:
            return self._checked(verified(packet, self._security), request_ids)
        except (SecurityError, MessageError) as e:
            name = signer_of(packet)
            if name in self.unverified or len(self.unverified) < MAX_UNVERIFIED:
                self.unverified[name] = one_line(str(e))
            else:
                self.unverified_more += 1
            return None

    def _checked(self, answer: Answer, request_ids: Collection[str]) -> Answer:
        if answer.id not in request_ids:
            raise SecurityError("a reply to another request")
        collective, agent, action = self._asked
        if (answer.collective, answer.agent, answer.action) != self._asked:
            told = one_line(f"{answer.agent}#{answer.action} in {answer.collective}")
            raise SecurityError(f"a reply of {told} to {agent}#{action} in {collective}")
        return answer
