# SPDX-License-Identifier: Apache-2.0
"""The command ``mco lab``: bring a disposable fleet up, use it, look at it, remove it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import cli_faults, completing, foreground
from .demo import demo

# What a lab is made of takes long to load, and `mco --help` needs none of it.
if TYPE_CHECKING:
    from .lab import Lab
    from .process import ProcessId

__all__ = ["demo", "lab"]

DEFAULT_NAME = completing.DEFAULT_NAME
_NAME = click.option(
    "--name",
    envvar="MCO_LAB",
    default=DEFAULT_NAME,
    show_default=True,
    shell_complete=completing.labs,
    help="Name of the lab.",
)


class _TakesCommand(click.Command):
    """A command whose line ends with `--` and another command, which is left as it is."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[__name__], args = args[at + 1 :], args[:at]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "-- COMMAND..."]


def _command() -> list[str]:
    context = click.get_current_context()
    command: list[str] = context.meta.get(__name__, [])
    if not command:
        raise click.UsageError("the command to run comes after --, for instance: -- mco ping", context)
    return command


@click.group()
def lab() -> None:
    """Run a disposable fleet on this machine: a private broker, and hosts with nodes.

    Hosts are network namespaces; the machine's own network, files and broker are not touched. Needs root.

    \b
    Examples:
      sudo mco lab run firewall -- mco ping     the shipped lab, for as long as one command runs
      sudo mco lab up my.yaml                   one of your own, until `mco lab down`
      sudo mco lab run -- mco find -C web       in the lab that is up
      sudo mco lab exec web1 -- iptables -S     on one of its hosts
      sudo mco lab status                       which labs are up, and what runs in them
      sudo mco lab down                         remove it
      sudo mco lab partition web1 --for 10s     break something, and mend it
      sudo mco lab pause web1                   until `mco lab resume web1`
      sudo mco lab kill broker                  until `mco lab start broker`
      sudo mco lab slow web1 --rate 64kbit      until `mco lab heal web1`
    """  # noqa: D301 - \b keeps the lines of a paragraph apart


@lab.command()
@click.argument("spec_file", metavar="SPEC", shell_complete=completing.specs)
@click.option("--name", default=DEFAULT_NAME, show_default=True, help="Name of the lab.")
def up(spec_file: str, name: str) -> None:
    """Bring the lab of the YAML file SPEC up, and leave it up."""
    from . import spec
    from .lab import Lab

    fleet = Lab(name, spec.find(spec_file), stays=True)
    with foreground.interruptible() as ignore_signals:
        try:
            _bring_up(fleet)
        except foreground.Interrupted as e:
            ignore_signals()
            sys.exit(e.status)
    named = "" if name == DEFAULT_NAME else f" --name {name}"
    click.echo(
        f"Use it:     mco lab run{named} -- mco ping\n"
        f"On a host:  mco lab exec{named} {fleet.spec.hosts[0].name} -- ip address\n"
        f"By hand:    nsenter --net=/run/netns/{fleet.control} -- "
        f"env MCO_CONFIG={fleet.client_config} MCO_LAB={name} mco ping\n"
        f"Remove it:  mco lab down{named}"
    )


@lab.command(cls=_TakesCommand)
@click.argument("spec_file", metavar="[SPEC]", required=False, shell_complete=completing.specs)
@click.option("--name", envvar="MCO_LAB", help=f"Name of the lab.  [default: {DEFAULT_NAME}; with SPEC a random one]")
def run(spec_file: str | None, name: str | None) -> None:
    """Run a command in a lab, in the network of its broker, as its caller.

    With the YAML file SPEC the lab is brought up for the command and removed after it; without, the lab must be
    up. The status is that of the command, or 128 + n if signal n ended it.
    """
    from . import spec
    from .lab import Lab

    command = _command()
    if spec_file is None:
        fleet = Lab.attach(name or DEFAULT_NAME)
        with foreground.interruptible():
            try:
                status = foreground.run(fleet, command)
            except foreground.Interrupted as e:
                status = e.status
        sys.exit(status)
    source = click.get_current_context().get_parameter_source("name")
    # Inside `mco lab run` the variable names the outer lab.
    is_chosen = source is click.core.ParameterSource.COMMANDLINE
    fleet = Lab(name if is_chosen else None, spec.find(spec_file))
    sys.exit(foreground.hold(fleet, lambda: foreground.run(fleet, command), bring_up=lambda: _bring_up(fleet)))


@lab.command("exec", cls=_TakesCommand)
@_NAME
@click.argument("host", shell_complete=completing.hosts)
def execute(name: str, host: str) -> None:
    """Run a command on one HOST of a lab that is up."""
    from .lab import Lab

    command = _command()
    done = Lab.attach(name).exec(host, command, text=False, stdout=None)
    sys.exit(foreground.status_of(done.returncode))


@lab.command()
@click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Say which labs are up, and what runs in them."""
    from . import state

    labs = [_described(name) for name in state.names()]
    if as_json:
        click.echo(json.dumps(labs, indent=2))
        return
    if not labs:
        click.echo("no lab is up")
    for described in labs:
        broker = "paused" if "paused" in described["broker_conditions"] else _word(described["broker"])
        click.echo(f"{described['name']}: {described['state']}, broker {broker}")
        for host in described["hosts"]:
            node = "no node" if host["node"] is None else f"node {_word(host['node'])}"
            broken = "".join(f", {word}" for word in host["conditions"] if "down" not in word)
            click.echo(f"  {host['name']:<16} {host['address']:<16} host {_word(host['up'])}, {node}{broken}")


@lab.command()
@_NAME
@click.option("--all", "is_all", is_flag=True, help="Remove every lab of this machine.")
def down(name: str, is_all: bool) -> None:
    """Remove a lab: end its processes, and remove its network and files. Fine if there is none."""
    from . import state
    from .removal import remove

    names: Sequence[str] = state.names() if is_all else [name]
    for each in names:
        there = each in state.names()
        remove(each)
        click.echo(f"lab {each} is removed" if there else f"no lab named {each} is up", err=True)


cli_faults.add_to(lab, _NAME)


def _bring_up(fleet: Lab) -> None:
    start = time.monotonic()
    fleet.up()
    nodes = sum(host.has_node for host in fleet.spec.hosts)
    click.echo(
        f"lab {fleet.name}: {len(fleet.spec.hosts)} hosts, {nodes} nodes and a broker are up "
        f"after {time.monotonic() - start:.1f} s",
        err=True,
    )


def _described(name: str) -> dict[str, Any]:
    from . import hosts, state
    from .errors import LabError
    from .faults import BROKER
    from .lab import Lab

    try:
        known = state.load(name)
    except LabError as e:
        return {"name": name, "state": str(e), "broker": False, "broker_conditions": [], "hosts": []}
    if known.is_up:
        condition = "up" if known.stays else f"up, held by process {known.owner.pid}"
        if not known.stays and not known.owner.is_running:
            condition = "left behind by a process that was killed"
    else:
        condition = "starting" if known.owner.is_running else "left half-way up"
    conditions = Lab.attach(name).faults.conditions() if known.is_up else {}
    found = [
        {
            "name": host.name,
            "address": known.spec.host(host.name).address,
            "up": _runs(host.init),
            "kind": known.spec.host(host.name).kind,
            "node": node is not None if known.spec.host(host.name).has_node else None,
            "node_pid": node.pid if node is not None else None,
            "conditions": conditions.get(host.name, []),
        }
        for host, node in ((host, hosts.node_of(host, known.spec.host(host.name))) for host in known.hosts)
    ]
    return {
        "name": name,
        "state": condition,
        "broker": bool(known.broker) and all(process.is_running for process in known.broker),
        "broker_conditions": conditions.get(BROKER, []),
        "control_namespace": known.control,
        "client_config": str(Path(state.folder_of(name), "client/client.yaml")),
        "hosts": found,
    }


def _runs(process: ProcessId | None) -> bool:
    return process is not None and process.is_running


def _word(runs: bool) -> str:
    return "up" if runs else "down"
