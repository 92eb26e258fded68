# SPDX-License-Identifier: Apache-2.0
"""Which package manager a node uses, and how: the agent's settings, and what the host has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mco_rpc.agent import Agent
from mco_rpc.errors import ConfigError
from mco_rpc.on_path import on_path
from mco_rpc.suggestion import did_you_mean

from .planning import Manager

COMMANDS = {"apt": "apt-get", "dnf": "dnf"}
SETTING_NAMES = ("manager", "root", "options", "recommends", "lock_timeout_s")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the node's configuration says under ``agents: package:``.

    Attributes:
        manager: apt or dnf; whichever is installed if it is empty.
        root: the folder in which packages are installed, for images and containers.
        options: arguments for every call of apt-get or dnf, such as ``-o`` and ``Acquire::Retries=3``.
        recommends: whether recommended packages are installed, too; as the manager's own configuration says if None.
        lock_timeout_s: how long to wait for another package tool to end.
    """

    manager: str = ""
    root: str = ""
    options: tuple[str, ...] = ()
    recommends: bool | None = None
    lock_timeout_s: int = 60

    @classmethod
    def of(cls, settings: Mapping[str, object]) -> Settings:
        """Return checked settings; their keys were checked already.

        Raises:
            ConfigError: a value cannot be used.
        """
        manager = settings.get("manager", "")
        if manager and manager not in COMMANDS:
            raise ConfigError(
                f"agents: package: manager: {manager!r} is no package manager that is known here"
                f"{did_you_mean(manager, COMMANDS)}; known are: {', '.join(COMMANDS)}"
            )
        root, options = settings.get("root", ""), settings.get("options", [])
        if not isinstance(root, str) or (root and not root.startswith("/")):
            raise ConfigError(f"agents: package: root: expected an absolute path, got {root!r}")
        if not isinstance(options, list) or not all(isinstance(option, str) and option for option in options):
            raise ConfigError(f"agents: package: options: expected a list of arguments, got {options!r}")
        recommends, lock_timeout_s = settings.get("recommends"), settings.get("lock_timeout_s", 60)
        if recommends is not None and not isinstance(recommends, bool):
            raise ConfigError(f"agents: package: recommends: expected true or false, got {recommends!r}")
        if isinstance(lock_timeout_s, bool) or not isinstance(lock_timeout_s, int) or not 0 <= lock_timeout_s <= 500:
            raise ConfigError(
                f"agents: package: lock_timeout_s: expected whole seconds from 0 to 500, got {lock_timeout_s!r}"
            )
        return cls(str(manager), root.rstrip("/"), tuple(options), recommends, lock_timeout_s)


def why_not(settings: Mapping[str, object]) -> str | None:
    """Return what the host lacks for these settings, None if it has all; wrong settings are not judged here."""
    manager = settings.get("manager", "")
    command = COMMANDS.get(str(manager))
    if manager and command is None:
        return None
    if _first() if command is None else on_path(command):
        return None
    return f"{command} is not installed" if command else f"none of {', '.join(COMMANDS.values())} is installed"


def choose(settings: Settings, agent: Agent) -> Manager:
    """Return the manager that the settings name, or the one that the host has."""
    if (settings.manager or _first()) == "dnf":
        from .dnf import Dnf

        return Dnf(settings, agent)
    from .apt import Apt

    return Apt(settings, agent)


def _first() -> str:
    return next((manager for manager, command in COMMANDS.items() if on_path(command)), "")
