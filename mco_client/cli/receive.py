# SPDX-License-Identifier: Apache-2.0
"""``mco receive``: print the answers that were asked for with ``mco rpc --reply-to``, as they come."""

from __future__ import annotations

import math

import click

from mco_client.cli import exits, options, output
from mco_client.connection import Connection
from mco_client.receiving import Receiver
from mco_client.text import one_line


@click.command(
    epilog="""\b
Examples:
  mco receive night -t 600                                     in one terminal, of the same caller
  mco rpc iptables listblocked --reply-to night -C /web/       in another one
  mco receive night --count 5                                  until five have answered

"""
    + exits.EPILOG_WITH_NOBODY
)
@click.argument("token")
@click.option("--count", type=click.IntRange(1), metavar="N", help="Stop after so many answers.")
@options.timeout
@options.connected(is_discovering=False)
def receive(connection: Connection, token: str, count: int | None, timeout_s: float | None) -> int:
    """Print answers that are sent to TOKEN, one JSON object a line.

    It ends when none has come for a while. Whoever receives did not ask, and cannot know who should have answered.
    """
    status, left = exits.NOBODY, count or math.inf
    timeout_s = timeout_s or connection.settings.timeout_s
    with Receiver(connection, token) as receiver:
        output.warn(f"listening; ask with --reply-to {token}")
        for received in receiver.receive(timeout_s):
            result = received.result
            told = {"request": received.request_id, "agent": received.agent, "action": received.action}
            output.say_jsonl({**told, **output.result_dict(result)})
            if status != exits.FAILED:
                status = exits.OK if result.is_ok else exits.FAILED
            left -= 1
            if not left:
                break
        if count and left and status != exits.NOBODY:
            output.warn(f"{count - left} of {output.counted(count, 'answer')} came; none more within {timeout_s:g} s")
            status = exits.FAILED
        for why in receiver.unverified:
            output.warn(f"an answer was not believed: {one_line(why)}")
            status = exits.FAILED
        if receiver.unverified_more:
            output.warn(f"{receiver.unverified_more:,} more answers were not believed")
    return status
