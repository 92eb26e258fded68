# SPDX-License-Identifier: Apache-2.0
"""The state of services: units of systemd where that runs the host, init scripts elsewhere. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Mapping

from . import init_scripts, systemd
from .run import Run
from .service_state import NAME, ServiceState, is_name

__all__ = ["NAME", "ServiceState", "is_name", "listed", "look", "manager", "names", "why_none"]


def manager() -> str:
    """Return what manages services here: systemd, init, or nothing."""
    if systemd.runs_here():
        return systemd.MANAGER
    return init_scripts.MANAGER if init_scripts.any_here() else ""


def why_none(settings: Mapping[str, object]) -> str | None:
    """Return why there are no services here, None if there are."""
    if manager():
        return None
    return f"neither systemd runs here nor are there init scripts in {init_scripts.SCRIPTS}"


def look(name: str, run: Run) -> ServiceState:
    """Return the state of one service; its status is ``missing`` if there is no such service.

    Raises:
        ActionAborted: whatever manages it did not say.
    """
    return systemd.look(name, run) if systemd.runs_here() else init_scripts.look(name, run)


def listed(run: Run) -> list[ServiceState]:
    """Return the state of all services, by name."""
    return systemd.listed(run) if systemd.runs_here() else init_scripts.listed(run)


def names(run: Run) -> list[str]:
    """Return how all services, and the other units of systemd, are called."""
    return systemd.names(run) if systemd.runs_here() else init_scripts.names()
