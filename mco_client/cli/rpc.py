# SPDX-License-Identifier: Apache-2.0
"""``mco rpc``: ask any action of any agent, checked by the schema that the fleet gives before it is sent."""

from __future__ import annotations

import click

from mco_client.cli import exits
from mco_client.cli.asked import Asked, asked
from mco_client.cli.words import asked_for


@click.command(
    epilog="""\b
Examples:
  mco rpc rpcutil ping
  mco rpc rpcutil get_fact fact=country -C /dev_server/
  mco rpc iptables isblocked ipaddr=192.168.1.1 -F country=de -j
  mco rpc iptables block ipaddr=192.168.1.1 -C /dev_server/
  mco rpc iptables unblock ipaddr=192.168.1.1 --yes          on every node
  mco rpc rpcutil ping --nodes nodes.txt                     without looking for nodes
  mco find -C /web/ | mco rpc --dm stdin rpcutil ping        those that another command names
  mco rpc rpcutil ping -1                                    one of them
  mco rpc iptables listblocked --batch 2 --batch-sleep 1     two at a time
  mco rpc iptables block ipaddr=192.168.1.1 -C /dev_server/ --waves 1,10%,100% --abort-on 5%

\b
What an agent can be asked:
  mco plugin doc iptables

"""
    + exits.EPILOG
)
@asked_for
@asked
def rpc(asked: Asked, agent: str, action: str, words: tuple[str, ...]) -> int:
    """Ask nodes for an ACTION of an AGENT, with inputs as KEY=VALUE."""
    from mco_client.cli import calling, inputs  # not for a shell that completes the line

    return calling.call(asked, agent, action, inputs.words(words))
