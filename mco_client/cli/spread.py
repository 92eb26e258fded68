# SPDX-License-Identifier: Apache-2.0
"""The options that say how a call is spread over its nodes: limits, batches, waves, retries, a cap."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mco_client.plan import CallOptions

Command = Callable[..., int]


def spread(command: Command) -> Command:
    """Add them; hand over ``how``, a `CallOptions`."""

    @functools.wraps(command)
    def run(*args: Any, one: bool, waves: str | None, noop: bool, **rest: Any) -> int:
        given = {name: value for name in _NAMES if (value := rest.pop(name)) is not None}
        if one and "limit" in given:
            raise click.UsageError("-1 is --limit 1; it cannot be combined with another limit.")
        given |= {"limit": 1} if one else {}
        _check(given, has_waves=waves is not None)
        return command(*args, how=_made(given, waves, noop=noop), **rest)

    for decorator in reversed(_OPTIONS):
        run = decorator(run)
    return run


def _check(given: dict[str, Any], *, has_waves: bool) -> None:
    """Refuse an option that would do nothing without another one: whoever gives it believes that it does."""
    for name, (option, needed, others) in _USELESS_WITHOUT.items():
        if name in given and not any(other in given for other in others) and not (has_waves and "waves" in others):
            raise click.UsageError(f"{option} does nothing without {needed}.")
    if "limit_seed" in given and given.get("limit_method") != "random":
        raise click.UsageError("--limit-seed does nothing without --limit-method random.")


def _made(given: dict[str, Any], waves: str | None, *, noop: bool) -> CallOptions:
    from mco_client.plan import CallOptions

    parts = [wave.strip() for wave in waves.split(",")] if waves is not None else []
    how = CallOptions(**given, waves=parts, noop=noop)
    _check_growing(how)
    return how


def _check_growing(how: CallOptions) -> None:
    """Refuse a wave that asks nobody, however many nodes there are: it is a typing error."""
    from mco_client.plan import Share

    most = {True: 0.0, False: 0.0}
    for wave in map(Share.of, how.waves):
        if wave.value <= most[wave.is_percent]:
            before = Share(most[wave.is_percent], wave.is_percent)
            raise click.UsageError(
                "--waves: each says up to how many are asked: expected more than "
                f"{before if before.value else 0}, got {wave}."
            )
        most[wave.is_percent] = wave.value


_NAMES = (
    "limit",
    "limit_method",
    "limit_seed",
    "batch_size",
    "batch_sleep_s",
    "wave_sleep_s",
    "abort_on",
    "retries",
    "retry_sleep_s",
    "max_nodes",
)
# Name -> the option, what it needs, and the names of that.
_USELESS_WITHOUT = {
    "limit_method": ("--limit-method", "--limit or -1", ("limit",)),
    "limit_seed": ("--limit-seed", "--limit or -1", ("limit",)),
    "batch_sleep_s": ("--batch-sleep", "--batch", ("batch_size",)),
    "wave_sleep_s": ("--wave-sleep", "--waves", ("waves",)),
    "abort_on": ("--abort-on", "--batch or --waves: everybody is asked at once", ("batch_size", "waves")),
    "retry_sleep_s": ("--retry-sleep", "--retries", ("retries",)),
}
_OPTIONS = (
    click.option("-1", "--one", "one", is_flag=True, help="Ask one of the nodes only."),
    click.option("--limit", "--limit-nodes", "--ln", "limit", metavar="N|N%", help="Ask so many of the nodes only."),
    click.option("--limit-method", metavar="METHOD", help="Which: first (the default) or random."),
    click.option("--limit-seed", type=int, metavar="NUMBER", help="Let random choose the same nodes again."),
    click.option("--batch", "--batch-size", "batch_size", metavar="N|N%", help="Ask so many nodes at a time."),
    click.option(
        "--batch-sleep",
        "--batch-sleep-time",
        "batch_sleep_s",
        type=float,
        metavar="SECONDS",
        help="Wait so long between two batches.  [default: 1]",
    ),
    click.option(
        "--waves",
        metavar="N,N%,...",
        help="Ask up to so many first, then up to so many, as in 1,10%,100%; who is in no wave is not asked.",
    ),
    click.option("--wave-sleep", "wave_sleep_s", type=float, metavar="SECONDS", help="Wait so long between two waves."),
    click.option(
        "--abort-on",
        metavar="N|N%",
        help="Ask nobody else once more than so many of those asked failed or kept silent.",
    ),
    click.option(
        "--retries", type=int, metavar="N", help="Ask nodes that failed, or kept silent, so many times again."
    ),
    click.option("--retry-sleep", "retry_sleep_s", type=float, metavar="SECONDS", help="Wait so long before each."),
    click.option(
        "--max-nodes",
        metavar="N|N%",
        help="Refuse to ask more nodes than this; a share is one of everybody, whatever the filter.",
    ),
    click.option("--noop", is_flag=True, help="Say what would be changed, and change nothing."),
)
