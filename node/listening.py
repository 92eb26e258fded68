# SPDX-License-Identifier: Apache-2.0
"""The seam for who wants to hear what other nodes say unasked; a registry does."""

from __future__ import annotations

from typing import Protocol

from mco_rpc.connector import Packet


class EventListener(Protocol):
    """Who is told what other nodes say; its methods are called on the connector's thread and must not block."""

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that are listened to."""

    def on_event(self, packet: Packet) -> None:
        """Take an event, of whom nobody has looked at the signature yet."""

    def on_listening(self, *, is_listening: bool) -> None:
        """Learn that events come in from now on, or do not."""
