# SPDX-License-Identifier: Apache-2.0
"""Translate between our words and AMQP's as pika spells them: URLs, properties, errors. Opens no connection."""

from __future__ import annotations

import socket
import ssl
import urllib.parse
from collections.abc import Iterator

from mco_rpc.config import BrokerSettings, redacted
from mco_rpc.connector import Packet
from mco_rpc.connector.lean import without
from mco_rpc.connector.tls import TlsOptions, context_of, without_tls_options
from mco_rpc.errors import BrokerError, BrokerRefused, BrokerUnreachable, ConfigError

_UNUSED = {
    "pika.adapters.asyncio_connection": "AsyncioConnection",
    "pika.adapters.blocking_connection": "BlockingConnection",
}
with without(_UNUSED):
    import pika
    import pika.exceptions

SIGNATURE_HEADER, KEY_HEADER = "mco-signature", "mco-key"
BLOCKED_TIMEOUT_S = 30.0
ACCESS_REFUSED, RESOURCE_LOCKED, NOT_ALLOWED = 403, 405, 530


def parameters_of(url: str, settings: BrokerSettings) -> pika.URLParameters:
    """Return how to connect to a broker; raise `ConfigError` if its URL is none."""
    is_tls = url.startswith("amqps://")
    try:
        parameters = pika.URLParameters(without_tls_options(url) if is_tls else url)
        host = urllib.parse.urlsplit(url).hostname
    except Exception as e:  # beside ValueError what it stumbles over: IndexError, SyntaxError in an option, ...
        why = "it names a user and no password" if isinstance(e, TypeError) else e
        raise ConfigError(
            f"brokers: {redacted(url)} is not an AMQP URL ({why}); expected amqp://user:password@host:5672/vhost"
        ) from e
    if not url.startswith(("amqp://", "amqps://")) or not host:
        raise ConfigError(f"brokers: {redacted(url)}: expected amqp://user:password@host:5672/vhost")
    if is_tls and "ssl_options=" not in url:
        options = TlsOptions.of(url)
        parameters.ssl_options = pika.SSLOptions(context_of(options), options.server_name or host)
    parameters.heartbeat = settings.heartbeat_s
    parameters.socket_timeout = settings.connect_timeout_s
    parameters.stack_timeout = settings.connect_timeout_s * 2
    parameters.blocked_connection_timeout = BLOCKED_TIMEOUT_S
    parameters.client_properties = {"product": "mco-behave", "connection_name": socket.gethostname()}
    return parameters


def properties_of(packet: Packet, user: str, now: int) -> pika.BasicProperties:
    """Return a packet's properties as they are sent; ``user`` is vouched for by the broker."""
    return pika.BasicProperties(
        content_type="application/json",
        type=packet.type,
        message_id=packet.message_id,
        correlation_id=packet.correlation_id or None,
        expiration=None if packet.expiration_s is None else str(max(1, int(packet.expiration_s * 1000))),
        timestamp=now,
        user_id=user,
        headers={SIGNATURE_HEADER: packet.signature, KEY_HEADER: packet.signer},
    )


def packet_of(exchange: object, key: object, properties: pika.BasicProperties, body: bytes) -> Packet:
    """Return what came, with every field of the type it must have, whoever sent it."""
    headers = properties.headers or {}
    signature, signer = headers.get(SIGNATURE_HEADER), headers.get(KEY_HEADER)
    return Packet(
        exchange=_text(exchange),
        key=_text(key),
        body=body,
        type=_text(properties.type),
        message_id=_text(properties.message_id),
        correlation_id=_text(properties.correlation_id),
        signer=_text(signer),
        signature=signature if isinstance(signature, bytes) else b"",
    )


def _text(value: object) -> str:
    """Return what came if it is text; pika gives bytes where it was not UTF-8."""
    return value if isinstance(value, str) else ""


def reason_of(broker: str, error: BaseException) -> BrokerError:
    """Return what a failed or lost connection means for the user."""
    causes = list(_causes(error))
    for cause in causes:
        code = getattr(cause, "reply_code", None)
        text = getattr(cause, "reply_text", "")
        is_refusal = isinstance(
            cause, pika.exceptions.ProbableAuthenticationError | pika.exceptions.ProbableAccessDeniedError
        )
        if code == NOT_ALLOWED or isinstance(cause, pika.exceptions.ProbableAccessDeniedError):
            return BrokerRefused(f"broker {broker} has no such virtual host, or we may not use it {text}".rstrip())
        if code == ACCESS_REFUSED or is_refusal:
            return BrokerRefused(f"broker {broker} refused the user name or password {text}".rstrip())
    first = next((cause for cause in causes if isinstance(cause, OSError)), None)
    if isinstance(first, ssl.SSLError):
        why = getattr(first, "verify_message", "") or first.reason or str(first)
        return BrokerUnreachable(f"broker {broker}: TLS failed: {why}; `mco doctor` looks closer")
    if isinstance(first, socket.gaierror):
        return BrokerUnreachable(f"broker {broker}: the host name cannot be resolved: {first.strerror}")
    if isinstance(first, ConnectionRefusedError):
        return BrokerUnreachable(f"broker {broker}: connection refused; does RabbitMQ run there, on this port?")
    detail = first or (causes[-1] if causes else error)
    return BrokerUnreachable(f"broker {broker}: connection failed or lost: {str(detail) or type(detail).__name__}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk pika's nested errors from the outside to the inside."""
    yield error
    inner = [*getattr(error, "exceptions", ()), getattr(error, "exception", None)]
    inner += [argument for argument in error.args if isinstance(argument, BaseException)]
    for cause in inner:
        if isinstance(cause, BaseException) and cause is not error:
            yield from _causes(cause)
