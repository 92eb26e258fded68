# SPDX-License-Identifier: Apache-2.0
"""Give up a queue without losing what is in it: nothing more is routed there, the rest is delivered, then it goes.

When the broker says for the second time that a queue is empty, everything that was in it has been delivered: of what it
has on the way while it is asked, the answer may come first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mco_rpc.connector import Endpoint

_LOOK_AGAIN_S = 0.01


class Emptying:
    """Looks at a queue of ours until all that was in it has been delivered.

    Args:
        channel: pika's.
        loop: pika's.
        done: is called at the end; never, if the channel is closed meanwhile.
    """

    def __init__(self, channel: Any, loop: Any, queue: str, done: Callable[[], None]) -> None:
        self._channel, self._loop, self._queue, self._done = channel, loop, queue, done
        self._times_empty = 0
        self._is_stopped = False

    def look(self) -> None:
        """Begin, or go on."""
        if self._channel.is_open and not self._is_stopped:
            self._channel.queue_declare(self._queue, passive=True, callback=self._on_counted)

    def stop(self) -> None:
        """Look no more."""
        self._is_stopped = True

    def _on_counted(self, frame: Any) -> None:
        if self._is_stopped:
            return
        self._times_empty = 0 if frame.method.message_count else self._times_empty + 1
        if not self._times_empty:
            self._loop.call_later(_LOOK_AGAIN_S, self.look)
        elif self._times_empty < 2:
            self.look()
        else:
            self._done()


class Leaving:
    """Leaves the queue of an endpoint, on the thread of pika's loop.

    After the cancellation pika drops what comes.

    Args:
        channel: pika's.
        loop: pika's.
        done: is called at the end; never, if the channel is closed meanwhile.
    """

    def __init__(
        self, channel: Any, loop: Any, endpoint: Endpoint, consumer_tag: str, done: Callable[[], None]
    ) -> None:
        self._channel, self._endpoint = channel, endpoint
        self._consumer_tag, self._done = consumer_tag, done
        self._bindings = dict.fromkeys(endpoint.bindings)
        self._left = len(self._bindings)
        self._emptying = Emptying(channel, loop, endpoint.queue, self._cancel)
        self.is_cancelled = False

    def begin(self) -> None:
        """Have nothing more routed into it, and go on from there."""
        for exchange, key in self._bindings:
            self._channel.queue_unbind(self._endpoint.queue, exchange, key, callback=self._on_unbound)

    def undo(self, done: Callable[[], None]) -> bool:
        """Stay, if that is possible; say whether it is. What is published after ``done`` comes here again."""
        if self.is_cancelled or not self._channel.is_open:
            return False
        self._emptying.stop()
        *others, last = self._bindings
        for exchange, key in others:
            self._channel.queue_bind(self._endpoint.queue, exchange, key)
        self._channel.queue_bind(self._endpoint.queue, *last, callback=lambda _: done())
        return True

    def _on_unbound(self, _: object) -> None:
        self._left -= 1
        if not self._left:
            self._emptying.look()

    def _cancel(self) -> None:
        self.is_cancelled = True
        self._channel.basic_cancel(self._consumer_tag, callback=lambda _: self._done())
