# SPDX-License-Identifier: Apache-2.0
"""A real HAProxy with two servers behind it: what it says of them, and taking them out and back."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mco_agents.haproxy import Haproxy
from mco_client.rpc import RpcClient
from mco_lab.memory import MemoryFleet
from mco_rpc.errors import ActionAborted, ConfigError, InvalidData, TimedOut
from tests.agents.asking import ask
from tests.agents.servers import free_port, need, running, until

CONFIG = """
global
    maxconn 100
    stats socket {folder}/admin.sock level admin mode 600
    stats socket {folder}/operator.sock level operator mode 600
defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 5s
frontend web
    bind 127.0.0.1:{port}
    default_backend app
backend app
    balance roundrobin
    server app1 127.0.0.1:{one}
    server app2 127.0.0.1:{two} check inter 100 fall 1 rise 1
backend empty
    server lonely 127.0.0.1:1 weight 0
"""


class Pool(NamedTuple):
    """A running HAProxy."""

    folder: Path
    port: int

    def agent(self, name: str = "admin.sock") -> Haproxy:
        return Haproxy(settings={"socket": str(self.folder / name)})

    def who(self) -> str:
        """Return which server answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """An HAProxy with two Python servers behind it."""
    program = need("haproxy", "haproxy")
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="mco-haproxy-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        one, two = (stack.enter_context(_server(name)) for name in ("app1", "app2"))
        port = free_port()
        config = folder / "haproxy.cfg"
        config.write_text(CONFIG.format(folder=folder, port=port, one=one, two=two))
        stack.enter_context(running(program, "-f", config, "-db", log=folder / "log"))
        made = Pool(folder, port)
        until((folder / "admin.sock").exists, f"HAProxy's socket: {(folder / 'log').read_text()}")
        until(lambda: {made.who(), made.who()} == {"app1", "app2"}, "both servers")
        yield made


@contextlib.contextmanager
def _server(name: str) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(name)))
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def as_before(pool: Pool) -> Iterator[None]:
    """Leave both servers in the pool."""
    yield
    for server in ("app1", "app2"):
        ask(pool.agent(), "set_state", backend="app", server=server, state="ready")


def test_status_says_what_runs(pool: Pool) -> None:
    made = ask(pool.agent(), "status")
    assert made["version"].startswith("2.") or made["version"].startswith("3.")
    assert (made["max_connections"], made["servers_up"] + made["servers_down"]) == (100, 3)
    assert Path(f"/proc/{made['processes'][0]['pid']}").exists()


def test_servers_of_one_backend_or_all(pool: Pool) -> None:
    made = ask(pool.agent(), "servers", backend="app")
    assert [row["server"] for row in made["servers"]] == ["app1", "app2"]
    assert (made["count"], made["up"], made["states"]) == (2, 2, ["ready", "ready"])
    assert ask(pool.agent(), "servers")["count"] == 3


def test_a_weight_of_nothing_is_not_what_an_administrator_did(pool: Pool) -> None:
    (row,) = ask(pool.agent(), "servers", backend="empty")["servers"]
    assert (row["admin_state"], row["weight"]) == ("ready", 0)


@pytest.mark.parametrize("state", ["drain", "maint"])
def test_a_server_taken_out_gets_no_traffic_until_it_is_back(pool: Pool, state: str) -> None:
    # When it is taken out
    change = {"backend": "app", "server": "app1"}
    made = ask(pool.agent(), "set_state", **change, state=state)
    assert (made["changed"], made["before"], made["after"]) == (True, "ready", state)

    # Then traffic goes to the other
    assert {pool.who() for _ in range(4)} == {"app2"}
    assert ask(pool.agent(), "servers", backend="app")["states"] == [state, "ready"]

    # And a second time nothing changes
    assert ask(pool.agent(), "set_state", **change, state=state)["changed"] is False

    # And once it is back it gets traffic again
    assert ask(pool.agent(), "set_state", **change, state="ready")["before"] == state
    until(lambda: pool.who() == "app1", "traffic for app1")


def test_from_drain_to_maint_is_a_change(pool: Pool) -> None:
    change = {"backend": "app", "server": "app1"}
    ask(pool.agent(), "set_state", **change, state="drain")
    made = ask(pool.agent(), "set_state", **change, state="maint")
    assert (made["changed"], made["before"], made["after"]) == (True, "drain", "maint")


def test_noop_says_and_does_nothing(pool: Pool) -> None:
    made = ask(pool.agent(), "set_state", noop=True, backend="app", server="app1", state="maint")
    assert (made["changed"], made["before"], made["after"]) == (True, "ready", "maint")
    assert ask(pool.agent(), "servers", backend="app")["states"] == ["ready", "ready"]


def test_who_may_only_look_is_told_what_is_missing(pool: Pool) -> None:
    assert ask(pool.agent("operator.sock"), "servers")["count"] == 3
    with pytest.raises(ActionAborted, match=r"refused on .*operator\.sock: .*level admin"):
        ask(pool.agent("operator.sock"), "set_state", backend="app", server="app1", state="maint")


def test_what_is_not_there_is_said_with_what_is(pool: Pool) -> None:
    with pytest.raises(InvalidData, match="no server 'ap1', did you mean app1"):
        ask(pool.agent(), "set_state", backend="app", server="ap1", state="maint")
    with pytest.raises(InvalidData, match="no servers in a backend 'apps', did you mean app"):
        ask(pool.agent(), "servers", backend="apps")


@pytest.mark.parametrize(
    "name", ["", "a;disable server app/app1", "a\nshow info", "app/app1", "a b", "-a\0", "#1", "ä"]
)
def test_a_name_cannot_become_a_command(pool: Pool, name: str) -> None:
    for names in ({"backend": name, "server": "app1"}, {"backend": "app", "server": name}):
        with pytest.raises(InvalidData, match="does not match"):
            ask(pool.agent(), "set_state", **names, state="maint")


def test_several_sockets_are_all_asked_and_all_changed(pool: Pool) -> None:
    paths = [str(pool.folder / "admin.sock")] * 2
    agent = Haproxy(settings={"socket": paths})
    assert ask(agent, "servers", backend="app")["count"] == 4
    assert ask(agent, "set_state", backend="app", server="app1", state="drain")["after"] == "drain"


def test_nobody_at_the_socket_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert Haproxy.activate_when({"socket": str(path)}) is None
    with pytest.raises(ActionAborted, match=r"cannot be asked on .*Connection refused; does it run"):
        ask(Haproxy(settings={"socket": str(path)}), "status")


def test_a_process_that_says_nothing_does_not_hold_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Haproxy, "timeout_s", 0.2)
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(TimedOut, match="did not answer `show info`"):
            ask(Haproxy(settings={"socket": str(path)}), "status")


def test_it_is_offered_where_a_socket_is(tmp_path: Path) -> None:
    assert Haproxy.activate_when({"socket": str(tmp_path)}) == f"there is no socket {tmp_path}"
    assert Haproxy.activate_when({"socket": [f"{tmp_path}/a", "b"]}) == f"there is no socket {tmp_path}/a and no b"


@pytest.mark.parametrize("value", ["", [], "relative", [7], 7])
def test_wrong_settings_are_said_so(value: Any) -> None:
    with pytest.raises(ConfigError, match="agents: haproxy: socket: "):
        Haproxy(settings={"socket": value})


def test_the_whole_way(pool: Pool) -> None:
    settings = {"agents": {"haproxy": {"socket": str(pool.folder / "admin.sock")}}}
    with MemoryFleet({"lb1": {"settings": settings}}) as fleet:
        haproxy = RpcClient("haproxy", fleet.connection())
        haproxy.set_state(backend="app", server="app2", state="drain").require_all(changed=True, after="drain")


def test_a_state_that_was_not_read_is_not_told(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an HAProxy that says nothing of the state of its servers
    agent = pool.agent()
    real = agent._ask
    monkeypatch.setattr(agent, "_ask", lambda path, said: "" if "servers state" in said else real(path, said))

    # Then neither is one made up, nor is a change believed
    change = {"backend": "app", "server": "app1", "state": "ready"}
    for action, inputs in (("servers", {"backend": "app"}), ("set_state", change)):
        with pytest.raises(ActionAborted, match="does not say the state of app/app1; ask again"):
            ask(agent, action, **inputs)
