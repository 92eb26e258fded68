# SPDX-License-Identifier: Apache-2.0
"""A pytest fixture for tests that need real hosts: import ``lab`` in a ``conftest.py``.

::

    from mco_lab.pytest_plugin import lab

    def test_everybody_answers(lab):
        assert lab(Path("my.yaml")).run(["mco", "ping"]) == 0
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from . import requirements
from .errors import LabError, NotPossibleHere
from .lab import Lab
from .spec import Spec, read


class LabFactory(Protocol):
    """Returns the lab of a spec, up; the same one for the same file, until the session ends."""

    def __call__(self, spec: Spec | Path) -> Lab:
        """Bring a lab up, unless it is."""
        ...


def require(check: Callable[[], None]) -> None:
    """Skip the test if a lab cannot run here; in CI, which can install what is missing, let the test fail."""
    try:
        check()
    except LabError as e:
        is_ci = os.environ.get("CI", "") not in ("", "0", "false")
        if is_ci and not isinstance(e, NotPossibleHere):
            raise
        pytest.skip(str(e))


@pytest.fixture(scope="session")
def lab() -> Iterator[LabFactory]:
    """Yield what brings labs up; they are removed at the end of the session, whatever happens."""
    labs: dict[str, Lab] = {}
    with contextlib.ExitStack() as stack:

        def bring_up(spec: Spec | Path) -> Lab:
            key = str(spec)
            if key not in labs:
                wanted = spec if isinstance(spec, Spec) else read(spec)
                require(lambda: requirements.check(has_systemd=any(host.is_systemd for host in wanted.hosts)))
                labs[key] = stack.enter_context(Lab(None, spec))
            return labs[key]

        yield bring_up
