# SPDX-License-Identifier: Apache-2.0
"""The data source about collectives."""

from __future__ import annotations

from typing import Any

from mco_rpc.data import DataSource, Input, Output

ARGUMENTS = {"collective": Input("string", "Name of a collective", max_length=128)}
FIELDS = {"member": Output("boolean", "Whether the node answers in it")}


class Collective(DataSource):
    """Say whether the node is in a collective."""

    keep_s = 0.0
    arguments = ARGUMENTS
    fields = FIELDS

    def query(self, collective: str) -> dict[str, Any]:
        """Look it up."""
        return {"member": collective in self.node.collectives}
