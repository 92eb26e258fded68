# SPDX-License-Identifier: Apache-2.0
"""What is run for a command of nrpe.cfg; a caller's argument is never read as a part of the shell's language.

NRPE puts arguments into the text of the command line, and gives all to a shell. Here a line that needs no shell gets
none, and where it does the shell gets the line of the administrator, with arguments beside it as ``${1}``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mco_rpc.errors import Denied, InvalidData

from .config import Config

MAX_ARGUMENTS = 16
_MACRO = re.compile(r"ARG([0-9]+)")
# All that means something to a shell but blanks and quotes.
_SHELL = re.compile(r"[|&;<>()$`\\*?\[\]#~{}!\n]|^[A-Za-z_][A-Za-z0-9_]*=")
_QUOTES = re.compile(r"[\"']")


def takes_arguments(line: str) -> bool:
    """Say whether a command line has a place for an argument."""
    return any(isinstance(part, int) for part in _parts(line))


def arguments_of(given: object, config: Config) -> list[str]:
    """Return the arguments that a caller gives: a list, or a text with ``!`` between them as check_nrpe sends it.

    Raises:
        Denied: the configuration takes none.
        InvalidData: one holds what none may hold.
    """
    found = _words(given)
    if not found:
        return []
    if not config.is_taking_arguments:
        raise Denied("this node's nrpe.cfg takes no arguments: dont_blame_nrpe is not 1")
    if len(found) > MAX_ARGUMENTS:
        raise InvalidData(f"args: {len(found)} arguments; at most {MAX_ARGUMENTS} are taken")
    for word in found:
        nasty = sorted({character for character in word if character in config.nasty or character in "\0\r\n"})
        if nasty:
            raise InvalidData(f"args: {word!r:.60} holds {', '.join(map(repr, nasty))}, which nrpe.cfg does not allow")
        if "$(" in word and not config.is_taking_substitution:
            raise InvalidData(f"args: {word!r:.60} holds $(, which nrpe.cfg does not allow")
        if not word:
            raise InvalidData("args: an argument is empty")
    return found


def _words(given: object) -> list[str]:
    if isinstance(given, str):
        return given.split("!") if given else []
    listed = given if isinstance(given, list | tuple) else [given]
    if any(isinstance(word, bool) or not isinstance(word, str | int | float) for word in listed):
        raise InvalidData(f"args: expected a list of texts, or a text with ! between them, got {given!r:.100}")
    return [str(word) for word in listed]


def argv_of(line: str, arguments: Sequence[str], prefix: str = "") -> list[str]:
    r"""Return the command to run.

    >>> argv_of("check_disk -w $ARG1$ -p /", ["20%"])
    ['check_disk', '-w', '20%', '-p', '/']
    >>> argv_of("check_x '$ARG1$' | head -n 1", ["a b"])
    ['/bin/sh', '-c', 'check_x \'\'"${1}"\'\' | head -n 1', 'sh', 'a b']
    """
    parts = _parts(f"{prefix} {line}" if prefix else line)
    fixed = "".join(part for part in parts if isinstance(part, str))
    has_macros = any(isinstance(part, int) for part in parts)
    if not _SHELL.search(fixed):
        if not _QUOTES.search(fixed):
            return "".join(part if isinstance(part, str) else _given(part, arguments) for part in parts).split()
        if not has_macros:
            import shlex

            try:
                return shlex.split(fixed)
            except ValueError:
                pass  # a quote that is not closed: the shell says so
    return ["/bin/sh", "-c", _script(parts, arguments), "sh", *arguments]


def _parts(line: str) -> list[str | int]:
    """Return a command line as NRPE takes it apart: texts, and numbers of arguments.

    ``$$`` is a dollar sign; a dollar sign without a second one gets one at the end.
    """
    made: list[str | int] = []
    for at, piece in enumerate(line.split("$")):
        if at % 2 == 0:
            made.append(piece)
        elif found := _MACRO.match(piece):
            made.append(int(found[1]))
        elif piece.startswith("ARG"):
            made.append(0)
        else:
            made.append(f"${piece}$" if piece else "$")
    return made


def _given(number: int, arguments: Sequence[str]) -> str:
    return arguments[number - 1] if 0 < number <= len(arguments) else ""


def _script(parts: list[str | int], arguments: Sequence[str]) -> str:
    """Return the line for a shell, arguments as its own; within single quotes these are left for a moment."""
    script = ""
    is_single = is_double = is_escaped = False
    for part in parts:
        if isinstance(part, int):
            variable = f"${{{part}}}" if 0 < part <= len(arguments) else ""
            script += f"'\"{variable}\"'" if is_single else variable
            is_escaped = False
            continue
        script += part
        for character in part:
            if is_escaped:
                is_escaped = False
            elif character == "\\" and not is_single:
                is_escaped = True
            elif character == "'" and not is_double:
                is_single = not is_single
            elif character == '"' and not is_single:
                is_double = not is_double
    return script
