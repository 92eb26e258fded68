# SPDX-License-Identifier: Apache-2.0
"""The registry's own errors."""

from __future__ import annotations

from mco_rpc.errors import ConfigError, McoError


class StoreError(McoError):
    """The database cannot be used now; it may be again later, so whoever writes tries again."""


class StoreRejected(StoreError):
    """The database does not take what it was given, and never will."""


class StoreRefused(ConfigError):
    """The database can never be used as it is: its URL is wrong, or another version made it."""
