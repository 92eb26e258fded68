# SPDX-License-Identifier: Apache-2.0
"""Inputs that several agents take: a host, a port, an address of this node."""

from __future__ import annotations

from mco_rpc.agent import Input

# A name or an address; nothing that a command could take for an option, or a resolver for more than one name.
_NAME = r"/[A-Za-z0-9_:]([A-Za-z0-9_.:%-]*[A-Za-z0-9_.])?/"
HOST = Input("string", "A name, an IPv4 or an IPv6 address", prompt="Host", validate=_NAME, max_length=255)
PORT = Input("integer", "A port, 1 to 65535", prompt="Port")
SOURCE = Input(
    "string", "The address of this node to come from", prompt="From", optional=True, validate="ip_address",
    max_length=45,
)  # fmt: skip
