# SPDX-License-Identifier: Apache-2.0
"""``mco certificate``: how long certificates are still good."""

from __future__ import annotations

from mco_client.cli.application import Verb, application, fields

certificate = application(
    "certificate",
    "Look at certificates in files, and at those that servers show.",
    {
        "file": Verb("those in a file", ("path",), fields("subject", "days_left", "not_after", "issuer")),
        "peer": Verb(
            "that of a server", ("host", "port"), fields("subject", "days_left", "verified", "verify_error", "reason")
        ),
    },
    words="ACTION PATH|HOST [PORT]",
    examples="""\
  mco certificate file /etc/ssl/certs/ca-certificates.crt -I web1
  mco certificate peer 127.0.0.1 443 -C /web/""",
)
