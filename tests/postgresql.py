# SPDX-License-Identifier: Apache-2.0
"""A private PostgreSQL for tests: its own folder and socket, no network, gone after.

Without PostgreSQL the tests that need it are skipped; where ``CI=true`` says that a verdict is wanted, they fail.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_ROOTS = ("/usr/lib/postgresql", "/usr/pgsql", "/usr/local/pgsql")
_USERS = ("postgres", "nobody")
_TIMEOUT_S = 60.0


class PostgreSql:
    """One server; stopped and started by tests that lose it."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="mco-pg-", dir="/tmp"))
        self._data = self.folder / "data"
        # The server refuses to run as root.
        user = next(name for name in _USERS if _exists(name)) if os.geteuid() == 0 else ""
        self._as: dict[str, Any] = {"user": user, "group": pwd.getpwnam(user).pw_gid} if user else {}
        if user:
            shutil.chown(self.folder, user)
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "mco", "-E", "UTF8", "--locale=C.UTF-8", "-N")

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        log = (self.folder / "log").open("ab")
        command = [
            str(self._programs / "postgres"), "-D", str(self._data), "-k", str(self.folder), "-c", "listen_addresses=",
            "-c", "fsync=off", "-c", "max_connections=50",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, extra_groups=[] if self._as else None,
            cwd=self.folder, **self._as,
        )  # fmt: skip
        log.close()
        ready = [str(self._programs / "pg_isready"), "-q", "-h", str(self.folder), "-d", "postgres", "-U", "mco"]
        waiter = f"until {' '.join(ready)}; do sleep 0.05; done"
        subprocess.run(["/bin/sh", "-c", waiter], check=True, timeout=_TIMEOUT_S)

    def stop(self) -> None:
        """Stop the server at once, as a crash would; its clients lose their connections."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGQUIT)
            process.wait(_TIMEOUT_S)

    def new_database(self) -> str:
        """Return the URL of a database that no other test uses."""
        self._databases += 1
        name = f"registry{self._databases}"
        self.sql(f"CREATE DATABASE {name}", "postgres")
        return f"postgresql://mco@/{name}?host={urllib.parse.quote(str(self.folder))}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement and return what psql prints."""
        command = ["psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-U", "mco"]
        return self._run(*command, "-d", database, "-c", statement)

    def begin(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        """Start a program of PostgreSQL as the server's user; who starts it ends it."""
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(self._programs / program), *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                extra_groups=[] if self._as else None, cwd=self.folder, **self._as,
            )  # fmt: skip

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *words: str) -> str:
        done = subprocess.run(
            [str(self._programs / program), *words], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S,
            cwd=self.folder, extra_groups=[] if self._as else None, **self._as,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
        return done.stdout


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _programs() -> Path | None:
    """Return the folder of the newest server's programs, None if there is none."""
    found = [folder for root in _ROOTS for folder in Path(root).glob("*/bin") if (folder / "initdb").exists()]
    on_path = shutil.which("initdb")
    return max(found, default=Path(on_path).parent if on_path else None, key=lambda folder: folder.parent.name)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSql]:
    """A server that the tests of a module share."""
    programs = _programs()
    if programs is None:
        why = "PostgreSQL's server is not installed: apt-get install postgresql"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    server = PostgreSql(programs)
    try:
        server.start()
        yield server
    finally:
        server.close()
