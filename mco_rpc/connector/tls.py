# SPDX-License-Identifier: Apache-2.0
"""How an ``amqps://`` URL is spoken to: the parameters are those that RabbitMQ's own URLs have.

``cacertfile`` names who vouches for the broker, ``certfile`` and ``keyfile`` say who we are, and
``server_name_indication`` is the name that its certificate has, if it is not the host's. A broker is always
verified: ``verify=verify_none`` is refused. Source: https://www.rabbitmq.com/docs/uri-query-parameters
"""

from __future__ import annotations

import ssl
import urllib.parse
from dataclasses import dataclass
from typing import Self

from mco_rpc.errors import ConfigError

_NAMES = {
    "cacertfile": "ca_file",
    "certfile": "certificate_file",
    "keyfile": "key_file",
    "server_name_indication": "server_name",
}


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """What a URL says about TLS; the system's authorities vouch for the broker if ``ca_file`` is empty."""

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    server_name: str = ""

    @classmethod
    def of(cls, url: str) -> Self:
        """Return what the URL says.

        Raises:
            ConfigError: it would not have the broker verified.
        """
        given = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
        if given.get("verify", "verify_peer") != "verify_peer":
            raise ConfigError(
                f"brokers: verify={given['verify']}: a broker is always verified; name who vouches for it: "
                "amqps://...?cacertfile=/etc/mco/ca.pem"
            )
        return cls(**{field: given[name] for name, field in _NAMES.items() if name in given})


def without_tls_options(url: str) -> str:
    """Return the URL with the parameters that are left for AMQP.

    >>> without_tls_options("amqps://host/?cacertfile=/ca.pem&heartbeat=5")
    'amqps://host/?heartbeat=5'
    """
    parts = urllib.parse.urlsplit(url)
    rest = [(name, value) for name, value in urllib.parse.parse_qsl(parts.query) if name not in (*_NAMES, "verify")]
    return urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(rest)))


def context_of(options: TlsOptions) -> ssl.SSLContext:
    """Return how a connection is secured: the broker's certificate and name are verified, always.

    Raises:
        ConfigError: one of the files cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=options.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if options.certificate_file:
            context.load_cert_chain(options.certificate_file, options.key_file or None, password=_no_password)
    except OSError as e:  # ssl's errors are among them
        files = [name for name in (options.ca_file, options.certificate_file, options.key_file) if name]
        raise ConfigError(f"brokers: TLS: {', '.join(files)}: {e.strerror or e}") from e
    return context


def _no_password() -> str:
    """Have an encrypted key refused, instead of asked for on a terminal that nobody may be at."""
    raise ConfigError("brokers: TLS: the key in keyfile has a passphrase, and there is nobody to ask for it")
