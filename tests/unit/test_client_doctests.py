# SPDX-License-Identifier: Apache-2.0
"""The examples in the documentation of the packages are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

PACKAGES = ("mco_rpc", "mco_client", "mco_agents", "mco_node")


def modules() -> list[str]:
    """Return every module of the packages, the ones that run a program left out."""
    found = list(PACKAGES)
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        found += [module.name for module in pkgutil.walk_packages(path, f"{package}.")]
    return [name for name in found if not name.endswith("__main__")]


def examples(module: ModuleType) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", modules())
def test_the_examples_of_a_module_are_true(name: str) -> None:
    module = importlib.import_module(name)
    told: list[str] = []
    for test in examples(module):
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        runner.run(test, out=told.append)
    assert told == []


@pytest.mark.parametrize(
    "name", ["mco_client.rpc", "mco_client.text", "mco_rpc.agent", "mco_rpc.filters", "mco_rpc.names", "mco_rpc.config"]
)
def test_they_are_found(name: str) -> None:
    # So that the test above does not pass because it looks at nothing.
    assert examples(importlib.import_module(name))
