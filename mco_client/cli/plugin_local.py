# SPDX-License-Identifier: Apache-2.0
"""The option ``--local`` of ``mco plugin``: the same question about this machine, without a connection."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click


def local_or_fleet(here: Callable[..., int], *kept: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Add ``--local``, which calls ``here`` in the place of the command, with only the parameters that are ``kept``."""

    def add(command: Callable[..., int]) -> Callable[..., int]:
        @click.option("--local", "is_local", is_flag=True, help="Ask nobody: what is installed on this machine.")
        @functools.wraps(command)
        def run(*args: Any, is_local: bool, **given: Any) -> int:
            if not is_local:
                return command(*args, **given)
            if any(value for name, value in given.items() if name not in kept):
                raise click.UsageError("--local asks no nodes: filters and connection options mean nothing with it.")
            return here(**{name: given[name] for name in kept})

        return run

    return add
