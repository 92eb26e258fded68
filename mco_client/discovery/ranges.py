# SPDX-License-Identifier: Apache-2.0
"""Ranges in the names of hosts, as Ansible's inventories have them: ``web[01:20]``, ``db[1:9:2]``, ``rack-[a:f]``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase

from mco_client.discovery.source import MAX_NODES
from mco_client.text import one_line
from mco_rpc.errors import ConfigError

_RANGE = re.compile(r"\[([^\[\]]*)\]")
_MAX_DIGITS = 9


def expand(text: str, where: str) -> tuple[str, ...]:
    """Return the names that a text with ranges stands for; one without stands for itself.

    Both ends belong to a range. Zeros before its first number are kept, and its last number has as many digits then.

    Raises:
        ConfigError: a range cannot be understood, or they are more names than are read.

    >>> expand("web[08:10].example.net", "here")
    ('web08.example.net', 'web09.example.net', 'web10.example.net')
    """
    if "[" not in text and "]" not in text:
        return (text,)
    pieces = _RANGE.split(text)
    if any(mark in piece for piece in pieces[::2] for mark in "[]"):
        raise ConfigError(f"{where}: the brackets of {one_line(repr(text))} do not match: expected web[01:20]")
    choices = [_values(piece, where) for piece in pieces[1::2]]
    count = 1
    for values in choices:
        count *= len(values)
        if count > MAX_NODES:
            raise ConfigError(f"{where}: {one_line(text)} are more than {MAX_NODES:,} names")
    fixed = pieces[::2]
    return tuple(
        fixed[0] + "".join(value + after for value, after in zip(chosen, fixed[1:], strict=True))
        for chosen in itertools.product(*choices)
    )


def _values(text: str, where: str) -> Sequence[str]:
    first, colon, rest = text.partition(":")
    last, _, step_text = rest.partition(":")
    step = int(step_text) if _is_number(step_text) else 0 if step_text else 1
    first = first or "0"
    if colon and step and _is_number(first) and _is_number(last):
        is_padded = len(first) > 1 and first.startswith("0")
        if is_padded and len(first) != len(last):
            raise ConfigError(f"{where}: range [{text}]: {first} and {last} need the same number of digits")
        # Counted first: to write out what is refused afterwards would take all memory.
        if (int(last) - int(first)) // step >= MAX_NODES:
            raise ConfigError(f"{where}: range [{text}] has more than {MAX_NODES:,} names")
        values = [f"{number:0{len(first) if is_padded else 1}d}" for number in range(int(first), int(last) + 1, step)]
    elif letters := next((case for case in (ascii_lowercase, ascii_uppercase) if first in case and last in case), ""):
        is_one_each = len(first) == len(last) == 1 and colon and step
        values = list(letters[letters.index(first) : letters.index(last) + 1 : step]) if is_one_each else []
    else:
        values = []
    if not values:
        raise ConfigError(
            f"{where}: range [{one_line(text, 100)}] cannot be understood: expected numbers or letters and the "
            f"smaller one first, as in [01:20], [1:9:2] or [a:f]"
        )
    return values


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
