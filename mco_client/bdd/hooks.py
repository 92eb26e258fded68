# SPDX-License-Identifier: Apache-2.0
"""behave's hooks: a session a run, a fleet a scenario, and every change taken back that the suite wants back."""

from __future__ import annotations

import logging
from typing import Any

from mco_client.bdd.fleet import Fleet
from mco_client.bdd.session import MEMORY, Options, Session
from mco_client.bdd.signals import uninterrupted
from mco_client.text import safe
from mco_rpc.errors import ExpectationFailed

NEEDS_LAB, NEEDS_TRAFFIC = "lab", "real_traffic"
_FIRST_LINE = (
    "In-process nodes over the memory connector: no broker, no root, and a packet filter kept in memory. "
    "Nothing real is touched; `mco demo` runs the same on real hosts."
)

# pika's errors are told once, in our words; who wants each request on the screen reads the node's own log.
_QUIET = {"pika": logging.CRITICAL, "mco_node": logging.WARNING, "mco_rpc": logging.WARNING}


def before_all(context: Any) -> None:
    """Begin the session that the options describe."""
    if "session" in context:  # a suite's own hook calls this one, and the runner did already
        return
    context.config.setup_logging()
    context.loudness = {name: logging.getLogger(name).level for name in _QUIET}
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    session = Session(Options.of(context.config.userdata))
    context.session = session
    announce(context.config)
    session.connection.open()  # a broker that is down is told once, before anything runs
    if session.connection.notice:
        print(f"REPLAY {safe(session.connection.notice)}", flush=True)


def announce(config: Any) -> None:
    """Say, once, that the nodes of this run are not real hosts."""
    if config.userdata.get("connector") == MEMORY and not getattr(config, "is_announced", False):
        config.is_announced = True
        print(_FIRST_LINE, flush=True)


def before_scenario(context: Any, scenario: Any) -> None:
    """Give the scenario a fleet of its own; leave out what this fleet cannot show, and say so."""
    context.fleet = Fleet(context.session)
    reason = _why_not(context.session, set(scenario.effective_tags))
    if reason:
        print(f"SKIPPED {scenario.name}: {reason}")
        scenario.skip()
        scenario.skip_reason = reason


def after_scenario(context: Any, _scenario: Any) -> None:
    """Take back what the scenario changed; what cannot be taken back fails it."""
    with uninterrupted() as came:
        try:
            for what in context.fleet.undo():
                print(f"UNDONE {safe(what)}")
        except ExpectationFailed as e:
            if came:  # behave tells only of the interruption then
                print(f"NOT UNDONE {safe(e)}")
            raise


def after_all(context: Any) -> None:
    """Leave the broker."""
    if "session" in context:
        context.session.close()
    if "loudness" in context:
        for name, level in context.loudness.items():
            logging.getLogger(name).setLevel(level)


# behave swallows what hooks print when they succeed, and these lines are for people.
for _hook in (before_all, before_scenario, after_scenario):
    setattr(_hook, "capture", False)  # noqa: B010 - functions have no such attribute for a type checker


def _why_not(session: Session, tags: set[str]) -> str | None:
    needs_hosts = {NEEDS_LAB, NEEDS_TRAFFIC} & tags
    if session.is_memory and needs_hosts:
        return "needs hosts with a network of their own, and these live in one process"
    if needs_hosts and session.is_replay:
        return "needs hosts with a network of their own, and these answers are recorded ones"
    if NEEDS_LAB in tags and not session.options.lab:
        return "needs a lab: mco lab run lab/firewall.yaml -- behave"
    return None
