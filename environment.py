# SPDX-License-Identifier: Apache-2.0
"""behave's hooks for this project's own features; the work is in mco_client/bdd/hooks.py."""

from mco_client.bdd.hooks import after_all, after_scenario, before_all, before_scenario

__all__ = ["after_all", "after_scenario", "before_all", "before_scenario"]
