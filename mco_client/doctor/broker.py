# SPDX-License-Identifier: Apache-2.0
"""How far one gets with each broker of the configuration, all at the same time."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mco_client.doctor.finding import Finding, Grade, fine, found, skipped
from mco_client.doctor.illnesses import BROKER
from mco_client.doctor.patient import Patient
from mco_client.text import one_line
from mco_rpc.config import ClientSettings, redacted
from mco_rpc.errors import BrokerError, BrokerRefused, ConfigError

SLOW_S = 0.25
SOON_S = 14 * 86400.0
_CODES = {
    "name": "broker-name",
    "refused": "broker-refused",
    "unreachable": "broker-unreachable",
    "silent": "broker-silent",
    "protocol": "broker-protocol",
    "tls-expected": "broker-tls-expected",
    "tls-not-spoken": "broker-tls-not-spoken",
    "certificate": "broker-certificate",
}


def brokers(patient: Patient, clock: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Go to every broker, log in, and do what a caller has to."""
    settings = patient.settings
    if settings is None:
        yield skipped(BROKER, "the configuration must be read first")
    elif settings.connector != "rabbitmq":
        yield skipped(BROKER, f"connector {settings.connector} needs none")
    else:
        with ThreadPoolExecutor(max(1, len(settings.brokers))) as pool:
            seen = list(pool.map(lambda url: list(_of_one(url, settings, clock)), settings.brokers))
        patient.is_shut_out = all(finding.grade is Grade.ILL for findings in seen for finding in findings)
        for findings in seen:
            yield from findings


def _of_one(url: str, settings: ClientSettings, clock: Callable[[], float]) -> Iterator[Finding]:
    from mco_rpc.connector.knock import Turned, expiry_text, knock, visit

    parts = urllib.parse.urlsplit(url)
    where = redacted(url)
    facts: dict[str, Any] = {
        "host": parts.hostname or "HOST",
        "port": _port(url),
        "user": parts.username or "guest",
        "vhost": urllib.parse.unquote(parts.path[1:]) or "/",
    }
    try:
        greeting = knock(url, settings)
        seen = visit(url, settings, settings.collective, f"key={settings.caller}")
    except Turned as e:
        yield found(_CODES[e.step], one_line(str(e), 300), **facts)
        return
    except BrokerRefused as e:
        text = one_line(str(e), 300)
        yield found(_refusal(text), text, **facts)
        return
    except ConfigError as e:
        yield found("config-invalid", one_line(str(e), 300), where="brokers")
        return
    except BrokerError as e:
        yield found("broker-unreachable", one_line(str(e), 300), **facts)
        return
    if greeting.expires_at is not None and greeting.expires_at - clock() < SOON_S:
        day = expiry_text(greeting.expires_at)
        yield found("broker-certificate-soon", f"broker {where}: its certificate expires on {day}", day=day)
    if seen.blocked:
        text = one_line(f"broker {where} takes no messages now: {seen.blocked}", 300)
        yield found("broker-blocked", text, **facts)
    elif seen.round_trip_s > SLOW_S:
        text = f"broker {where}: {seen.round_trip_s * 1000:.0f} ms from a message to its confirmation"
        yield found("broker-slow", text, **facts)
    else:
        name = one_line(f"{greeting.product} {greeting.version}", 60)
        tls = f", {greeting.tls}" if greeting.tls else ""
        yield fine(BROKER, f"{where}: {name}{tls}, answers in {seen.round_trip_s * 1000:.1f} ms")


def _port(url: str) -> int:
    try:
        port = urllib.parse.urlsplit(url).port
    except ValueError:
        port = None
    return port or (5671 if url.startswith("amqps:") else 5672)


def _refusal(text: str) -> str:
    """Return which refusal it is; the texts are those of `mco_rpc.connector.amqp` and of `knock`."""
    if "virtual host" in text:
        return "broker-vhost"
    return "broker-credentials" if "user name or password" in text else "broker-permissions"
