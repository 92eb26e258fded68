# SPDX-License-Identifier: Apache-2.0
"""Real servers for the tests of agents: started, waited for, and ended with the block that needs them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
_TIMEOUT_S = 30.0


def need(program: str, package: str) -> str:
    """Return the path of a program; without it the test is skipped, and fails where a verdict is wanted."""
    found = shutil.which(program, path=PATH)
    if found is None:
        why = f"{program} is not installed: apt-get install {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return found


def free_port() -> int:
    """Return a port of the loopback where nobody listens now."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def until(is_so: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    end, pause = time.monotonic() + _TIMEOUT_S, threading.Event()
    while not is_so():
        assert time.monotonic() < end, f"waited {_TIMEOUT_S} s in vain: {what}"
        pause.wait(0.02)


def is_taking(port: int) -> bool:
    """Say whether somebody takes connections at a port of the loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def running(*argv: str | Path, log: Path, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block."""
    with log.open("ab") as said:
        process = subprocess.Popen(
            [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=said, stderr=said, **more
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def serving(port: int, *argv: str | Path, log: Path, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the end of the block; it takes connections when the block begins."""
    with running(*argv, log=log, **more) as process:
        until(lambda: process.poll() is not None or is_taking(port), f"port {port} of {argv[0]}")
        assert process.poll() is None, f"{argv[0]}: {log.read_text()}"
        yield process
