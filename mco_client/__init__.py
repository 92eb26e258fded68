# SPDX-License-Identifier: Apache-2.0
"""Who asks: `RpcClient`, its results, the ``mco`` command, and behave's support in `mco_client.bdd`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mco_client.aio import AsyncRpcClient
    from mco_client.connection import Connection
    from mco_client.results import Result, Results
    from mco_client.rpc import RpcClient

__all__ = ["AsyncRpcClient", "Connection", "Result", "Results", "RpcClient"]

_HOMES = {
    "AsyncRpcClient": "aio",
    "Connection": "connection",
    "Result": "results",
    "Results": "results",
    "RpcClient": "rpc",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: a command that needs no connection loads none."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
