# SPDX-License-Identifier: Apache-2.0
"""What is known of a service at one moment, in words that do not depend on what manages it."""

from __future__ import annotations

import re
from dataclasses import dataclass

# No "/", for it names a script below a folder; nothing that systemctl reads as a pattern or an option.
NAME = r"[A-Za-z0-9_:@][A-Za-z0-9_.:@\\+-]*"
_NAME = re.compile(NAME + r"\Z")


@dataclass(frozen=True, slots=True)
class ServiceState:
    """A service at one moment.

    Attributes:
        name: as its manager calls it, such as nginx.service.
        manager: systemd or init.
        status: running, starting, stopping, stopped, failed, missing, or unknown if its init script cannot say.
        enabled: enabled, disabled, static, masked, ... in systemd's words; "" if there is nothing to enable.
        state: its status in its manager's words, such as active or exit status 3.
        substate: more of the same, such as auto-restart or exited.
        result: why it ended, such as success, exit-code or timeout.
        kind: the type of the service, such as simple or oneshot.
        invocation: what names this run of it; another one means that it was started anew.
        restarts: how often systemd started it again by itself.
        since: when this state began, in seconds since 1970.
        triggered_by: the sockets, timers and paths that start it.
        load_error: why its file cannot be used.
        is_present: whether there is such a service; one may run on whose file is gone.
    """

    name: str
    manager: str
    status: str
    enabled: str
    state: str = ""
    substate: str = ""
    result: str = ""
    exit_status: int | None = None
    kind: str = ""
    description: str = ""
    pid: int | None = None
    can_reload: bool = True
    invocation: str = ""
    restarts: int = 0
    since: float | None = None
    triggered_by: tuple[str, ...] = ()
    load_error: str = ""
    is_present: bool = True

    @property
    def is_enabled(self) -> bool:
        """Whether it starts with the host."""
        return self.enabled in ("enabled", "enabled-runtime", "alias")

    @property
    def is_masked(self) -> bool:
        """Whether it is kept from being started by anybody."""
        return self.enabled in ("masked", "masked-runtime")


def is_name(name: str) -> bool:
    """Say whether this can be the name of a service."""
    return _NAME.match(name) is not None
