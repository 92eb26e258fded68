# SPDX-License-Identifier: Apache-2.0
"""Recording over a real RabbitMQ, with node processes, and replaying where there is none."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_client.recording import Came, Recording, Returned
from mco_lab.broker import Broker
from mco_rpc.security import keys

PROGRAMS = Path(sysconfig.get_path("scripts"))
NODES = ("web1", "web2")
TIMEOUT_S = 60.0

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def folder(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the configuration of the client is, while the nodes run."""
    folder = tmp_path_factory.mktemp("record")
    url = broker.add_vhost(f"record-{os.getpid()}")
    keys.generate(folder / "operator.key", folder / "callers/operator.pub")
    values = {"brokers": [url], "key_file": f"{folder}/operator.key", "trusted_nodes": f"{folder}/nodes"}
    (folder / "client.yaml").write_text(json.dumps(values))
    running: list[subprocess.Popen[bytes]] = []
    try:
        running.extend(started(folder, identity, url) for identity in NODES)
        yield folder
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(TIMEOUT_S)


def started(folder: Path, identity: str, url: str) -> subprocess.Popen[bytes]:
    """Start a node, and wait until requests can come."""
    keys.generate(folder / f"{identity}.key", folder / f"nodes/{identity}.pub")
    values = {
        "identity": identity,
        "brokers": [url],
        "key_file": f"{folder}/{identity}.key",
        "trusted_callers": f"{folder}/callers",
        "agents": {"iptables": {"backend": "memory"}},
    }
    (folder / f"{identity}.yaml").write_text(json.dumps(values))
    ready, say = os.pipe()
    command = [PROGRAMS / "mco-node", "run", "--config", folder / f"{identity}.yaml", "--ready-fd", str(say)]
    with (folder / f"{identity}.log").open("wb") as log:
        process = subprocess.Popen(command, pass_fds=(say,), stdout=log, stderr=log)
    os.close(say)
    with os.fdopen(ready) as answer:
        if not answer.readline():
            process.wait(TIMEOUT_S)
            pytest.fail(f"node {identity} did not start: {(folder / f'{identity}.log').read_text()}")
    return process


def environment(**variables: str) -> dict[str, str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("MCO_")}
    path = f"{PROGRAMS}{os.pathsep}{clean['PATH']}"
    return {**clean, "PATH": path, "HOME": "/nonexistent", "PYTHONWARNINGS": "error", **variables}


def mco(*words: str | Path, status: int, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [PROGRAMS / "mco", *words],
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return done


def answers(done: subprocess.CompletedProcess[str]) -> Any:
    results = json.loads(done.stdout)["results"]
    return [(result["sender"], result["status"], result["message"], result["data"]) for result in results]


def test_what_real_nodes_answered_is_answered_without_broker_and_keys(folder: Path, tmp_path: Path) -> None:
    # Given some questions to real nodes, one of them to a node that is not there
    file = tmp_path / "fleet.rec"
    config = str(folder / "client.yaml")
    nodes = tmp_path / "nodes"
    nodes.write_text("web1\ngone\n")
    questions = [
        (("rpc", "iptables", "block", "ipaddr=192.0.2.1", "-j", "--yes"), 0),
        (("rpc", "iptables", "isblocked", "ipaddr=192.0.2.1", "-j"), 0),
        (("rpc", "rpcutil", "ping", "-j", "--nodes", str(nodes)), 2),
        (("rpc", "rpcutil", "get_fact", "fact=none", "-j"), 0),
    ]
    lived = []
    for number, (words, status) in enumerate(questions):
        if number == 0:
            lived.append(mco("record", file, "--", "mco", *words, status=status, MCO_CONFIG=config))
        else:  # what is recorded by a variable is added
            lived.append(mco(*words, status=status, MCO_CONFIG=config, MCO_RECORD=str(file)))
    events = [event for call in Recording.read(file).calls for event in call.events]
    assert all(event.principal in NODES for event in events if isinstance(event, Came))
    assert {event.key for event in events if isinstance(event, Returned)} == {"gone"}
    text = file.read_text()
    assert "signature" not in text
    assert "amqp" not in text
    # Then a machine that has neither configuration, keys nor broker gives the same answers
    for (words, status), then in zip(questions, lived, strict=True):
        now = mco(*words, status=status, MCO_CONNECTOR="replay", MCO_REPLAY=str(file))
        assert [(a[0], a[1]) for a in answers(now)] == [(a[0], a[1]) for a in answers(then)]
        if "ping" not in words:
            assert answers(now) == answers(then)
        assert now.stderr.startswith("mco: answers recorded 20")
        assert now.stderr.count("nothing was asked now") == 1
    assert json.loads(now.stdout)["statistics"]["discovered"] == 2


def test_a_replay_opens_no_socket(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "fleet.rec"
    mco("record", file, "--", "mco", "ping", status=0, MCO_CONFIG=str(folder / "client.yaml"))
    script = (
        "import socket, sys\n"
        "def refuse(*_): raise RuntimeError('a socket')\n"
        "socket.socket.connect = refuse\n"
        "from mco_client.cli.main import main\n"
        "status = main(['ping'])\n"
        "assert 'pika' not in sys.modules and 'nacl' not in sys.modules\n"
        "sys.exit(status)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"amqp://guest:guest@127.0.0.1:{nobody.getsockname()[1]}/"
        chosen = {"MCO_CONNECTOR": "replay", "MCO_REPLAY": str(file), "MCO_BROKERS": url}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment(**chosen), capture_output=True, text=True,
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(("web1 ", "web2 "))


def test_who_is_killed_while_he_records_leaves_what_was_asked(folder: Path, tmp_path: Path) -> None:
    # Given a script that asks without an end
    file = tmp_path / "fleet.rec"
    script = (
        "from mco_client import RpcClient\n"
        "client = RpcClient('rpcutil')\n"
        "while True:\n"
        "    client.ping()\n"
        "    print('asked', flush=True)\n"
    )
    chosen = environment(MCO_CONFIG=str(folder / "client.yaml"), MCO_RECORD=str(file))
    with subprocess.Popen([sys.executable, "-c", script], env=chosen, stdout=subprocess.PIPE) as asking:
        assert asking.stdout is not None
        for _ in range(20):
            assert asking.stdout.readline() == b"asked\n"
        # When it is killed
        asking.send_signal(signal.SIGKILL)
        asking.wait(TIMEOUT_S)
    # Then all of it can be played, and added to
    made = Recording.read(file)
    assert len(made.calls) >= 21
    assert all(len(call.events) == 2 for call in made.calls[:21])
    mco("ping", status=0, MCO_CONFIG=str(folder / "client.yaml"), MCO_RECORD=str(file))
    assert len(Recording.read(file).sessions) == 2
    once = script.replace("while True", "for _ in range(9)")
    chosen = environment(MCO_CONNECTOR="replay", MCO_REPLAY=str(file))
    assert subprocess.check_output([sys.executable, "-c", once], env=chosen, timeout=TIMEOUT_S) == b"asked\n" * 9


def test_several_processes_record_at_once(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "fleet.rec"
    config = str(folder / "client.yaml")
    threads = [
        threading.Thread(
            target=mco, args=("ping",), kwargs={"status": 0, "MCO_CONFIG": config, "MCO_RECORD": str(file)}
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = Recording.read(file)
    assert [len(made.sessions), len(made.calls)] == [4, 4]
    assert {len(call.events) for call in made.calls} == {2}
