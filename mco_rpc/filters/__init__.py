# SPDX-License-Identifier: Apache-2.0
"""Filters: which nodes a request is for, with MCollective's semantics.

Identities are alternatives; classes, facts, agents and compound expressions must all hold. ``/x/`` is an unanchored
regular expression. Everything here comes from the network: it is measured before any of it is compiled, and its
expressions run in linear time, so no filter can stall a node. Importing this package is cheap: the parser and what
explains filters to people are modules of their own.

>>> from_options(compound=["country=de and not /db/"]).matches(Subject("web1", facts={"country": "de"}))
True
"""

from __future__ import annotations

from mco_rpc.filters.comparison import OPERATORS
from mco_rpc.filters.evaluation import Query, Subject
from mco_rpc.filters.filter import MAX_TERMS, FactTerm, Filter
from mco_rpc.filters.options import fact_term, from_options, parse, parse_fact
from mco_rpc.filters.patterns import MAX_PATTERN_LENGTH, MAX_PATTERNS, MAX_PATTERNS_LENGTH
from mco_rpc.filters.terms import MAX_DATA_TERMS, MAX_DEPTH, And, Class, Data, Fact, Identity, Not, Offers, Or, Term

__all__ = [
    "MAX_DATA_TERMS",
    "MAX_DEPTH",
    "MAX_PATTERNS",
    "MAX_PATTERNS_LENGTH",
    "MAX_PATTERN_LENGTH",
    "MAX_TERMS",
    "OPERATORS",
    "And",
    "Class",
    "Data",
    "Fact",
    "FactTerm",
    "Filter",
    "Identity",
    "Not",
    "Offers",
    "Or",
    "Query",
    "Subject",
    "Term",
    "fact_term",
    "from_options",
    "parse",
    "parse_fact",
]
