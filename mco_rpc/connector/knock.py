# SPDX-License-Identifier: Apache-2.0
"""How far one gets with a broker, step by step, for whoever wants to know why one does not get further.

It looks, and leaves nothing behind: a queue of its own that goes with its connection, and messages that reach nobody.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
import struct
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from mco_rpc import names
from mco_rpc.config import BrokerSettings, redacted
from mco_rpc.connector.amqp import ACCESS_REFUSED, parameters_of, reason_of
from mco_rpc.connector.tls import TlsOptions, context_of
from mco_rpc.errors import BrokerRefused, BrokerUnreachable

_log = logging.getLogger(__name__)
_GREETING = b"AMQP\x00\x00\x09\x01"
_END_OF_LINES = b"\r\n\r\n"
_TLS_RECORD = b"\x15\x03"
_MAX_ANSWER_BYTES = 64 * 1024
_FRAME_HEAD_BYTES = 7
# A blocked publisher is told at once; this is for the broker that says nothing.
_BLOCKED_TIMEOUT_S = 3.0

Step = Literal["name", "refused", "unreachable", "silent", "tls-expected", "tls-not-spoken", "certificate", "protocol"]


class Turned(BrokerUnreachable):
    """The way to a broker ended before anybody could log in.

    Attributes:
        step: where it ended.
    """

    def __init__(self, step: Step, text: str) -> None:
        super().__init__(text)
        self.step = step


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a broker says of itself before a login.

    Attributes:
        expires_at: when its certificate does, in seconds since the epoch; None without TLS.
        tls: the version of TLS; empty without.
    """

    product: str
    version: str
    tls: str = ""
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """What one sees once one is in.

    Attributes:
        round_trip_s: from a message to the broker's word that it has it.
        blocked: why the broker takes no messages now; empty if it does.
    """

    round_trip_s: float
    blocked: str = ""


def knock(url: str, settings: BrokerSettings) -> Greeting:
    """Go to a broker's door, and read what it says.

    Raises:
        Turned: one does not get there; its ``step`` says how far one gets.
        ConfigError: the URL is none.
    """
    parameters_of(url, settings)
    parts = urllib.parse.urlsplit(url)
    is_tls = parts.scheme == "amqps"
    host, port = parts.hostname or "", parts.port or (5671 if is_tls else 5672)
    where, timeout_s = redacted(url), settings.connect_timeout_s
    with contextlib.ExitStack() as stack:
        connection: socket.socket = stack.enter_context(_connected(host, port, where, timeout_s))
        tls, expires_at = "", None
        if is_tls:
            connection = stack.enter_context(_secured(connection, TlsOptions.of(url), host, where))
            tls, expires_at = connection.version() or "", _expires_at(connection)
        answer = _answer(connection, where, timeout_s)
    if not is_tls and (not answer or answer.startswith(_TLS_RECORD)) and _speaks_tls(host, port, timeout_s):
        raise Turned("tls-expected", f"broker {where}: this port speaks TLS, and the URL says amqp://")
    product, version = _said(answer, where)
    return Greeting(product, version, tls, expires_at)


def visit(url: str, settings: BrokerSettings, collective: str, principal: str) -> Visit:
    """Log in, and do what a caller has to: declare, bind, and send, to nobody.

    Raises:
        BrokerRefused: the broker says no; its text says to what.
        BrokerUnreachable: the connection was lost.
    """
    import pika
    import pika.exceptions

    where, parameters = redacted(url), parameters_of(url, settings)
    parameters.blocked_connection_timeout = _BLOCKED_TIMEOUT_S
    blocked: list[str] = []
    try:
        with _leaving(pika.BlockingConnection(parameters)) as connection:
            connection.add_on_connection_blocked_callback(lambda _, frame: blocked.append(str(frame.method.reason)))
            channel = connection.channel()
            for kind in names.EXCHANGE_KINDS:
                channel.exchange_declare(names.exchange(collective, kind), "topic", durable=True)
            reply_key = names.reply_key(principal, os.urandom(8).hex())
            queue = names.reply_queue(reply_key)
            channel.queue_declare(queue, exclusive=True, auto_delete=True)
            channel.queue_bind(queue, names.exchange(collective, names.REPLY), reply_key)
            channel.confirm_delivery()
            took_s = []
            for kind in (names.BROADCAST, names.NODE):
                took_s.append(_sent_s(channel, names.exchange(collective, kind), reply_key))
                if blocked:  # it says so once it has been sent something, and may confirm nothing more
                    break
            return Visit(min(took_s), blocked[0] if blocked else "")
    except pika.exceptions.ConnectionBlockedTimeout:
        return Visit(_BLOCKED_TIMEOUT_S, blocked[0] if blocked else "it does not say why")
    except pika.exceptions.ChannelClosedByBroker as e:
        kind_of = BrokerRefused if e.reply_code == ACCESS_REFUSED else BrokerUnreachable
        raise kind_of(f"broker {where} refused: {e.reply_text}") from e
    except (pika.exceptions.AMQPError, OSError) as e:
        raise reason_of(where, e) from e


@contextlib.contextmanager
def _leaving(connection: Any) -> Iterator[Any]:
    """Close a connection at the end, unless it is closed by then."""
    try:
        yield connection
    finally:
        if connection.is_open:
            connection.close()


def _sent_s(channel: Any, exchange: str, key: str) -> float:
    """Send what nobody's queue is bound for; return the seconds until the broker says so."""
    import pika.exceptions

    began = time.monotonic()
    with contextlib.suppress(pika.exceptions.UnroutableError):
        channel.basic_publish(exchange, f"nobody.{key}", b"", mandatory=True)
    return time.monotonic() - began


def _connected(host: str, port: int, where: str, timeout_s: float) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout_s)
    except socket.gaierror as e:
        raise Turned("name", f"broker {where}: the host name cannot be resolved: {e.strerror}") from e
    except ConnectionRefusedError as e:
        raise Turned("refused", f"broker {where}: connection refused: nothing listens on port {port}") from e
    except TimeoutError as e:
        raise Turned("silent", f"broker {where}: no answer to a connection within {timeout_s:g} s") from e
    except OSError as e:
        raise Turned("unreachable", f"broker {where}: {e.strerror or e}") from e


@contextlib.contextmanager
def _secured(connection: socket.socket, options: TlsOptions, host: str, where: str) -> Iterator[ssl.SSLSocket]:
    try:
        secured = context_of(options).wrap_socket(connection, server_hostname=options.server_name or host)
    except ssl.SSLCertVerificationError as e:
        raise Turned("certificate", f"broker {where}: its certificate is not believed: {e.verify_message}") from e
    except ssl.SSLError as e:
        # What a server that speaks something else says first is no record of TLS.
        is_other = e.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING")
        step: Step = "tls-not-spoken" if is_other else "certificate"
        raise Turned(step, f"broker {where}: no TLS could be agreed on: {e.reason or e}") from e
    except TimeoutError as e:
        raise Turned("tls-not-spoken", f"broker {where}: connected, and nobody answered a TLS greeting") from e
    except OSError as e:
        raise Turned("tls-not-spoken", f"broker {where}: the connection was ended during the TLS greeting: {e}") from e
    with secured:
        yield secured


def _speaks_tls(host: str, port: int, timeout_s: float) -> bool:
    """Say whether somebody there answers a TLS greeting; who it is does not matter, nothing is said to him."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), timeout_s) as plain, context.wrap_socket(plain):
            return True
    except OSError:
        return False


def _expires_at(connection: ssl.SSLSocket) -> float | None:
    seen = (connection.getpeercert() or {}).get("notAfter")
    return ssl.cert_time_to_seconds(seen) if isinstance(seen, str) else None


def _answer(connection: socket.socket, where: str, timeout_s: float) -> bytes:
    """Greet, and return the first frame, or whatever it is that came; nothing if the other side hung up."""
    until = time.monotonic() + timeout_s
    answer, nudge = b"", _END_OF_LINES
    try:
        connection.sendall(_GREETING)
        while len(answer) < min(_wanted_bytes(answer), _MAX_ANSWER_BYTES):
            left_s = until - time.monotonic()
            connection.settimeout(max(0.01, left_s - timeout_s / 2 if nudge else left_s))
            try:
                chunk = connection.recv(4096)
            except TimeoutError:
                if not nudge:
                    raise
                connection.sendall(nudge)  # who speaks in lines has something to answer now
                nudge = b""
                continue
            if not chunk:
                break
            answer += chunk
    except TimeoutError as e:
        raise Turned("silent", f"broker {where}: connected, and it said nothing within {timeout_s:g} s") from e
    except ConnectionError:
        _log.debug("%s ended the connection after %d bytes", where, len(answer))
    return answer


def _wanted_bytes(answer: bytes) -> int:
    """Return how long the answer is, as far as its beginning says."""
    if len(answer) < _FRAME_HEAD_BYTES or not answer.startswith(b"\x01"):
        return _FRAME_HEAD_BYTES
    size: int = struct.unpack(">I", answer[3:7])[0]
    return size + _FRAME_HEAD_BYTES + 1


def _said(answer: bytes, where: str) -> tuple[str, str]:
    """Return the product and version that a first frame tells."""
    import pika.frame

    if answer.startswith(b"HTTP/"):
        raise Turned("protocol", f"broker {where}: this port speaks HTTP: it is that of the management pages, perhaps")
    if answer.startswith(b"AMQP"):
        raise Turned("protocol", f"broker {where}: it speaks another version of AMQP than 0-9-1")
    try:
        _, frame = pika.frame.decode_frame(answer)
        properties = frame.method.server_properties
    except Exception as e:  # whatever a stranger's bytes lead a parser to
        said = f"it said {answer[:20]!r}" if answer else "it hung up without a word"
        raise Turned("protocol", f"broker {where}: this is no AMQP 0-9-1: {said}") from e
    return _text(properties.get("product")), _text(properties.get("version"))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def expiry_text(expires_at: float) -> str:
    """Return a moment as a date.

    >>> expiry_text(0)
    '1970-01-01'
    """
    return datetime.fromtimestamp(expires_at, UTC).date().isoformat()
