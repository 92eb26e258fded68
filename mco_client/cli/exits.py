# SPDX-License-Identifier: Apache-2.0
"""The exit statuses of ``mco``, and the one place that decides between them.

They are MCollective's, read strictly: absence is failure, so a node that was asked and is silent, or whose
answer is not believed, counts like one that failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mco_client.results import Results

OK = 0  # everybody who was asked did it
ERROR = 1  # no node was discovered, or nothing was asked: usage, configuration, broker
FAILED = 2  # some failed, did not answer, or were not believed
NO_ANSWER = 3  # nodes were discovered or named, and none answered
NOBODY = 4  # a question to everybody, without a discovery before it (mco ping), that nobody answered
INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended
BROKEN_PIPE = 141  # what a shell says of a command whose reader has gone

EPILOG = """\b
Exit status:
  0  every node that was asked did it
  1  no node was discovered, or an error before anything was asked
  2  some nodes failed, did not answer, or were not believed
  3  nodes were discovered or named, and none answered"""
EPILOG_WITH_NOBODY = f"{EPILOG}\n  4  nobody answered a question to everybody (mco ping, mco receive)"


def of(results: Results) -> int:
    """Return the status for a call to known nodes."""
    is_somebody_doubted = bool(results.unverified or results.unverified_more)
    if not results.answers and not is_somebody_doubted:
        return NO_ANSWER
    return FAILED if results.failed or results.missing or results.late or results.doubts or is_somebody_doubted else OK
