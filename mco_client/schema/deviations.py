# SPDX-License-Identifier: Apache-2.0
"""Where replies are not as the schema of their node says: outputs that are unknown, missing, or of another type.

It reports and changes nothing: such a reply is shown and counted like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mco_client.results import Result
from mco_client.schema.learning import Known, Version
from mco_client.text import listed, one_line
from mco_rpc.schema import ActionSchema

MAX_DEVIATIONS = 20


@dataclass(frozen=True, slots=True)
class Deviation:
    """One thing that is not as declared, and on which nodes of one version.

    Attributes:
        problem: ``unknown``, ``missing``, or what was expected and what was seen.
    """

    field: str
    problem: str
    nodes: tuple[str, ...]
    version: str
    digest: str

    @property
    def text(self) -> str:
        """What people are told."""
        what = {
            "unknown": "gives {}, which its schema does not declare",
            "missing": "does not give {}, which its schema declares",
        }.get(self.problem)
        told = what.format(f"output {self.field!r}") if what else f"gives output {self.field!r} wrong: {self.problem}"
        return one_line(f"{self.version} {told}: {listed(self.nodes)}", 500)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as ``-j`` prints it."""
        return {
            "field": self.field,
            "problem": self.problem,
            "nodes": list(self.nodes),
            "version": self.version,
            "digest": self.digest,
        }


def deviations(known: Known, action: str, results: Iterable[Result]) -> list[Deviation]:
    """Return where the successful replies of nodes whose schema is known deviate from it, a bounded number."""
    by_node, by_digest = known.by_node(), known.by_digest()
    found: dict[tuple[str, str, str], list[str]] = {}
    for result in results:
        claimed = result.schema
        version = by_digest.get(claimed) if claimed else by_node.get(result.sender)
        declared = version.schema.actions.get(action) if version else None
        if not result.is_ok or version is None or declared is None:
            continue
        for field, problem in _of(result, declared):
            key = (version.digest, field, problem)
            if key in found or len(found) < MAX_DEVIATIONS:
                found.setdefault(key, []).append(result.sender)
    return [
        _deviation(known, by_digest[digest], field, problem, nodes) for (digest, field, problem), nodes in found.items()
    ]


def _deviation(known: Known, version: Version, field: str, problem: str, nodes: list[str]) -> Deviation:
    return Deviation(field, problem, tuple(nodes), known.name_of(version), version.digest)


def _of(result: Result, declared: ActionSchema) -> Iterable[tuple[str, str]]:
    for name, value in result.data.items():
        output = declared.outputs.get(name)
        if output is None:
            yield name, "unknown"
            continue
        try:
            output.check(value)
        except ValueError as e:
            yield name, str(e)
    for name in declared.outputs:
        if name not in result.data:
            yield name, "missing"
