# SPDX-License-Identifier: Apache-2.0
"""``mco dns``: what names mean on each node."""

from __future__ import annotations

from mco_client.cli.application import Verb, application, fields

dns = application(
    "dns",
    "Ask the name service of each node.",
    {
        "resolve": Verb("look a name up", ("name", "type?"), fields("answers", "rcode", is_grouped=True)),
    },
    words="NAME [TYPE]",
    unsaid="resolve",
    examples="""\
  mco dns localhost                               do all nodes see the same?
  mco dns example.org MX server=127.0.0.53""",
)
