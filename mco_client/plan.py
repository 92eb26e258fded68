# SPDX-License-Identifier: Apache-2.0
"""How a call is spread over its nodes: which of them, how many at a time, in which waves, and when to stop."""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mco_rpc.errors import ConfigError

FIRST, RANDOM = "first", "random"
MAX_COUNT = 1_000_000_000
_SHARE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(%?)\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Share:
    """So many nodes, or so many in a hundred."""

    value: float
    is_percent: bool = False

    @classmethod
    def of(cls, given: Share | int | float | str, what: str = "number of nodes") -> Share:
        """Return what ``5``, ``"5"`` or ``"10%"`` means.

        Raises:
            ConfigError: it means nothing of the kind.

        >>> Share.of("10%").count(45), Share.of("10%").count(3), Share.of(5).count(3)
        (4, 1, 3)
        """
        if isinstance(given, Share):
            return given
        is_number = isinstance(given, int | float) and not isinstance(given, bool) and abs(given) < MAX_COUNT
        text = str(given) if isinstance(given, str) or is_number else ""
        found = _SHARE.match(text.strip())
        if found:
            value, is_percent = float(found[1]), bool(found[2])
            if (is_percent and value <= 100) or (not is_percent and value.is_integer()):
                return cls(value, is_percent)
        is_huge = isinstance(given, int) and abs(given) >= MAX_COUNT  # too long to be written, even
        got = f"one beyond {MAX_COUNT:,}" if is_huge else repr(given)[:100]
        raise ConfigError(f"{what}: expected a number as in 5, or a share as in 10%, got {got}")

    def count(self, total: int) -> int:
        """Return how many of ``total`` nodes that are: a part of a node does not count, and at least one does."""
        exact = total * self._millionths // 100_000_000 if self.is_percent else int(self.value)
        return min(max(exact, 1), total)

    def is_exceeded(self, part: int, total: int) -> bool:
        """Say whether ``part`` of ``total`` nodes are more than this."""
        return part * 100_000_000 > self._millionths * total if self.is_percent else part > self.value

    @property
    def _millionths(self) -> int:
        # As it was written: 85.6% of 375 are 321, and not what binary fractions make of it.
        return round(self.value * 1_000_000)

    def __str__(self) -> str:
        return f"{self.value:.6f}".rstrip("0").rstrip(".") + ("%" if self.is_percent else "")


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How a client calls; every field may be given as text or number, as on the command line.

    Attributes:
        timeout_s: seconds to wait for the answers to each attempt; the settings' if None.
        limit: of the nodes found, ask so many: ``5`` or ``"10%"``.
        limit_method: ``first`` in order of discovery, or ``random``.
        limit_seed: makes ``random`` choose the same nodes again.
        batch_size: ask so many at a time.
        batch_sleep_s: seconds between two batches.
        waves: ask up to so many first, then up to so many ...: ``("1", "10%", "100%")``; who is in none is not asked.
        wave_sleep_s: seconds between two waves.
        abort_on: ask nobody else once more than so many of those asked failed or kept silent: ``"5%"`` or ``3``.
        retries: ask nodes that failed, are offline or kept silent so many times again.
        retry_sleep_s: seconds before each.
        max_nodes: refuse to ask more than so many; a share is one of everybody, whatever the filter.
        noop: say what would be changed, and change nothing.
        follow: be told when the action begins, and what it tells.
    """

    timeout_s: float | None = None
    limit: Share | int | str | None = None
    limit_method: str = FIRST
    limit_seed: int | None = None
    batch_size: Share | int | str | None = None
    batch_sleep_s: float = 1.0
    waves: Sequence[Share | int | str] = ()
    wave_sleep_s: float = 0.0
    abort_on: Share | int | str | None = None
    retries: int = 0
    retry_sleep_s: float = 1.0
    max_nodes: Share | int | str | None = None
    noop: bool = False
    follow: bool = False

    def __post_init__(self) -> None:
        for name in ("limit", "batch_size", "abort_on", "max_nodes"):
            given = getattr(self, name)
            if given is not None:
                self._set(name, Share.of(given, name))
        for name in ("limit", "batch_size", "max_nodes"):
            given = getattr(self, name)
            if given is not None and given.value <= 0:
                raise ConfigError(f"{name}: expected more than 0, got {given}")
        self._set("waves", tuple(Share.of(wave, "waves") for wave in self.waves))
        if self.limit_method not in (FIRST, RANDOM):
            raise ConfigError(f"limit_method: {self.limit_method!r} is not one of {FIRST}, {RANDOM}")
        if self.timeout_s is not None:
            seconds("timeout_s", self.timeout_s)
        for name in ("batch_sleep_s", "wave_sleep_s", "retry_sleep_s"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigError(f"{name}: expected 0 or more, got {value}")
        if isinstance(self.retries, bool) or not 0 <= self.retries <= 100:
            raise ConfigError(f"retries: expected 0 to 100, got {self.retries}")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def replaced(self, **changes: object) -> CallOptions:
        """Return these options with some of them changed.

        Raises:
            ConfigError: there is no such option, or it cannot have this value.
        """
        from mco_rpc.suggestion import did_you_mean

        known = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise ConfigError(f"unknown option {name!r}{did_you_mean(name, known)}; known are: {', '.join(known)}")
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]  # checked when it is made

    def chosen(self, nodes: Sequence[str]) -> tuple[str, ...]:
        """Return the nodes that are asked, in the order in which they are."""
        if not isinstance(self.limit, Share) or not nodes:
            return tuple(nodes)
        count = self.limit.count(len(nodes))
        if self.limit_method == FIRST:
            return tuple(nodes[:count])
        picked = set(random.Random(self.limit_seed).sample(range(len(nodes)), count))  # noqa: S311 - no secret
        return tuple(node for number, node in enumerate(nodes) if number in picked)

    @property
    def discovery_limit(self) -> int | None:
        """So many nodes are enough to find, None if all are needed to choose from."""
        is_enough = isinstance(self.limit, Share) and not self.limit.is_percent and self.limit_method == FIRST
        return int(self.limit.value) if is_enough and isinstance(self.limit, Share) else None

    def batches(self, nodes: Sequence[str]) -> Iterator[tuple[float, tuple[str, ...]]]:
        """Yield the seconds to wait before each batch, and its nodes."""
        pause_s = 0.0
        for wave in self._waves(nodes):
            size = max(1, self.batch_size.count(len(nodes)) if isinstance(self.batch_size, Share) else len(wave))
            for start in range(0, len(wave), size):
                yield pause_s, tuple(wave[start : start + size])
                pause_s = self.batch_sleep_s
            pause_s = max(self.wave_sleep_s, self.batch_sleep_s if isinstance(self.batch_size, Share) else 0.0)

    def _waves(self, nodes: Sequence[str]) -> Iterator[Sequence[str]]:
        if not self.waves:
            yield nodes
            return
        begin = 0
        for wave in self.waves:
            end = wave.count(len(nodes)) if isinstance(wave, Share) and wave.value > 0 else 0
            if end > begin:
                yield nodes[begin:end]
                begin = end


def seconds(name: str, given: float) -> float:
    """Return a time; raise `ConfigError` unless it is more than 0 and finite."""
    if not (given > 0 and math.isfinite(given)):
        raise ConfigError(f"{name}: expected more than 0, got {given}")
    return given
