# SPDX-License-Identifier: Apache-2.0
"""What all tests share: one private RabbitMQ for the whole run, and how generated examples are made.

Without rabbitmq-server the tests that need it are skipped; where ``CI=true`` says that a verdict is wanted, they fail.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest

from mco_lab import broker_files
from mco_lab.broker import Broker
from mco_lab.process import ProcessId
from mco_rpc.errors import McoError

_HOLDER = Path(__file__).with_name("broker_process.py")
_END_TIMEOUT_S = 30.0

# No test asserts a time: a busy machine makes an example slow, not wrong.
hypothesis.settings.register_profile("mco", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("mco-ci", hypothesis.settings.get_profile("mco"), derandomize=True)
hypothesis.settings.load_profile("mco-ci" if os.environ.get("CI") == "true" else "mco")


class Run(NamedTuple):
    """One test run: a folder that all its processes know, and the process that ends last."""

    folder: Path
    pid: int


_RUN = pytest.StashKey[Run]()


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", {}).get("mco_run")
    folder, pid = given or (tempfile.mkdtemp(prefix="mco-tests-"), os.getpid())
    config.stash[_RUN] = Run(Path(folder), pid)
    os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")  # never the user's own


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Let a worker of pytest-xdist know which run it belongs to."""
    run = node.config.stash[_RUN]
    node.workerinput["mco_run"] = (str(run.folder), run.pid)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the broker, once no worker uses it any more."""
    run = config.stash.get(_RUN, None)
    if run is None or run.pid != os.getpid():
        return
    with contextlib.suppress(FileNotFoundError):
        holder = ProcessId(*json.loads((run.folder / "holder").read_text()))
        holder.send(signal.SIGTERM)
        holder.wait(_END_TIMEOUT_S)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(holder.pid, os.WNOHANG)
    shutil.rmtree(run.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Broker:
    """The RabbitMQ of this run, shared by all its workers: add to it, never stop it (`own_broker` is for that)."""
    _need_server()
    run = request.config.stash[_RUN]
    with _locked(run.folder):
        file = run.folder / "broker.json"
        if not file.exists():
            file.write_text(_hold_broker(run))
        reached = json.loads(file.read_text())
    if "error" in reached:
        pytest.fail(reached["error"])
    return _attached(reached)


@pytest.fixture
def broker_url(request: pytest.FixtureRequest, broker: Broker) -> str:
    """The URL of a virtual host that no other test uses."""
    folder = request.config.stash[_RUN].folder
    with _locked(folder):
        file = folder / "vhosts"
        number = int(file.read_text()) if file.exists() else 0
        file.write_text(str(number + 1))
        vhost = f"t{number}"
        return broker.url_for(vhost) if vhost in broker.vhosts else broker.add_vhost(vhost)


@pytest.fixture(scope="module")
def own_broker() -> Iterator[Broker]:
    """A RabbitMQ of the module's own, to be stopped and started; a test leaves it running."""
    _need_server()
    with Broker() as broker:
        yield broker


def _need_server() -> None:
    try:
        broker_files.find_server()
    except McoError as e:
        if os.environ.get("CI") == "true":
            pytest.fail(str(e))
        pytest.skip(str(e))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _hold_broker(run: Run) -> str:
    """Start the process that keeps the broker; return what it says."""
    says, say = os.pipe()
    # Not a Popen: the process is left to itself here, and ended by whoever ends the run.
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, str(_HOLDER), str(run.folder), str(run.pid)],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, say, 1), (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setsid=True,
    )
    os.close(say)
    if holder := ProcessId.of(pid):
        (run.folder / "holder").write_text(json.dumps([holder.pid, holder.start_ticks]))
    with os.fdopen(says) as answer:
        return answer.read() or json.dumps({"error": f"{_HOLDER.name} ended without an answer"})


def _attached(reached: dict[str, Any]) -> Broker:
    """Return a `Broker` that stands for one which another process runs."""
    folder, password = Path(reached["folder"]), reached["password"]
    ports = {name: reached[name] for name in ("port", "dist_port", "epmd_port")}
    broker = Broker(folder, vhosts=len(json.loads((folder / "definitions.json").read_text())["vhosts"]) - 1, **ports)
    broker.passwords[broker.user] = password
    broker._environment = broker_files.environment(
        folder, broker_files.find_server(), ports["dist_port"], ports["epmd_port"]
    )
    return broker
