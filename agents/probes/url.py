# SPDX-License-Identifier: Apache-2.0
"""One HTTP request with its redirects; no proxy, no cookies, and only as much of the body as was asked for."""

from __future__ import annotations

import contextlib
import fnmatch
import http.client
import socket
import time
import urllib.parse
from typing import Any

from mco_rpc import __version__
from mco_rpc.errors import Denied, FilterError, InvalidData
from mco_rpc.filters import patterns

from .certificates import days_left_of
from .connecting import connected
from .faults import fault_of
from .tls import context_for

MAX_REDIRECTS = 10
_MAX_HEADERS, _MAX_HEADER_LENGTH = 60, 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_SECRET = ("authorization", "cookie", "proxy-authorization", "host")


def probe(
    url: str,
    method: str,
    headers: dict[str, str],
    match: str,
    ca: str,
    is_insecure: bool,
    is_following: bool,
    allowed: list[str] | None,
    max_bytes: int,
    timeout_s: float,
) -> dict[str, Any]:
    """Ask for a URL, and say what came."""
    expression = _compiled(match) if match else None
    target = _checked(url, allowed)
    began = time.perf_counter()
    until = time.monotonic() + timeout_s
    chain: list[dict[str, Any]] = []
    made: dict[str, Any] = {"redirects": chain}
    try:
        while True:
            with _Exchange(target, ca, is_insecure, max(0.01, until - time.monotonic())) as exchange:
                answer = exchange.ask(method, headers)
                following = _redirection(answer, url) if is_following and len(chain) < MAX_REDIRECTS else None
                if following is None:
                    made |= {"url": url, "ttfb_s": round(exchange.first_byte_at - began, 6)}
                    made |= {"address": exchange.address, "certificate_days_left": exchange.days_left}
                    made |= _told(answer) | _body(answer, max_bytes, expression)
                    return made | {"took_s": round(time.perf_counter() - began, 6)}
            chain.append({"url": url, "status": answer.status})
            if _origin(following) != _origin(url):  # who sent us there must not get the caller's secrets
                headers = {name: value for name, value in headers.items() if name.lower() not in _SECRET}
            url = following
            target = _checked(url, allowed)
    except InvalidData as e:
        if not chain:
            raise
        return made | {"url": url, "fault": "protocol", "reason": f"redirected: {e}"}  # the fault of who sent us there
    except OSError as e:
        return made | {"url": url} | fault_of(e)
    except (http.client.HTTPException, ValueError) as e:
        return made | {"url": url, "fault": "protocol", "reason": f"{type(e).__name__}: {e}"[:300]}


def _redirection(answer: http.client.HTTPResponse, url: str) -> str | None:
    location = answer.getheader("Location") if answer.status in _REDIRECTS else None
    return urllib.parse.urljoin(url, location) if location else None


def _told(answer: http.client.HTTPResponse) -> dict[str, Any]:
    return {"status": answer.status, "version": f"HTTP/{answer.version / 10:.1f}", "headers": _bounded(answer)}


def _body(answer: http.client.HTTPResponse, max_bytes: int, expression: Any) -> dict[str, Any]:
    body = answer.read(max_bytes + 1)
    is_truncated = len(body) > max_bytes
    if not is_truncated and answer.length:
        raise http.client.IncompleteRead(body, answer.length)
    made = {"size_bytes": min(len(body), max_bytes), "is_truncated": is_truncated}
    if expression is not None:
        text = body[:max_bytes].decode(_charset(answer), "replace")
        made["matched"] = expression.search(text) is not None
    return made


class _Exchange:
    """One connection, one request, one answer."""

    def __init__(self, target: urllib.parse.SplitResult, ca: str, is_insecure: bool, timeout_s: float) -> None:
        self._target = target
        self._host = target.hostname or ""
        self._port = target.port or {"http": 80, "https": 443}[target.scheme]
        self._context = context_for(ca, is_insecure) if target.scheme == "https" else None
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._connection: http.client.HTTPConnection | None = None
        self.first_byte_at = 0.0
        self.address = ""
        self.days_left: float | None = None

    def __enter__(self) -> _Exchange:
        made = connected(self._host, self._port, self._timeout_s)
        self._socket = made
        self.address = made.getpeername()[0]
        try:
            if self._context is not None:
                wrapped = self._context.wrap_socket(made, server_hostname=self._host)
                self._socket = wrapped
                der = wrapped.getpeercert(binary_form=True)
                self.days_left = days_left_of(der) if der else None
        except BaseException:
            self._socket.close()
            raise
        return self

    def ask(self, method: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Send the request, and return its answer as soon as it begins."""
        self._connection = http.client.HTTPConnection(self._host, self._port)
        self._connection.sock = self._socket
        path = urllib.parse.urlunsplit(("", "", self._target.path or "/", self._target.query, ""))
        names = {name.lower() for name in headers}
        self._connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        standard = {"Host": self._target.netloc, "User-Agent": f"mco/{__version__}", "Accept": "*/*"}
        standard |= {"Accept-Encoding": "identity", "Connection": "close"}
        for name, value in standard.items():
            if name.lower() not in names:
                self._connection.putheader(name, value)
        for name, value in headers.items():
            self._connection.putheader(name, value)
        self._connection.endheaders()
        answer = self._connection.getresponse()
        self.first_byte_at = time.perf_counter()
        return answer

    def __exit__(self, *_: object) -> None:
        for closing in (self._connection, self._socket):
            if closing is not None:
                with contextlib.suppress(OSError):
                    closing.close()


def _checked(url: str, allowed: list[str] | None) -> urllib.parse.SplitResult:
    try:
        target = urllib.parse.urlsplit(url)
        port = target.port
    except ValueError as e:
        raise InvalidData(f"{url!r:.200} is no URL: {e}") from e
    if port == 0:  # to HTTP it would be as good as none
        raise InvalidData(f"{url!r:.200} is no URL: there is no port 0")
    if target.scheme not in ("http", "https") or not target.hostname:
        raise InvalidData(f"expected a URL such as https://www.example.net/, got {url[:200]!r}")
    if "@" in target.netloc:
        raise InvalidData("a URL with a user in it is not taken: give the header Authorization instead")
    if any(not "!" <= character <= "~" for character in url):
        raise InvalidData("a URL holds printable ASCII characters only; write the others as %xx")
    host = target.hostname
    if allowed is not None and not any(fnmatch.fnmatchcase(host, pattern.lower()) for pattern in allowed):
        raise Denied(f"agents: url: allow: {host} is not among the hosts that this node may ask")
    return target


def _origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _bounded(answer: http.client.HTTPResponse) -> dict[str, str]:
    """Return the headers, names in lower case; several of a name are one, as HTTP has it."""
    found: dict[str, str] = {}
    for name, value in answer.getheaders()[:_MAX_HEADERS]:
        key = name.lower()[:100]
        found[key] = (f"{found[key]}, {value}" if key in found else value)[:_MAX_HEADER_LENGTH]
    return found


def _charset(answer: http.client.HTTPResponse) -> str:
    import codecs

    try:
        name = codecs.lookup(answer.headers.get_content_charset("utf-8")).name
        b"a".decode(name, "replace")  # not all codecs are of texts: some only turn bytes into others
    except (LookupError, ValueError):
        return "utf-8"
    return name


def _compiled(pattern: str) -> Any:
    try:
        return patterns.compiled(patterns.bare(pattern))
    except FilterError as e:
        raise InvalidData(f"match: {e}") from e
