# SPDX-License-Identifier: Apache-2.0
"""What the tests of the lab share: one fleet for all that leave it as it was, and a look for what is left behind."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mco_lab import requirements, spec
from mco_lab.lab import Lab
from mco_lab.pytest_plugin import LabFactory, lab, require

__all__ = ["lab"]

FIREWALL = spec.find("firewall")
PATIENCE_S = 60.0
EXIT_NOBODY = 4
MCO = [sys.executable, "-c", "import sys; from mco_client.cli.main import main; sys.exit(main())"]


def traces(token: str) -> dict[str, list[str]]:
    """Return everything on this machine that carries ``token``, the name of a lab, and all links."""
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if token.encode() in said and process.name != str(os.getpid()):
            processes.append(f"{process.name}: {said[:200]!r}")
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return {
        "namespaces": [path.name for path in Path("/run/netns").glob(f"*{token}*")],
        "processes": processes,
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if token in line],
        "links": [line.split(":")[1] for line in links.splitlines()],
        "groups": [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/*{token}*")]
        + [str(path) for path in Path("/sys/fs/cgroup").glob(f"*{token}*")],
        "folders": [str(path) for path in Path("/run/mco-lab").glob(f"*{token}*")],
        "temporary": [str(path) for path in Path("/tmp").glob(f"mco-*{token}*")],
    }


def mco_ping(fleet: Lab) -> set[str]:
    """Return who answers a ping of everybody."""
    process = fleet.popen([*MCO, "ping", "-j"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said, complaint = process.communicate(timeout=PATIENCE_S)
    if process.returncode == EXIT_NOBODY:
        return set()
    assert process.returncode in (0, 1), complaint
    return {answer["sender"] for answer in json.loads(said)["results"]}


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; the deadline only ends a test that has failed."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"no sign of {what}"
        time.sleep(0.01)


@pytest.fixture
def name() -> Iterator[str]:
    """Yield the name of a lab; when the test is over, nothing of that lab may be left, and it must have been there."""
    require(requirements.check)
    name = f"t-{secrets.token_hex(4)}"
    before = traces(name)
    try:
        yield name
        after = traces(name)
    finally:
        subprocess.run([*MCO, "lab", "down", "--name", name], check=True, capture_output=True)
    assert after == before


@pytest.fixture(scope="session")
def fleet(lab: LabFactory) -> Lab:
    """Return the shipped lab, up; tests leave it as it was."""
    return lab(FIREWALL)


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], list[str]]:
    """Return what turns a program's text into a command."""

    def write(text: str) -> list[str]:
        file = tmp_path / "program.py"
        file.write_text(text)
        return [sys.executable, str(file)]

    return write
