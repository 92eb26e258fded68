# SPDX-License-Identifier: Apache-2.0
"""What a daemon can be told to do while it runs, by the agent ``controller`` and by signals alike.

Who may tell it is not decided here: requests have climbed the ladder, and signals come from root or the daemon's user.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from mco_rpc.config import NodeSettings
from mco_rpc.errors import ActionAborted, ConfigError, McoError, RequestError

from . import log
from .draining import EXEMPT, Drained, Draining
from .facts import Facts
from .reloading import Reloading
from .running import Pending, Running

_log = logging.getLogger(__name__)
# What a reload can change; for the rest the daemon has to be restarted.
CHANGEABLE = frozenset({"agents", "data", "libdir", "log_level", "drain_timeout_s", "identity_grace_s"})


_LOOK_EVERY_S = 0.1

# Starts a new process of the daemon and hands over to it, until then on `time.monotonic`'s clock; returns who took
# over, or raises `ActionAborted`.
Successor = Callable[[float], dict[str, Any]]


class Control:
    """The verbs; each says what happened.

    Args:
        adopt: takes settings that were read again.
        said: is told when the node is another one for who looks at it from outside.
        over: ends the daemon, once what runs has ended.
        reread: reads the configuration; None where there is no file.
        succeed: None where there is no process to be replaced.
    """

    def __init__(
        self,
        settings: NodeSettings,
        *,
        reloading: Reloading,
        facts: Facts,
        draining: Draining,
        running: Running,
        clock: Callable[[], float],
        adopt: Callable[[NodeSettings], None],
        said: Callable[[], None],
        over: Callable[[], None],
        reread: Callable[[], NodeSettings] | None = None,
        succeed: Successor | None = None,
    ) -> None:
        self._settings = settings
        self._reloading, self._facts, self._draining, self._running = reloading, facts, draining, running
        self._clock, self._adopt, self._said, self._over = clock, adopt, said, over
        self._reread, self._succeed = reread, succeed
        self._succeeding = threading.Lock()
        self._is_settled = threading.Event()
        self._is_settled.set()
        self.problem: str | None = None

    def reload_agent(self, name: str) -> dict[str, Any]:
        """Load one agent again, and say what became of it."""
        return _with_changed(self._reloading.one(name))

    def reload_agents(self) -> dict[str, Any]:
        """Load all agents and data sources again, and say what became of them."""
        return _with_changed(self._reloading.all())

    def reload_facts(self) -> dict[str, Any]:
        """Gather facts now, and say which are different; what fails keeps its last good values."""
        before = dict(self._facts.current())
        self._facts.refresh()
        after = self._facts.current()
        told: dict[str, Any] = {
            "facts": len(after),
            "added": sorted(after.keys() - before.keys()),
            "removed": sorted(before.keys() - after.keys()),
            "replaced": sorted(name for name in after.keys() & before.keys() if after[name] != before[name]),
            "problems": self._facts.problems(),
        }
        if told["problems"]:
            raise ActionAborted("; ".join(told["problems"]), told)
        return _with_changed(told)

    def reload(self) -> None:
        """Read the configuration again as far as it can change at run time, then agents and facts; log the outcome."""
        self._log_failure("the configuration", self._reload_settings)
        self._log_failure("agents", lambda: self._reloading.all(self._settings))
        self._log_failure("facts", self.reload_facts)
        _log.info("reloaded")

    def _reload_settings(self) -> None:
        if self._reread is None:
            return
        try:
            fresh = self._reread()
        except (McoError, OSError) as e:
            self.problem = f"the configuration could not be read again, the old one is kept: {e}"
            raise ConfigError(self.problem) from e
        self.problem = None
        names = [each for each in fresh.__struct_fields__ if getattr(fresh, each) != getattr(self._settings, each)]
        if late := [name for name in names if name not in CHANGEABLE]:
            _log.warning("settings that changed and need a restart: %s", ", ".join(late))
        changes = {name: getattr(fresh, name) for name in names if name in CHANGEABLE}
        self._settings = msgspec.structs.replace(self._settings, **changes)
        self._adopt(self._settings)
        if "log_level" in changes:
            self.log_level(self._settings.log_level)
        if changes:
            _log.info("settings that changed: %s", ", ".join(changes))

    def _log_failure(self, what: str, do: Callable[[], object]) -> None:
        try:
            do()
        except (RequestError, ConfigError) as e:
            _log.error("%s could not be reloaded as they are now: %s", what, e)
        except Exception:
            _log.exception("%s could not be reloaded", what)

    def log_level(self, level: str, *, is_noop: bool = False) -> dict[str, Any]:
        """Log from this level on, and say from which one before."""
        before = log.level()
        if level != before and not is_noop:
            more = min(level, before, key=log.LEVELS.index)  # at which the change can be seen
            log.set_level(more)
            _log.warning("log level %s, was %s", level, before)
            log.set_level(level)
        return {"before": before, "after": level if is_noop else log.level(), "changed": level != before}

    def next_log_level(self) -> None:
        """Log from the next level on."""
        self.log_level(log.next_level(log.level()))

    def drain(self, by: str, reason: str, *, is_noop: bool = False) -> dict[str, Any]:
        """Take no more work; who drains a drained node only changes the reason."""
        before = self._draining.told()
        drained = Drained(self._clock() if before is None else before["since"], by, reason)
        if is_noop:
            return {"changed": before is None, "before": before, "after": drained.told()}
        self._draining.current = drained
        _log.warning("%s", self._draining.current)
        self._said()
        return {"changed": before is None, "before": before, "after": self._draining.told()}

    def still_running(self, until: float | None, go_on: Callable[[], None]) -> list[dict[str, Any]]:
        """Return what waits or runs, once nothing does or it is ``until``."""
        left = self._running.others(EXEMPT) if until is None else self._running.await_others(EXEMPT, until, go_on)
        return [_told(pending) for pending in left]

    def resume(self, by: str, *, is_noop: bool = False) -> dict[str, Any]:
        """Take work again."""
        before = self._draining.told()
        if before is not None and not is_noop:
            self._draining.current = None
            _log.warning("%s let the node work again", by)
            self._said()
        return {"changed": before is not None, "before": before, "after": None}

    def exit(self, by: str) -> dict[str, Any]:
        """End the daemon once what runs has ended."""
        _log.warning("%s wants the daemon to end", by)
        running = self.still_running(None, lambda: None)
        self._over()
        return {"still_running": running}

    def restart(self, by: str, until: float) -> dict[str, Any]:
        """Have a new process take over, then end this one."""
        if self._succeed is None:
            raise ActionAborted("this node is no process of its own, and cannot be replaced by another one")
        if not self._succeeding.acquire(blocking=False):
            raise ActionAborted("a restart is under way already")
        self._is_settled.clear()
        try:
            _log.warning("%s wants the daemon to be restarted", by)
            return self._succeed(until)  # if it does, this process never does it again: it is the old one
        except BaseException:
            self._succeeding.release()
            raise
        finally:
            self._is_settled.set()

    def await_restart(self, until: float, is_hurried: Callable[[], bool]) -> None:
        """Wait for the outcome of a restart that is under way, until then on `time.monotonic`'s clock."""
        while not self._is_settled.wait(_LOOK_EVERY_S) and time.monotonic() < until and not is_hurried():
            pass


def _with_changed(told: dict[str, Any]) -> dict[str, Any]:
    return {**told, "changed": bool(told["added"] or told["removed"] or told["replaced"])}


def _told(pending: Pending) -> dict[str, Any]:
    return {
        "caller": pending.caller,
        "request": pending.request_id,
        "agent": pending.agent,
        "action": pending.action,
        "since_s": round(pending.for_s, 3),
    }
