# SPDX-License-Identifier: Apache-2.0
"""The authorization seam: may this caller do this here? Any exception denies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mco_rpc.errors import ConfigError
from mco_rpc.messages import Request
from mco_rpc.suggestion import did_you_mean


class Authorization(Protocol):
    """Decides on requests whose caller is known for sure."""

    def authorize(self, request: Request) -> None:
        """Return to allow; raise anything to deny, with the reason as its text."""


class AllowAll:
    """Every caller whose key this node trusts may do everything."""

    def authorize(self, request: Request) -> None:
        """Allow."""


KINDS: dict[str, Callable[[], Authorization]] = {"allow_all": AllowAll}


def make(kind: str) -> Authorization:
    """Return the authorization that the configuration names; raise `ConfigError` if there is none."""
    if kind not in KINDS:
        raise ConfigError(f"authorization: {kind!r} is not one of {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")
    return KINDS[kind]()
