# SPDX-License-Identifier: Apache-2.0
"""One output across a fleet: its values by node, counted, summed, sorted and compared.

Absence is failure here too: what is computed over all nodes fails if one has no value, unless `Values.known` says
that the others are enough.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mco_client.text import listed, natural, one_line
from mco_rpc.errors import ConfigError, ExpectationFailed


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes with the same value."""

    value: Any
    nodes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.nodes)


class Values(Mapping[str, Any]):
    """The values of one output by node.

    Args:
        missing: the nodes that should have a value and have none.

    >>> load = Values("load1", {"web1": 0.5, "web2": 2.5, "web10": 0.5})
    >>> load.maximum(), [group.nodes for group in load.groups()], list(load.above(2))
    (2.5, [('web1', 'web10'), ('web2',)], ['web2'])
    """

    def __init__(self, name: str, by_node: Mapping[str, Any], missing: tuple[str, ...] = ()) -> None:
        self.name = name
        self._by_node = {node: by_node[node] for node in sorted(by_node, key=natural)}
        self.missing = missing

    def __getitem__(self, node: str) -> Any:
        return self._by_node[node]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_node)

    def __len__(self) -> int:
        return len(self._by_node)

    def __repr__(self) -> str:
        lacking = f", missing: {listed(self.missing)}" if self.missing else ""
        return f"<{self.name}: {self._by_node}{lacking}>"

    @property
    def known(self) -> Values:
        """The same without caring for the nodes that have no value."""
        return Values(self.name, self._by_node)

    # Choosing.

    def where(self, holds: Callable[[Any], bool]) -> Values:
        """Return the values for which ``holds``."""
        return Values(self.name, {node: value for node, value in self.items() if holds(value)}, self.missing)

    def above(self, limit: float) -> Values:
        """Return the numbers above a limit."""
        numbers = self._numbers()
        return self.known.where(lambda value: value > limit) if numbers else self

    def below(self, limit: float) -> Values:
        """Return the numbers below a limit."""
        numbers = self._numbers()
        return self.known.where(lambda value: value < limit) if numbers else self

    def sorted(self, *, reverse: bool = False) -> list[tuple[str, Any]]:
        """Return nodes and values, the smallest first; numbers before texts."""
        return sorted(self.items(), key=lambda item: _order(item[1]), reverse=reverse)

    # Counting.

    def groups(self) -> list[Group]:
        """Return equal values with their nodes, the most frequent first."""
        nodes: dict[str, list[str]] = {}
        values: dict[str, Any] = {}
        for node, value in self.items():
            key = _key(value)
            values[key] = value
            nodes.setdefault(key, []).append(node)
        made = [Group(values[key], tuple(having)) for key, having in nodes.items()]
        return sorted(made, key=lambda group: -len(group.nodes))

    @property
    def is_same(self) -> bool:
        """Whether every node has a value, and all have the same one."""
        return not self.missing and len(self.groups()) == 1

    def require_same(self) -> Any:
        """Return the value that all nodes have.

        Raises:
            ExpectationFailed: some have another one, or none: who, and which.
        """
        if not self.is_same:
            raise ExpectationFailed(f"{self.name} is not the same everywhere: {self.described()}")
        return self.groups()[0].value

    def described(self) -> str:
        """Return equal values together: ``17 nodes: 1.22.1; 2 nodes: 1.18.0: web3, web9; no value: web4``."""
        parts = []
        for number, group in enumerate(self.groups()):
            count = f"{len(group)} node{'s' if len(group) != 1 else ''}"
            who = f": {listed(group.nodes)}" if number or len(group) == 1 else ""
            parts.append(f"{count}: {one_line(group.value)}{who}")
        if self.missing:
            parts.append(f"no value: {listed(self.missing)}")
        return "; ".join(parts) or "no node has a value"

    # Computing.

    def sum(self) -> float:
        """Return the sum over all nodes; raise `ExpectationFailed` if a value is missing or no number."""
        return sum(self._numbers())

    def average(self) -> float:
        """Return the mean over all nodes."""
        return statistics.fmean(self._some())

    def median(self) -> float:
        """Return the median over all nodes."""
        return statistics.median(self._some())

    def minimum(self) -> float:
        """Return the least of all nodes."""
        return min(self._some())

    def maximum(self) -> float:
        """Return the greatest of all nodes."""
        return max(self._some())

    def percentile(self, percent: float) -> float:
        """Return the value that ``percent`` of the nodes do not exceed (nearest rank)."""
        if not 0 <= percent <= 100:
            raise ConfigError(f"{self.name}: percentile: expected 0 to 100, got {percent}")
        numbers = sorted(self._some())
        # 99.9% of 1000 are 999, whatever binary fractions make of it.
        return numbers[max(0, math.ceil(round(len(numbers) * percent / 100, 9)) - 1)]

    # Comparing.

    def changes_since(self, earlier: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Return what was and what is, by node, where they differ; None where there was or is no value."""
        nodes = sorted({*earlier, *self}, key=natural)
        pairs = {node: (earlier.get(node), self.get(node)) for node in nodes}
        return {node: pair for node, pair in pairs.items() if _key(pair[0]) != _key(pair[1])}

    def _some(self) -> list[float]:
        numbers = self._numbers()
        if not numbers:
            raise ExpectationFailed(f"{self.name}: no node has a value")
        return numbers

    def _numbers(self) -> list[float]:
        if self.missing:
            raise ExpectationFailed(f"{self.name}: no value of {len(self.missing)}: {listed(self.missing)}")
        for node, value in self.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ExpectationFailed(f"{self.name} is no number on {node}: {one_line(repr(value))}")
        return list(self._by_node.values())


def _key(value: object) -> str:
    """Return a text that only equal values share: 1 is not True, the order in a mapping does not count."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_key(name)}:{_key(value[name])}" for name in sorted(value, key=str)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_key, value)) + "]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{type(value).__name__}({value!r})"


def _order(value: object) -> tuple[int, float, str]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, value, "") if is_number else (1, 0.0, str(value))  # type: ignore[return-value]  # a number, as said
