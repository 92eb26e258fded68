# SPDX-License-Identifier: Apache-2.0
"""How things look: tables, JSON, warnings. Nothing that a node said goes out but through here or `mco_client.text`."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import threading
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import click

from mco_client.folding import folded
from mco_client.text import by_reason, listed, natural, one_line, safe, shown
from mco_rpc.status import Status

if TYPE_CHECKING:
    from mco_client.results import Result, Results

_WIDTH_UNKNOWN = (120, 24)
MAX_CELL = 60
_MAX_CUT = 1000
_FORCING = ("CLICOLOR_FORCE", "FORCE_COLOR")


def say(text: str = "") -> None:
    """Print a line for people to stdout, at once."""
    click.echo(text, color=True)


def warn(text: str) -> None:
    """Print a line for people to stderr."""
    click.echo(coloured(f"mco: {safe(text)}", "yellow", sys.stderr), err=True, color=True)


def say_json(data: Any) -> None:
    """Print JSON in which every control character and everything beyond ASCII is escaped."""
    say(json.dumps(data, indent=2, default=str))


def say_jsonl(data: Any) -> None:
    """Print the same on one line, at once."""
    say(json.dumps(data, default=str))


def coloured(text: str, colour: str, stream: IO[str] | None = None) -> str:
    """Return the text in a colour if it goes to a terminal whose user wants colours, or to who forces them."""
    return click.style(text, fg=colour) if _is_coloured(stream or sys.stdout) else text


def _is_coloured(stream: IO[str]) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if any(os.environ.get(name, "0") not in ("", "0") for name in _FORCING):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb" and os.environ.get("CLICOLOR") != "0"


def width() -> int:
    """Return the columns of the terminal, or what most have."""
    return shutil.get_terminal_size(_WIDTH_UNKNOWN).columns


def is_width_known() -> bool:
    """Say whether somebody sees how wide a line is: a terminal, or whoever sets ``COLUMNS``."""
    return sys.stdout.isatty() or bool(os.environ.get("COLUMNS"))


def prepare_table() -> None:
    """Begin to load what draws tables, which takes a while, before the network is waited for."""
    threading.Thread(target=importlib.import_module, args=("tabulate",), daemon=True).start()


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of texts; one that is too long for any reader is cut."""
    from tabulate import tabulate

    cut = [[cell if len(cell) <= _MAX_CUT else f"{cell[:_MAX_CUT]}..." for cell in row] for row in rows]
    return tabulate(cut, headers=list(headers), tablefmt="simple", disable_numparse=True)


def columns(text: str) -> int:
    """Return how many columns of a terminal a line takes: a letter that combines takes none, a wide one two."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def value(of: object) -> str:
    """Return a value of a reply for people; nothing is a dash."""
    return "-" if of is None else shown(of)


def is_short(text: str) -> bool:
    """Say whether a text fits into a cell."""
    return columns(text[: MAX_CELL + 1]) <= MAX_CELL and "\n" not in text and "\t" not in text


def indented(text: str, by: str = "    ") -> str:
    """Return a text of several lines further to the right."""
    return "\n".join(f"{by}{line}" for line in text.split("\n"))


def counted(number: int, what: str = "node") -> str:
    """Return ``1 node`` or ``3 nodes``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def result_dicts(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Return the answers as ``-j`` prints them, by name."""
    return [result_dict(result) for result in sorted(results, key=lambda result: natural(result.sender))]


def result_dict(result: Result) -> dict[str, Any]:
    """Return an answer as ``-j`` and ``--jsonl`` print it."""
    return {
        "sender": result.sender,
        "status": int(result.status),
        "status_text": result.status_text,
        "message": result.message,
        "data": dict(result.data),
        "ran_s": result.ran_s,
        "took_s": round(result.took_s, 6),
    }


def say_failures(results: Results) -> None:
    """Print who failed and why, those with the same reason together, who said nothing, and who is not there."""
    of = len(results.expected)
    alike: dict[tuple[str, ...], list[str]] = {}
    for result in sorted(results.failed, key=lambda result: natural(result.sender)):
        why = one_line(result.message, 1000) if result.message else "no reason given"
        data = [f"{one_line(name)}: {one_line(value(seen), 1000)}" for name, seen in result.data.items()]
        alike.setdefault((f"{result.status_text}: {why}", *data), []).append(result.sender)
    for (why, *data), nodes in alike.items():
        say(coloured(f"{folded(nodes)}: {why}", "red"))
        for text in data:
            say(indented(text))
    if results.silent:
        waited = f" within {results.timeout_s:g} s" if results.timeout_s else ""
        say(coloured(f"no reply{waited} from {len(results.silent)} of {of}: ", "red") + folded(results.silent))
    for nodes, why in by_reason(results.absent):
        say(coloured(f"{', '.join(nodes)}: expected, and not found: {why}", "red"))
    if results.lost:
        say(coloured(f"went away after they were asked, {len(results.lost)} of {of}: ", "red") + folded(results.lost))
    if results.offline:
        say(coloured(f"offline, {len(results.offline)} of {of}: ", "red") + folded(results.offline))
    if results.stopped:
        say(coloured(one_line(results.stopped), "red"))
    if results.untouched:
        say(coloured(f"not asked, {len(results.untouched)} of {of}: ", "red") + folded(results.untouched))
    if results.left_out:
        say(f"left out: {folded(results.left_out)}")


def say_finished(results: Results, took_s: float) -> None:
    """Print the closing line that MCollective's users look for."""
    done, of = len(results), len(results.expected)
    is_good = done == of and all(result.status == Status.OK for result in results)
    text = coloured(f"{done} / {of}", "green" if is_good else "red")
    say(f"Finished processing {text} hosts in {took_s * 1000:.1f} ms")


def warn_of_strangers(results: Results) -> None:
    """Warn of answers that nothing was made of, because they are not believed or nobody asked for them."""
    warn_of_unbelieved(results.unverified, results.unverified_more)
    if strangers := listed(result.sender for result in results.unexpected):
        warn(f"answered without being asked: {strangers}")


def warn_of_unbelieved(unverified: Mapping[str, str], more: int = 0) -> None:
    """Warn of answers that nobody whom we trust has signed."""
    for nodes, why in by_reason(unverified):
        warn(f"the answer of {', '.join(nodes)} was not believed: {why}")
    if more:
        warn(f"and {more:,} more answers were not believed")


def warn_of_doubts(doubts: Iterable[str]) -> None:
    """Warn that whoever named the nodes may not know everybody."""
    for doubt in doubts:
        warn(one_line(doubt))


def warn_of_absent(absent: Mapping[str, str]) -> None:
    """Warn of nodes that should be there and are not."""
    for nodes, why in by_reason(absent):
        verb = "was" if len(nodes) == 1 else "were"
        warn(f"{', '.join(nodes)} {verb} expected, and not found: {why}")


def warn_of_late(results: Results) -> None:
    """Warn of nodes that answered the discovery when it was over, were not asked, and are not told of as absent."""
    for node in sorted(results.late.keys() - results.absent.keys(), key=natural):
        warn(
            f"{one_line(node)} answered the discovery {results.late[node]:.1f} s after it began, too late, and was not "
            "asked; wait longer (--dt, discovery_window_s), or name who should be there (--dm)"
        )
