# SPDX-License-Identifier: Apache-2.0
"""A connection to RabbitMQ whose queue another process can have, without a message being lost on the way."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from mco_rpc.config import BrokerSettings
from mco_rpc.connector import Endpoint
from mco_rpc.connector.leaving import Emptying, Leaving
from mco_rpc.connector.rabbitmq import RabbitmqConnector


class MovableConnector(RabbitmqConnector):
    """Gives up its queue, takes it back, or takes another one, on the connection that it has."""

    def __init__(self, settings: BrokerSettings) -> None:
        super().__init__(settings)
        self._leaving: Leaving | None = None
        self._is_released = False

    def release(self, done: Callable[[], None]) -> None:
        """Give up our queue and keep the connection for what is still to be sent, from any thread; return at once.

        Args:
            done: is called on the connector's thread, when everything that was in the queue has been handed over.
        """
        self._call(functools.partial(self._release, done))

    def reclaim(self, done: Callable[[], None]) -> None:
        """Take the queue again that was given up, from any thread.

        Args:
            done: is called on the connector's thread, when it is ours; if the connection is lost instead, the listener
                learns of the next one.
        """
        self._call(functools.partial(self._reclaim, done))

    def move(self, endpoint: Endpoint, done: Callable[[], None]) -> None:
        """Take another queue before giving up ours, from any thread; what is routed into both comes twice.

        Args:
            done: is called on the connector's thread, when nothing is left of the old one; if the connection is lost
                instead, the listener learns of the next one.
        """
        self._call(functools.partial(self._move, endpoint, done))

    def when_empty(self, done: Callable[[], None]) -> None:
        """Call ``done`` on the connector's thread, when everything that is in our queue now has been handed over.

        It is not called if the connection is lost meanwhile.
        """
        self._call(functools.partial(self._when_empty, done))

    # What follows runs on the connector's thread.

    def _release(self, done: Callable[[], None]) -> None:
        self._is_released = True
        if self._channel is not None and self._channel.is_open:
            self._leaving = Leaving(self._channel, self._loop, self._endpoint, self._consumer_tag, done)
            self._leaving.begin()

    def _reclaim(self, done: Callable[[], None]) -> None:
        self._is_released = False
        leaving, self._leaving = self._leaving, None
        channel = self._channel
        if channel is None or not channel.is_open:
            return  # the next connection begins with it
        if leaving is None or not leaving.undo(done):
            self._take_queue(channel, lambda _: done())

    def _move(self, endpoint: Endpoint, done: Callable[[], None]) -> None:
        before, tag = self._endpoint, self._consumer_tag
        self._endpoint = endpoint
        channel = self._channel
        if channel is not None and channel.is_open:
            leaving = Leaving(channel, self._loop, before, tag, done)
            self._take_queue(channel, lambda _: leaving.begin())

    def _when_empty(self, done: Callable[[], None]) -> None:
        if self._channel is not None and self._channel.is_open:
            Emptying(self._channel, self._loop, self._endpoint.queue, done).look()

    def _take_queue(self, channel: Any, callback: Callable[[object], None]) -> None:
        if self._is_released:
            self._is_connected = True
        else:
            super()._take_queue(channel, callback)
