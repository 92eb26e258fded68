# SPDX-License-Identifier: Apache-2.0
"""Nodes from standard input, as ``mco find`` or another command before the pipe prints them.

Only who was told to reads it. That a pipe is there does not say that it is for us: the shell's ``while read node``
hands its own list to every command in the loop, and a CI runner or ssh the rest of its script. Whoever took it
unasked would swallow them, or wait for ever for an end that does not come.
"""

from __future__ import annotations

import sys
import threading
from typing import IO, Any

from mco_client.discovery.listed import SERVES, Listing, chosen, listing
from mco_client.discovery.source import MAX_BYTES, Known, decoded
from mco_rpc.errors import DiscoveryError
from mco_rpc.filters import Filter

WHERE = "standard input"


class Stdin:
    """The names that come through a pipe; they are read once, to the pipe's end, and kept.

    Args:
        stream: to be read instead of standard input.
    """

    name = WHERE
    serves = SERVES

    def __init__(self, stream: IO[bytes] | None = None) -> None:
        self._stream = stream
        self._names: tuple[str, ...] | None = None
        self._reading = threading.Lock()

    def known(self, node_filter: Filter, timeout_s: float) -> Known:
        """Return the nodes that came whose identity the filter asks for.

        It takes as long as the command before the pipe: its end is what ends the list.
        """
        with self._reading:
            if self._names is None:
                self._names = read(self._stream).names
        return chosen(self._names, node_filter, WHERE)


def read(stream: IO[bytes] | None = None) -> Listing:
    """Return what comes through a pipe, to its end: standard input's if no stream is given.

    Raises:
        DiscoveryError: nothing can come, or no node did.
        ConfigError: something in it is not the name of a node.
    """
    # What stands in for standard input in another program may have text only.
    source: Any = stream or getattr(sys.stdin, "buffer", None) or sys.stdin
    if source is None:
        raise DiscoveryError(f"{WHERE} is closed: pipe the names of nodes into the command, one a line")
    if source.isatty():
        raise DiscoveryError(
            f"{WHERE} is a terminal: pipe the names of nodes into the command, as in `mco find | mco ...`, "
            f"or choose another source than stdin"
        )
    try:
        raw = source.read(MAX_BYTES + 1)
    except OSError as e:
        raise DiscoveryError(f"{WHERE}: {e.strerror}") from e
    return listing(decoded(raw if isinstance(raw, bytes) else raw.encode(), WHERE), WHERE)
