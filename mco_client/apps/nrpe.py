# SPDX-License-Identifier: Apache-2.0
"""``mco nrpe``: run a check on many nodes; what is not well is shown, and counts like a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mco_client.cli import exits
from mco_client.cli.application import Verb, application
from mco_client.cli.rows import Column, say_rows, table

if TYPE_CHECKING:
    from mco_client.cli.showing import Answered
    from mco_client.results import Result, Results

WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_WORST_FIRST = ("CRITICAL", "UNKNOWN", "WARNING", "OK")
_COLOURS = {"OK": "green", "WARNING": "yellow", "CRITICAL": "red", "UNKNOWN": "magenta"}
_COLUMNS = (
    Column("command", "check"),
    Column("word", "status", colours=_COLOURS),
    Column("output", is_last=True),
)
_STATUSES = exits.EPILOG.replace("  2  some nodes failed,", "  2  a check is not OK, or some nodes failed,")


def checks(result: Result) -> Iterator[Mapping[str, Any]]:
    """Yield the checks of an answer: the one that was asked for, or all, each with its name."""
    every = result.data.get("commands")
    if isinstance(every, Mapping):
        for name, each in every.items():
            if isinstance(each, Mapping):
                yield {**each, "command": name}
    elif result.is_ok:
        yield result.data


def word(check: Mapping[str, Any]) -> str:
    """Return the state of a check in a word; what is no exit status of a check is UNKNOWN."""
    code = check.get("exitcode")
    return WORDS[code] if isinstance(code, int) and not isinstance(code, bool) and 0 <= code < len(WORDS) else "UNKNOWN"


def say(answered: Answered) -> None:
    """Print the checks that are not well, the worst first, with ``-v`` all, and how many there are of each kind."""
    from mco_client.cli import output, replies

    good = [result for result in replies.in_order(answered.results, answered.shown) if result.is_ok]
    seen = [(result, {**check, "word": word(check)}) for result in good for check in checks(result)]
    shown = [each for each in seen if answered.shown.is_verbose or each[1]["word"] != "OK"]
    shown.sort(key=lambda each: _WORST_FIRST.index(each[1]["word"]))
    if shown:
        say_rows(_COLUMNS, shown, answered.shown)
        output.say()
    output.say(counted(check for _, check in seen))


def counted(seen: Iterable[Mapping[str, Any]]) -> str:
    """Return how many checks are in each state.

    >>> counted([{"exitcode": 0}, {"exitcode": 2}, {"exitcode": 0}])
    'OK: 2, WARNING: 0, CRITICAL: 1, UNKNOWN: 0'
    """
    counts = Counter(map(word, seen))
    return ", ".join(f"{name}: {counts[name]}" for name in WORDS)


def judge(results: Results) -> int:
    """Return the exit status: a check that is not well is no success."""
    status = exits.of(results)
    is_well = all(word(check) == "OK" for result in results if result.is_ok for check in checks(result))
    return exits.FAILED if status == exits.OK and not is_well else status


nrpe = application(
    "nrpe",
    "Run the checks that the nodes' own nrpe.cfg defines.",
    {
        "runcommand": Verb("run this check (the word itself may be left out)", ("command", "args..."), say, judge),
        "runallcommands": Verb("run all of them", (), say, judge),
        "list": Verb("which there are", (), table("commands", "name", Column("value", "command line", is_last=True))),
    },
    words="COMMAND [ARGUMENT]...",
    unsaid="runcommand",
    statuses=_STATUSES,
    examples="""\
  mco nrpe check_load                             where is it not OK?
  mco nrpe check_load -C /web/ -v                 the good ones, too
  mco nrpe runallcommands -F country=de
  mco nrpe list""",
)
