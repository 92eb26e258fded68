# SPDX-License-Identifier: Apache-2.0
"""A private RabbitMQ: its own folder, ports, name and password; nothing outside its folder is written.

Runs as whoever starts it, in the network namespace that its command prefix enters, or in the caller's.
"""

from __future__ import annotations

import json
import os
import random
import re
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from . import await_amqp, broker_files
from .errors import LabError
from .process import ProcessId, find_program, reap, tail

AMQP_PORT, DIST_PORT, EPMD_PORT = 5672, 25672, 4369
READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_DEFINE_TIMEOUT_S = 10.0
_ERROR = re.compile(r"^\S+ \S+ \[error\] \S+ (.*\S)", re.MULTILINE)
_MAX_ERRORS = 15
# Below the range from which the kernel takes the ports of outgoing connections.
_FREE_PORTS = range(20000, 32000)


class Broker:
    """One RabbitMQ server, as a context manager: running inside, gone without a trace after.

    Args:
        folder: where all its files go; a temporary one, removed at the end, if not given.
        port, dist_port, epmd_port: free ones are taken if not given.
        user: the user in ``url``; its password is random.
        users: further users, name -> password; all may do everything in every virtual host.
        vhosts: how many virtual hosts ``t0``, ``t1``, ... are there from the start, beside ``/``.
        prefix: words before every command, for instance ``("nsenter", "--net=/run/netns/x", "--")``.

    ::

        with Broker(vhosts=2) as broker:
            connect(broker.url, broker.url_for("t1"))
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        dist_port: int | None = None,
        epmd_port: int | None = None,
        user: str = "lab",
        users: Mapping[str, str] | None = None,
        vhosts: int = 0,
        prefix: Sequence[str] = (),
    ) -> None:
        self._is_temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="mco-broker-"))
        self.host = host
        self.port = port or free_port(host)
        self.user = user
        self.passwords = {**(users or {}), user: secrets.token_urlsafe(16)}
        self.vhosts = ["/", *(f"t{number}" for number in range(vhosts))]
        self.log = self.folder / "broker.log"
        self._dist_port = dist_port or free_port()
        self._epmd_port = epmd_port or free_port()
        self._prefix = tuple(prefix)
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}

    @classmethod
    def of_folder(cls, folder: Path, *, host: str, ports: tuple[int, int, int], prefix: Sequence[str]) -> Broker:
        """Return the broker whose files are in ``folder``, to be started again; its passwords stay unknown.

        Args:
            ports: for clients, for other servers and of the port mapper.
        """
        port, dist_port, epmd_port = ports
        broker = cls(folder, host=host, port=port, dist_port=dist_port, epmd_port=epmd_port, prefix=prefix)
        broker._environment = broker_files.environment(folder, broker_files.find_server(), dist_port, epmd_port)
        return broker

    @property
    def url(self) -> str:
        """Where clients connect to the default virtual host, with user and password."""
        return self.url_for()

    def url_for(self, vhost: str = "/", user: str | None = None) -> str:
        """Return the URL of a virtual host for one of the users."""
        user = user or self.user
        path = "" if vhost == "/" else vhost
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"amqp://{user}:{self.passwords[user]}@{host}:{self.port}/{path}"

    @property
    def processes(self) -> list[ProcessId]:
        """The server and its port mapper, as far as they run."""
        pids = [child.pid for child in (self._server, self._epmd) if child is not None]
        return [process for pid in pids if (process := ProcessId.of(pid)) and process.is_running]

    @property
    def is_running(self) -> bool:
        """Whether the server's process is there; it may not answer yet."""
        return self._server is not None and self._server.poll() is None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def start(self) -> Self:
        """Start the server and wait until it answers; what it stored before a stop is there again."""
        self.launch()
        self.await_ready()
        return self

    def launch(self, *, has_epmd: bool = False) -> None:
        """Start the server without waiting for it.

        Args:
            has_epmd: whether the port mapper that an earlier server had still runs.

        Raises:
            LabError: RabbitMQ is not installed.
        """
        if self.is_running:
            return
        server = broker_files.find_server()
        if not self._environment:
            boot = broker_files.definitions(self.passwords, self.vhosts)
            broker_files.write_files(self.folder, self.host, self.port, boot)
            self._environment = broker_files.environment(self.folder, server, self._dist_port, self._epmd_port)
        if not has_epmd and (self._epmd is None or self._epmd.poll() is not None):
            # Ours, in the foreground: one that the server starts by itself would outlive it.
            self._epmd = self._spawn("epmd", "-address", "127.0.0.1", "-port", str(self._epmd_port))
        self._server = self._spawn(str(server))

    def await_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until the server opens an AMQP conversation on its port.

        Raises:
            LabError: it ended, or did not answer in time; the text has the end of its log.
        """
        if self._server is None:
            raise LabError(f"the broker of {self.folder} was not started")
        program = [sys.executable, "-I", "-S", await_amqp.__file__, self.host, str(self.port)]
        waiter = self._spawn(*program)
        waiting, running = os.pidfd_open(waiter.pid), os.pidfd_open(self._server.pid)
        poll = select.poll()
        for fd in (waiting, running):
            poll.register(fd, select.POLLIN)
        try:
            events = [fd for fd, _ in poll.poll(timeout_s * 1000)]
        finally:
            os.close(waiting)
            os.close(running)
            waiter.kill()
            status = waiter.wait()
        if running in events:
            problem = f"ended with status {self._server.wait()} before it answered"
        elif waiting not in events:
            problem = f"did not answer within {timeout_s:g} s"
        elif status:
            problem = f"cannot be asked: the program that waits for it ended with status {status}"
        else:
            return
        raise LabError(f"rabbitmq-server {problem} on {self.host}:{self.port}; {self._errors()}")

    def stop(self) -> None:
        """Stop the server in an orderly way; `start` brings it back with what it stored."""
        if self._server is None:
            return
        self._server.terminate()
        try:
            self._server.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the server at once, as a crash of its machine would."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    def collect(self) -> None:
        """Take note that the server was ended by somebody else, so that it does not stay behind as a zombie."""
        if self._server is not None:
            reap([self._server])

    def close(self) -> None:
        """End everything and remove the folder if it was ours."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            reap([self._epmd])
        if self._is_temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def add_vhost(self, name: str) -> str:
        """Add a virtual host in which every user of this broker may do everything; return its URL."""
        self.vhosts.append(name)
        self.define(broker_files.definitions(self.passwords, [name]))
        return self.url_for(name)

    def add_user(self, name: str, password: str) -> None:
        """Add a user who may do everything in every virtual host, or change its password."""
        self.passwords[name] = password
        self.define(broker_files.definitions({name: password}, self.vhosts))

    def define(self, definitions: Mapping[str, Any]) -> None:
        """Import definitions, in RabbitMQ's own JSON form, into the running server.

        Raises:
            LabError: the server refused them or does not run.
        """
        quoted = json.dumps(definitions).replace("\\", "\\\\").replace('"', '\\"')
        self._call(f'rabbit_definitions:import_raw(<<"{quoted}">>).')

    def _errors(self) -> str:
        """Return what the server complained of first: what follows is only how it fell apart."""
        errors = _ERROR.findall(self.log.read_text("utf-8", "replace"))
        return "\n    ".join(["its errors:", *errors[:_MAX_ERRORS]]) if errors else tail(self.log)

    def _call(self, expression: str) -> None:
        """Let the running server evaluate an Erlang expression that must return ``ok``."""
        # Two callers of one name at the same time would be taken for one, and the second refused.
        name = f"mco{secrets.token_hex(8)}"
        argv = (*self._prefix, "erl_call", "-h", name, "-address", f"localhost:{self._dist_port}")
        if find_program("erl_call") is None:
            raise LabError("erl_call is not installed; it comes with the Debian package erlang-base")
        done = subprocess.run(
            (*argv, "-e"),
            input=f"{expression}\n",
            text=True,
            capture_output=True,
            timeout=_DEFINE_TIMEOUT_S,
            check=False,
            env=self._environment,
        )
        if done.returncode or done.stdout.strip() != "{ok, ok}":
            said = (done.stderr or done.stdout).strip()
            raise LabError(f"the broker on {self.host}:{self.port} refused a definition: {said}")

    def _spawn(self, *argv: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                (*self._prefix, *argv),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )


def free_port(host: str = "127.0.0.1", is_free: Callable[[str, int], bool] | None = None) -> int:
    """Return a TCP port of ``host`` on which nobody listens.

    Raises:
        LabError: none was found.
    """
    is_free = is_free or _can_bind
    for port in random.sample(_FREE_PORTS, 100):
        if is_free(host, port):
            return port
    raise LabError(f"no free TCP port was found on {host} between {_FREE_PORTS[0]} and {_FREE_PORTS[-1]}")


def _can_bind(host: str, port: int) -> bool:
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return True
    except OSError:
        return False
