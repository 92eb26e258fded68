# SPDX-License-Identifier: Apache-2.0
"""Ed25519 signatures: every caller and every node has a key of its own, and trust is a folder of public keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError

from mco_rpc.errors import SecurityError
from mco_rpc.security import keys

LOOK_EVERY_S = 1.0
READ_AT_ONCE = 500  # keys of nodes; a command shall not spend its time on those of whom it hears nothing


class Ed25519Security:
    """Sign with one key, verify with the keys of a folder (or of a mapping, in tests and in process).

    Args:
        name: the name of our own key.
        kind: what verified names are prefixed with: ``key=`` for callers, nothing for nodes.
        trusted: name -> public key, or the folder that holds ``NAME.pub`` files. A node asks the folder anew for each
            message, so that a new key needs no restart, and a removed or replaced one stops to count; who believes
            nodes, of which there may be thousands, does so once in `LOOK_EVERY_S` for each.
    """

    def __init__(self, name: str, seed: bytes, trusted: Mapping[str, bytes] | Path, *, own: str, trusts: str) -> None:
        self.signer = name
        self.principal = f"{own}{name}"
        self._trusts = trusts
        self._secret: bytes = crypto_sign_seed_keypair(seed)[1]
        # Who asks as root may well use the keys that a user collected; who answers trusts nobody's folder but its own.
        is_node = not own
        if isinstance(trusted, Path):
            believes_many = not trusts
            self._trusted: keys.KeyFolder | Mapping[str, bytes] = keys.KeyFolder(
                trusted,
                is_owner_checked=is_node,
                look_every_s=LOOK_EVERY_S if believes_many else 0.0,
                read_at_once=READ_AT_ONCE if believes_many else math.inf,
            )
        else:
            self._trusted = trusted

    def sign(self, body: bytes) -> bytes:
        """Return the 64 bytes of the signature over ``body``."""
        signed: bytes = crypto_sign(body, self._secret)
        return signed[:crypto_sign_BYTES]

    def verify(self, body: bytes, signer: str, signature: bytes) -> str:
        """Return the principal that signed ``body``; raise `SecurityError` if nobody we trust did."""
        key = self._trusted.get(signer)
        if key is None:
            raise SecurityError(f"unknown key {signer[:128]!r}: {self._where()} holds no {signer[:128]!r}")
        if len(signature) != crypto_sign_BYTES:
            raise SecurityError(f"signature of {len(signature)} bytes, expected {crypto_sign_BYTES}")
        try:
            crypto_sign_open(signature + body, key)
        except (CryptoError, ValueError) as e:
            raise SecurityError(
                f"signature does not fit key {signer!r}: the message was altered or misattributed"
            ) from e
        return f"{self._trusts}{signer}"

    def _where(self) -> str:
        return str(self._trusted) if isinstance(self._trusted, keys.KeyFolder) else "our set of trusted keys"


def for_caller(name: str, seed: bytes, trusted_nodes: Mapping[str, bytes] | Path) -> Ed25519Security:
    """Return the security of who asks: signs as ``key=NAME``, trusts nodes by their identity."""
    return Ed25519Security(name, seed, trusted_nodes, own="key=", trusts="")


def for_node(identity: str, seed: bytes, trusted_callers: Mapping[str, bytes] | Path) -> Ed25519Security:
    """Return the security of who answers: signs as the identity, trusts callers as ``key=NAME``."""
    return Ed25519Security(identity, seed, trusted_callers, own="", trusts="key=")


def for_registry(identity: str, seed: bytes, trusted_nodes: Mapping[str, bytes] | Path) -> Ed25519Security:
    """Return the security of who keeps what nodes say: signs as the identity, trusts nodes by theirs."""
    return Ed25519Security(identity, seed, trusted_nodes, own="", trusts="")
