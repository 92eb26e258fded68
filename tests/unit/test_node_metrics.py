# SPDX-License-Identifier: Apache-2.0
"""What Prometheus reads: parsed back by its own library, written as a whole, and off unless it is asked for."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mco_node.daemon import Node
from mco_node.metrics import Exporter
from mco_node.metrics_port import MAX_CONNECTIONS
from mco_node.tally import Rung
from mco_rpc.config import NodeSettings
from mco_rpc.connector.memory import MemoryBroker
from mco_rpc.errors import ConfigError
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import for_node

WAIT_S = 20.0
STATS: dict[str, Any] = {
    "version": '1.0 "x"\n',
    "started_at": 1_800_000_000.0,
    "threads": 5,
    "inactive_agents": {"shell": "off"},
    "counters": {"received": 7, "ok": 6},
    "in_progress": 1,
    "rungs": {rung.value: number for number, rung in enumerate(Rung)},
    "sent": {"replies": 6},
    "actions": {"rpcutil#ping": {"calls": 3, "failed": 1, "seconds": 0.25}},
    "audit_failures": 2,
    "workers": {"count": 8, "running": 1, "waiting": 2, "hanging": 3, "queue_limit": 1000},
    "connection": {"is_connected": True, "since": 1_800_000_000.0, "reconnects": 4},
    "process": {"rss_bytes": 1024, "cpu_s": 0.5, "open_files": None},
    "rivals": {"count": 8, "last": "pid 1 on host x"},
    "drained": {"since": 1.0, "by": "key=alice", "reason": ""},
    "last_reload": {"problems": ["x"]},
}


def parsed(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Return sample name -> values of its labels, by their names' order -> number."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            assert labels not in found.get(sample.name, {})
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_every_number_is_there(tmp_path: Path) -> None:
    # When the file is written
    file = tmp_path / "mco.prom"
    Exporter(NodeSettings(identity="web1", metrics_textfile=str(file)), lambda: STATS).write()

    # Then Prometheus' own parser reads it, and what was counted is in it
    found = parsed(file.read_text())
    assert found["mco_node_info"] == {('1.0 "x"\n',): 1}
    assert found["mco_node_received_total"] == {(): 7}
    assert found["mco_node_messages_total"] == {(rung.value,): number for number, rung in enumerate(Rung)}
    assert found["mco_node_action_calls_total"] == {("ping", "rpcutil"): 3}
    assert found["mco_node_action_failures_total"] == {("ping", "rpcutil"): 1}
    assert found["mco_node_action_seconds_total"] == {("ping", "rpcutil"): 0.25}
    singles = {name: values[()] for name, values in found.items() if () in values}
    assert singles == {
        "mco_node_start_time_seconds": 1_800_000_000.0,
        "mco_node_connected": 1,
        "mco_node_drained": 1,
        "mco_node_in_progress": 1,
        "mco_node_workers": 8,
        "mco_node_workers_running": 1,
        "mco_node_requests_waiting": 2,
        "mco_node_actions_hanging": 3,
        "mco_node_agents_inactive": 1,
        "mco_node_last_reload_problems": 1,
        "mco_node_threads": 5,
        "mco_node_reconnects_total": 4,
        "mco_node_rivals_total": 8,
        "mco_node_received_total": 7,
        "mco_node_audit_failures_total": 2,
        "mco_node_resident_memory_bytes": 1024,
        "mco_node_cpu_seconds_total": 0.5,
    }
    assert list(tmp_path.iterdir()) == [file]


def test_everybody_may_read_it_and_nobody_can_have_another_file_written(tmp_path: Path) -> None:
    # Given a folder of somebody else's, who saw how the file was made, and a daemon that hides what it writes
    file, other = tmp_path / "mco.prom", tmp_path / "other"
    other.write_text("mine")
    file.symlink_to(other)
    for name in (f"mco.prom.{os.getpid()}.{threading.get_ident()}", f".mco.prom.{os.getpid()}"):
        (tmp_path / name).symlink_to(other)
    before = os.umask(0o077)
    try:
        Exporter(NodeSettings(identity="web1", metrics_textfile=str(file)), lambda: STATS).write()
    finally:
        os.umask(before)

    # Then only its own file is another one
    assert other.read_text() == "mine"
    assert not file.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert parsed(file.read_text())["mco_node_threads"] == {(): 5}


def test_a_file_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "none"
    exporter = Exporter(NodeSettings(identity="web1", metrics_textfile=str(folder / "mco.prom")), lambda: STATS)
    for _ in range(3):
        exporter.write()
    assert len(caplog.records) == 1
    folder.mkdir()
    exporter.write()
    assert (folder / "mco.prom").exists()


def started(tmp_path: Path, **settings: Any) -> Node:
    (tmp_path / "facts.yaml").write_text("country: de\n")
    values = {"identity": "web1", "connector": "memory", "facts_file": str(tmp_path / "facts.yaml"), **settings}
    node = Node(
        msgspec.convert(values, NodeSettings), MemoryBroker().connector(), for_node("web1", keys.new_seed(), {})
    )
    node.start()
    return node


def test_a_node_writes_the_file_and_takes_it_away_when_it_ends(tmp_path: Path) -> None:
    file = tmp_path / "mco.prom"
    node = started(tmp_path, metrics_textfile=str(file), metrics_interval_s=0.01)
    until, pause = time.monotonic() + WAIT_S, threading.Event()
    while not (file.exists() and parsed(file.read_text())["mco_node_connected"] == {(): 1}):
        assert time.monotonic() < until
        pause.wait(0.005)
    node.stop()
    assert not file.exists()


def test_a_node_serves_the_port_until_it_ends(tmp_path: Path, free_port: int) -> None:
    node = started(tmp_path, metrics_port=free_port)
    url = f"http://127.0.0.1:{free_port}/metrics"
    try:
        with pytest.raises(ConfigError, match=f"metrics_port: 127.0.0.1:{free_port} cannot be listened on"):
            Exporter(NodeSettings(identity="web2", metrics_port=free_port), lambda: STATS).start()
        with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
            assert parsed(answer.read().decode())["mco_node_connected"]
    finally:
        node.stop()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=WAIT_S)


def test_who_holds_connections_open_keeps_nobody_else_out(tmp_path: Path, free_port: int) -> None:
    # Given a node, and somebody with many connections who says nothing, or a word now and then
    node = started(tmp_path, metrics_port=free_port)
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        stack.callback(node.stop)
        for number in range(10 * MAX_CONNECTIONS):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", free_port), WAIT_S))
            with contextlib.suppress(OSError):
                silent.sendall(b"GET /metrics HTTP/1.0\r\nX: " if number % 2 else b"")

        # When somebody else asks, then he is answered, and the node has not started a thread for each
        with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/metrics", timeout=WAIT_S) as answer:
            assert parsed(answer.read().decode())["mco_node_connected"]
        until, pause = time.monotonic() + WAIT_S, threading.Event()
        while threading.active_count() > before + MAX_CONNECTIONS:
            assert time.monotonic() < until
            pause.wait(0.005)


@pytest.fixture
def free_port() -> int:
    from mco_lab.broker import free_port

    return free_port()


def test_nothing_of_it_is_imported_unless_it_is_asked_for() -> None:
    code = "import sys, mco_node.daemon, mco_node.running_daemon; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("metrics_port", 70000, "expected 0 to 65535"),
        ("metrics_textfile", "/tmp/x.txt", "reads only files that end in .prom"),
        ("metrics_interval_s", 0.0, "expected more than 0"),
        ("libdir_interval_s", -1.0, "expected 0 or more"),
    ],
)
def test_wrong_settings_are_refused(key: str, value: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        msgspec.convert({"identity": "web1", key: value}, NodeSettings).check()
