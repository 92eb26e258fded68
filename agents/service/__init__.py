# SPDX-License-Identifier: Apache-2.0
"""The agent of services; it believes what manages them, but looks again after a moment before it says they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mco_host import services
from mco_host.services import ServiceState
from mco_rpc.agent import Agent, Aggregate, Input, NodeView, Output, action
from mco_rpc.errors import ActionAborted, ConfigError, FilterError, InvalidData
from mco_rpc.filters.patterns import bare, compiled, finds
from mco_rpc.suggestion import did_you_mean
from mco_rpc.turns import Turns

from .control import Control, choose
from .verbs import VERBS, Verb, own_unit
from .watching import settled

CHANGE_TIMEOUT_S = 100.0  # systemd gives a service 90 s to start or stop, unless its unit says otherwise
SETTLE_S = 1.0
STATUSES = ("running", "starting", "stopping", "stopped", "failed", "unknown")
SERVICE = Input(
    "string",
    "The service, or another unit: nginx, getty@tty1, backup.timer",
    prompt="Service",
    validate=f"/{services.NAME}/",
    max_length=255,
)
STATE = {
    "service": Output("string", "The service as its manager calls it", display_as="Service"),
    "status": Output("string", ", ".join(STATUSES), display_as="Status"),
    "enabled": Output(
        "string", "Whether it starts with the host: enabled, disabled, static, masked, ...", display_as="Enabled"
    ),
}
DETAILS = STATE | {
    "description": Output("string", "What it is for", display_as="Description"),
    "state": Output("string", "The status in its manager's words", display_as="State"),
    "substate": Output("string", "More of the same, such as exited or auto-restart", display_as="Substate"),
    "result": Output("string", "Why it ended: success, exit-code, signal, timeout, ...", display_as="Result"),
    "exit_status": Output(
        "integer", "The exit status of its main process, or the signal that ended it", display_as="Exit status"
    ),
    "pid": Output("integer", "Its main process", display_as="PID"),
    "since": Output("float", "When this state began, in seconds since 1970", display_as="Since"),
    "restarts": Output("integer", "How often it was started again because it had died", display_as="Restarts"),
    "triggered_by": Output("array", "The sockets, timers and paths that start it", display_as="Triggered by"),
    "manager": Output("string", "systemd or init", display_as="Manager"),
}
CHANGE = STATE | {
    "changed": Output("boolean", "Whether something was done, or with noop would be", display_as="Changed"),
    "before": Output(
        "string", "The status before; of enable, disable, mask and unmask what was enabled", display_as="Before"
    ),
    "after": Output("string", "The same afterwards, or with noop would be; nothing if not known", display_as="After"),
}
PATTERN = Input("string", "A regular expression for names", prompt="Pattern", optional=True, max_length=1024)
LISTED = Input("list", "Only those of this status", prompt="Status", optional=True, choices=STATUSES)
STATUS_COUNT, CHANGED_COUNT = Aggregate("summary", "status"), Aggregate("summary", "changed")


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _change(description: str) -> Callable[[_Method], _Method]:
    return action(
        description,
        inputs={"service": SERVICE},
        outputs=CHANGE,
        timeout_s=CHANGE_TIMEOUT_S,
        mutating=True,
        noop=True,
        aggregates=[STATUS_COUNT, CHANGED_COUNT],
    )


class Service(Agent):
    """Look after services: units of systemd, or init scripts.

    A service that was started counts as running when it still runs `settle_s` seconds later (1, if the setting does not
    say otherwise); if not, the error has the end of its journal. The unit in which mco-node itself runs is never
    stopped or restarted. OpenRC, runit and others are not known.
    """

    setting_names = ("settle_s",)
    timeout_s = 20.0
    activate_when = staticmethod(services.why_none)

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(node, settings)
        self._settle_s = _seconds(self.settings.get("settle_s", SETTLE_S))
        self._turns = Turns()

    @action("Say whether a service runs", inputs={"service": SERVICE}, outputs=DETAILS, aggregates=[STATUS_COUNT])
    def status(self, service: str) -> dict[str, object]:
        """Answer from what manages it; a service that is not there is an error."""
        seen = self._look(service)
        details = {name: getattr(seen, name) for name in DETAILS if name != "service"}
        return {**details, **_named(seen), "triggered_by": list(seen.triggered_by)}

    @_change("Start a service, if it does not run")
    def start(self, service: str) -> dict[str, object]:
        """Start; what runs is left alone."""
        return self._do("start", service)

    @_change("Stop a service, if it runs")
    def stop(self, service: str) -> dict[str, object]:
        """Stop; what does not run is left alone."""
        return self._do("stop", service)

    @_change("Stop a service and start it, whether it runs or not")
    def restart(self, service: str) -> dict[str, object]:
        """Restart; that always changes something."""
        return self._do("restart", service)

    @_change("Have a running service read its configuration again")
    def reload(self, service: str) -> dict[str, object]:
        """Reload; what does not run, or cannot do that, is an error."""
        return self._do("reload", service)

    @_change("Have a service start with the host")
    def enable(self, service: str) -> dict[str, object]:
        """Enable; it is not started now."""
        return self._do("enable", service)

    @_change("Have a service no longer start with the host")
    def disable(self, service: str) -> dict[str, object]:
        """Disable; it is not stopped now."""
        return self._do("disable", service)

    @_change("Keep a service from being started by anybody")
    def mask(self, service: str) -> dict[str, object]:
        """Mask; it is not stopped now."""
        return self._do("mask", service)

    @_change("Let a masked service be started again")
    def unmask(self, service: str) -> dict[str, object]:
        """Unmask; it is not started now."""
        return self._do("unmask", service)

    @action(
        "List services",
        inputs={"pattern": PATTERN, "status": LISTED},
        outputs={
            "services": Output("array", "Each with name, status, enabled and description", display_as="Services"),
            "count": Output("integer", "How many they are", display_as="Count"),
            "failed": Output("array", "The names of those that failed, of all", display_as="Failed"),
        },
        aggregates=[Aggregate("summary", "count")],
    )
    def list(self, pattern: str = "", status: str = "") -> dict[str, object]:
        """List services by name, other units not."""
        every = services.listed(self.run)
        try:
            expression = compiled(bare(pattern)) if pattern else None
        except FilterError as e:
            raise InvalidData(f"input pattern: {e}") from e
        some = [
            {"name": seen.name, "status": seen.status, "enabled": seen.enabled, "description": seen.description}
            for seen in every
            if (not status or seen.status == status) and (expression is None or finds(expression, seen.name))
        ]
        failed = [seen.name for seen in every if seen.status == "failed"]
        return {"services": some, "count": len(some), "failed": failed}

    def _do(self, word: str, service: str) -> dict[str, object]:
        verb = VERBS[word]
        with self._turns.one(f"service#{word} {service}", self.timeout_s):
            before = self._look(service)
            control = choose(before, self)
            refusal = verb.why_not(before) or (verb.ends_it and own_unit() == before.name and _OURS)
            if refusal:
                raise ActionAborted(f"will not {word} {before.name}: {refusal}")
            is_changed = not verb.is_done(before)
            after = self._changed(verb, control, before) if is_changed and not self.is_noop else before
        would_be = verb.would_be(before) if is_changed and self.is_noop else verb.state_of(after)
        told = {"before": verb.state_of(before), "after": would_be, "changed": is_changed}
        return {**_named(after), **told}

    def _changed(self, verb: Verb, control: Control, before: ServiceState) -> ServiceState:
        """Do it, and return the state that it led to, which is the one that was wanted."""
        done = control.do(verb.word, before.name)
        if done.returncode:
            raise ActionAborted(f"{before.name} {verb.failed}: {control.why(before.name, done)}")
        after = self._look(before.name)
        if verb.starts_it:
            after, trouble = settled(after, lambda: self._look(before.name), self._settle_s, self.check_cancelled)
            if trouble:
                raise ActionAborted(f"{before.name} {verb.failed}: {trouble}; {control.why(before.name)}")
        if not verb.is_fulfilled(after):
            raise ActionAborted(
                f"{before.name} {verb.failed}: afterwards it is {verb.state_of(after) or 'unknown'} "
                f"({after.substate or after.state}), though no error was reported; {control.why(before.name)}"
            )
        return after

    def _look(self, service: str) -> ServiceState:
        if service.removesuffix(".service").endswith("@"):
            raise ActionAborted(
                f"{service} is a template and runs nothing itself; name an instance: {_instance(service)}"
            )
        seen = services.look(service, self.run)
        if not seen.is_present and not seen.is_masked:
            known = did_you_mean(service.removesuffix(".service"), services.names(self.run))
            raise ActionAborted(f"there is no service {service} on this node{known}; `list` has all")
        return seen


_OURS = "this node's own daemon runs in it, and could not answer; ask the agent controller, or systemd on the host"


def _instance(template: str) -> str:
    return f"{template.removesuffix('.service')}NAME"


def _named(seen: ServiceState) -> dict[str, object]:
    return {"service": seen.name, "status": seen.status, "enabled": seen.enabled}


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 60:
        raise ConfigError(f"agents: service: settle_s: expected seconds from 0 to 60, got {value!r}")
    return float(value)
