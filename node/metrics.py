# SPDX-License-Identifier: Apache-2.0
"""A node's counters as Prometheus reads them: a file for node_exporter's textfile collector, or a port to fetch from.

It only looks at `Node.stats`, and nothing of it is imported unless a setting asks for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mco_host.replacing import replace
from mco_rpc.config import NodeSettings
from mco_rpc.errors import ConfigError

from .metrics_port import MetricsServer

try:
    from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
except ModuleNotFoundError as e:
    raise ConfigError("metrics_textfile, metrics_port: install mco-behave[metrics], they need prometheus-client") from e

_log = logging.getLogger(__name__)
# For a disk that hangs.
_WRITE_TIMEOUT_S = 1.0
# node_exporter is another user, and what is in the file is no secret.
_MODE = 0o644


class NodeMetrics:
    """Tells what a node's statistics say, at the moment it is asked."""

    def __init__(self, stats: Callable[[], Mapping[str, Any]]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; Prometheus' library calls this."""
        stats = self._stats()
        workers, process, connection = stats["workers"], stats["process"], stats["connection"]
        last, received = stats["last_reload"], stats["counters"].get("received", 0)
        yield InfoMetricFamily("mco_node", "Version of the daemon", value={"version": stats["version"]})
        yield _gauge("start_time_seconds", "When the daemon started", stats["started_at"])
        yield _gauge("connected", "Whether it is connected to a broker", connection["is_connected"])
        yield _gauge("drained", "Whether it takes no work", stats["drained"] is not None)
        yield _gauge("in_progress", "Messages that wait or run", stats["in_progress"])
        yield _gauge("workers", "Actions that can run at the same time", workers["count"])
        yield _gauge("workers_running", "Actions that run", workers["running"])
        yield _gauge("requests_waiting", "Requests that wait for a worker", workers["waiting"])
        yield _gauge("actions_hanging", "Actions that run past their deadline", workers["hanging"])
        yield _gauge("agents_inactive", "Agents that it does not offer", len(stats["inactive_agents"]))
        yield _gauge("last_reload_problems", "What did not load", len(last["problems"]) if last else 0)
        yield _gauge("threads", "Threads of the process", stats["threads"])
        yield _counter("reconnects", "How often the connection was made again", connection["reconnects"])
        yield _counter("rivals", "Claims of other daemons to its identity", stats["rivals"]["count"])
        yield _counter("received", "Messages received", received)
        yield _counter("audit_failures", "Audit records that could not be kept", stats["audit_failures"])
        yield _counters("messages", "Messages by the rung of the ladder where they ended", "rung", stats["rungs"])
        yield _counters("sent", "Messages sent in answer", "kind", stats["sent"])
        for name, about, value in (
            ("resident_memory_bytes", "Memory", process["rss_bytes"]),
            ("open_files", "Open files", process["open_files"]),
        ):
            if value is not None:
                yield _gauge(name, f"{about} of the process", value)
        yield _counter("cpu_seconds", "CPU time of the process", process["cpu_s"])
        yield from _actions(stats["actions"])


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"mco_node_{name}", about, value=float(value))


def _counter(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(f"mco_node_{name}", about, value=float(value))


def _counters(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"mco_node_{name}", about, labels=[label])
    for text, value in values.items():
        family.add_metric([text], value)
    return family


def _actions(actions: Mapping[str, Mapping[str, float]]) -> Iterator[Metric]:
    for key, name, about in (
        ("calls", "action_calls", "Calls of actions"),
        ("failed", "action_failures", "Calls of actions that did not succeed"),
        ("seconds", "action_seconds", "Seconds that calls of actions took together"),
    ):
        family = CounterMetricFamily(f"mco_node_{name}", about, labels=["agent", "action"])
        for where, used in actions.items():
            agent, _, action = where.partition("#")
            family.add_metric([agent, action], used[key])
        yield family


class Exporter:
    """Writes the file and serves the port, as the settings say, until it is stopped."""

    def __init__(self, settings: NodeSettings, stats: Callable[[], Mapping[str, Any]]) -> None:
        self._settings = settings
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(NodeMetrics(stats))
        self._is_over = threading.Event()
        self._server: MetricsServer | None = None
        self._thread: threading.Thread | None = None
        self._is_failing = False

    def start(self) -> None:
        """Begin.

        Raises:
            ConfigError: the port cannot be listened on.
        """
        self._is_over.clear()
        port, address = self._settings.metrics_port, self._settings.metrics_address
        if port:
            try:
                self._server = MetricsServer(address, port, make_wsgi_app(self._registry))
            except OSError as e:
                raise ConfigError(f"metrics_port: {address}:{port} cannot be listened on: {e.strerror or e}") from e
            self._server.start()
        if self._settings.metrics_textfile:
            self._thread = threading.Thread(target=self._write_on, name="metrics", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End; a file that stays would say for ever what was true once."""
        self._is_over.set()
        if self._server is not None:
            self._server.stop()
            self._server = None
        if self._thread is not None:
            self._thread.join(_WRITE_TIMEOUT_S)
            self._thread = None
            with contextlib.suppress(OSError):
                Path(self._settings.metrics_textfile).unlink(missing_ok=True)

    def write(self) -> None:
        """Replace the file as a whole; what keeps it from being written is logged once."""
        try:
            self._replace_file(generate_latest(self._registry))
        except Exception as e:
            if not self._is_failing:
                _log.error("metrics_textfile: %s cannot be written: %s", self._settings.metrics_textfile, e)
            self._is_failing = True
        else:
            self._is_failing = False

    def _replace_file(self, content: bytes) -> None:
        file = Path(self._settings.metrics_textfile)
        folder_fd = os.open(file.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            replace(folder_fd, file.name, content, mode=_MODE, is_lasting=False)
        finally:
            os.close(folder_fd)

    def _write_on(self) -> None:
        while True:
            self.write()
            if self._is_over.wait(self._settings.metrics_interval_s):
                return
