# SPDX-License-Identifier: Apache-2.0
"""Nodes from standard input: read once and to its end, and never from a terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from mco_client.discovery.stdin import Stdin
from mco_rpc.errors import ConfigError, DiscoveryError
from mco_rpc.filters import Filter, from_options

PROGRAM = """
from mco_client.discovery.source import make
from mco_rpc.config import ClientSettings
from mco_rpc.errors import McoError
from mco_rpc.filters import Filter
try:
    print(*make("stdin", (), ClientSettings()).known(Filter(), 1.0).nodes)
except McoError as e:
    print(f"{type(e).__name__}: {e}")
"""


def run(script: str) -> str:
    """Run a shell line in which ``ask`` asks standard input for nodes."""
    done = subprocess.run(
        ["sh", "-c", f'ask() {{ "$PYTHON" -c "$PROGRAM"; }}; {script}'],
        env={**os.environ, "PROGRAM": PROGRAM, "PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


def test_it_is_read_once_and_kept() -> None:
    stdin = Stdin(io.BytesIO(b"web1\nweb2\n"))
    assert stdin.known(Filter(), 1.0).nodes == ("web1", "web2")
    assert stdin.known(from_options(identities=["/2/"]), 1.0).nodes == ("web2",)


def test_a_pipe_is_read_to_its_end_however_slow_the_writer() -> None:
    # Given a writer that says the end of a name only after a while
    with subprocess.Popen(["sh", "-c", r"printf we; sleep 0.2; printf 'b1\nweb2'"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        # Then no timeout cuts it short
        assert Stdin(writer.stdout).known(Filter(), 0.001).nodes == ("web1", "web2")


def test_a_terminal_is_refused_with_what_to_do() -> None:
    master, slave = pty.openpty()
    try:
        with (
            os.fdopen(slave, "rb", closefd=True) as terminal,
            pytest.raises(DiscoveryError, match=r"standard input is a terminal: pipe the names .* `mco find | mco "),
        ):
            Stdin(terminal).known(Filter(), 1.0)
    finally:
        os.close(master)


def test_what_comes_must_be_names() -> None:
    with pytest.raises(ConfigError, match=r"^standard input, line 2: identity 'web 2' cannot be used"):
        Stdin(io.BytesIO(b"web1\nweb 2\n")).known(Filter(), 1.0)
    with pytest.raises(ConfigError, match=r"^standard input, line 2: byte 5 is not UTF-8"):
        Stdin(io.BytesIO(b"web1\n\xff\n")).known(Filter(), 1.0)
    with pytest.raises(DiscoveryError, match=r"^standard input: it names no node"):
        Stdin(io.BytesIO(b"")).known(Filter(), 1.0)


def test_an_endless_stream_is_given_up() -> None:
    with Path("/dev/zero").open("rb") as endless, pytest.raises(ConfigError, match="standard input: more than the "):
        Stdin(endless).known(Filter(), 1.0)


def test_a_stream_that_cannot_be_read_is_told() -> None:
    with (
        Path("/proc/self/mem").open("rb") as broken,
        pytest.raises(DiscoveryError, match=r"^standard input: Input/out"),
    ):
        Stdin(broken).known(Filter(), 1.0)


def test_a_process_reads_its_own() -> None:
    assert run(r"printf 'web1\nweb2\n' | ask") == "web1 web2"
    assert run("ask < /dev/null").startswith("DiscoveryError: standard input: it names no node")
    assert run("ask <&-").startswith("DiscoveryError: standard input is closed: pipe the names")
