# SPDX-License-Identifier: Apache-2.0
"""What an action may know of the request it works for, and how the outside tells it to stop.

A thread cannot be killed: who cancels is obeyed where the action runs a command, tells something or looks.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from mco_rpc.errors import Cancelled

# Says something to the caller: the stream, the text, the data.
Tell = Callable[[str, str, Mapping[str, Any]], None]


class Cancellation:
    """A wish of the caller that its request ends, and who is woken by it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wake: list[Callable[[], None]] = []
        self._reason: str | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether somebody wished it."""
        return self._reason is not None

    def cancel(self, reason: str) -> None:
        """Wish it; only the first reason counts."""
        with self._lock:  # until all are woken: who is no longer waiting must not be called any more
            if self._reason is not None:
                return
            self._reason = reason
            for callback in self._wake:
                callback()

    def check(self) -> None:
        """Raise `Cancelled` if it was wished."""
        if self._reason is not None:
            raise Cancelled(self._reason)

    @contextlib.contextmanager
    def waking(self, callback: Callable[[], None]) -> Iterator[None]:
        """Have ``callback`` called when it is wished, from any thread, at once if it was before; it must be quick."""
        with self._lock:
            self._wake.append(callback)
            is_wanted = self._reason is not None
        if is_wanted:
            callback()
        try:
            yield
        finally:
            with self._lock:
                self._wake.remove(callback)


def _say_nothing(_stream: str, _text: str, _data: Mapping[str, Any]) -> None:
    """Stand for a caller who does not follow."""


@dataclass(frozen=True, slots=True)
class Current:
    """The request that this thread works for.

    Attributes:
        caller: who asked, vouched for by the signature.
        is_noop: whether nothing may be changed.
        is_followed: whether the caller wants to hear what the action tells.
        request_id: what names the request; empty outside of one.
    """

    caller: str = ""
    is_noop: bool = False
    is_followed: bool = False
    tell: Tell = _say_nothing
    cancellation: Cancellation = field(default_factory=Cancellation)
    request_id: str = ""
    collective: str = ""


# Outside of a request, in a test for instance, an action works for nobody.
_NOBODY = Current()
_current: ContextVar[Current] = ContextVar("current", default=_NOBODY)


def current() -> Current:
    """Return the request that this thread works for."""
    return _current.get()


@contextlib.contextmanager
def working_for(request: Current) -> Iterator[None]:
    """Let this thread work for a request."""
    token = _current.set(request)
    try:
        yield
    finally:
        _current.reset(token)
