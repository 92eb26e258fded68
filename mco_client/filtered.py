# SPDX-License-Identifier: Apache-2.0
"""The filters of a client, as its callers add them; they find nobody themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mco_rpc.filters import Filter, fact_term, from_options, parse_fact


class Filtered(ABC):
    """Has filters that add up."""

    def __init__(self) -> None:
        self._filter = Filter()

    @abstractmethod
    def _forget(self) -> None:
        """Forget whom other filters have found."""

    @property
    def filter(self) -> Filter:
        """What was asked for so far, without the agent itself."""
        return self._filter

    def class_filter(self, name: str) -> None:
        """Ask only nodes with this class; ``/x/`` is a regular expression."""
        self.add_filter(from_options(classes=[name]))

    def fact_filter(self, fact: str, value: str | None = None, operator: str = "==") -> None:
        """Ask only nodes with this fact: ``("country", "de")``, ``("cores", "4", ">=")`` or ``("cores>=4")``."""
        term = parse_fact(fact) if value is None else fact_term(fact, operator, value)
        self.add_filter(Filter(facts=(term,)))

    def identity_filter(self, identity: str) -> None:
        """Ask this node too; several are alternatives, ``/x/`` is a regular expression."""
        self.add_filter(from_options(identities=[identity]))

    def agent_filter(self, agent: str) -> None:
        """Ask only nodes that offer this agent as well."""
        self.add_filter(from_options(agents=[agent]))

    def compound_filter(self, expression: str) -> None:
        """Ask only nodes for which this holds: ``country=de and not (role=db or /^old/)``."""
        self.add_filter(from_options(compound=[expression]))

    def add_filter(self, more: Filter) -> None:
        """Ask only nodes that this filter matches as well."""
        self._filter = self._filter.merged(more)
        self._forget()

    def reset_filter(self) -> None:
        """Ask everybody who offers the agent."""
        self._filter = Filter()
        self._forget()
