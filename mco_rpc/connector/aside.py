# SPDX-License-Identifier: Apache-2.0
"""What is done on a channel of its own: a refusal closes that one, and whatever else goes on on the connection does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mco_rpc.connector import Endpoint
from mco_rpc.connector.amqp import ACCESS_REFUSED

_log = logging.getLogger(__name__)


def bind_if_allowed(connection: Any, endpoint: Endpoint) -> None:
    """Route into the queue what the party can do without, as far as the broker lets it.

    Args:
        connection: pika's, on the thread of its loop.
    """
    if endpoint.welcome:

        def bind(channel: Any) -> None:
            channel.add_on_close_callback(_say_why)
            *others, last = endpoint.welcome
            for exchange, key in others:
                channel.queue_bind(endpoint.queue, exchange, key)
            channel.queue_bind(endpoint.queue, *last, callback=lambda _: channel.close())

        connection.channel(on_open_callback=bind)


def say_last(connection: Any, say: Callable[[Any], None]) -> None:
    """Have something said on a new channel, then close the connection, whatever became of it.

    Args:
        connection: pika's, on the thread of its loop.
        say: publishes on the channel that it gets.
    """

    def speak(channel: Any) -> None:
        channel.add_on_close_callback(leave)
        try:
            say(channel)
        finally:
            channel.close()

    def leave(*_: object) -> None:
        if connection.is_open:
            connection.close()

    connection.channel(on_open_callback=speak)


def _say_why(_: object, error: Exception) -> None:
    if getattr(error, "reply_code", 0) == ACCESS_REFUSED:
        _log.info(
            "the broker does not let us hear of other daemons with our identity: %s", getattr(error, "reply_text", "")
        )
