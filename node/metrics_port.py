# SPDX-License-Identifier: Apache-2.0
"""A port from which metrics are fetched: a few connections at a time, none for long, whoever holds them open.

It knows nothing of what is served; and it does not ask the name service for its own name, which may hang.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import socket
import socketserver
import threading
from collections.abc import Callable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

_log = logging.getLogger(__name__)
MAX_CONNECTIONS = 8
SILENT_S = 5.0


class _Handler(WSGIRequestHandler):
    """Serves one request, and logs nothing."""

    timeout = SILENT_S

    def log_message(self, *_: Any) -> None:
        """Leave the log to the node."""


class MetricsServer(socketserver.ThreadingMixIn, WSGIServer):
    """Serves an application from its own thread; of too many connections the oldest is cut off."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: str, port: int, application: Callable[..., Any]) -> None:
        if ":" in address:
            self.address_family = socket.AF_INET6
        self._open: collections.deque[socket.socket] = collections.deque()
        self._lock = threading.Lock()
        super().__init__((address, port), _Handler)
        self.set_app(application)
        self._thread = threading.Thread(target=self.serve_forever, name="metrics port", daemon=True)

    def server_bind(self) -> None:
        """Listen."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Serve no more, and cut off who is still connected."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self._lock:
            for connection in self._open:
                _cut(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own."""
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS:
                _cut(self._open.popleft())
            self._open.append(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection."""
        with self._lock, contextlib.suppress(ValueError):
            self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note that somebody was silent, or left early."""
        _log.debug("a request for metrics could not be answered", exc_info=True)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
