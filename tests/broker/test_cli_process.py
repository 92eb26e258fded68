# SPDX-License-Identifier: Apache-2.0
"""The installed program ``mco``, as a process, against node processes on a real broker."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_lab.broker import Broker
from mco_rpc.security import keys

PROGRAMS = Path(sysconfig.get_path("scripts"))
NODES = ("web1", "web2")
TIMEOUT_S = 60.0

Mco = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the configuration of the client is, while the nodes run."""
    folder = tmp_path_factory.mktemp("cli")
    url = broker.add_vhost(f"cli-{os.getpid()}")
    keys.generate(folder / "operator.key", folder / "callers/operator.pub")
    write_client(folder / "client.yaml", folder, url)
    running: list[subprocess.Popen[bytes]] = []
    try:
        running.extend(started(folder, identity, url) for identity in NODES)
        yield folder
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(TIMEOUT_S)


def write_client(file: Path, folder: Path, url: str) -> None:
    values = {"brokers": [url], "key_file": f"{folder}/operator.key", "trusted_nodes": f"{folder}/nodes"}
    file.write_text(json.dumps(values))


def started(folder: Path, identity: str, url: str) -> subprocess.Popen[bytes]:
    """Start a node as a user would, and wait until requests can come."""
    keys.generate(folder / f"{identity}.key", folder / f"nodes/{identity}.pub")
    (folder / f"{identity}.facts").write_text("country: de\n")
    config = folder / f"{identity}.yaml"
    values = {
        "identity": identity,
        "brokers": [url],
        "key_file": f"{folder}/{identity}.key",
        "trusted_callers": f"{folder}/callers",
        "facts_file": f"{folder}/{identity}.facts",
        "agents": {"iptables": {"backend": "memory"}},
    }
    config.write_text(json.dumps(values))
    ready, say = os.pipe()
    log = (folder / f"{identity}.log").open("wb")
    command = [PROGRAMS / "mco-node", "run", "--config", config, "--ready-fd", str(say)]
    process = subprocess.Popen(command, pass_fds=(say,), stdout=log, stderr=log)
    os.close(say)
    log.close()
    with os.fdopen(ready) as answer:
        if not answer.readline():
            process.wait(TIMEOUT_S)
            pytest.fail(f"node {identity} did not start: {(folder / f'{identity}.log').read_text()}")
    return process


def environment(config: Path) -> dict[str, str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("MCO_") and name != "NO_COLOR"}
    return {**clean, "MCO_CONFIG": str(config), "TERM": "xterm", "PYTHONWARNINGS": "error"}


@pytest.fixture
def mco(folder: Path) -> Mco:
    def run(*words: str, config: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAMS / "mco", *words],
            env=environment(config or folder / "client.yaml"),
            **{"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": TIMEOUT_S, **options},
        )

    return run


def test_the_program_asks_a_real_fleet(mco: Mco) -> None:
    pinged = mco("ping")
    assert (pinged.returncode, pinged.stderr) == (0, "")
    assert sorted(re.findall(r"^(\w+) +time=[\d.]+ ms$", pinged.stdout, re.MULTILINE)) == list(NODES)
    assert mco("find").stdout == "web1\nweb2\n"
    assert "de  found on 2 nodes" in mco("facts", "country").stdout
    asked = mco("rpc", "iptables", "isblocked", "ipaddr=10.0.0.1", "-j")
    assert (asked.returncode, asked.stderr) == (0, "")
    assert [result["data"]["blocked"] for result in json.loads(asked.stdout)["results"]] == [False, False]
    assert mco("inventory", "web1").stdout.startswith("Inventory of web1\n")


def test_what_one_finds_another_asks(mco: Mco) -> None:
    found = mco("find", "-I", "web2")
    asked = mco("rpc", "rpcutil", "ping", "--nodes", "-", "-j", stdin=None, input=found.stdout)
    assert [result["sender"] for result in json.loads(asked.stdout)["results"]] == ["web2"]


def test_an_offline_node_is_known_without_waiting(mco: Mco) -> None:
    # The wait for a reply would outlast the time that this test gives the process.
    done = mco("inventory", "web9", "-t", "3600")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("mco: web9 is offline: ")


@pytest.mark.parametrize("command", ["ping", "find", "facts x", "inventory web1", "rpc rpcutil ping"])
def test_a_broker_that_is_not_there_is_one_line(command: str, mco: Mco, folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    write_client(tmp_path / "client.yaml", folder, f"amqp://u:secret@127.0.0.1:{port}/")
    done = mco(*command.split(), config=tmp_path / "client.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"mco: broker amqp://u@127.0.0.1:{port}/: connection refused; does RabbitMQ run there, on this port?\n"
    )


def test_a_wrong_password_is_one_line(mco: Mco, folder: Path, broker: Broker, tmp_path: Path) -> None:
    write_client(tmp_path / "client.yaml", folder, broker.url.replace(broker.passwords[broker.user], "wrong"))
    done = mco("ping", config=tmp_path / "client.yaml")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "refused the user name or password" in done.stderr
    assert "wrong@" not in done.stderr


def test_a_missing_key_says_what_to_do(mco: Mco, folder: Path, tmp_path: Path) -> None:
    write_client(tmp_path / "client.yaml", tmp_path, "amqp://127.0.0.1/")
    done = mco("ping", config=tmp_path / "client.yaml")
    assert done.returncode == 1
    assert done.stderr.startswith(f"mco: private key {tmp_path}/operator.key: No such file or directory; `mco keygen`")


def test_an_interrupt_is_quiet(folder: Path) -> None:
    command = [PROGRAMS / "mco", "ping", "--debug", "--dt", "3600", "-F", "country=nowhere"]
    # Whoever runs the tests in the background may have them ignore Ctrl-C, and what they start would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command, env=environment(folder / "client.yaml"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        assert process.stderr is not None
        assert any("connected to" in line for line in process.stderr), "it never waited for answers"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err


def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [PROGRAMS / "mco", "find"],
            env=environment(folder / "client.yaml"),
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def on_terminal(command: list[str], environ: dict[str, str], answer: bytes = b"") -> tuple[int, str]:
    """Run a program whose terminal is ours, type an answer when it asks, return its status and all it wrote."""
    ours, its = pty.openpty()
    process = subprocess.Popen(command, env=environ, stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    written = b""
    try:
        while select.select([ours], [], [], TIMEOUT_S)[0]:
            try:
                written += os.read(ours, 65536)
            except OSError:  # how Linux says that the other end of a terminal was closed
                break
            if answer and b"[y/N] " in written:
                os.write(ours, answer)
                answer = b""
        status = process.wait(TIMEOUT_S)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return status, written.decode()


@pytest.mark.parametrize(("environ", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_a_terminal_that_wants_them(environ: dict[str, str], is_coloured: bool, folder: Path) -> None:
    command = [str(PROGRAMS / "mco"), "rpc", "rpcutil", "collective_info"]
    status, written = on_terminal(command, environment(folder / "client.yaml") | environ)
    assert status == 0
    assert "2 / 2" in written
    assert ("\x1b[32m2 / 2\x1b[0m" in written) is is_coloured
    assert ("\x1b" in written) is is_coloured


@pytest.mark.parametrize(("answer", "status"), [(b"y\n", 0), (b"n\n", 1)])
def test_a_terminal_is_asked_before_everybody_is_changed(answer: bytes, status: int, folder: Path) -> None:
    command = [str(PROGRAMS / "mco"), "rpc", "iptables", "unblock", "ipaddr=10.0.0.1"]
    seen, written = on_terminal(command, environment(folder / "client.yaml"), answer)
    assert seen == status
    assert "iptables#unblock changes nodes. Really on all 2 nodes? [y/N] " in written
    assert ("Finished processing" in written) is (status == 0)


def press(line: str, config: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Ask as fish does when the key that completes is pressed behind a line."""
    asked = {"_MCO_COMPLETE": "fish", "_MCO_WORDS": line.replace(" ", "\x1f"), "XDG_CACHE_HOME": str(cache)}
    return subprocess.run(
        [PROGRAMS / "mco"], env=environment(config) | asked, capture_output=True, text=True, timeout=TIMEOUT_S
    )


def test_whoever_presses_the_key_soon_gets_the_names_of_the_live_fleet(folder: Path, tmp_path: Path) -> None:
    # The first press starts who asks, and each waits for a moment or is too early: the names are there in the end.
    lines = {"mco ping -I we": ["web1", "web2"], "mco ping -F co": ["country="], "mco rpc iptables isb": ["isblocked"]}
    for line, names in lines.items():
        until = time.monotonic() + TIMEOUT_S
        while not (done := press(line, folder / "client.yaml", tmp_path)).stdout:
            assert (done.returncode, done.stderr) == (0, "")
            assert time.monotonic() < until
        found = [word.partition("\t")[0] for word in done.stdout.splitlines() if word[0] != ":"]
        assert found == names


def test_a_press_says_nothing_and_ends_where_no_broker_answers(folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection, and never says a word
        write_client(tmp_path / "client.yaml", folder, f"amqp://u:p@127.0.0.1:{silent.getsockname()[1]}/")
        done = press("mco ping -I we", tmp_path / "client.yaml", tmp_path / "cache")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
