# SPDX-License-Identifier: Apache-2.0
"""``mco demo``: the firewall feature on real hosts of a lab, or on in-process nodes."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import click

FEATURE = "firewall.feature"


@click.command(epilog="\b\nExamples:\n  mco demo --memory\n  sudo mco demo")
@click.option("--memory", is_flag=True, help="In-process nodes: no root, no broker, any operating system.")
@click.argument("behave_arguments", nargs=-1, type=click.UNPROCESSED)
def demo(memory: bool, behave_arguments: tuple[str, ...]) -> None:
    """Run the firewall feature: block a load balancer on three of five hosts, and see that it is so.

    Without --memory this takes a lab of real hosts: network namespaces with their own packet filters, and a
    private RabbitMQ. Arguments after -- go to behave.
    """
    # In a checkout this is the checkout's own file, and it is shown as one would type it.
    file = (_folder("mco_features") / FEATURE).resolve()
    feature = str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
    arguments = [*behave_arguments, feature]
    if memory:
        from mco_client.bdd.__main__ import run

        sys.exit(run(["-D", "connector=memory", *arguments]))
    from . import foreground, requirements
    from .lab import Lab
    from .spec import read

    requirements.check()
    spec = read(_folder("mco_lab") / "firewall.yaml")
    hosts = sum(host.has_node for host in spec.hosts)
    click.echo(f"Starting a lab: a private RabbitMQ and {hosts} hosts with a node each, in namespaces of their own ...")
    lab = Lab(f"demo-{os.getpid()}", spec)

    def use() -> int:
        status = foreground.run(lab, [sys.executable, "-m", "mco_client.bdd", *arguments])
        click.echo("Taking the lab down ...")
        return status

    sys.exit(foreground.hold(lab, use))


def _folder(package: str) -> Path:
    found = find_spec(package)
    locations = list(found.submodule_search_locations or ()) if found else []
    if not locations:
        raise click.ClickException(f"{package} is not installed")
    return Path(locations[0])
