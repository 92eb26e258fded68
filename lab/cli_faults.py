# SPDX-License-Identifier: Apache-2.0
"""The commands of ``mco lab`` that break things on purpose, and mend them: kill, start, pause, partition and so on."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from mco_rpc.errors import McoError

from . import completing, foreground

if TYPE_CHECKING:
    from .faults import Faults

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|)\Z")
EXIT_FAILED = 1


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = _DURATION.match(str(value))
        if not found or float(found[1]) == 0:
            self.fail(f"{value!r} is not a duration: a number and ms, s or m, for instance 10s", param, ctx)
        return float(found[1]) * _UNITS_S[found[2]]


class _Share(click.ParamType[float]):
    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(str(value).removesuffix("%")) / 100
        except ValueError:
            self.fail(f"{value!r} is not a part of a processor, for instance 2%", param, ctx)


_TARGETS = click.argument("targets", metavar="HOST...", nargs=-1, required=True, shell_complete=completing.hosts)
_FOR = click.option("--for", "for_s", type=_Duration(), help="Mend it after so long, for instance 10s, or on Ctrl-C.")
_HOST = click.option("--host", "is_host", is_flag=True, help="The whole host, not only its node.")


def add_to(group: click.Group, name: Callable[[Any], Any]) -> None:
    """Add the commands to a group; ``name`` is its option that names the lab."""
    for command in (kill, start, pause, resume, partition, heal, slow):
        name(command)
        group.add_command(click.command()(command))


@_TARGETS
@_HOST
@_FOR
def kill(name: str, targets: Sequence[str], is_host: bool, for_s: float | None) -> None:
    """Kill the node of each HOST with signal 9; `broker` is the broker. `mco lab start` starts it again."""
    faults = _faults(name)
    _each(targets, lambda target: faults.kill(target, is_host=is_host), for_s, faults.start)


@_TARGETS
def start(name: str, targets: Sequence[str]) -> None:
    """Start what was killed of each HOST: the broker, the host, or its node. A host starts with its first files."""
    _each(targets, _faults(name).start)


@_TARGETS
@_HOST
@_FOR
def pause(name: str, targets: Sequence[str], is_host: bool, for_s: float | None) -> None:
    """Stop the node of each HOST, or the broker, in the middle of what it does (SIGSTOP)."""
    faults = _faults(name)
    _each(targets, lambda target: faults.pause(target, is_host=is_host), for_s, faults.resume)


@_TARGETS
def resume(name: str, targets: Sequence[str]) -> None:
    """Let each HOST go on that was paused."""
    _each(targets, _faults(name).resume)


@_TARGETS
@_FOR
def partition(name: str, targets: Sequence[str], for_s: float | None) -> None:
    """Cut each HOST from the network; what is sent is lost, and nobody is told."""
    faults = _faults(name)
    _each(targets, faults.partition, for_s, faults.heal)


@_TARGETS
def heal(name: str, targets: Sequence[str]) -> None:
    """Undo pause, partition and slow on each HOST."""
    _each(targets, _faults(name).heal)


@_TARGETS
@click.option("--cpu", "cpu_share", type=_Share(), help="Part of one processor.  [default: 2%, without --rate]")
@click.option("--rate", help="Of its link, in both directions, for instance 64kbit.")
@_FOR
def slow(name: str, targets: Sequence[str], cpu_share: float | None, rate: str | None, for_s: float | None) -> None:
    """Leave each HOST little CPU time, or a slow link."""
    faults = _faults(name)
    _each(targets, lambda target: faults.slow(target, cpu_share=cpu_share, rate=rate), for_s, faults.heal)


def _faults(name: str) -> Faults:
    from .lab import Lab  # with all that a lab is made of, which no help needs

    return Lab.attach(name).faults


def _each(
    targets: Sequence[str],
    do: Callable[[str], str],
    for_s: float | None = None,
    undo: Callable[[str], str] | None = None,
) -> None:
    """Do it to all targets, and say for each what was done; with ``for_s`` undo it after that time, or on a signal."""
    if for_s is None or undo is None:
        sys.exit(_done(targets, do))
    with foreground.interruptible() as ignore_signals:
        status = 0
        try:
            status = _done(targets, do)
            if not status:
                signal.sigtimedwait([], for_s)
        except foreground.Interrupted as e:
            status = e.status
        finally:
            ignore_signals()
            status = _done(targets, undo) or status
    sys.exit(status)


def _done(targets: Sequence[str], do: Callable[[str], str]) -> int:
    """Do it to all targets; what fails on one keeps no other from it."""
    status = 0
    for target in dict.fromkeys(targets):
        try:
            click.echo(do(target))
        except McoError as e:
            click.echo(f"mco: {target}: {e}" if target not in str(e) else f"mco: {e}", err=True)
            status = EXIT_FAILED
    return status
