# SPDX-License-Identifier: Apache-2.0
"""The errors of the lab; everything else it raises is of the project's common tree."""

from __future__ import annotations

from mco_rpc.errors import McoError


class LabError(McoError):
    """The lab could not be brought up, used or torn down; the message says what to do next."""


class NotPossibleHere(LabError):
    """The machine, or the container that we are in, lacks what no package brings."""
