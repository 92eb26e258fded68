# SPDX-License-Identifier: Apache-2.0
"""What a URL answers: from a real server, over TLS, through redirects, and from servers that misbehave."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_agents.probes import REFUSED
from mco_agents.probes import url as probe
from mco_agents.probes.child import answer
from mco_agents.url import Url
from mco_client.rpc import RpcClient
from mco_lab.memory import MemoryFleet
from mco_rpc.errors import ConfigError, Denied, InvalidData
from tests.agents.asking import ask
from tests.agents.authority import Signed, listening
from tests.agents.servers import free_port

LEAF = Signed("web", names=("127.0.0.1",), days=12)


class Site(http.server.BaseHTTPRequestHandler):
    """Answers by the path; its server counts nothing and keeps the last request's headers."""

    def do_GET(self) -> None:
        self.server.asked = dict(self.headers)  # type: ignore[attr-defined]
        path, _, rest = self.path.partition("?")
        if path == "/to":
            self.answer(302, b"", Location=rest)
        elif path == "/large":
            self.answer(200, b"x" * 100_000)
        elif path == "/status":
            self.answer(int(rest), b"")
        elif path == "/latin":
            self.answer(200, "grün".encode("latin-1"), **{"Content-Type": "text/plain; charset=latin-1"})
        elif path == "/charset":
            self.answer(200, b"hello", **{"Content-Type": f"text/plain; charset={rest}"})
        elif path == "/odd":
            self.answer(200, b"ok", **{"Content-Type": "text/plain; charset=nonsense", "X-Many": "1"})
        else:
            self.answer(200, f"path={self.path} agent={self.headers['User-Agent']}".encode())

    do_HEAD = do_GET  # noqa: N815 - the name that it is called by

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextlib.contextmanager
def site(wrap: Callable[[socket.socket], socket.socket] = lambda made: made) -> Iterator[Any]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.socket = wrap(server.socket)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with site() as made:
        yield made


@pytest.fixture
def base(server: Any) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def get(url: str, settings: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return ask(Url(settings=settings or {}), "get", url=url, **more)


def test_what_comes_is_told(base: str) -> None:
    made = get(f"{base}/a?b=c", match="agent=mco/[0-9]")
    assert (made["status"], made["matched"], made["fault"]) == (200, True, None)
    assert made["size_bytes"] == int(made["headers"]["content-length"])
    assert 0 < made["ttfb_s"] <= made["took_s"]
    assert (made["address"], made["url"], made["redirects"]) == ("127.0.0.1", f"{base}/a?b=c", [])
    assert made["certificate_days_left"] is None


def test_an_error_is_an_answer(base: str) -> None:
    assert get(f"{base}/status?503")["status"] == 503
    made = get(f"{base}/status?404", match="x")
    assert (made["status"], made["matched"]) == (404, False)


def test_head_asks_for_no_body(base: str) -> None:
    made = get(f"{base}/large", method="HEAD")
    assert (made["status"], made["size_bytes"], made["headers"]["content-length"]) == (200, 0, "100000")


def test_no_more_is_read_than_allowed(base: str) -> None:
    made = get(f"{base}/large", {"max_bytes": 1000}, match="x{1000}")
    assert (made["size_bytes"], made["is_truncated"], made["matched"]) == (1000, True, True)
    assert get(f"{base}/large")["is_truncated"] is False


def test_the_charset_counts_and_nonsense_does_no_harm(base: str) -> None:
    assert get(f"{base}/latin", match="^grün$")["matched"] is True
    assert get(f"{base}/odd", match="^ok$")["matched"] is True


def test_headers_are_sent(server: Any, base: str) -> None:
    get(f"{base}/", headers={"X-Trace": "7", "User-Agent": "me", "Host": "www.example.test"})
    assert (server.asked["X-Trace"], server.asked["User-Agent"], server.asked["Host"]) == (
        "7",
        "me",
        "www.example.test",
    )


def test_redirects_are_followed_and_told(base: str) -> None:
    made = get(f"{base}/to?/to?/end")
    assert (made["status"], made["url"]) == (200, f"{base}/end")
    assert [hop["status"] for hop in made["redirects"]] == [302, 302]
    made = get(f"{base}/to?/end", follow_redirects=False)
    assert (made["status"], made["headers"]["location"]) == (302, "/end")


def test_redirects_in_a_circle_end(base: str) -> None:
    with site() as circle:
        url = f"http://127.0.0.1:{circle.server_port}/to?"
        made = get(url + url * 15)
    assert len(made["redirects"]) == 10
    assert made["status"] == 302


def test_a_secret_stays_with_whom_it_was_meant_for(server: Any, base: str) -> None:
    with site() as other:
        get(f"http://127.0.0.1:{other.server_port}/to?{base}/", headers={"Authorization": "secret", "X-A": "1"})
    assert "Authorization" not in server.asked
    assert server.asked["X-A"] == "1"


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/", "file:///etc/passwd", "http://user@127.0.0.1/", "http://[x/"])
def test_a_redirect_to_where_nobody_goes_is_an_answer(base: str, target: str) -> None:
    made = get(f"{base}/to?{target}")
    assert (made["status"], made["fault"]) == (None, "protocol")


def test_only_allowed_hosts_are_asked_also_by_a_redirect(base: str) -> None:
    settings = {"allow": ["127.0.0.1", "*.example.test"]}
    assert get(f"{base}/", settings)["status"] == 200
    for url in ("http://localhost:1/", f"{base}/to?http://localhost:1/", "http://[::1]:1/"):
        with pytest.raises(Denied, match="is not among the hosts"):
            get(url, settings)
    with pytest.raises(Denied):
        get(f"{base}/", {"allow": []})


def test_no_proxy_is_used_whatever_the_environment_says(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    assert get(f"{base}/")["status"] == 200


def test_tls_is_believed_or_not(tmp_path: Path) -> None:
    context = LEAF.context(tmp_path)
    (tmp_path / "ca.pem").write_bytes(LEAF.pem)
    with site(lambda made: context.wrap_socket(made, server_side=True)) as server:
        url = f"https://127.0.0.1:{server.server_port}/"
        made = get(url, ca=str(tmp_path / "ca.pem"))
        assert made["status"] == 200
        assert 11.9 < made["certificate_days_left"] <= 12
        made = get(url)
        assert (made["status"], made["fault"]) == (None, "tls")
        assert "self" in made["reason"]
        assert get(url, insecure=True)["status"] == 200


def test_nobody_there_is_an_answer() -> None:
    made = get(f"http://127.0.0.1:{free_port()}/")
    assert (made["status"], made["fault"]) == (None, "refused")


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (b"220 hello\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "protocol"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500, "protocol"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000, "protocol"),
        (b"", "closed"),
    ],
    ids=["smtp", "short", "chunks", "headers", "header", "nothing"],
)
def test_a_server_that_misbehaves_is_an_answer(said: bytes, fault: str) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

    with listening(serve) as port:
        made = get(f"http://127.0.0.1:{port}/")
    assert made["fault"] == fault, made


def test_a_server_that_drips_is_late() -> None:
    def serve(connection: socket.socket) -> None:
        pause = threading.Event()
        while True:
            connection.sendall(b"H")
            pause.wait(0.05)

    with listening(serve) as port:
        made = get(f"http://127.0.0.1:{port}/", timeout_s=0.4)
    assert (made["status"], made["fault"]) == (None, "timed_out")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "ftp://x/",
        "http://",
        "http://a b/",
        "http://x/\r\nA: b",
        "http://x:99999/",
        "http://[::1/",
        "http://u:p@x/",
        "http://ä/",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidData):
        get(url)


@pytest.mark.parametrize(
    "wrong",
    [
        {"headers": {"A": "b\r\nC: d"}}, {"headers": {"A b": "c"}}, {"headers": {"A": 1}}, {"headers": {"": "c"}},
        {"match": "("}, {"match": "x" * 600}, {"match": "(?=a)"}, {"ca": "relative"}, {"ca": "/nonexistent"},
        {"method": "POST"},
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidData):
        get("https://127.0.0.1:1/", **wrong)


@pytest.mark.parametrize(
    "settings", [{"allow": "x"}, {"allow": [1]}, {"max_bytes": 0}, {"max_bytes": "1"}, {"proxy": "x"}]
)
def test_wrong_settings_are_said_so(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="agents: url: "):
        Url(settings=settings)


def test_the_whole_way(base: str) -> None:
    with MemoryFleet({"web1": {}, "web2": {}}) as fleet:
        url = RpcClient("url", fleet.connection())
        url.get(url=f"{base}/health", match="path=/health").require_all(status=200, matched=True)


@pytest.mark.parametrize("charset", ["zlib", "rot13", "base64", "undefined", "idna", "x" * 200])
def test_a_server_cannot_choose_what_its_text_is_run_through(charset: str) -> None:
    with site() as server:
        made = ask(Url(), "get", url=f"http://127.0.0.1:{server.server_port}/charset?{charset}", match="^hello$")
    assert (made["status"], made["matched"], made["fault"]) == (200, True, None)


@pytest.mark.parametrize("to", [f"http://{'a' * 300}/", "http://127.0.0.1:0/", "file:///etc/passwd"])
def test_a_redirect_to_nowhere_is_the_fault_of_who_sent_it(to: str) -> None:
    with site() as server:
        made = ask(Url(), "get", url=f"http://127.0.0.1:{server.server_port}/to?{to}")
    assert (made["status"], made["fault"], len(made["redirects"])) == (None, "protocol", 1)


def test_the_same_in_the_question_is_the_callers() -> None:
    for url in (f"http://{'a' * 300}/", "http://127.0.0.1:0/"):
        with pytest.raises(InvalidData, match=r"no name of a host|there is no port 0"):
            ask(Url(), "get", url=url)


def test_whatever_goes_wrong_in_its_process_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> dict[str, Any]:
        raise RecursionError("too deep")

    monkeypatch.setattr(probe, "probe", broken)
    made = answer("url", {"timeout_s": 1})
    assert made == {REFUSED: 5, "reason": "what came cannot be read: RecursionError: too deep"}
