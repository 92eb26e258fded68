# SPDX-License-Identifier: Apache-2.0
"""The agent that asks for a URL and says what came; that nothing came is an answer, so that it can be asserted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mco_rpc.agent import Agent, Aggregate, Input, NodeView, Output, action, time_left_s
from mco_rpc.errors import ConfigError, InvalidData

from .probes import FAULTS, ask, bounded

MAX_BYTES = 1024 * 1024
URL = Input("string", "Begins with http:// or https://", prompt="URL", validate=r"/https?://[!-~]+/", max_length=2048)
HEADERS = Input("hash", "More headers, names and values", optional=True, default={}, max_length=30)
MATCH = Input(
    "string", "An expression that is looked for in what comes (RE2)", prompt="Match", optional=True, max_length=512
)
CA = Input(
    "string", "A file of certificates on the node to trust instead of the system's", optional=True,
    validate=r"//[^\x00-\x1f\x7f]+/",
)  # fmt: skip
TIMEOUT = Input("number", "Seconds to wait at most", prompt="Timeout", optional=True, default=10)


class Url(Agent):
    """Ask for a URL from here, and say what comes.

    A caller who may use this agent has the node ask whomever it can reach, on its own loopback too: the setting
    `allow` lists the hosts (patterns such as `*.example.net`) that may be asked, redirects included; all, if it is not
    there. `max_bytes` of a body are read, 1 MiB if nothing is said. Proxies are not used, whatever the environment
    says. What came is not in the answer: `match` says whether it holds what it should.
    """

    timeout_s = 30.0
    setting_names = ("allow", "max_bytes")

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(node, settings)
        self._allowed = self.settings.get("allow")
        if self._allowed is not None and (
            not isinstance(self._allowed, list) or not all(isinstance(host, str) for host in self._allowed)
        ):
            raise ConfigError(f"agents: url: allow: expected a list of hosts, got {self._allowed!r}")
        self._max_bytes = self.setting("max_bytes", MAX_BYTES)
        if not 0 < self._max_bytes <= 64 * MAX_BYTES:
            raise ConfigError(f"agents: url: max_bytes: expected 1 to {64 * MAX_BYTES}, got {self._max_bytes!r}")

    @action(
        "Ask for a URL",
        inputs={
            "url": URL,
            "method": Input("list", "How to ask", optional=True, default="GET", choices=("GET", "HEAD")),
            "headers": HEADERS,
            "match": MATCH,
            "ca": CA,
            "insecure": Input("boolean", "Take any certificate", optional=True, default=False),
            "follow_redirects": Input("boolean", "Go where the answer sends us", optional=True, default=True),
            "timeout_s": TIMEOUT,
        },
        outputs={
            "status": Output("integer", "The HTTP status; nothing if no answer came", display_as="Status"),
            "matched": Output("boolean", "Whether the expression was found", display_as="Matched"),
            "took_s": Output("number", "Seconds until all had come", display_as="Seconds"),
            "ttfb_s": Output("number", "Seconds until the answer began", display_as="First byte"),
            "size_bytes": Output("integer", "Bytes of the body that were read", display_as="Bytes"),
            "is_truncated": Output("boolean", "Whether the body has more", display_as="Truncated"),
            "url": Output("string", "The URL that answered in the end", display_as="URL"),
            "redirects": Output("array", "The URLs before it, and their status", display_as="Redirects", default=[]),
            "headers": Output("hash", "The answer's headers, names in lower case", display_as="Headers", default={}),
            "version": Output("string", "HTTP/1.0 or HTTP/1.1", display_as="Version"),
            "address": Output("string", "The address that answered", display_as="Address"),
            "certificate_days_left": Output("number", "Days until its certificate ends", display_as="Days left"),
            "fault": Output("string", f"Why no answer came, in a word: {FAULTS}", display_as="Fault"),
            "reason": Output("string", "Why no answer came, in words", display_as="Reason"),
        },
        aggregates=[Aggregate("summary", "status"), Aggregate("average", "took_s", "%.3f")],
    )
    def get(
        self,
        url: str,
        method: str = "GET",
        headers: Mapping[str, Any] | None = None,
        match: str = "",
        ca: str = "",
        insecure: bool = False,
        follow_redirects: bool = True,
        timeout_s: float = 10,
    ) -> dict[str, Any]:
        """Ask once, and once more for each redirect."""
        return ask(
            self,
            "url",
            bounded(timeout_s, time_left_s(self.timeout_s)),
            url=url,
            method=method,
            headers=_checked(headers or {}),
            match=match,
            ca=ca,
            is_insecure=insecure,
            is_following=follow_redirects,
            allowed=self._allowed,
            max_bytes=self._max_bytes,
        )


def _checked(headers: Mapping[str, Any]) -> dict[str, str]:
    """Return headers that cannot become two."""
    for name, value in headers.items():
        if not isinstance(value, str) or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            raise InvalidData(f"headers: expected names and texts, got {name!r}: {value!r:.60}")
        if not (value.isascii() and (value.isprintable() or not value)):
            raise InvalidData(f"headers: {name}: expected printable ASCII characters, got {value!r:.60}")
    return dict(headers)
