# SPDX-License-Identifier: Apache-2.0
"""Nodes from files that list them, one identity a line or as JSON; nothing but identities is decided."""

from __future__ import annotations

from pathlib import Path

from mco_client.discovery.listed import SERVES, chosen, names_in
from mco_client.discovery.source import Known, read_text
from mco_rpc.filters import Filter


class FlatFile:
    """Files that list nodes; read anew each time they are asked."""

    serves = SERVES

    def __init__(self, files: tuple[Path, ...]) -> None:
        self._files = files
        self.name = f"flatfile {', '.join(map(str, files))}"

    def known(self, node_filter: Filter, timeout_s: float) -> Known:
        """Return the listed nodes whose identity the filter asks for."""
        listed = [name for file in self._files for name in names_in(read_text(file), str(file))]
        return chosen(listed, node_filter, self.name)
