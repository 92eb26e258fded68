# SPDX-License-Identifier: Apache-2.0
"""The security seam: sign what is sent, verify what came, over the body's bytes and before they are decoded."""

from __future__ import annotations

from typing import Protocol


class Security(Protocol):
    """Signs as one party and verifies the parties it trusts."""

    @property
    def principal(self) -> str:
        """Who signs here, as a message's body must name it: ``key=alice``, or a node's identity."""

    @property
    def signer(self) -> str:
        """The name that goes into the ``mco-key`` header."""

    def sign(self, body: bytes) -> bytes:
        """Return the signature over ``body``."""

    def verify(self, body: bytes, signer: str, signature: bytes) -> str:
        """Return the principal that signed ``body``.

        Raises:
            SecurityError: nobody we trust did.
        """
