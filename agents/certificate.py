# SPDX-License-Identifier: Apache-2.0
"""The agent that looks at certificates, in files and of servers; it returns no keys."""

from __future__ import annotations

from typing import Any

from mco_rpc.agent import Agent, Aggregate, Input, Output, action, time_left_s

from .probes import FAULTS, ask, bounded
from .probes.names import HOST, PORT
from .probes.starttls import PROTOCOLS

PATH = Input("string", "A file, as PEM or DER", prompt="File", validate=r"//[^\x00-\x1f\x7f]+/", max_length=1024)
TOLD = {
    "days_left": Output("number", "Days until it ends, less than 0 if it has", display_as="Days left"),
    "is_expired": Output("boolean", "Whether it has ended", display_as="Expired"),
    "not_after": Output("string", "When it ends, in UTC", display_as="Ends"),
    "subject": Output("string", "Whose it is", display_as="Subject"),
    "issuer": Output("string", "Who signed it", display_as="Issuer"),
    "names": Output("array", "Names and addresses that it vouches for", display_as="Names", default=[]),
    "not_before": Output("string", "When it begins, in UTC", display_as="Begins"),
    "is_not_yet_valid": Output("boolean", "Whether it has not begun", display_as="Not yet valid"),
    "self_signed": Output("boolean", "Whether it signed itself", display_as="Self-signed"),
    "key_type": Output("string", "Such as RSA, EC, Ed25519", display_as="Key"),
    "key_bits": Output("integer", "Size of the key, where it varies", display_as="Bits"),
    "signature": Output("string", "The digest that was signed, such as sha256", display_as="Signature"),
    "serial": Output("string", "Its serial number in hexadecimal digits", display_as="Serial"),
    "sha256": Output("string", "Its fingerprint", display_as="SHA-256"),
}
ENDING = [Aggregate("min", "days_left", "%.1f"), Aggregate("summary", "is_expired")]


class Certificate(Agent):
    """Look at certificates in files and of servers."""

    timeout_s = 30.0

    @action(
        "Say what the certificates in a file say",
        inputs={"path": PATH},
        outputs={
            "exists": Output("boolean", "Whether there is the file", display_as="Exists"),
            **TOLD,
            "count": Output("integer", "How many certificates there are", display_as="Certificates", default=0),
            "certificates": Output("array", "All of them, in order", display_as="All", default=[]),
        },
        aggregates=ENDING,
    )
    def file(self, path: str) -> dict[str, Any]:
        """Read it: the first certificate is told, its end is that of the first of all to end."""
        return ask(self, "certificate_file", bounded(10, time_left_s(self.timeout_s)), path=path)

    @action(
        "Say what certificate a TLS server shows",
        inputs={
            "host": HOST,
            "port": PORT,
            "server_name": Input(
                "string", "The name to ask for; the host if none is given", optional=True, validate=HOST.validate,
                max_length=255,
            ),
            "starttls": Input("list", "The protocol in which to ask for TLS", optional=True, choices=PROTOCOLS),
            "ca": Input(
                "string", "A file of certificates on the node to trust instead of the system's", optional=True,
                validate=PATH.validate, max_length=1024,
            ),
            "timeout_s": Input("number", "Seconds to wait at most", prompt="Timeout", optional=True, default=10),
        },
        outputs={
            "connected": Output("boolean", "Whether TLS began", display_as="Connected", default=False),
            "verified": Output("boolean", "Whether its chain is believed", display_as="Verified"),
            "verify_error": Output("string", "Why it is not believed", display_as="Why not"),
            "hostname_matches": Output("boolean", "Whether it vouches for the name", display_as="Name matches"),
            **TOLD,
            "protocol": Output("string", "Such as TLSv1.3", display_as="Protocol"),
            "cipher": Output("string", "The cipher that was agreed on", display_as="Cipher"),
            "address": Output("string", "The address that answered", display_as="Address"),
            "chain": Output("array", "All certificates that it showed", display_as="Chain", default=[]),
            "fault": Output("string", f"Why TLS did not begin, in a word: {FAULTS}", display_as="Fault"),
            "reason": Output("string", "Why TLS did not begin, in words", display_as="Reason"),
        },
        aggregates=[*ENDING, Aggregate("summary", "verified")],
    )  # fmt: skip
    def peer(
        self, host: str, port: int, server_name: str = "", starttls: str = "", ca: str = "", timeout_s: float = 10
    ) -> dict[str, Any]:
        """Connect, look, and ask OpenSSL whether to believe it."""
        return ask(
            self,
            "certificate_peer",
            bounded(timeout_s, time_left_s(self.timeout_s)),
            host=host,
            port=port,
            server_name=server_name,
            starttls=starttls,
            ca=ca,
        )
