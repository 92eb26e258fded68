# SPDX-License-Identifier: Apache-2.0
"""The agent that asks name servers; that there is no such name is an answer, so that it can be asserted."""

from __future__ import annotations

from typing import Any

from mco_rpc.agent import Agent, Aggregate, Input, Output, action, time_left_s
from mco_rpc.errors import InvalidData

from .probes import FAULTS, ask, bounded

TYPES = ("A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT")
NAME = Input(
    "string", "A name; with PTR also an address", prompt="Name", validate=r"/[A-Za-z0-9_.:*/-]+/", max_length=255
)
SERVER = Input(
    "string", "Address of the name server; those of the node's resolv.conf if none is given", prompt="Server",
    optional=True, validate="ip_address", max_length=45,
)  # fmt: skip


class Dns(Agent):
    """Ask name servers from here.

    Names are taken as they are, without a search list, and the node's /etc/hosts has no part in it: what a program of
    the node would connect to says `nettest connect`.
    """

    timeout_s = 30.0

    @action(
        "Ask what a name stands for",
        inputs={
            "name": NAME,
            "type": Input("list", "What to ask for", prompt="Type", optional=True, default="A", choices=TYPES),
            "server": SERVER,
            "port": Input("integer", "Port of the name server", optional=True, default=53),
            "timeout_s": Input("number", "Seconds to wait at most", prompt="Timeout", optional=True, default=5),
        },
        outputs={
            "exists": Output("boolean", "Whether there is the name; nothing if nobody knows", display_as="Exists"),
            "answers": Output("array", "What it stands for, in order", display_as="Answers", default=[]),
            "rcode": Output("string", "The server's verdict, such as NOERROR or NXDOMAIN", display_as="Verdict"),
            "ttl": Output("integer", "Seconds that the answer may be kept", display_as="TTL"),
            "canonical_name": Output("string", "The name that it is another name for", display_as="Canonical name"),
            "authoritative": Output("boolean", "Whether the server owns the name", display_as="Authoritative"),
            "server": Output("string", "The server that answered", display_as="Server"),
            "took_s": Output("number", "Seconds that took", display_as="Seconds"),
            "fault": Output("string", f"Why no answer came, in a word: {FAULTS}", display_as="Fault"),
            "reason": Output("string", "Why no answer came, in words", display_as="Reason"),
        },
        aggregates=[Aggregate("summary", "answers"), Aggregate("summary", "rcode")],
    )
    def resolve(
        self,
        name: str,
        type: str = "A",
        server: str = "",
        port: int = 53,
        timeout_s: float = 5,
    ) -> dict[str, Any]:
        """Ask once; a lost datagram once more."""
        if not 0 < port < 65536:
            raise InvalidData(f"port: expected 1 to 65535, got {port}")
        wait_s = bounded(timeout_s, time_left_s(self.timeout_s))
        return ask(self, "dns", wait_s, name=name, type=type, server=server, port=port)
