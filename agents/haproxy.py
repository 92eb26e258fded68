# SPDX-License-Identifier: Apache-2.0
"""The agent that asks HAProxy, and takes its servers out of the pool and back, by its stats sockets."""

from __future__ import annotations

import csv
import socket
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mco_rpc.agent import Agent, Aggregate, Input, NodeView, Output, action, time_left_s
from mco_rpc.errors import ActionAborted, ConfigError, InvalidData, TimedOut
from mco_rpc.suggestion import did_you_mean
from mco_rpc.turns import Turns

DEFAULT = "/run/haproxy/admin.sock"
MAX_BYTES = 16 * 1024 * 1024
STATES = ("ready", "drain", "maint")
# The characters that HAProxy takes in names; none of them ends a command on the socket.
_NAME = r"/[A-Za-z0-9_.:-]+/"
BACKEND = Input("string", "Name of the backend", prompt="Backend", validate=_NAME, max_length=128)
ANY = Input("string", "Only this backend", prompt="Backend", optional=True, validate=_NAME, max_length=128)
SERVER = Input("string", "Name of the server", prompt="Server", validate=_NAME, max_length=128)
_FORCED_MAINT, _FORCED_DRAIN = 0x01, 0x08


class Haproxy(Agent):
    """Ask HAProxy about its servers, and change which of them get traffic.

    The setting `socket` is the path of the stats socket (a list where there are several processes), and changes need
    `level admin` in its line of haproxy.cfg.
    """

    timeout_s = 10.0
    setting_names = ("socket",)

    @staticmethod
    def activate_when(settings: Mapping[str, object]) -> str | None:
        """Ask for a socket."""
        wanted = _paths(settings)
        return None if any(_is_socket(path) for path in wanted) else f"there is no socket {' and no '.join(wanted)}"

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(node, settings)
        self._paths = _paths(self.settings)
        if not self._paths or not all(isinstance(path, str) and path.startswith("/") for path in self._paths):
            raise ConfigError(f"agents: haproxy: socket: expected a path or paths, got {self.settings['socket']!r}")
        self._turns = Turns()

    @action(
        "Say how HAProxy is",
        outputs={
            "version": Output("string", "Its version", display_as="Version"),
            "uptime_s": Output("integer", "Seconds since it started", display_as="Uptime"),
            "connections": Output("integer", "Connections now, of all processes", display_as="Connections"),
            "max_connections": Output("integer", "Connections at most, of all processes", display_as="At most"),
            "servers_up": Output("integer", "Servers that get traffic or could", display_as="Up"),
            "servers_down": Output("integer", "Servers that do not", display_as="Down"),
            "processes": Output("array", "Socket, pid, version, uptime of each", display_as="Processes", default=[]),
        },
        aggregates=[Aggregate("summary", "version"), Aggregate("sum", "servers_down")],
    )
    def status(self) -> dict[str, Any]:
        """Ask all processes."""
        infos = []
        for path in self._paths:
            said = dict(line.split(": ", 1) for line in self._ask(path, "show info").splitlines() if ": " in line)
            infos.append({
                "socket": path,
                "pid": _number(said.get("Pid")),
                "version": said.get("Version"),
                "uptime_s": _number(said.get("Uptime_sec")),
                "connections": _number(said.get("CurrConns")),
                "max_connections": _number(said.get("Maxconn")),
            })  # fmt: skip
        rows = self._rows(self._paths[0], "")
        up = sum(row["is_up"] for row in rows)
        return {
            "version": infos[0]["version"],
            "uptime_s": infos[0]["uptime_s"],
            "connections": sum(info["connections"] or 0 for info in infos),
            "max_connections": sum(info["max_connections"] or 0 for info in infos),
            "servers_up": up,
            "servers_down": len(rows) - up,
            "processes": infos,
        }

    @action(
        "List the servers of the backends",
        inputs={"backend": ANY},
        outputs={
            "servers": Output(
                "array", "Backend, server, status, admin_state, is_up, weight, sessions, check of each",
                display_as="Servers", default=[],
            ),
            "up": Output("integer", "Servers that get traffic or could", display_as="Up"),
            "count": Output("integer", "Servers in all", display_as="Servers in all"),
            "states": Output("array", "The administrative state of each", display_as="States", default=[]),
        },
        aggregates=[Aggregate("summary", "states"), Aggregate("sum", "up")],
    )  # fmt: skip
    def servers(self, backend: str = "") -> dict[str, Any]:
        """Ask every process for its own."""
        rows = [row for path in self._paths for row in self._rows(path, backend)]
        return {
            "servers": rows,
            "count": len(rows),
            "up": sum(row["is_up"] for row in rows),
            "states": [row["admin_state"] for row in rows],
        }

    @action(
        "Give a server traffic, let it drain, or take it out",
        inputs={
            "backend": BACKEND,
            "server": SERVER,
            "state": Input("list", "ready, drain or maint", prompt="State", choices=STATES),
        },
        outputs={
            "changed": Output("boolean", "Whether it was in another state, in any process", display_as="Changed"),
            "before": Output("string", "Its state before", display_as="Before"),
            "after": Output("string", "Its state now, or with noop what it would be", display_as="After"),
            "sessions": Output("integer", "Its sessions now", display_as="Sessions"),
        },
        mutating=True,
        noop=True,
        aggregates=[Aggregate("summary", "changed"), Aggregate("summary", "after")],
    )
    def set_state(self, backend: str, server: str, state: str) -> dict[str, Any]:
        """Change it in every process, and read it back."""
        with self._turns.one(f"haproxy#set_state {backend}/{server}", self.timeout_s):
            before = [self._row(path, backend, server)["admin_state"] for path in self._paths]
            is_changed = any(was != state for was in before)
            if not self.is_noop:
                for path, was in zip(self._paths, before, strict=True):
                    if was != state and (said := self._ask(path, f"set server {backend}/{server} state {state}")):
                        raise ActionAborted(_refused(said, path))
            rows = [self._row(path, backend, server) for path in self._paths]
            after = [state if self.is_noop else row["admin_state"] for row in rows]
            if any(is_now != state for is_now in after):
                raise ActionAborted(
                    f"{backend}/{server} is {', '.join(after)} and not {state}, though HAProxy reported no error"
                )
            return {
                "changed": is_changed,
                "before": ", ".join(dict.fromkeys(before)),
                "after": ", ".join(dict.fromkeys(after)),
                "sessions": sum(row["sessions"] or 0 for row in rows),
            }

    def _row(self, path: str, backend: str, server: str) -> dict[str, Any]:
        rows = self._rows(path, backend)
        for row in rows:
            if row["server"] == server:
                return row
        known = [str(row["server"]) for row in rows]
        raise InvalidData(
            f"backend {backend} has no server {server!r}{did_you_mean(server, known)}; it has {', '.join(known[:20])}"
        )

    def _rows(self, path: str, backend: str) -> list[dict[str, Any]]:
        """Return the servers of one process, of one backend if it is named."""
        forced = self._forced(path)
        text = self._ask(path, "show stat -1 4 -1").removeprefix("# ")
        rows = [
            {
                "backend": found["pxname"],
                "server": found["svname"],
                "status": found["status"],
                "admin_state": forced.get((found["pxname"], found["svname"])),
                "is_up": found["status"].startswith(("UP", "no check")),
                "weight": _number(found.get("weight")),
                "sessions": _number(found.get("scur")),
                "sessions_total": _number(found.get("stot")),
                "check": found.get("check_status") or None,
                "since_s": _number(found.get("lastchg")),
                "socket": path,
            }
            for found in csv.DictReader(text.splitlines())
        ]
        wanted = [row for row in rows if row["backend"] == backend] if backend else rows
        if backend and not wanted:
            known = list(dict.fromkeys(str(row["backend"]) for row in rows))
            raise InvalidData(
                f"HAProxy has no servers in a backend {backend!r}{did_you_mean(backend, known)}; "
                f"it has {', '.join(known[:20]) or 'none'}"
            )
        if unknown := next((row for row in wanted if row["admin_state"] is None), None):
            raise ActionAborted(
                f"HAProxy on {path} does not say the state of {unknown['backend']}/{unknown['server']}; ask again"
            )
        return wanted

    def _forced(self, path: str) -> dict[tuple[str, str], str]:
        """Return the state that an administrator gave to servers; a weight of 0 or a check is none of these."""
        _, _, text = self._ask(path, "show servers state").partition("# ")
        found = {}
        for row in csv.DictReader(text.splitlines(), delimiter=" "):
            bits = int(row["srv_admin_state"])
            state = "maint" if bits & _FORCED_MAINT else "drain" if bits & _FORCED_DRAIN else "ready"
            found[row["be_name"], row["srv_name"]] = state
        return found

    def _ask(self, path: str, command: str) -> str:
        """Send one command to a socket, and return all that is answered."""
        until = time.monotonic() + min(self.timeout_s, time_left_s(self.timeout_s))
        answer = bytearray()
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(max(0.01, until - time.monotonic()))
                connection.connect(path)
                connection.sendall(f"{command}\n".encode())
                while chunk := connection.recv(65536):
                    answer += chunk
                    connection.settimeout(max(0.01, until - time.monotonic()))
                    if len(answer) > MAX_BYTES:
                        raise ActionAborted(f"HAProxy answered `{command}` with more than {MAX_BYTES} bytes")
        except TimeoutError as e:
            raise TimedOut(f"HAProxy did not answer `{command}` on {path} in time") from e
        except OSError as e:
            raise ActionAborted(f"HAProxy cannot be asked on {path}: {e.strerror}; does it run?") from e
        text = answer.decode("utf-8", "replace").strip("\n")
        if text.startswith(("Permission denied", "Unknown command")):
            raise ActionAborted(_refused(text, path))
        return text


def _refused(said: str, path: str) -> str:
    told = " ".join(said.split())[:200]
    more = "; the socket needs `level admin` in haproxy.cfg" if "ermission" in said else ""
    return f"HAProxy refused on {path}: {told}{more}"


def _paths(settings: Mapping[str, object]) -> list[str]:
    named = settings.get("socket", DEFAULT)
    return list(named) if isinstance(named, list) else [str(named)]


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False


def _number(text: str | None) -> int | None:
    return int(text) if text and text.strip().lstrip("-").isdecimal() else None
