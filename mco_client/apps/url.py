# SPDX-License-Identifier: Apache-2.0
"""``mco url``: what the web answers each node."""

from __future__ import annotations

from mco_client.cli.application import Verb, application, fields

url = application(
    "url",
    "Fetch addresses of the web from each node.",
    {
        "get": Verb("fetch it", ("url",), fields("status", "took_s", "size_bytes", "matched", "reason")),
    },
    words="URL",
    unsaid="get",
    examples="""\
  mco url http://127.0.0.1/                       what does each node get?
  mco url get http://127.0.0.1/health match=ok -C /web/""",
)
